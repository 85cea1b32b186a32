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

/// A file whose programs are found, and with an environment of their own.
fn programs(file: &str) -> Result<Vec<llamapool_bridge::BridgeConfig>, ConfigError> {
    let given = Given {
        environment: &[
            ("PATH", "/usr/bin:/bin"),
            ("HOME", "/"),
            ("PROVIDER_ENV", "A=weak,B=weak"),
        ],
        file: Some(file),
        ..Given::default()
    };
    let providers = given.relay()?.config.providers.into_iter();
    let programs = providers.filter_map(|provider| match provider.kind {
        ProviderKind::Stdio(program) => Some(program),
        ProviderKind::Http(_) | ProviderKind::Llm(_) => None,
    });
    Ok(programs.collect())
}

#[test]
fn a_program_can_be_written_as_clients_write_it() {
    let file = "\
[[provider]]
command = 'sh'
args = ['-c', 'a b', '']
cwd = '~'
env = { A = 'b,c=d' }
[[provider]]
command = ['sh', '-c', 'a b']
args = ['c']
directory = '~/'
[[provider]]
command = 'sh -c'
[[provider]]
command = 'sh'
[provider.env]
A = 'own'
";

    let programs = programs(file).unwrap();

    let words: Vec<Vec<&str>> = programs
        .iter()
        .map(|program| {
            program
                .command
                .iter()
                .map(|word| word.to_str().unwrap())
                .collect()
        })
        .collect();
    assert_eq!(words[0], ["sh", "-c", "a b", ""]);
    assert_eq!(words[1], ["sh", "-c", "a b", "c"]);
    assert_eq!(words[2], ["sh", "-c"]);
    for program in &programs[..2] {
        let directory = program.directory.as_deref().unwrap();
        assert_eq!(directory, std::path::Path::new("/"));
    }
    let variable = |place: usize, name: &str| {
        let variables = programs[place].environment.iter();
        let mut found = variables.filter(|(known, _)| known == name);
        found
            .next()
            .map(|(_, value)| value.to_str().unwrap().to_owned())
    };
    assert_eq!(variable(0, "A").as_deref(), Some("b,c=d"));
    assert_eq!(variable(0, "B").as_deref(), Some("weak"));
    assert_eq!(variable(1, "A").as_deref(), Some("weak"));
    assert_eq!(variable(3, "A").as_deref(), Some("own"));
}

/// Beside arguments a command is the program alone, so that a path can contain spaces.
#[test]
fn a_command_beside_arguments_is_one_word() {
    let error = programs("[[provider]]\ncommand = 'sh -c'\nargs = []").unwrap_err();

    let text = error.to_string();
    assert!(
        text.contains("the program \"sh …\" is not in PATH"),
        "{text}"
    );
    assert!(text.contains("or args beside command"), "{text}");
}

/// Many things that are wrong in several tables, and the lines of them.
#[test]
fn all_errors_of_a_file_are_told_at_once() {
    let file = "\
reconect = true
reconnect_min = '1m'
[[provider]]
command = 'no-such-program'
args = '-y x'
cwd = '/no/such/a'
evn = {}
[[provider]]
command = 'FOO=bar npx'
directory = '/no/such/b'
max_sessions = 0
env = { 'A=B' = 'c' }
[[provider]]
url = 'ftp://b'
args = ['a']
[[provider]]
args = ['a']
[[provider]]
command = '~/server'
cwd = '~/no/such'
directory = '/'
env = ['WORKER_KEY']
[[provider]]
id = 'x'
url = 'http://a'
auth_token = 't'
oauth = true
[[provider]]
id = 'x'
url = 'http://a'
";
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("relay.toml");
    std::fs::write(&path, file).unwrap();
    let environment = [
        ("PATH", "/usr/bin:/bin"),
        ("HOME", "/home/me"),
        ("CONFIG_FILE", path.to_str().unwrap()),
    ];
    let environment = environment.into_iter().collect();
    let sources = Sources::collect_leniently(roles::RELAY.schema, [], &environment);

    let resolved = (roles::RELAY.resolve)(&sources);

    let error = ConfigError::all(sources.take_problems(), resolved).unwrap_err();
    let shown = error.to_string();
    let shown = shown.replace(&format!("{}/", directory.path().display()), "");
    insta::assert_snapshot!("wrong_tables", shown);
}
