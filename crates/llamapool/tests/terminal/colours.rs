//! Colours, and the choice between lines for people and full ones.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::harness::{Settings, Terminal, soon};

async fn shown(settings: Settings<'_>) -> String {
    let own = [
        ("PORT", "0"),
        ("BIND_ADDR", "127.0.0.1"),
        ("DATA_DIR", "off"),
    ];
    let mut server = Terminal::llamapool(&["server"], &[&own, settings].concat());
    server
        .shows_that("it listens", |text| {
            text.contains("listens") || text.contains("  next  ")
        })
        .await;
    server.raw()
}

#[tokio::test]
async fn colours_follow_the_environment() {
    let coloured = shown(&[]).await;
    assert!(
        coloured.contains("\u{1b}[33m!\u{1b}[0m no https"),
        "{coloured:?}"
    );

    for plain in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        for style in ["people", "full"] {
            let text = shown(&[plain, ("LOG_STYLE", style)]).await;
            assert!(!text.contains('\u{1b}'), "{plain:?} {style}: {text:?}");
        }
    }
    let full = shown(&[("LOG_STYLE", "full")]).await;
    assert!(full.contains("\u{1b}["), "{full:?}");
}

/// What was read before is read now: by machines, and by those who look for a fault.
#[tokio::test]
async fn full_lines_are_for_pipes_and_for_details() {
    for settings in [&[("LOG_STYLE", "full")][..], &[("LOG_LEVEL", "debug")]] {
        let text = shown(settings).await;
        assert!(text.contains("INFO"), "{text}");
        assert!(text.contains("the server listens"), "{text}");
        assert!(!text.contains("  next  "), "{text}");
    }

    let piped = first_lines(&[]).await;
    assert!(
        piped.contains("INFO llamapool::roles::server: the server listens address="),
        "{piped}"
    );
    assert!(!piped.contains("Some("), "{piped}");
    let people = first_lines(&[("LOG_STYLE", "people"), ("CLICOLOR_FORCE", "1")]).await;
    assert!(
        people.contains("  callers      http://127.0.0.1:"),
        "{people}"
    );
    assert!(people.contains("\u{1b}[33m!"), "{people:?}");
    let json = first_lines(&[("LOG_STYLE", "people"), ("LOG_FORMAT", "json")]).await;
    assert!(json.contains(r#""message":"the server listens""#), "{json}");
    assert!(!json.contains("people"), "{json}");
}

/// Returns the log of a server on a pipe, up to the line about its address.
async fn first_lines(settings: Settings<'_>) -> String {
    let mut server = Command::new(env!("CARGO_BIN_EXE_llamapool"))
        .args([
            "server",
            "--port",
            "0",
            "--bind-addr",
            "127.0.0.1",
            "--metrics-port",
            "0",
        ])
        .env_clear()
        .env("DATA_DIR", "off")
        .envs(settings.iter().copied())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();

    let mut lines = BufReader::new(server.stderr.take().unwrap()).lines();
    let mut text = String::new();
    let reading = async {
        while let Ok(Some(line)) = lines.next_line().await {
            text.push_str(&line);
            text.push('\n');
            if line.contains("the server listens") || line.contains("  next  ") {
                break;
            }
        }
    };
    soon("it listens", reading).await;
    text
}
