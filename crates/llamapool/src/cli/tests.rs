//! Command lines as people type them.

use llamapool_relay::{HttpConfig, ProviderKind};

use super::*;

fn parse_line(line: &str) -> Result<Invocation, CliError> {
    parse(line.split(' ').map(OsString::from), &Environment::default())
}

fn error(line: &str) -> String {
    parse_line(line).unwrap_err().to_string()
}

fn said(line: &str) -> String {
    match parse_line(line).unwrap() {
        Invocation::Say(text) => text,
        other => panic!("{other:?}"),
    }
}

fn server(line: &str) -> llamapool_server::ServerConfig {
    match parse_line(line).unwrap() {
        Invocation::Server(settings) => settings.config,
        other => panic!("{other:?}"),
    }
}

fn relay(line: &str) -> llamapool_relay::RelayConfig {
    match parse_line(line).unwrap() {
        Invocation::Relay(settings) => settings.config,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_subcommand_is_a_role_and_so_is_the_name_of_a_symlink() {
    assert_eq!(server("llamapool server --port 1").listen.bind.port(), 1);
    assert_eq!(
        server("/usr/bin/llamapool-server --port=1")
            .listen
            .bind
            .port(),
        1
    );
    assert_eq!(
        relay("llamapool-mcp --client-id a").providers[0]
            .id
            .as_ref()
            .unwrap()
            .as_str(),
        "a"
    );
    assert!(
        matches!(parse_line("llamapool-demo --port 9000").unwrap(), Invocation::Demo(demo) if demo.port == 9000)
    );
    assert!(matches!(
        parse_line("llamapool-mcp.exe").unwrap(),
        Invocation::Relay(_)
    ));
}

#[test]
fn the_name_of_a_role_that_is_not_there_is_said_to_be_unknown() {
    assert!(
        error("/usr/bin/llamapool-wroker")
            .starts_with("unknown command \"wroker\", expected one of server")
    );
}

#[test]
fn the_role_of_the_worker_image_is_known_and_not_in_this_version() {
    for line in [
        "/usr/local/bin/llamapool-worker",
        "llamapool worker",
        "llamapool worker --server-url ws://x",
    ] {
        let said = "LLM workers are not in this version, expected one of server, mcp, demo (see llamapool --help)";
        assert_eq!(error(line), said, "{line}");
    }
}

#[test]
fn a_switch_needs_no_value_and_takes_one() {
    use llamapool_relay::Reconnect;
    for on in ["--reconnect", "-r", "--reconnect=true", "-r=yes"] {
        assert_ne!(
            relay(&format!("llamapool mcp {on} --client-id a")).reconnect,
            Reconnect::Never,
            "{on}"
        );
    }
    for off in ["--reconnect=false", "-r=0", "--status-addr off"] {
        assert_eq!(
            relay(&format!("llamapool mcp {off}")).reconnect,
            Reconnect::Never,
            "{off}"
        );
    }
    assert!(
        error("llamapool mcp --reconnect=maybe")
            .starts_with("RECONNECT, from the flag --reconnect, is \"maybe\"")
    );
    assert!(server("llamapool server --no-auth").auth.keys.api.is_none());
}

#[test]
fn aliases_are_flags_too() {
    assert!(
        server("llamapool server --client-key k")
            .auth
            .keys
            .worker
            .unwrap()
            .matches(b"k")
    );
    let text = error("llamapool server --client-key hunter2 --worker-key hunter3");
    assert!(
        text.contains("--worker-key") && text.contains("--client-key") && !text.contains("hunter"),
        "{text}"
    );
    assert!(
        error("llamapool server --config /nowhere")
            .starts_with("the file \"/nowhere\" cannot be read")
    );
}

#[test]
fn flags_of_several_values_may_be_repeated() {
    let hosts = server("llamapool server --allowed-hosts a,b --allowed-hosts c")
        .auth
        .allowed_hosts;
    assert_eq!(hosts, ["a", "b", "c"]);
    let provider = relay("llamapool mcp --provider-headers A:b --provider-headers C:d,e")
        .providers
        .remove(0);
    let ProviderKind::Http(HttpConfig { headers, .. }) = provider.kind else {
        panic!("a program")
    };
    assert_eq!(
        (&headers["a"], &headers["c"]),
        (&"b".parse().unwrap(), &"d,e".parse().unwrap())
    );
}

#[test]
fn an_unknown_flag_is_named_without_its_value_and_with_the_nearest_one() {
    assert_eq!(
        error("llamapool server --prot 1"),
        "unknown flag --prot, did you mean --port?"
    );
    assert_eq!(
        error("llamapool-server --api-ky=hunter2"),
        "unknown flag --api-ky, did you mean --api-key?"
    );
    assert_eq!(error("llamapool server --xyzzy"), "unknown flag --xyzzy");
    assert_eq!(error("llamapool server -x"), "unknown flag -x");
    assert_eq!(
        error("llamapool mcp --vresion"),
        "unknown flag --vresion, did you mean --version?"
    );
}

#[test]
fn other_misuse_is_one_line_and_repeats_no_value() {
    let roles = "expected one of server, mcp, demo (see llamapool --help)";
    assert_eq!(error("llamapool"), format!("a command is missing, {roles}"));
    assert_eq!(
        error("llamapool --port 1"),
        format!("a command is missing, {roles}")
    );
    assert_eq!(
        error("llamapool sever"),
        format!("unknown command \"sever\", {roles}")
    );
    assert_eq!(
        error("llamapool server hunter2"),
        "an argument stands without a flag, expected only flags, or for a relay a program behind --"
    );
    assert_eq!(
        error("llamapool server --port"),
        "a value is required for '--port <port>' but none was supplied"
    );
    let twice = error("llamapool server --api-key hunter2 --api-key hunter2");
    assert_eq!(
        twice,
        "the argument '--api-key <secret>' cannot be used multiple times"
    );
}

#[test]
fn version_says_version_commit_and_day() {
    for line in [
        "llamapool --version",
        "llamapool server -V",
        "llamapool-mcp --version",
    ] {
        let text = said(line);
        assert_eq!(text, format!("{}\n", version_line()));
        assert!(text.starts_with("llamapool 0.1.0 (commit "), "{text}");
    }
}

#[test]
fn help_says_names_and_default_of_a_setting() {
    let words = said("llamapool server --help")
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    for meaning in [
        "--port <port> The port where callers and relays connect. [env: PORT] [default: 8080]",
        "lets relays connect. [env: WORKER_KEY, CLIENT_KEY] [default: generated and logged]",
        "see its state. [env: NO_AUTH] [default: off]",
    ] {
        assert!(words.contains(meaning), "{words}");
    }
    let mut groups = words
        .match_indices(" Main: ")
        .chain(words.match_indices(" Limits: "));
    assert!(groups.next().unwrap().0 < groups.next().unwrap().0);
}

#[test]
fn help_has_every_setting_and_no_current_value() {
    assert!(
        Role::ALL
            .iter()
            .all(|role| said("llamapool --help").contains(help::summary(*role)))
    );
    for role in Role::ALL {
        let line = ["llamapool", role.name(), "--help"].map(OsString::from);
        let secrets = role.table().iter().map(|setting| (setting.name, "hunter2"));
        let Invocation::Say(text) = parse(line, &secrets.collect()).unwrap() else {
            panic!("{role:?} runs")
        };
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        for setting in role.table() {
            assert!(
                words.contains(&format!("--{}", flag_of(setting.name))),
                "{}",
                setting.name
            );
            assert!(words.contains(&help::meaning(setting)), "{}", setting.name);
        }
        assert!(text.contains("Examples:\n  ") && !text.contains("hunter2"));
    }
}
