//! Providers in tables of the file.

use super::*;

fn relay_file(file: &str) -> Result<RelaySettings, ConfigError> {
    let given = Given {
        file: Some(file),
        ..Given::default()
    };
    given.relay()
}

fn providers(given: &Given<'_>) -> Vec<ProviderConfig> {
    given.relay().unwrap().config.providers
}

fn id(provider: &ProviderConfig) -> &str {
    provider.id.as_ref().unwrap().as_str()
}

fn has_token(provider: &ProviderConfig, token: &str) -> bool {
    let own = provider.auth_token.as_ref().unwrap();
    own.matches(token.as_bytes())
}

/// Two providers, the second of which has neither token nor headers.
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
fn each_table_is_a_provider() {
    let providers = providers(&Given {
        file: Some(TWO),
        ..Given::default()
    });

    let [clock, other] = &providers[..] else {
        panic!("{} providers", providers.len())
    };
    assert_eq!(id(clock), "clock");
    assert_eq!(http(clock).url, "http://127.0.0.1:1/mcp");
    assert!(has_token(clock, "hunter2"));
    assert_eq!(http(clock).headers["x-own"], "a");

    assert_eq!(other.id, None);
    assert_eq!(http(other).url, "http://127.0.0.1:2/mcp");
    assert!(other.auth_token.is_none());
    assert!(http(other).headers.is_empty());
}

#[test]
fn a_setting_for_all_is_the_default_of_each_table() {
    let file = format!("auth_token = 'all'\n{TWO}");

    let providers = providers(&Given {
        flags: &[("PROVIDER_HEADERS", "X-All: b"), ("PROBE_INTERVAL", "7s")],
        file: Some(&file),
        ..Given::default()
    });

    let [clock, other] = &providers[..] else {
        panic!("{} providers", providers.len())
    };
    assert!(has_token(clock, "hunter2"));
    assert_eq!(http(clock).headers.len(), 1);
    assert!(has_token(other, "all"));
    assert_eq!(http(other).headers["x-all"], "b");
    for provider in [clock, other] {
        assert_eq!(http(provider).probe_interval, Duration::from_secs(7));
    }
}

#[test]
fn a_single_table_is_one_provider() {
    let file = "[provider]\nurl = 'http://a/mcp'\nid = 'a'\n[provider.headers]\nX-A = 'b'";

    let providers = relay_file(file).unwrap().config.providers;

    let [only] = &providers[..] else {
        panic!("{} providers", providers.len())
    };
    assert_eq!(id(only), "a");
    assert_eq!(http(only).headers["x-a"], "b");
}

#[test]
fn as_many_providers_as_a_relay_can_have_are_accepted() {
    let file: String = (0..64)
        .map(|number| format!("[[provider]]\nurl = 'http://a'\nid = '{number}'\n"))
        .collect();

    assert_eq!(relay_file(&file).unwrap().config.providers.len(), 64);
    let more = format!("{file}[[provider]]\nurl = 'http://a'");
    assert_eq!(
        relay_file(&more).unwrap_err().to_string(),
        "65 providers, expected at most 64 for one relay: use another relay"
    );
}

#[test]
fn providers_without_ids_are_not_duplicates() {
    let table = "[[provider]]\nurl = 'http://a'\nid = ''\n";

    let providers = relay_file(&table.repeat(2)).unwrap().config.providers;

    assert!(providers.iter().all(|provider| provider.id.is_none()));
}

#[test]
fn no_secret_of_a_table_shows() {
    for secret in ["auth_token = 'hunter2 '", "headers = 'hunter2'"] {
        let file = format!("[provider]\nurl = 'http://a'\n{secret}");
        let error = relay_file(&file).unwrap_err();

        assert!(error.to_string().contains("of provider"), "{error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
        assert!(!debug(&error).contains("hunter2"), "{error}");
    }

    let settings = relay_file(TWO).unwrap();
    assert!(!debug(&settings).contains("hunter2"));
    assert!(!debug(&settings.config.providers).contains("hunter2"));
}
