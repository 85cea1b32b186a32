//! `llamapool doctor` behind a real nginx, as people have it and as the guide has it.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};

use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::harness::{Diagnosis, Pool, Process, Provider, WORKER_KEY, json_answer, soon};

/// nginx in front of a server, as one process: with it ends all of it. Dropping it ends it.
struct Nginx {
    url: String,
    _folder: TempDir,
    _process: Process,
}

impl Nginx {
    /// Starts it, with these directives about buffering.
    async fn start(server_url: &str, buffering: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().to_str().unwrap();
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let config = format!(
            "daemon off; master_process off; pid {root}/pid; error_log stderr;\n\
             events {{}}\n\
             http {{\n\
               access_log off;\n\
               client_body_temp_path {root}/body; proxy_temp_path {root}/proxy;\n\
               fastcgi_temp_path {root}/fastcgi; uwsgi_temp_path {root}/uwsgi; scgi_temp_path {root}/scgi;\n\
               server {{\n\
                 listen 127.0.0.1:{port};\n\
                 proxy_set_header Host $http_host;\n\
                 location / {{ proxy_pass {server_url}; {buffering} }}\n\
                 location = /api/mcp/connect {{\n\
                   proxy_pass {server_url}; proxy_http_version 1.1;\n\
                   proxy_set_header Host $http_host;\n\
                   proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;\n\
                 }}\n\
               }}\n\
             }}\n"
        );
        let path = folder.path().join("nginx.conf");
        fs::write(&path, config).unwrap();
        let mut command = Command::new("nginx");
        command.args(["-p", root, "-e", "stderr", "-c", path.to_str().unwrap()]);
        let mut process = Process::start(command);
        let serves = async {
            while TcpStream::connect((Ipv4Addr::LOCALHOST, port))
                .await
                .is_err()
            {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = soon("nginx serves", serves) => {}
            _ = process.ended() => panic!("nginx has ended: {}", process.log()),
        }
        Self {
            url: format!("http://127.0.0.1:{port}"),
            _folder: folder,
            _process: process,
        }
    }
}

#[tokio::test]
async fn a_buffering_nginx_is_found_and_one_that_does_not_is_not() {
    let pool = Pool::as_shipped(&[]).await;
    let provider = Provider::answering(|request: axum::extract::Request| async move {
        let body = axum::body::to_bytes(request.into_body(), 1 << 20).await;
        let message: serde_json::Value =
            serde_json::from_slice(&body.unwrap()).unwrap_or_default();
        let result = match message["method"].as_str() {
            Some("initialize") => {
                r#"{"protocolVersion":"2025-06-18","capabilities":{},"serverInfo":{"name":"clock","version":"1"}}"#
            }
            Some("tools/list") => r#"{"tools":[]}"#,
            _ => "{}",
        };
        json_answer(&format!(
            r#"{{"jsonrpc":"2.0","id":{},"result":{result}}}"#,
            message["id"]
        ))
    })
    .await;

    for (buffering, status, text) in [
        // The default: llamapool asks for no buffering of event streams (`X-Accel-Buffering`).
        ("proxy_buffering on;", "ok", "when they are sent"),
        ("proxy_buffering off;", "ok", "when they are sent"),
        // With HTTP/1.0 to the server, nginx's default, it passes on whole buffers alone.
        (
            "proxy_buffering on; proxy_ignore_headers X-Accel-Buffering;",
            "fail",
            "something between buffers",
        ),
    ] {
        let nginx = Nginx::start(&pool.url, buffering).await;
        let environment = [
            ("SERVER_URL", nginx.url.as_str()),
            ("WORKER_KEY", WORKER_KEY),
            ("CLIENT_ID", "notes"),
            ("PROVIDER_URL", &provider.url),
            ("STATUS_ADDR", "off"),
        ];
        let found = Diagnosis::of(&["mcp", "--json", "--quick"], &environment).await;

        found.has("stream_buffered", status, text);
        found.has("tunnel_refused", "ok", "a relay connects");
        found.has("round_trip_failed", "ok", "ping through");
        assert_eq!(found.code == Some(1), status == "fail", "{}", found.output);
    }
}
