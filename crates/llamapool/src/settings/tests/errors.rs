//! Wrong settings and their messages.

use super::*;

fn error(role: &Role, given: &Given<'_>) -> String {
    given.resolve(role).unwrap_err().to_string()
}

/// A value that the setting cannot have, `None` if it can have any text.
fn bad_value(setting: &llamapool_settings::Setting) -> Option<&'static str> {
    match setting.syntax {
        Syntax::Text | Syntax::Path if setting.name != "CLIENT_ID" => None,
        Syntax::Secret => Some("hunter2\n"),
        Syntax::Headers => Some("hunter2"),
        Syntax::Command => Some("'hunter2"),
        Syntax::Url => Some("http://hunter2@"),
        _ => Some("b/a d"),
    }
}

#[test]
fn every_setting_that_can_be_wrong_is_refused_by_name() {
    let mut refused = 0;
    for role in ROLES {
        for setting in role.schema.settings() {
            // The relay judges the one that it chooses, and some are in tables of the file alone.
            if setting.name.ends_with("_PROXY") || setting.names().next().is_none() {
                continue;
            }
            let Some(bad) = bad_value(setting) else {
                continue;
            };

            let text = error(role, &environment(&[(setting.name, bad)]));

            let start = format!("invalid {0} (environment variable {0}): ", setting.name);
            assert!(text.starts_with(&start), "{text}");
            assert!(text.contains(", expected "), "{text}");
            assert!(!text.contains("hunter2") && !text.contains('\n'), "{text}");
            refused += 1;
        }
    }
    assert!(refused > 50, "{refused}");
}

#[test]
fn durations_that_must_be_positive_are_refused_when_zero() {
    for name in [
        "FIRST_BYTE_TIMEOUT",
        "HEADER_TIMEOUT",
        "TAKEOVER_WAIT",
        "STATE_INTERVAL",
        "HEARTBEAT_INTERVAL",
        "SILENCE_LIMIT",
    ] {
        let text = server_error(&[(name, "0")]);
        assert!(text.starts_with(&format!("invalid {name} ")), "{text}");
        assert!(text.ends_with("expected a duration longer than zero"));
    }
    for name in [
        "CONNECT_TIMEOUT",
        "PROBE_INTERVAL",
        "RECONNECT_MIN",
        "RECONNECT_MAX",
    ] {
        let text = relay_error(&[(name, "0")]);
        assert!(text.ends_with("expected a duration longer than zero"));
    }
}

#[test]
fn durations_that_can_be_unlimited_are_accepted_when_zero() {
    let settings = server(&[
        ("STREAM_IDLE_TIMEOUT", "0"),
        ("CALL_TIMEOUT", "0"),
        ("DRAIN_TIMEOUT", "0"),
    ]);

    assert_eq!(settings.config.drain_timeout, Duration::ZERO);
}

#[test]
fn a_wrong_value_of_a_weaker_source_is_refused() {
    let text = error(
        &roles::RELAY,
        &Given {
            environment: &[("PROVIDER_HEADERS", "nonsense")],
            file: Some("[[provider]]\nurl = 'http://a'\nheaders = ['A: b']"),
            ..Given::default()
        },
    );

    let start = "invalid PROVIDER_HEADERS (environment variable PROVIDER_HEADERS): ";
    assert!(text.starts_with(start), "{text}");
}

#[test]
fn the_secrets_of_a_url_are_not_shown() {
    for bad in [
        "ftp://a/mcp?token=hunter2",
        "http://me:hunter2@a",
        "http://a#hunter2",
    ] {
        let error = environment(&[("PROVIDER_URL", bad)]).relay().unwrap_err();

        assert!(!error.to_string().contains("hunter2"), "{error}");
        assert!(!debug(&error).contains("hunter2"), "{error}");
    }
}

/// Wrong settings of one role, and a line that names them in the snapshot.
struct Case<'a> {
    role: &'static Role,
    given: Given<'a>,
}

fn server_case<'a>(flags: Pairs<'a>, environment: Pairs<'a>, file: Option<&'a str>) -> Case<'a> {
    Case {
        role: &roles::SERVER,
        given: Given {
            flags,
            environment,
            file,
        },
    }
}

fn relay_case<'a>(flags: Pairs<'a>, environment: Pairs<'a>, file: Option<&'a str>) -> Case<'a> {
    Case {
        role: &roles::RELAY,
        ..server_case(flags, environment, file)
    }
}

impl Case<'_> {
    /// Returns the sources and the message, with the path of the file replaced.
    fn shown(&self) -> String {
        let Given {
            flags,
            environment,
            file,
        } = &self.given;

        let mut lines = vec![self.role.name.to_owned()];
        lines.extend(flags.iter().map(|flag| format!("  flag {flag:?}")));
        lines.extend(environment.iter().map(|pair| format!("  env {pair:?}")));
        lines.extend(file.iter().map(|text| format!("  file {text:?}")));
        lines.push(format!(
            "  -> {}",
            without_path(&error(self.role, &self.given))
        ));

        lines.join("\n")
    }
}

/// Replaces the path of the temporary file by a constant one.
fn without_path(text: &str) -> String {
    let is_path = |part: &str| part.starts_with('/') && part.ends_with(".toml");

    let parts = text
        .split('"')
        .map(|part| if is_path(part) { "settings.toml" } else { part });
    parts.collect::<Vec<_>>().join("\"")
}

/// A file whose second provider is neither a URL nor a command.
const INCOMPLETE: &str = "[[provider]]\nurl = 'http://a'\n[[provider]]\n";
const WRONG_URL: &str = "[[provider]]\nurl = 'http://a'\n[[provider]]\nurl = 'ftp://b'";
const WRONG_KEY: &str = "[[provider]]\nurl = 'http://a'\n[[provider]]\nulr = 'http://b'";
const BOTH_KINDS: &str = "[provider]\nurl = 'http://b'\ncommand = 'true'";
const DUPLICATE: &str =
    "[[provider]]\nurl = 'http://a'\nid = 'x'\n[[provider]]\nurl = 'http://b'\nid = 'x'";

fn server_cases() -> Vec<Case<'static>> {
    vec![
        server_case(&[("PORT", "80800")], &[], None),
        server_case(&[], &[("PORT", "a\nb")], None),
        server_case(&[], &[], Some("port = -1")),
        server_case(&[], &[], Some("port = [1]")),
        server_case(&[], &[], Some("prot = 1")),
        server_case(&[], &[("BIND_ADDR", "localhost")], None),
        server_case(&[], &[("API_KEY", "hunter2 ")], None),
        server_case(&[("API_KEY", "")], &[], None),
        server_case(&[], &[("NO_AUTH", "1"), ("API_KEY", "hunter2")], None),
        server_case(&[], &[("ALLOWED_ORIGINS", "a.example")], None),
        server_case(&[], &[("ALLOWED_HOSTS", "http://a")], None),
        server_case(&[], &[("PUBLIC_URL", "https://a/?b=c")], None),
        server_case(&[], &[("TRUST_FORWARDED", "maybe")], None),
        server_case(&[], &[("MAX_REQUEST_BYTES", "0")], None),
        server_case(&[], &[("MAX_REQUEST_BYTES", "1.5MiB")], None),
        server_case(&[], &[("MAX_RELAYS", "0")], None),
        server_case(&[], &[("CALL_TIMEOUT", "1d")], None),
        server_case(&[], &[("HEADER_TIMEOUT", "0")], None),
        server_case(&[], &[("SILENCE_LIMIT", "6s")], None),
        server_case(&[], &[("TUNNEL_STREAM_WINDOW", "1KiB")], None),
        server_case(&[], &[("LOG_LEVEL", "loud")], None),
        server_case(
            &[("WORKER_KEY", "hunter2"), ("CLIENT_KEY", "hunter3")],
            &[],
            None,
        ),
    ]
}

fn relay_cases() -> Vec<Case<'static>> {
    vec![
        relay_case(&[], &[("SERVER_URL", "server:8080")], None),
        relay_case(&[], &[("PROVIDER_URL", "http://me:hunter2@a")], None),
        relay_case(&[], &[("CLIENT_ID", "a/b")], None),
        relay_case(&[], &[("PROVIDER_HEADERS", "Host: hunter2")], None),
        relay_case(&[], &[("PROVIDER_ENV", "1A=hunter2")], None),
        relay_case(&[], &[("PROVIDER_ENV", "WORKER_KEY")], None),
        relay_case(
            &[],
            &[("PROVIDER_COMMAND", "no-such-program hunter2")],
            None,
        ),
        relay_case(&[], &[("PROVIDER_COMMAND", "'hunter2")], None),
        relay_case(&[], &[("STATUS_ADDR", "4555")], None),
        relay_case(&[], &[("METRICS_PORT", "here")], None),
        relay_case(&[], &[("RECONNECT_MIN", "1m")], None),
        relay_case(
            &[],
            &[("AUTH_TOKEN", "t"), ("PROVIDER_OAUTH", "true")],
            None,
        ),
        relay_case(
            &[("PROVIDER_URL", "http://a"), ("PROVIDER_COMMAND", "true")],
            &[],
            None,
        ),
        relay_case(&[("CLIENT_ID", "a")], &[], Some(INCOMPLETE)),
        relay_case(&[], &[], Some(INCOMPLETE)),
        relay_case(&[], &[], Some(WRONG_URL)),
        relay_case(&[], &[], Some(WRONG_KEY)),
        relay_case(&[], &[], Some(BOTH_KINDS)),
        relay_case(&[], &[], Some(DUPLICATE)),
        relay_case(&[], &[], Some("provider = 'hunter2'")),
    ]
}

#[test]
fn messages_are_as_they_were_reviewed() {
    let cases = server_cases().into_iter().chain(relay_cases());

    let shown: Vec<String> = cases.map(|case| case.shown()).collect();
    let shown = shown.join("\n\n");

    insta::assert_snapshot!("messages", shown);
    let messages = shown.lines().filter(|line| line.starts_with("  -> "));
    for message in messages {
        assert!(!message.contains("hunter"), "{message}");
    }
}
