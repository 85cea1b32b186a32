//! Settings as a whole: which source counts, what is wrong where, and that no secret shows.

use std::time::Duration;

use llamapool_relay::{HttpConfig, ProviderConfig, ProviderKind, Reconnect, StatusBind};
use llamapool_server::{ListenConfig, McpConfig, RelaysConfig, ServerConfig, StateConfig};
use llamapool_tunnel::TunnelConfig;
use llamapool_wire::Secret;

use super::*;

/// Everything that is given to one process in a test.
struct Sources<'a> {
    flags: &'a [(&'a str, &'a str)],
    environment: &'a [(&'a str, &'a str)],
    file: Option<&'a str>,
}

const NOTHING: Sources<'_> = Sources {
    flags: &[],
    environment: &[],
    file: None,
};

fn gather(role: Role, sources: &Sources<'_>) -> Result<Given, SettingsError> {
    let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    let mut environment: Vec<(String, String)> = sources
        .environment
        .iter()
        .map(|(name, value)| ((*name).into(), (*value).into()))
        .collect();
    if let Some(text) = sources.file {
        std::fs::write(file.path(), text).unwrap();
        environment.push(("CONFIG_FILE".into(), file.path().to_str().unwrap().into()));
    }
    let flags = sources.flags.iter().map(|(name, text)| {
        let setting = *role
            .table()
            .iter()
            .find(|setting| setting.names().any(|known| known == *name))
            .unwrap();
        Flag {
            flag: format!("--{}", flag_of(name)),
            setting,
            text: (*text).into(),
        }
    });
    Given::gather(role.table(), flags, &environment.into_iter().collect())
}

fn server_from(sources: &Sources<'_>) -> Result<ServerSettings, SettingsError> {
    ServerSettings::resolve(&gather(Role::Server, sources)?)
}

fn relay_from(sources: &Sources<'_>) -> Result<RelaySettings, SettingsError> {
    RelaySettings::resolve(&gather(Role::Mcp, sources)?)
}

fn server(environment: &[(&str, &str)]) -> Result<ServerSettings, SettingsError> {
    server_from(&Sources {
        environment,
        ..NOTHING
    })
}

fn relay(environment: &[(&str, &str)]) -> Result<RelaySettings, SettingsError> {
    relay_from(&Sources {
        environment,
        ..NOTHING
    })
}

/// What is known of a provider that speaks HTTP.
fn http(provider: &ProviderConfig) -> &HttpConfig {
    match &provider.kind {
        ProviderKind::Http(http) => http,
        ProviderKind::Stdio(_) => panic!("a program"),
    }
}

fn debug(value: &impl std::fmt::Debug) -> String {
    format!("{value:?}")
}

#[test]
fn the_flag_counts_before_the_environment_before_the_file_before_the_default() {
    let port = |sources: &Sources<'_>| server_from(sources).unwrap().config.listen.bind.port();
    let (flags, environment, file) = (&[("PORT", "1")], &[("PORT", "2")], Some("port = 3"));
    assert_eq!(
        port(&Sources {
            flags,
            environment,
            file
        }),
        1
    );
    assert_eq!(
        port(&Sources {
            environment,
            file,
            ..NOTHING
        }),
        2
    );
    assert_eq!(port(&Sources { file, ..NOTHING }), 3);
    assert_eq!(port(&NOTHING), 8080);
}

#[test]
fn a_value_that_means_nothing_is_refused_although_a_stronger_source_has_a_good_one() {
    let text = |sources: &Sources<'_>| server_from(sources).unwrap_err().to_string();
    let (flags, environment) = (&[("PORT", "1")], &[("PORT", "2")]);
    let weaker = Sources {
        flags,
        environment: &[("PORT", "abc")],
        file: None,
    };
    assert!(
        text(&weaker)
            .starts_with("PORT, from the environment variable PORT, is \"abc\", expected a port")
    );
    let weakest = Sources {
        flags,
        environment,
        file: Some("port = 'abc'"),
    };
    assert!(
        text(&weakest).starts_with("PORT, from the key port of the file "),
        "{}",
        text(&weakest)
    );
    let both = Sources {
        flags: &[("PORT", "xyz")],
        environment: &[("PORT", "abc")],
        file: None,
    };
    assert!(
        text(&both).starts_with("PORT, from the flag --port, is \"xyz\""),
        "the strongest is named first"
    );
    let own = Some("[[provider]]\nurl = 'http://a'\nheaders = ['A: b']");
    let for_all = Sources {
        environment: &[("PROVIDER_HEADERS", "nonsense")],
        file: own,
        ..NOTHING
    };
    let text = relay_from(&for_all).unwrap_err().to_string();
    assert!(
        text.starts_with("PROVIDER_HEADERS, from the environment variable PROVIDER_HEADERS, "),
        "{text}"
    );
}

#[test]
fn a_weaker_source_does_not_win_by_the_other_name() {
    let sources = Sources {
        environment: &[("CLIENT_KEY", "weak")],
        flags: &[("WORKER_KEY", "strong")],
        ..NOTHING
    };
    assert!(
        server_from(&sources)
            .unwrap()
            .config
            .auth
            .keys
            .worker
            .unwrap()
            .matches(b"strong")
    );
    let sources = Sources {
        environment: &[("WORKER_KEY", "weak")],
        flags: &[("CLIENT_KEY", "strong")],
        ..NOTHING
    };
    assert!(
        server_from(&sources)
            .unwrap()
            .config
            .auth
            .keys
            .worker
            .unwrap()
            .matches(b"strong")
    );
}

#[test]
fn the_file_is_named_by_flag_before_environment() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "port = 4").unwrap();
    let flags: &[_] = &[("CONFIG_FILE", file.path().to_str().unwrap())];
    let sources = Sources {
        flags,
        file: Some("port = 3"),
        ..NOTHING
    };
    assert_eq!(server_from(&sources).unwrap().config.listen.bind.port(), 4);
}

#[test]
fn a_file_that_is_not_there_stops_the_start() {
    let text = server(&[("CONFIG_FILE", "/nowhere/server.toml")])
        .unwrap_err()
        .to_string();
    assert!(
        text.starts_with("the file \"/nowhere/server.toml\" cannot be read: "),
        "{text}"
    );
}

#[test]
fn a_variable_that_is_set_but_empty_counts_as_not_set() {
    let names = Role::Server
        .table()
        .iter()
        .flat_map(|setting| setting.names());
    let empty: Vec<_> = names.map(|name| (name, "")).collect();
    let settings = server(&empty).unwrap();
    assert_eq!(settings.config.listen.bind.to_string(), "0.0.0.0:8080");
    assert_eq!(settings.generated.len(), 2);
    let environment: &[_] = &[("PORT", "")];
    let sources = Sources {
        environment,
        file: Some("port = 3"),
        ..NOTHING
    };
    assert_eq!(server_from(&sources).unwrap().config.listen.bind.port(), 3);
    assert!(
        relay(&[("WORKER_KEY", ""), ("CLIENT_KEY", "x")])
            .unwrap()
            .config
            .identity
            .worker_key
            .is_some()
    );
}

#[test]
fn the_defaults_of_the_tables_are_those_of_the_crates() {
    let settings = server(&[]).unwrap();
    let listen = &settings.config.listen;
    assert_eq!(debug(listen), debug(&ListenConfig::new(listen.bind)));
    assert_eq!(
        debug(&settings.config.relays),
        debug(&RelaysConfig::default())
    );
    assert_eq!(debug(&settings.config.mcp), debug(&McpConfig::default()));
    assert_eq!(
        debug(&settings.config.state),
        debug(&StateConfig::default())
    );
    assert_eq!(settings.config.drain_timeout, ServerConfig::DRAIN_TIMEOUT);
    assert_eq!(
        debug(&relay(&[]).unwrap().config.tunnel),
        debug(&TunnelConfig::default())
    );
}

#[test]
fn a_relay_that_is_told_nothing_serves_the_usual_place() {
    let config = relay(&[]).unwrap().config;
    assert_eq!(
        config.dial.server_url,
        "ws://localhost:8080/api/mcp/connect"
    );
    let [provider] = &config.providers[..] else {
        panic!("{}", config.providers.len())
    };
    assert_eq!(http(provider).url, "http://127.0.0.1:7777/mcp/");
    assert_eq!(config.reconnect, Reconnect::Never);
    assert_eq!(
        config.status.bind,
        StatusBind::Default("127.0.0.1:4555".parse().unwrap())
    );
    assert!(provider.id.is_none() && config.identity.worker_key.is_none());
    assert!(!config.identity.name.as_str().is_empty());
    assert!(provider.auth_token.is_none() && http(provider).headers.is_empty());
    assert_eq!(config.dial.connect_timeout, Duration::from_secs(10));
    assert_eq!(http(provider).connect_timeout, Duration::from_secs(10));
    assert_eq!(http(provider).probe_interval, Duration::from_secs(10));
    assert_eq!(http(provider).redirect_replay_bytes, 1 << 20);
    assert_eq!(config.drain_timeout, Duration::from_secs(60));
}

#[test]
fn the_environment_of_the_walkthrough_works_for_both() {
    let common = [
        ("API_KEY", "test123"),
        ("WORKER_KEY", "secret"),
        ("CLIENT_ID", "mcp-1234"),
    ];
    let config = server(&[&common[..], &[("PORT", "8080"), ("METRICS_PORT", "9090")]].concat())
        .unwrap()
        .config;
    assert_eq!(
        config.listen.metrics_bind,
        Some("0.0.0.0:9090".parse().unwrap())
    );
    assert!(
        config.auth.keys.api.unwrap().matches(b"test123")
            && config.auth.keys.worker.unwrap().matches(b"secret")
    );
    let own = [
        ("SERVER_URL", "ws://server:8080/api/mcp/connect"),
        ("WORKER_NAME", "Alpha"),
        ("PROVIDER_URL", "http://clock:7777/mcp/"),
    ];
    let environment = &[&common[..], &own].concat();
    let config = relay_from(&Sources {
        environment,
        flags: &[("RECONNECT", "true")],
        file: None,
    })
    .unwrap()
    .config;
    assert_eq!(
        config.providers[0].id.as_ref().unwrap().as_str(),
        "mcp-1234"
    );
    assert_eq!(config.identity.name.as_str(), "Alpha");
    let (min, max, stable_after) = (
        Duration::from_secs(1),
        Duration::from_secs(30),
        Duration::from_secs(10),
    );
    assert_eq!(
        config.reconnect,
        Reconnect::Forever {
            min,
            max,
            stable_after
        }
    );
}

#[test]
fn keys_that_nobody_set_are_generated_and_told() {
    let settings = server(&[]).unwrap();
    let [GeneratedKey::Api(api), GeneratedKey::Worker(worker)] = &settings.generated[..] else {
        panic!("{:?}", settings.generated)
    };
    assert!(
        settings
            .config
            .auth
            .keys
            .api
            .unwrap()
            .matches(api.expose().as_bytes())
    );
    assert!(
        settings
            .config
            .auth
            .keys
            .worker
            .unwrap()
            .matches(worker.expose().as_bytes())
    );
    assert_ne!(api.expose(), worker.expose());
    let settings = server(&[("API_KEY", "mine")]).unwrap();
    assert!(matches!(&settings.generated[..], [GeneratedKey::Worker(_)]));
    assert!(
        server(&[("API_KEY", "a"), ("CLIENT_KEY", "b")])
            .unwrap()
            .generated
            .is_empty()
    );
}

#[test]
fn without_auth_there_are_no_keys_and_none_may_be_given() {
    let settings = server(&[("NO_AUTH", "yes")]).unwrap();
    assert!(settings.config.auth.keys.api.is_none() && settings.config.auth.keys.worker.is_none());
    assert!(settings.generated.is_empty());
    let text = |name| {
        server(&[("NO_AUTH", "1"), (name, "hunter2")])
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        text("API_KEY"),
        "NO_AUTH is on and API_KEY is set, expected only one of them"
    );
    assert_eq!(
        text("CLIENT_KEY"),
        "NO_AUTH is on and WORKER_KEY is set, expected only one of them"
    );
    assert!(server(&[("NO_AUTH", "false"), ("API_KEY", "hunter2")]).is_ok());
}

#[test]
fn metrics_have_a_listener_of_their_own_only_on_another_port() {
    let bind = |metrics| {
        server(&[("METRICS_PORT", metrics), ("BIND_ADDR", "::1")])
            .unwrap()
            .config
            .listen
            .metrics_bind
    };
    assert_eq!(bind("8080"), None);
    assert_eq!(bind("9090"), Some("[::1]:9090".parse().unwrap()));
    let any = server(&[("PORT", "0"), ("METRICS_PORT", "0")])
        .unwrap()
        .config
        .listen
        .metrics_bind;
    assert_eq!(any, Some("0.0.0.0:0".parse().unwrap()));
    let bind = |status, metrics| {
        relay(&[("STATUS_ADDR", status), ("METRICS_PORT", metrics)])
            .unwrap()
            .config
            .status
            .metrics_bind
            .unwrap()
            .to_string()
    };
    assert_eq!(bind("10.0.0.1:4555", "9090"), "10.0.0.1:9090");
    assert_eq!(bind("off", "9090"), "127.0.0.1:9090");
    assert_eq!(bind("off", "0.0.0.0:9090"), "0.0.0.0:9090");
    assert_eq!(
        relay(&[("METRICS_PORT", "4555")])
            .unwrap()
            .config
            .status
            .metrics_bind,
        None
    );
}

#[test]
fn a_status_address_is_asked_for_even_if_it_is_the_default_one() {
    let bind = |text| relay(&[("STATUS_ADDR", text)]).unwrap().config.status.bind;
    assert_eq!(
        bind("127.0.0.1:4555"),
        StatusBind::Required("127.0.0.1:4555".parse().unwrap())
    );
    assert_eq!(bind("off"), StatusBind::Off);
}

#[test]
fn two_names_of_one_setting_must_agree_within_a_source() {
    assert!(relay(&[("WORKER_KEY", "a"), ("CLIENT_KEY", "a")]).is_ok());
    let text = relay(&[("WORKER_KEY", "hunter2"), ("CLIENT_KEY", "hunter3")])
        .unwrap_err()
        .to_string();
    let said = "the environment variable WORKER_KEY and the environment variable CLIENT_KEY are two names of one setting";
    assert!(text.starts_with(said) && !text.contains("hunter"), "{text}");
    let flags: &[_] = &[("WORKER_NAME", "a"), ("CLIENT_NAME", "b")];
    let text = relay_from(&Sources { flags, ..NOTHING })
        .unwrap_err()
        .to_string();
    assert!(
        text.starts_with("the flag --worker-name and the flag --client-name"),
        "{text}"
    );
}

#[test]
fn proxies_have_the_names_that_other_programs_know() {
    let shown = |proxy: Option<Secret>| proxy.map(|proxy| proxy.expose().to_owned());
    let proxy = |environment: &[_]| shown(relay(environment).unwrap().config.dial.https_proxy);
    assert_eq!(
        proxy(&[("https_proxy", "http://a")]).as_deref(),
        Some("http://a")
    );
    assert_eq!(
        proxy(&[("all_proxy", "http://b")]).as_deref(),
        Some("http://b")
    );
    assert_eq!(
        proxy(&[("ALL_PROXY", "http://b"), ("HTTPS_PROXY", "http://a")]).as_deref(),
        Some("http://a")
    );
    let dial = relay(&[("http_proxy", "http://c"), ("no_proxy", "d,e")])
        .unwrap()
        .config
        .dial;
    assert_eq!(
        (shown(dial.http_proxy).as_deref(), dial.no_proxy.as_deref()),
        (Some("http://c"), Some("d,e"))
    );
    assert!(dial.https_proxy.is_none());
}

#[test]
fn an_error_names_the_setting_its_source_the_value_and_what_was_expected() {
    let expected = "expected a port, 0 to 65535";
    let text = |sources: &Sources<'_>| server_from(sources).unwrap_err().to_string();
    let flag = Sources {
        flags: &[("PORT", "80800")],
        ..NOTHING
    };
    assert_eq!(
        text(&flag),
        format!("PORT, from the flag --port, is \"80800\", {expected}")
    );
    let variable = Sources {
        environment: &[("PORT", "a\nb")],
        ..NOTHING
    };
    assert_eq!(
        text(&variable),
        format!("PORT, from the environment variable PORT, is \"a\\nb\", {expected}")
    );
    let key = text(&Sources {
        file: Some("port = -1"),
        ..NOTHING
    });
    assert!(
        key.starts_with("PORT, from the key port of the file \"/"),
        "{key}"
    );
    assert!(
        key.ends_with(&format!(".toml\", is \"-1\", {expected}")),
        "{key}"
    );
}

#[test]
fn every_setting_that_can_be_wrong_is_read_and_refused_by_name() {
    let mut refused = 0;
    for role in Role::ALL {
        for setting in role.table() {
            let bad = match setting.form {
                Form::Text | Form::File if setting.name != "CLIENT_ID" => continue,
                Form::Secret => "hunter2\n",
                Form::Headers => "hunter2",
                Form::Command => "'hunter2",
                Form::Url => "http://hunter2@",
                _ => "b/a d",
            };
            let given = gather(
                *role,
                &Sources {
                    environment: &[(setting.name, bad)],
                    ..NOTHING
                },
            )
            .unwrap();
            let text = match role {
                Role::Server => ServerSettings::resolve(&given).map(|_| ()),
                Role::Mcp => RelaySettings::resolve(&given).map(|_| ()),
                Role::Demo => DemoSettings::resolve(&given).map(|_| ()),
            }
            .unwrap_err()
            .to_string();
            let named = format!("{0}, from the environment variable {0}, ", setting.name);
            assert!(
                text.starts_with(&named) && text.contains(", expected "),
                "{text}"
            );
            assert!(!text.contains("hunter2") && !text.contains('\n'), "{text}");
            refused += 1;
        }
    }
    assert!(refused > 50, "{refused}");
}

#[test]
fn spans_that_may_not_be_zero_are_refused_when_zero() {
    for name in [
        "FIRST_BYTE_TIMEOUT",
        "HEADER_TIMEOUT",
        "TAKEOVER_WAIT",
        "STATE_INTERVAL",
        "HEARTBEAT_INTERVAL",
        "SILENCE_LIMIT",
    ] {
        let text = server(&[(name, "0")]).unwrap_err().to_string();
        assert!(
            text.starts_with(name) && text.ends_with("expected a duration longer than zero"),
            "{text}"
        );
    }
    for name in [
        "CONNECT_TIMEOUT",
        "PROBE_INTERVAL",
        "RECONNECT_MIN",
        "RECONNECT_MAX",
    ] {
        assert!(
            relay(&[(name, "0")])
                .unwrap_err()
                .to_string()
                .ends_with("expected a duration longer than zero")
        );
    }
    let timeouts = server(&[
        ("STREAM_IDLE_TIMEOUT", "0"),
        ("CALL_TIMEOUT", "0"),
        ("DRAIN_TIMEOUT", "0"),
    ])
    .unwrap();
    assert_eq!(timeouts.config.drain_timeout, Duration::ZERO);
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let text = server(&[("SILENCE_LIMIT", "6s")]).unwrap_err().to_string();
    assert_eq!(
        text,
        "SILENCE_LIMIT is 6s, expected more than HEARTBEAT_INTERVAL, which is 6s"
    );
    let text = relay(&[("RECONNECT_MIN", "1m")]).unwrap_err().to_string();
    assert_eq!(
        text,
        "RECONNECT_MAX is 30s, expected at least RECONNECT_MIN, which is 60s"
    );
    let text = relay(&[("AUTH_TOKEN", "t"), ("PROVIDER_OAUTH", "true")])
        .unwrap_err()
        .to_string();
    assert!(
        text.starts_with("PROVIDER_OAUTH is true, expected false where AUTH_TOKEN is set"),
        "{text}"
    );
}

#[test]
fn lists_are_separated_by_commas_or_arrays() {
    let environment: &[_] = &[("ALLOWED_HOSTS", "a.example, b.example")];
    let file = Some(
        "allowed_hosts = 'c.example'\nallowed_origins = ['https://a.example', 'https://b.example']",
    );
    let auth = server_from(&Sources {
        environment,
        file,
        ..NOTHING
    })
    .unwrap()
    .config
    .auth;
    assert_eq!(auth.allowed_hosts, ["a.example", "b.example"]);
    assert_eq!(
        auth.allowed_origins,
        ["https://a.example", "https://b.example"]
    );
}

#[test]
fn an_empty_secret_is_no_secret() {
    for (flags, file) in [
        (&[("AUTH_TOKEN", "")][..], None),
        (&[][..], Some("auth_token = ''")),
    ] {
        let text = relay_from(&Sources {
            flags,
            file,
            ..NOTHING
        })
        .unwrap_err()
        .to_string();
        assert!(
            text.ends_with("expected at least one character; leave it out to have none"),
            "{text}"
        );
    }
}

#[test]
fn no_secret_shows_in_debug_output() {
    let settings = server(&[("API_KEY", "hunter2"), ("WORKER_KEY", "hunter3")]).unwrap();
    assert!(!debug(&settings).contains("hunter"));
    let settings = server(&[]).unwrap();
    let (GeneratedKey::Api(key) | GeneratedKey::Worker(key)) = &settings.generated[0];
    assert!(!debug(&settings).contains(key.expose()));
    let settings = relay(&[
        ("WORKER_KEY", "hunter2"),
        ("CLIENT_SECRET", "hunter2"),
        ("AUTH_TOKEN", "hunter2"),
        ("STATUS_TOKEN", "hunter2"),
        ("PROVIDER_HEADERS", "Authorization: Bearer hunter2"),
        ("HTTPS_PROXY", "http://me:hunter2@proxy:3128"),
    ])
    .unwrap();
    assert!(!debug(&settings).contains("hunter2"));
    assert!(!debug(&settings.config.providers).contains("hunter2"));
}

#[test]
fn what_a_url_may_hide_is_not_shown() {
    for bad in [
        "ftp://a/mcp?token=hunter2",
        "http://me:hunter2@a",
        "http://a#hunter2",
    ] {
        let error = relay(&[("PROVIDER_URL", bad)]).unwrap_err();
        assert!(
            !error.to_string().contains("hunter2") && !debug(&error).contains("hunter2"),
            "{error}"
        );
    }
    let text = relay(&[("HTTP_PROXY", "http://me:hunter2@")])
        .unwrap_err()
        .to_string();
    assert!(text.contains("has a value that is not shown"), "{text}");
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_not_utf8_is_refused_and_only_if_it_is_a_setting() {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;

    let gather = |name: &str| {
        let broken = OsString::from_vec(vec![b'h', 0xff]);
        let environment: Environment = [(OsString::from(name), broken)].into_iter().collect();
        Given::gather(Role::Server.table(), [], &environment).map(|_| ())
    };
    assert_eq!(
        gather("API_KEY").unwrap_err().to_string(),
        "API_KEY, from the environment variable API_KEY, has a value that is not shown, expected UTF-8"
    );
    assert!(gather("SOMETHING_ELSE").is_ok());
}

fn relay_file(file: &str) -> Result<RelaySettings, SettingsError> {
    relay_from(&Sources {
        file: Some(file),
        ..NOTHING
    })
}

/// Two providers, the second of which says nothing of token and headers.
const TWO: &str = "\
[[provider]]
id = 'clock'
url = 'http://127.0.0.1:1/mcp'
auth_token = 'hunter2'
headers = { X-Own = 'a' }
[[provider]]
url = 'http://127.0.0.1:2/mcp'
";

#[test]
fn each_table_of_the_file_is_a_provider_and_what_is_said_for_all_holds_where_it_says_nothing() {
    let providers = |sources: &Sources<'_>| relay_from(sources).unwrap().config.providers;
    let alone = providers(&Sources {
        file: Some(TWO),
        ..NOTHING
    });
    let [clock, other] = &alone[..] else {
        panic!("{}", alone.len())
    };
    assert_eq!(
        (clock.id.as_ref().unwrap().as_str(), &http(clock).url),
        ("clock", &"http://127.0.0.1:1/mcp".parse().unwrap())
    );
    assert!(
        clock.auth_token.as_ref().unwrap().matches(b"hunter2")
            && http(clock).headers["x-own"] == "a"
    );
    assert_eq!(
        (other.id.as_ref(), &http(other).url),
        (None, &"http://127.0.0.1:2/mcp".parse().unwrap())
    );
    assert!(other.auth_token.is_none() && http(other).headers.is_empty());
    let with = format!("auth_token = 'all'\n{TWO}");
    let flags: &[_] = &[("PROVIDER_HEADERS", "X-All: b"), ("PROBE_INTERVAL", "7s")];
    let both = providers(&Sources {
        flags,
        file: Some(&with),
        ..NOTHING
    });
    assert!(
        both[0].auth_token.as_ref().unwrap().matches(b"hunter2")
            && http(&both[0]).headers.len() == 1
    );
    assert!(
        both[1].auth_token.as_ref().unwrap().matches(b"all")
            && http(&both[1]).headers["x-all"] == "b"
    );
    assert!(
        both.iter()
            .all(|provider| http(provider).probe_interval == Duration::from_secs(7))
    );
}

#[test]
fn a_single_table_is_one_provider() {
    let providers =
        relay_file("[provider]\nurl = 'http://a/mcp'\nid = 'a'\n[provider.headers]\nX-A = 'b'")
            .unwrap();
    let [only] = &providers.config.providers[..] else {
        panic!("{}", providers.config.providers.len())
    };
    assert_eq!(
        (
            only.id.as_ref().unwrap().as_str(),
            &http(only).headers["x-a"]
        ),
        ("a", &"b".parse().unwrap())
    );
}

#[test]
fn where_providers_have_tables_an_id_or_a_url_outside_of_them_stops_the_start() {
    let text = |sources: &Sources<'_>| relay_from(sources).map(|_| ()).unwrap_err().to_string();
    let rest = "is for a single provider and the file has tables of providers, expected";
    let flags: &[_] = &[("CLIENT_ID", "a")];
    let flag = text(&Sources {
        flags,
        file: Some(TWO),
        ..NOTHING
    });
    assert_eq!(
        flag,
        format!("the flag --client-id {rest} id in each of them")
    );
    let environment: &[_] = &[("PROVIDER_URL", "http://a")];
    let variable = text(&Sources {
        environment,
        file: Some(TWO),
        ..NOTHING
    });
    assert_eq!(
        variable,
        format!("the environment variable PROVIDER_URL {rest} url in each of them")
    );
    let key = text(&Sources {
        file: Some("client_id = 'a'\n[provider]\nurl = 'http://a'"),
        ..NOTHING
    });
    assert!(
        key.starts_with("the key client_id of the file ") && key.contains(rest),
        "{key}"
    );
}

#[test]
fn providers_that_cannot_be_told_apart_or_found_or_are_too_many_stop_the_start() {
    let text = |file: &str| relay_file(file).map(|_| ()).unwrap_err().to_string();
    let table = |id: &str| format!("[[provider]]\nurl = 'http://a'\nid = '{id}'\n");
    let same = text(&[table("a"), table("b"), table("a")].concat());
    assert_eq!(
        same,
        "provider 1 and provider 3 of the file both have the id \"a\", expected another one for each"
    );
    let incomplete = text(&format!("{}[[provider]]\nid = 'b'", table("a")));
    assert!(
        incomplete.starts_with("provider 2 of the file \"/")
            && incomplete.ends_with(" has neither url nor command, expected one of them"),
        "{incomplete}"
    );
    let many = |count: usize| {
        (0..count)
            .map(|number| table(&number.to_string()))
            .collect::<String>()
    };
    assert_eq!(relay_file(&many(64)).unwrap().config.providers.len(), 64);
    let too_many =
        "the file has 65 providers, expected at most 64: the others need a relay of their own";
    assert_eq!(text(&many(65)), too_many);
    let unassigned = format!("{}{}", table(""), table(""));
    assert!(
        relay_file(&unassigned)
            .unwrap()
            .config
            .providers
            .iter()
            .all(|provider| provider.id.is_none())
    );
}

#[test]
fn a_wrong_value_in_a_providers_table_is_named_with_its_place_and_no_secret_shows() {
    let text = |entry: &str| {
        relay_file(&format!(
            "[[provider]]\nurl = 'http://a'\n[[provider]]\n{entry}"
        ))
        .unwrap_err()
    };
    let bad = text("url = 'ftp://a'").to_string();
    assert!(
        bad.starts_with("PROVIDER_URL, from the key url of provider 2 of the file \"/"),
        "{bad}"
    );
    for secret in ["auth_token = 'hunter2 '", "headers = 'hunter2'"] {
        let error = text(&format!("url = 'http://a'\n{secret}"));
        assert!(
            error.to_string().contains("of provider 2") && !debug(&error).contains("hunter2"),
            "{error}"
        );
    }
    let settings = relay_file(TWO).unwrap();
    assert!(
        !debug(&settings).contains("hunter2")
            && !debug(&settings.config.providers).contains("hunter2")
    );
}
