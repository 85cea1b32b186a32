//! The role that a command without one is about, guessed from what is set.

use std::ffi::OsString;

use llamapool_settings::{FlagForm, FlagValue, Sources};

use super::check::{MCP, SERVER, WORKER};
use super::role::{GUESSED, ROLES};
use crate::roles::Role;
use crate::settings::Environment;

/// What shows a role, the surest first: a setting, and the role.
const SIGNS: &[(&str, &str)] = &[
    ("PROVIDER_COMMAND", MCP),
    ("PROVIDER_URL", MCP),
    ("COMPLETION_BASE_URL", WORKER),
    ("OLLAMA_BASE_URL", WORKER),
    ("OLLAMA_URL", WORKER),
    ("SERVER_URL", MCP),
    ("CLIENT_ID", MCP),
    ("PUBLIC_URL", SERVER),
    ("API_KEY", SERVER),
    ("ACME_DOMAINS", SERVER),
    ("DATA_DIR", SERVER),
    ("BIND_ADDR", SERVER),
    ("PORT", SERVER),
    ("WORKER_KEY", MCP),
];
/// The flag that names a role.
const ROLE_FLAG: &str = "--role";

/// Puts the name of a role behind the command where there is none: the one of `--role`, or the one that
/// what is set is for. `words` are other words that may stand there.
pub(crate) fn with_role(
    arguments: Vec<OsString>,
    words: &[&str],
    environment: &Environment,
) -> Vec<OsString> {
    let next = arguments
        .get(2)
        .and_then(|it| it.to_str())
        .unwrap_or_default();
    let is_named = ROLES.contains(&next) || words.contains(&next);
    let is_help = matches!(next, "-h" | "--help" | "-V" | "--version");
    // Any other word is a mistake, of which clap tells.
    let is_flag = next.is_empty() || next.starts_with('-');
    if is_named || is_help || !is_flag {
        return arguments;
    }

    let mut rest: Vec<OsString> = arguments.iter().skip(2).cloned().collect();
    let named = take_role(&mut rest);
    let (role, reason) = match named {
        Some(role) => (role, None),
        None => {
            let (role, reason) = guessed(&rest, environment);
            (OsString::from(role), Some(reason))
        }
    };
    let mut with_role: Vec<OsString> = arguments.into_iter().take(2).collect();
    with_role.push(role);
    if let Some(reason) = reason {
        with_role.push(format!("--{GUESSED}={reason}").into());
    }
    with_role.extend(rest);
    with_role
}

/// Takes `--role NAME` or `--role=NAME` out of the flags before `--`.
fn take_role(arguments: &mut Vec<OsString>) -> Option<OsString> {
    let end = arguments.iter().position(|it| it == "--");
    let before = &arguments[..end.unwrap_or(arguments.len())];
    let place = before.iter().position(|it| {
        let text = it.to_str().unwrap_or_default();
        text == ROLE_FLAG || text.starts_with("--role=")
    })?;
    let flag = arguments.remove(place);
    let flag = flag.to_str().unwrap_or_default();
    let role = match flag.split_once('=') {
        Some((_, role)) => OsString::from(role),
        None if place < arguments.len() => arguments.remove(place),
        None => OsString::new(),
    };
    let relay = role == "relay";
    Some(if relay { MCP.into() } else { role })
}

/// Returns the role, and what shows it.
fn guessed(arguments: &[OsString], environment: &Environment) -> (&'static str, String) {
    let texts = arguments.iter().map(|it| it.to_str().unwrap_or_default());
    let texts: Vec<_> = texts.collect();
    if texts.contains(&"--") {
        return (MCP, "a program is named".to_owned());
    }
    let is_flag = |name: &str| {
        let flag = format!("--{}", llamapool_settings::flag_name(name));
        let mut flags = texts.iter();
        flags.any(|text| text.split('=').next() == Some(flag.as_str()))
    };
    let by_flag = SIGNS.iter().find(|(name, _)| is_flag(name));
    if by_flag.is_none()
        && let Some(role) = of_file(&texts, environment)
    {
        return (role, "the settings file is one of it".to_owned());
    }
    let by_variable = SIGNS
        .iter()
        .find(|(name, _)| environment.get(name).is_some());
    match by_flag.or(by_variable) {
        Some((name, role)) => (role, format!("{name} is set")),
        None => (MCP, "nothing is set".to_owned()),
    }
}

/// Returns the role that can read the settings file, where one is named and one role alone can.
fn of_file(arguments: &[&str], environment: &Environment) -> Option<&'static str> {
    let place = arguments.iter().position(|text| is_file_flag(text));
    let of_flag = place.and_then(|place| match arguments[place].split_once('=') {
        Some((_, path)) => Some(path),
        None => arguments.get(place + 1).copied(),
    });
    let of_variable = environment
        .get("CONFIG_FILE")
        .and_then(|path| path.to_str());
    let path = of_flag.or(of_variable)?;

    let reads = |role: &Role| {
        let setting = role.schema.settings();
        let setting = setting.into_iter().find(|it| it.name == "CONFIG_FILE")?;
        let flag = FlagValue {
            flag: "--config-file".to_owned(),
            setting,
            text: path.to_owned(),
            form: FlagForm::Value,
        };
        let sources = Sources::collect_leniently(role.schema, [flag], &Environment::default());
        sources.take_problems().is_empty().then_some(())
    };
    let mut able = ROLES.into_iter().filter(|name| {
        let role = Role::by_name(name);
        role.and_then(reads).is_some()
    });
    let only = able.next()?;
    able.next().is_none().then_some(only)
}

fn is_file_flag(text: &str) -> bool {
    let flag = text.split('=').next();
    matches!(flag, Some("--config-file" | "--config"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(line: &str, variables: &[(&str, &str)]) -> String {
        let arguments = line.split(' ').map(OsString::from).collect();
        let environment = variables.iter().copied().collect();
        let found = with_role(arguments, &["connect"], &environment);
        let found: Vec<_> = found.iter().map(|it| it.to_str().unwrap()).collect();
        found[2..].join(" ")
    }

    #[test]
    fn a_role_is_guessed_from_what_is_set_and_never_against_a_word() {
        for (line, variables, expected) in [
            ("l doctor", &[][..], "mcp --guessed=nothing is set"),
            (
                "l doctor -- npx x",
                &[],
                "mcp --guessed=a program is named -- npx x",
            ),
            (
                "l doctor --json",
                &[("API_KEY", "x")],
                "server --guessed=API_KEY is set --json",
            ),
            (
                "l doctor",
                &[("OLLAMA_URL", "x"), ("SERVER_URL", "y")],
                "worker --guessed=OLLAMA_URL is set",
            ),
            (
                "l doctor --server-url=ws://a",
                &[("API_KEY", "x")],
                "mcp --guessed=SERVER_URL is set --server-url=ws://a",
            ),
            (
                "l doctor --json --role worker",
                &[("API_KEY", "x")],
                "worker --json",
            ),
            (
                "l doctor --role=relay -- a --role b",
                &[],
                "mcp -- a --role b",
            ),
            (
                "l doctor connect a --json",
                &[("API_KEY", "x")],
                "connect a --json",
            ),
            ("l doctor server", &[], "server"),
            ("l doctor --help", &[], "--help"),
            ("l doctor sever", &[], "sever"),
        ] {
            assert_eq!(role(line, variables), expected, "{line}");
        }
    }

    #[test]
    fn a_settings_file_is_of_the_one_role_that_can_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let server = file(
            "server.toml",
            "port = 8080\npublic_url = \"https://a.example\"\n",
        );
        let relay = file(
            "relay.toml",
            "[[provider]]\nid = \"a\"\ncommand = [\"x\"]\n",
        );

        let line = format!("l doctor --config-file {server}");
        assert!(role(&line, &[]).starts_with("server --guessed"), "{line}");
        let line = format!("l doctor --json --config-file={relay}");
        let found = role(&line, &[("API_KEY", "x")]);
        assert!(found.starts_with("mcp --guessed"), "{found}");
    }
}
