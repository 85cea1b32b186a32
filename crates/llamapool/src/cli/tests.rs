//! Command lines as people type them.

use llamapool_relay::{HttpConfig, ProviderKind, Reconnect};
use llamapool_settings::{Setting, flag_name};

use super::*;
use crate::admin;
use crate::roles::ROLES;
use crate::version::version_line;

fn parse_line(line: &str) -> Result<Invocation, CliError> {
    parse(line.split(' ').map(OsString::from), &Environment::default())
}

fn error(line: &str) -> String {
    parse_line(line).unwrap_err().to_string()
}

fn printed(line: &str) -> String {
    match parse_line(line).unwrap() {
        Invocation::Print(text) => text,
        other => panic!("{other:?}"),
    }
}

fn role(line: &str) -> RoleSettings {
    match parse_line(line).unwrap() {
        Invocation::Run(settings) => settings,
        other => panic!("{other:?}"),
    }
}

fn server(line: &str) -> llamapool_server::ServerConfig {
    match role(line) {
        RoleSettings::Server(settings) => settings.config,
        other => panic!("{other:?}"),
    }
}

fn relay(line: &str) -> llamapool_relay::RelayConfig {
    match role(line) {
        RoleSettings::Relay(settings) => settings.config,
        other => panic!("{other:?}"),
    }
}

/// Returns a text with every run of whitespace as one space.
fn unwrapped(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_subcommand_is_a_role() {
    assert_eq!(server("llamapool server --port 1").listen.bind.port(), 1);
}

#[test]
fn the_name_of_a_symlink_is_a_role() {
    let server = server("/usr/bin/llamapool-server --port=1");
    let relay = relay("llamapool-mcp --client-id a");
    let demo = role("llamapool-demo --port 9000");
    let relay_on_windows = role("llamapool-mcp.exe");
    let worker = role("/usr/local/bin/llamapool-worker --worker-id w");

    assert_eq!(server.listen.bind.port(), 1);
    assert_eq!(relay.providers[0].id.as_ref().unwrap().as_str(), "a");
    assert!(matches!(demo, RoleSettings::Demo(demo) if demo.port == 9000));
    assert!(matches!(relay_on_windows, RoleSettings::Relay(_)));
    assert!(matches!(worker, RoleSettings::Worker(_)));
}

#[test]
fn an_unknown_name_of_a_symlink_is_an_error() {
    let text = error("/usr/bin/llamapool-wroker");

    assert!(
        text.starts_with("unknown command \"wroker\", did you mean worker? (see"),
        "{text}"
    );
}

#[test]
fn a_switch_needs_no_value_and_can_have_one() {
    for on in ["--reconnect", "-r", "--reconnect=true", "-r=yes"] {
        let relay = relay(&format!("llamapool mcp {on} --client-id a"));
        assert_ne!(relay.reconnect, Reconnect::Never, "{on}");
    }
    for off in ["--reconnect=false", "-r=0", "--status-addr off"] {
        let relay = relay(&format!("llamapool mcp {off}"));
        assert_eq!(relay.reconnect, Reconnect::Never, "{off}");
    }

    let text = error("llamapool mcp --reconnect=maybe");
    assert!(
        text.starts_with("invalid RECONNECT (flag --reconnect): \"maybe\""),
        "{text}"
    );
    let open = server("llamapool server --no-auth");
    assert!(open.auth.keys.api.is_none());
}

#[test]
fn aliases_are_flags_too() {
    let keys = server("llamapool server --client-key k").auth.keys;
    let missing_file = error("llamapool server --config /nowhere");

    assert!(keys.worker.unwrap().matches(b"k"));
    assert!(missing_file.starts_with("cannot read the file \"/nowhere\""));
}

#[test]
fn two_names_with_different_values_are_an_error() {
    let text = error("llamapool server --client-key hunter2 --worker-key hunter3");

    assert!(text.contains("--worker-key"), "{text}");
    assert!(text.contains("--client-key"), "{text}");
    assert!(!text.contains("hunter"), "{text}");
}

#[test]
fn flags_of_several_values_can_be_repeated() {
    let server = server("llamapool server --allowed-hosts a,b --allowed-hosts c");
    let mut relay = relay("llamapool mcp --provider-headers A:b --provider-headers C:d,e");

    assert_eq!(server.auth.allowed_hosts, ["a", "b", "c"]);
    let ProviderKind::Http(HttpConfig { headers, .. }) = relay.providers.remove(0).kind else {
        panic!("a program")
    };
    assert_eq!(headers["a"], "b");
    assert_eq!(headers["c"], "d,e");
}

#[test]
fn an_unknown_flag_is_named_without_its_value() {
    for (line, text) in [
        (
            "llamapool server --prot 1",
            "unknown flag --prot, did you mean --port?",
        ),
        (
            "llamapool-server --api-ky=hunter2",
            "unknown flag --api-ky, did you mean --api-key?",
        ),
        ("llamapool server --xyzzy", "unknown flag --xyzzy"),
        ("llamapool server -x", "unknown flag -x"),
        (
            "llamapool mcp --vresion",
            "unknown flag --vresion, did you mean --version?",
        ),
        ("llamapool man --xyzzy", "unknown flag --xyzzy"),
    ] {
        assert_eq!(error(line), text);
    }
}

#[test]
fn other_misuse_is_one_line_without_values() {
    let commands = "expected one of server, mcp, worker, bridge, demo, status, connect, call, drain, undrain, kick, key, \
                    access, client, grant, login, audit, doctor, support, service, help, completions, man (see llamapool --help)";

    for (line, text) in [
        ("llamapool --port 1", format!("missing command, {commands}")),
        (
            "llamapool frobnicate",
            format!("unknown command \"frobnicate\", {commands}"),
        ),
        (
            "llamapool sever",
            "unknown command \"sever\", did you mean server? (see llamapool --help)".into(),
        ),
        (
            "llamapool server hunter2",
            "unexpected argument: expected only flags, or for mcp and bridge a program behind --"
                .into(),
        ),
        (
            "llamapool server --port",
            "a value is required for '--port <port>' but none was supplied".into(),
        ),
        (
            "llamapool server --log-level",
            "a value is required for '--log-level <off|error|warn|info|debug|trace>' but none was \
             supplied"
                .into(),
        ),
        (
            "llamapool server --api-key hunter2 --api-key hunter2",
            "the argument '--api-key <secret>' cannot be used multiple times".into(),
        ),
        ("llamapool completions", "missing argument <SHELL>".into()),
        (
            "llamapool completions tcsh",
            "invalid <SHELL>: \"tcsh\", expected bash, zsh, fish, powershell, elvish".into(),
        ),
        (
            "llamapool man sever",
            "unknown command \"sever\", did you mean server? (see llamapool --help)".into(),
        ),
    ] {
        assert_eq!(error(line), text);
    }
}

#[test]
fn version_is_version_commit_and_day() {
    for line in [
        "llamapool --version",
        "llamapool server -V",
        "llamapool-mcp --version",
    ] {
        let text = printed(line);

        assert_eq!(text, format!("{}\n", version_line()));
        assert!(text.starts_with("llamapool 0.1.0 (commit "), "{text}");
    }
}

#[test]
fn help_is_a_command_too() {
    for name in ["server", "status", "key"] {
        let asked = printed(&format!("llamapool help {name}"));
        assert_eq!(asked, printed(&format!("llamapool {name} --help")));
    }
    assert_eq!(printed("llamapool help"), printed("llamapool --help"));
    assert_eq!(printed("llamapool help help"), printed("llamapool --help"));
    assert!(error("llamapool help serve").contains("did you mean server?"));
}

#[test]
fn without_a_command_help_is_shown_as_wrong_usage() {
    let Invocation::Usage(text) = parse_line("llamapool").unwrap() else {
        panic!("no usage");
    };
    assert!(
        text.contains("Commands:") && text.contains("llamapool server"),
        "{text}"
    );
}

#[test]
fn help_lists_every_role() {
    let text = unwrapped(&printed("llamapool --help"));

    for role in ROLES {
        assert!(text.contains(role.summary), "{}", role.name);
    }
}

/// Returns the settings of a role but those that exist in tables of the file alone.
fn with_flags(role: &Role) -> impl Iterator<Item = &'static Setting> {
    let settings = role.schema.settings();
    settings.filter(|setting| setting.names().next().is_some())
}

#[test]
fn help_has_every_setting_and_no_current_value() {
    for role in ROLES {
        let line = ["llamapool", role.name, "--help"].map(OsString::from);
        let secrets = role
            .schema
            .settings()
            .map(|setting| (setting.name, "hunter2"));

        let Invocation::Print(text) = parse(line, &secrets.collect()).unwrap() else {
            panic!("{} runs", role.name)
        };

        let words = unwrapped(&text);
        for setting in with_flags(role) {
            let flag = format!("--{}", flag_name(setting.name));
            assert!(words.contains(&flag), "{flag}");
            let help = command_line::help(setting);
            assert!(words.contains(&help), "{flag}");
        }
        assert!(text.contains("Examples:\n  "), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}

/// The width is fixed: by default it is that of the terminal.
#[test]
fn help_is_as_it_was_reviewed() {
    let help = |command: clap::Command| {
        let rendered = command.term_width(100).render_long_help();
        rendered.to_string()
    };

    insta::assert_snapshot!("help", help(command::top()));
    let commands = [
        admin::key_command(),
        admin::access_command(),
        admin::client_command(),
        admin::grant_command(),
        admin::audit_command(),
        admin::login_command(),
        crate::doctor::command(),
    ];
    for mut command in commands.into_iter().chain(crate::remote::commands()) {
        let name = command.get_name().to_owned();
        // Builds the commands below it, whose help follows its own.
        command.build();
        let below: Vec<_> = command.get_subcommands().cloned().map(help).collect();
        let text = format!("{}\n{}", help(command), below.join("\n"));
        insta::assert_snapshot!(format!("help_{name}"), text);
    }
    for role in ROLES {
        let command = command::of_role(role, format!("llamapool {}", role.name));
        insta::assert_snapshot!(format!("help_{}", role.name), help(command));
    }
}

#[test]
fn every_shell_completes_every_flag() {
    for shell in command::shells() {
        let script = printed(&format!("llamapool completions {shell}"));

        for role in ROLES {
            assert!(script.contains(role.name), "{shell}: {}", role.name);
            for setting in with_flags(role) {
                let flag = flag_name(setting.name);
                assert!(script.contains(&flag), "{shell}: {flag}");
            }
        }
    }
}

/// `bash` is required; the other shells are checked where they are installed.
#[test]
fn every_script_is_valid_in_its_shell() {
    for (shell, is_required) in [("bash", true), ("zsh", false), ("fish", false)] {
        let script = printed(&format!("llamapool completions {shell}"));

        let Some(output) = run(shell, &["-n", "/dev/stdin"], &script) else {
            assert!(!is_required, "{shell} is not installed");
            continue;
        };

        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{shell}: {errors}");
    }
}

#[test]
fn every_man_page_renders_without_a_warning() {
    for page in ["", "server", "mcp", "worker", "demo", "completions", "man"] {
        let roff = printed(format!("llamapool man {page}").trim_end());

        let arguments = ["-man", "-Tutf8", "-ww", "-z"];
        let Some(output) = run("groff", &arguments, &roff) else {
            continue;
        };

        let warnings = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{page}: {warnings}");
        assert_eq!(warnings, "", "{page}");
    }
}

/// Runs a program with this standard input, `None` if it is not installed.
fn run(program: &str, arguments: &[&str], input: &str) -> Option<std::process::Output> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), input).unwrap();
    let input = std::fs::File::open(file.path()).unwrap();

    let mut command = std::process::Command::new(program);
    command.args(arguments).stdin(input).output().ok()
}

#[test]
fn a_man_page_has_every_flag() {
    for role in ROLES {
        let page = printed(&format!("llamapool man {}", role.name));

        let text = page.replace("\\-", "-");
        assert!(text.contains(&format!("llamapool-{}", role.name)), "{page}");
        for setting in with_flags(role) {
            let flag = format!("--{}", flag_name(setting.name));
            assert!(text.contains(&flag), "{flag}");
        }
    }
}

#[test]
fn the_man_page_of_the_program_has_every_command() {
    let page = printed("llamapool man").replace("\\-", "-");

    for name in command::names() {
        assert!(
            page.contains(&format!("llamapool-{name}")),
            "{name}: {page}"
        );
    }
}
