//! Keys and origins: each opens its own doors, and no key ever appears in a log, an error, the
//! state or the metrics.

use serde_json::{Value, json};

use crate::harness::{
    API_KEY, Pool, Process, Provider, RawHttp, RawProvider, Upgrade, WORKER_KEY, error_word,
    http_request, soon, tools_call,
};

const STATE_PATHS: [&str; 2] = ["/api/state", "/api/state/stream"];

#[tokio::test]
async fn the_state_requires_the_api_key() {
    let pool = Pool::start().await;

    let wrong = [
        None,
        Some("Bearer "),
        Some("Bearer"),
        Some(API_KEY),
        Some("Basic test123"),
        Some("Bearer test124"),
        Some("Bearer test1234"),
        Some("Bearer secret"),
    ];

    for path in STATE_PATHS {
        for authorization in wrong {
            let mut request = pool.http.get(format!(
                "{}{path}?key={API_KEY}&api_key={API_KEY}",
                pool.url
            ));
            if let Some(authorization) = authorization {
                request = request.header("authorization", authorization);
            }
            let answer = request.send().await.unwrap();

            assert_eq!(answer.status(), 401, "{path} {authorization:?}");
            assert_eq!(answer.headers()["www-authenticate"], "Bearer");

            let body: Value = answer.json().await.unwrap();
            let message = "expected Authorization: Bearer <API_KEY>";

            assert_eq!(
                body,
                json!({ "error": "unauthorized", "message": message }),
                "{path} {authorization:?}"
            );
        }

        let right = pool
            .http
            .get(format!("{}{path}", pool.url))
            .header("authorization", "bearer test123");

        assert_eq!(right.send().await.unwrap().status(), 200, "{path}");
    }
}

#[tokio::test]
async fn keys_that_nobody_set_are_generated_logged_once_each_and_work() {
    let environment = [
        ("PORT", "0"),
        ("BIND_ADDR", "127.0.0.1"),
        ("LOG_LEVEL", "info"),
    ];
    let mut server = Process::llamapool(&["server"], &environment);

    let listens = server.event("the server listens").await;
    let url = format!("http://{}", listens["address"].as_str().unwrap());
    let api = server
        .event("API_KEY is not set: this one was generated for this run")
        .await["api_key"]
        .clone();
    let worker = server
        .event("WORKER_KEY is not set: this one was generated for this run")
        .await["worker_key"]
        .clone();
    let api = api.as_str().unwrap();
    let worker = worker.as_str().unwrap();

    assert!(api != worker && api.len() >= 32 && worker.len() >= 32);

    let provider = Provider::echoing().await;
    let mut relay = Pool::relay_to(&url, "mcp-1234", &provider.url, &[("WORKER_KEY", worker)]);

    relay
        .line("it is connected", |line| {
            line.contains("the provider is reached at")
        })
        .await;
    let http = reqwest::Client::new();
    let state = http
        .get(format!("{url}/api/state"))
        .bearer_auth(api)
        .send()
        .await
        .unwrap();

    assert_eq!(state.status(), 200);
    assert_eq!(
        http.get(format!("{url}/api/state"))
            .bearer_auth(worker)
            .send()
            .await
            .unwrap()
            .status(),
        401
    );

    for key in [api, worker] {
        assert_eq!(server.lines_with(key).len(), 1, "{}", server.log());
    }
}

#[tokio::test]
async fn a_server_without_auth_is_open_and_says_so() {
    let environment = [("PORT", "0"), ("BIND_ADDR", "127.0.0.1")];
    let server = Process::llamapool(&["server", "--no-auth"], &environment);
    let mut pool = Pool::of_server(server).await;
    pool.server
        .event("running without keys: anyone can connect relays and read the state")
        .await;

    let provider = Provider::echoing().await;
    let _relay = pool
        .relay_with("mcp-1234", &provider.url, &[("WORKER_KEY", "")])
        .await;

    assert_eq!(
        pool.http
            .get(format!("{}/api/state", pool.url))
            .send()
            .await
            .unwrap()
            .status(),
        200
    );
    assert_eq!(
        pool.post("mcp-1234", &tools_call(1, "echo")).await.status(),
        200
    );
}

#[tokio::test]
async fn a_relay_with_a_token_serves_only_callers_who_present_it() {
    let pool = Pool::start().await;
    let provider = Provider::answering(async |request| {
        let seen = request.headers().get("authorization").is_some();
        crate::harness::json_answer(&json!({ "authorization": seen }).to_string())
    })
    .await;
    let mut relay = pool
        .relay_with("mcp-1234", &provider.url, &[("AUTH_TOKEN", "open-sesame")])
        .await;

    assert_eq!(pool.client("mcp-1234").await["protected"], true);

    let call = |authorizations: &[&str]| {
        let request = pool
            .http
            .post(pool.mcp("mcp-1234"))
            .json(&tools_call(1, "echo"));
        authorizations
            .iter()
            .fold(request, |request, value| {
                request.header("authorization", *value)
            })
            .send()
    };
    let twice = ["Bearer open-sesame", "Bearer open-sesame"];

    for wrong in [
        &[][..],
        &["Bearer open-sesami"],
        &["Basic open-sesame"],
        &["Bearer test123"],
        &["Bearer secret"],
        &twice,
    ] {
        let answer = call(wrong).await.unwrap();
        assert_eq!(answer.status(), 401, "{wrong:?}");
        assert_eq!(answer.headers()["www-authenticate"], "Bearer");
        assert_eq!(error_word(answer).await, "wrong_token");
    }

    let answer = call(&["bearer open-sesame"]).await.unwrap();

    assert_eq!(answer.status(), 200);
    assert_eq!(
        answer.json::<Value>().await.unwrap(),
        json!({ "authorization": false })
    );

    let client = pool.client("mcp-1234").await;
    assert_eq!(client["calls_total"], 7);
    assert_eq!(client["errors_total"], 6);
    assert_eq!(client["last_error"]["error"], "wrong_token");
    assert_eq!(client["inflight"], 0);

    relay
        .line("the refusals are in the log", |line| {
            line.contains("wrong_token")
        })
        .await;
}

#[tokio::test]
async fn a_browsers_page_gets_no_data_from_a_server_on_loopback() {
    let pool = Pool::with(&[("METRICS_PORT", "0")]).await;

    let shared = Pool::start().await;
    let provider = Provider::echoing().await;
    let _relay = pool.relay("mcp-1234", &provider.url).await;

    let metrics = format!("{}/metrics", metrics_url(&pool));
    let call = pool.mcp("mcp-1234");
    let shared_metrics = format!("{}/metrics", shared.url);
    let own = |path: &str| format!("{}{path}", pool.url);
    let urls = [
        own("/api/state"),
        own("/api/state/stream"),
        metrics,
        shared_metrics,
        call,
    ];
    let evil: [(&str, &str, &str); 6] = [
        ("host", "evil.example", "host_refused"),
        ("host", "127.0.0.1.evil.example:80", "host_refused"),
        ("host", "192.0.2.1", "host_refused"),
        ("origin", "http://evil.example", "origin_refused"),
        ("origin", "null", "origin_refused"),
        ("origin", "http://localhost.evil.example", "origin_refused"),
    ];

    for url in &urls {
        let get = || pool.http.get(url).bearer_auth(API_KEY);

        for (name, value, word) in evil {
            let answer = get().header(name, value).send().await.unwrap();
            assert_eq!(answer.status(), 403, "{url} {name}: {value}");
            assert_eq!(error_word(answer).await, word, "{url} {name}: {value}");
        }

        assert_eq!(
            get()
                .header("host", "localhost")
                .send()
                .await
                .unwrap()
                .status(),
            200,
            "{url}"
        );
    }

    assert_eq!(pool.client("mcp-1234").await["calls_total"], 1);
}

/// Health probes may use any `Host`, also where other routes allow only some.
/// On every port. Health checks also refuse pages in browsers.
#[tokio::test]
async fn every_route_refuses_an_ambiguous_host_or_origin() {
    let pool = Pool::with(&[
        ("METRICS_PORT", "0"),
        ("ALLOWED_ORIGINS", "*"),
        ("ALLOWED_HOSTS", "127.0.0.1"),
    ])
    .await;

    let metrics = metrics_url(&pool);
    let everywhere = ["/healthz", "/readyz", "/nowhere"];
    let here = [
        "/api/state",
        "/api/mcp/connect",
        "/api/mcp/id/x",
        "/.well-known/oauth-protected-resource",
    ];
    let routes = [
        (&pool.url, &everywhere[..]),
        (&metrics, &everywhere),
        (&metrics, &["/metrics"]),
        (&pool.url, &here),
    ];

    for (url, paths) in routes {
        for path in paths {
            for (twice, word) in [
                ("host: 127.0.0.1\r\n", "host_refused"),
                (
                    "origin: http://localhost\r\norigin: http://localhost\r\n",
                    "origin_refused",
                ),
            ] {
                let mut caller = RawHttp::connect(url).await;
                caller.send(http_request("GET", path, twice, b"")).await;
                let head = caller.head().await;

                assert_eq!(head.status(), 403, "{url}{path}");
                assert_eq!(
                    head.values("llamapool-error"),
                    vec![word.to_owned()],
                    "{url}{path}"
                );
            }
        }
    }

    let local = Pool::with(&[("METRICS_PORT", "0")]).await;

    for url in [&local.url, &metrics_url(&local)] {
        for path in ["/healthz", "/readyz"] {
            let ask = |name: &str, value: &str| {
                local
                    .http
                    .get(format!("{url}{path}"))
                    .header(name, value)
                    .send()
            };

            assert_eq!(
                ask("host", "10.1.2.3:8080").await.unwrap().status(),
                200,
                "{path}"
            );

            for page in ["http://evil.example", "null"] {
                assert_eq!(
                    error_word(ask("origin", page).await.unwrap()).await,
                    "origin_refused",
                    "{path} {page}"
                );
            }
        }
    }
}

fn metrics_url(pool: &Pool) -> String {
    let log = pool.server.lines_with("the server listens").remove(0);
    let event: Value = serde_json::from_str(&log).unwrap();
    let address = event["metrics"]
        .as_str()
        .unwrap()
        .strip_prefix("Some(")
        .unwrap()
        .strip_suffix(')')
        .unwrap();
    format!("http://{address}")
}

/// The secrets that a server and its relays can be configured with.
const SECRETS: [(&str, &str); 10] = [
    ("API_KEY", "5ec-api-key"),
    ("WORKER_KEY", "5ec-worker-key"),
    ("CLIENT_SECRET", "5ec-client-secret"),
    ("AUTH_TOKEN", "5ec-auth-token"),
    ("STATUS_TOKEN", "5ec-status-token"),
    ("PROVIDER_HEADERS", "Authorization: Bearer 5ec-provider-key"),
    ("HTTP_PROXY", "http://user:5ec-proxy-password@127.0.0.1:9"),
    ("caller", "5ec-callers-own-token"),
    ("SERVER_URL", "5ec-in-the-servers-url"),
    ("PROVIDER_URL", "5ec-in-the-providers-url"),
];

fn secret(name: &str) -> &'static str {
    SECRETS.iter().find(|(other, _)| *other == name).unwrap().1
}

#[tokio::test]
async fn no_key_is_ever_in_a_log_an_error_the_state_or_the_metrics() {
    let mut pool = Pool::with(&[SECRETS[0], SECRETS[1]]).await;
    let provider = Provider::echoing().await;

    let of_relay: Vec<_> = SECRETS[1..6]
        .iter()
        .copied()
        .chain([("STATUS_ADDR", "127.0.0.1:0")])
        .collect();
    let server_url = format!("{}/api/mcp/connect?key={}", pool.url, secret("SERVER_URL"));
    let provider_url = format!("{}?key={}", provider.url, secret("PROVIDER_URL"));
    let mut relay = Pool::relay_to(&server_url, "mcp-1234", &provider_url, &of_relay);

    relay
        .line("it is connected", |line| {
            line.contains("the provider is reached at")
        })
        .await;
    pool.server.event("relay connected").await;
    let status = relay.event("the status server listens").await["address"]
        .as_str()
        .unwrap()
        .to_owned();
    let mut seen = Vec::new();

    // Keys that are right, wrong, in the wrong place, or in a URL.
    for key in SECRETS.map(|(_, secret)| secret.rsplit(' ').next().unwrap()) {
        let call = pool
            .http
            .post(format!("{}?token={key}", pool.mcp("mcp-1234")))
            .bearer_auth(key);
        seen.push(show(call.body("{}").send().await.unwrap()).await);

        for path in ["/api/state", "/metrics", "/nowhere"] {
            let request = pool
                .http
                .get(format!("{}{path}", pool.url))
                .bearer_auth(key);
            seen.push(show(request.send().await.unwrap()).await);
        }

        let upgrade = Upgrade::for_id("raw")
            .with("authorization", &format!("Bearer {key} "))
            .with("llamapool-secret", key);
        seen.push(upgrade.answer(&pool).await.head);

        for path in ["/status", "/metrics", "/version", "/readyz"] {
            let request = pool
                .http
                .get(format!("http://{status}{path}"))
                .bearer_auth(key);
            seen.push(show(request.send().await.unwrap()).await);
        }

        seen.push(
            show(
                pool.http
                    .post(format!("http://{status}/control/nothing"))
                    .bearer_auth(key)
                    .send()
                    .await
                    .unwrap(),
            )
            .await,
        );
    }

    // Relays that fail with their secrets, and one that the server admits.
    let debug = ("LOG_LEVEL", "debug");

    for settings in [
        [("WORKER_KEY", secret("caller")), debug].as_slice(),
        &[SECRETS[1], SECRETS[6], debug],
    ] {
        let mut failing = Pool::relay_once(&server_url, &provider_url, settings);
        seen.push(failing.status_and_log().await.1);
    }

    let mut sharing = Pool::relay_to(
        &pool.url,
        "mcp-1234",
        &provider.url,
        &[SECRETS[1], SECRETS[2]],
    );
    sharing
        .line("it is connected", |line| {
            line.contains("the provider is reached at")
        })
        .await;
    seen.push(sharing.log());
    pool.server.signal("TERM").await;
    seen.push(pool.server.status_and_log().await.1);
    relay.kill().await;
    seen.push(relay.status_and_log().await.1);

    assert!(seen.len() > 80, "{}", seen.len());

    for (name, secret) in SECRETS {
        let secret = &secret[secret.find("5ec").unwrap()..];
        let secret = secret.split('@').next().unwrap();
        for text in &seen {
            assert!(!text.contains(secret), "{name} is seen in:\n{text}");
        }
    }
}

async fn show(answer: reqwest::Response) -> String {
    let head = format!("{:?}", answer.headers());
    format!(
        "{head}\n{}",
        soon("the answer ends", answer.text()).await.unwrap()
    )
}

#[tokio::test]
async fn a_relays_instance_id_is_known_to_its_server_alone() {
    let impostor = RawProvider::bind().await;
    let provider = Provider::echoing().await;

    let settings = [("STATUS_ADDR", "127.0.0.1:0"), ("WORKER_KEY", WORKER_KEY)];
    let mut relay = Pool::relay_to(&impostor.url, "mcp-1234", &provider.url, &settings);

    let (_, head) = impostor.request().await;
    let (connection, second_head) = impostor.request().await;
    let instance = |head: &str| {
        let line = head
            .lines()
            .find_map(|line| line.strip_prefix("llamapool-instance: "))
            .unwrap();
        line.to_owned()
    };
    let id = instance(&head);

    assert!(
        id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{id}"
    );
    assert_eq!(id, instance(&second_head), "it is the same relay");

    drop(connection);
    relay
        .nth_line(2, "it tries again", |line| {
            line.contains("not connected; trying again")
        })
        .await;
    let status = relay.event("the status server listens").await["address"]
        .as_str()
        .unwrap()
        .to_owned();
    let status = reqwest::get(format!("http://{status}/status"))
        .await
        .unwrap()
        .text()
        .await
        .unwrap();

    assert!(!status.contains(&id) && relay.lines_with(&id).is_empty());

    let mut other = Pool::relay_to(&impostor.url, "mcp-1234", &provider.url, &[]);
    let (_, other_head) = loop {
        let (connection, head) = impostor.request().await;
        if instance(&head) != id {
            break (connection, head);
        }
    };

    assert_ne!(instance(&other_head), id);
    assert!(other.is_running());
}
