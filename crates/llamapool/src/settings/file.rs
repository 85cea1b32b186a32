//! The settings that stand in a TOML file.
//!
//! What the texts mean is not here. The one rule: nothing that stands in the file is repeated in an error except
//! keys, because the parser's own messages quote whole lines, and a line may have a key or a token in it.

use std::path::Path;

use toml::{Table, Value};

use super::error::{Place, SettingsError, Shown};
use super::given::{Layer, ProviderTable, Written, layer};
use super::kind::Form;
use super::nearest::nearest;
use super::setting::Setting;

/// The key under which the tables of providers stand.
const PROVIDER: &str = "provider";

/// What a file says: of the settings, and of each provider that has a table of its own.
type Contents = (Layer, Vec<ProviderTable>);

/// Reads a file.
pub(super) fn read(table: &[&'static Setting], path: &Path) -> Result<Contents, SettingsError> {
    let text = std::fs::read_to_string(path).map_err(|error| SettingsError::Unreadable {
        file: path.to_owned(),
        error,
    })?;
    parse(table, path, &text)
}

fn parse(table: &[&'static Setting], path: &Path, text: &str) -> Result<Contents, SettingsError> {
    let mut document: Table = text.parse().map_err(|error| not_toml(path, text, &error))?;
    let tables = if has_providers(table) {
        document.remove(PROVIDER)
    } else {
        None
    };
    let providers =
        tables.map_or_else(|| Ok(Vec::new()), |tables| providers(table, path, tables))?;
    refuse_unknown_keys(table, path, &document)?;
    let settings = layer(table, |setting| {
        let keys = setting.keys().into_iter();
        let found = keys.filter_map(|key| document.get(&key).map(|value| (key, value)));
        found
            .map(|(key, value)| written(setting, Place::key(&key, path), value))
            .collect()
    })?;
    Ok((settings, providers))
}

/// Whether the role has providers.
fn has_providers(table: &[&'static Setting]) -> bool {
    table.iter().any(|setting| setting.per_provider.is_some())
}

/// The tables of providers: `[provider]` is one, `[[provider]]` are several.
fn providers(
    table: &[&'static Setting],
    path: &Path,
    value: Value,
) -> Result<Vec<ProviderTable>, SettingsError> {
    let wrong = |kind| SettingsError::Bad {
        setting: PROVIDER,
        place: Place::key(PROVIDER, path),
        shown: Shown::Kind(kind),
        expected: "a table, [provider], or several, each under [[provider]]".into(),
    };
    match value {
        Value::Table(only) => Ok(vec![provider(table, path, PROVIDER.to_owned(), &only)?]),
        Value::Array(tables) if !tables.is_empty() => {
            let each = tables.iter().zip(1..).map(|(value, place)| match value {
                Value::Table(one) => provider(table, path, format!("{PROVIDER} {place}"), one),
                other => Err(wrong(kind_of(other))),
            });
            each.collect()
        }
        other => Err(wrong(kind_of(&other))),
    }
}

fn provider(
    table: &[&'static Setting],
    path: &Path,
    name: String,
    document: &Table,
) -> Result<ProviderTable, SettingsError> {
    let keys = || {
        table
            .iter()
            .filter_map(|setting| Some((*setting, setting.per_provider?.key)))
    };
    if let Some(unknown) = document
        .keys()
        .find(|key| keys().all(|(_, known)| known != key.as_str()))
    {
        // Whoever writes the key that the setting has outside of the tables means the one that it has in them.
        let outside: Vec<(String, &str)> = keys()
            .flat_map(|(setting, key)| {
                setting
                    .keys()
                    .into_iter()
                    .map(move |outside| (outside, key))
            })
            .collect();
        let words = keys()
            .map(|(_, key)| key)
            .chain(outside.iter().map(|(outside, _)| outside.as_str()));
        let meant = nearest(unknown, words);
        let inside = outside
            .iter()
            .find(|(outside, _)| Some(outside.as_str()) == meant)
            .map(|(_, key)| *key);
        return Err(SettingsError::UnknownKey {
            key: unknown.clone(),
            table: format!("{name} of "),
            file: path.to_owned(),
            nearest: inside.or(meant).map(str::to_owned),
        });
    }
    let layer = layer(table, |setting| {
        let found = setting
            .per_provider
            .and_then(|own| document.get(own.key).map(|value| (own.key, value)));
        let found = found.map(|(key, value)| {
            written(
                setting,
                Place::key(&format!("{key} of {name}"), path),
                value,
            )
        });
        found.into_iter().collect()
    })?;
    Ok(ProviderTable {
        layer,
        name,
        file: path.to_owned(),
    })
}

fn not_toml(path: &Path, text: &str, error: &toml::de::Error) -> SettingsError {
    let start = error.span().map_or(0, |span| span.start.min(text.len()));
    let line = text.as_bytes()[..start]
        .iter()
        .filter(|byte| **byte == b'\n')
        .count()
        + 1;
    SettingsError::NotToml {
        file: path.to_owned(),
        line,
        message: error.message().to_owned(),
    }
}

fn refuse_unknown_keys(
    table: &[&'static Setting],
    path: &Path,
    document: &Table,
) -> Result<(), SettingsError> {
    let mut known: Vec<String> = table.iter().flat_map(|setting| setting.keys()).collect();
    if has_providers(table) {
        known.push(PROVIDER.to_owned());
    }
    match document.keys().find(|key| !known.contains(key)) {
        None => Ok(()),
        Some(key) => Err(SettingsError::UnknownKey {
            key: key.clone(),
            table: String::new(),
            file: path.to_owned(),
            nearest: nearest(key, known.iter().map(String::as_str)).map(str::to_owned),
        }),
    }
}

fn written(setting: &Setting, place: Place, value: &Value) -> Result<Written, SettingsError> {
    match text_of(setting.form, value) {
        Some(text) => Ok(Written { place, text }),
        None => Err(SettingsError::Bad {
            setting: setting.name,
            place,
            shown: Shown::Kind(kind_of(value)),
            expected: wanted(setting.form).into(),
        }),
    }
}

/// The text that means the same as a value, where the form of the setting allows such a value.
fn text_of(form: Form, value: &Value) -> Option<String> {
    match (form, value) {
        (_, Value::String(text)) => Some(text.clone()),
        (Form::Span | Form::Size | Form::Count | Form::Port, Value::Integer(number)) => {
            Some(number.to_string())
        }
        (Form::Span, Value::Float(number)) => Some(number.to_string()),
        (Form::Switch, Value::Boolean(on)) => Some(on.to_string()),
        (Form::Command, Value::Array(items)) => {
            let words: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
            // A word with a zero byte cannot be one.
            shlex::try_join(words?).ok()
        }
        (Form::List | Form::Variables | Form::Headers, Value::Array(items)) => {
            let texts: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
            Some(texts?.join(form.separator()?))
        }
        (Form::Headers, Value::Table(headers)) => {
            let line =
                |(name, value): (&String, &Value)| Some(format!("{name}: {}", value.as_str()?));
            let lines: Option<Vec<String>> = headers.iter().map(line).collect();
            Some(lines?.join(form.separator()?))
        }
        _ => None,
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a string",
        Value::Integer(_) => "an integer",
        Value::Float(_) => "a float",
        Value::Boolean(_) => "a boolean",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "an array",
        Value::Table(_) => "a table",
    }
}

fn wanted(form: Form) -> &'static str {
    match form {
        Form::Span => "a string or a number",
        Form::Size | Form::Count | Form::Port => "a string or an integer",
        Form::Switch => "a boolean or a string",
        Form::List | Form::Variables | Form::Command => "an array of strings or a string",
        Form::Headers => "a table of strings, an array of strings or a string",
        Form::Address | Form::Text | Form::Choice(_) | Form::Url | Form::File | Form::Secret => {
            "a string"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Role;

    fn relay_file(text: &str) -> Result<Layer, SettingsError> {
        parse(Role::Mcp.table(), Path::new("relay.toml"), text).map(|(settings, _)| settings)
    }

    fn relay_error(text: &str) -> String {
        relay_file(text).map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn values_may_have_the_toml_type_that_fits() {
        let layer = relay_file(
            "connect_timeout = 2.5\nreconnect_min = 3\nredirect_replay_bytes = '64KiB'\nreconnect = true\n\
             metrics_port = 9090\nclient_key = 'k'\n[provider_headers]\nX-A = 'b'\nX-C = 'd'",
        )
        .unwrap();
        let text = |name: &str| layer[name].text.as_str();
        assert_eq!(
            (text("CONNECT_TIMEOUT"), text("RECONNECT_MIN")),
            ("2.5", "3")
        );
        assert_eq!(
            (text("REDIRECT_REPLAY_BYTES"), text("RECONNECT")),
            ("64KiB", "true")
        );
        assert_eq!((text("METRICS_PORT"), text("WORKER_KEY")), ("9090", "k"));
        assert_eq!(text("PROVIDER_HEADERS"), "X-A: b\nX-C: d");
        assert_eq!(
            relay_file("provider_headers = ['a: b', 'c: d']").unwrap()["PROVIDER_HEADERS"].text,
            "a: b\nc: d"
        );
    }

    #[test]
    fn values_of_a_type_that_does_not_fit_are_refused_without_showing_them() {
        for (bad, said) in [
            ("worker_key = 4711", "is an integer, expected a string"),
            ("reconnect = 4711", "is an integer, expected a boolean"),
            (
                "connect_timeout = [4711]",
                "is an array, expected a string or a number",
            ),
            ("connect_timeout = true", "is a boolean"),
            (
                "redirect_replay_bytes = 4711.0",
                "is a float, expected a string or an integer",
            ),
            (
                "provider_headers = ['a: b', 4711]",
                "is an array, expected a table of strings",
            ),
            (
                "provider_headers = { a = 4711 }",
                "is a table, expected a table of strings",
            ),
            ("worker_name = 2026-01-01", "is a date"),
        ] {
            let text = relay_error(bad);
            assert!(
                text.contains(said) && text.contains("relay.toml") && !text.contains("4711"),
                "{text}"
            );
        }
    }

    #[test]
    fn an_unknown_key_is_named_with_the_nearest_known_one() {
        let text = relay_error("provider_ulr = 'http://x'");
        assert_eq!(
            text,
            "unknown key \"provider_ulr\" in the file \"relay.toml\", did you mean provider_url?"
        );
        assert!(relay_error("PROVIDER_URL = 'http://x'").ends_with("did you mean provider_url?"));
        assert_eq!(
            relay_error("xyzzy = 1"),
            "unknown key \"xyzzy\" in the file \"relay.toml\""
        );
        assert!(relay_error("config_file = 'other.toml'").starts_with("unknown key"));
        assert!(relay_error("[[providers]]\nurl = 'http://x'").ends_with("did you mean provider?"));
        let server = parse(
            Role::Server.table(),
            Path::new("server.toml"),
            "[provider]\nid = 'a'",
        );
        assert!(
            server
                .map(|_| ())
                .unwrap_err()
                .to_string()
                .starts_with("unknown key \"provider\" in the file")
        );
    }

    #[test]
    fn an_unknown_key_of_a_provider_is_named_with_the_one_that_its_table_may_have() {
        let table = |key: &str| {
            relay_error(&format!(
                "[[provider]]\nid = 'a'\n[[provider]]\n{key} = 'x'"
            ))
        };
        let said =
            "unknown key \"ulr\" in provider 2 of the file \"relay.toml\", did you mean url?";
        assert_eq!(table("ulr"), said);
        for (unknown, meant) in [
            ("provider_url", "url"),
            ("client_id", "id"),
            ("auth_tokn", "auth_token"),
            ("header", "headers"),
            ("provider_header", "headers"),
        ] {
            assert!(
                table(unknown).ends_with(&format!("did you mean {meant}?")),
                "{}",
                table(unknown)
            );
        }
        assert_eq!(
            table("worker_key"),
            "unknown key \"worker_key\" in provider 2 of the file \"relay.toml\""
        );
        assert!(
            relay_error("[provider]\nxyzzy = 1")
                .starts_with("unknown key \"xyzzy\" in provider of the file")
        );
    }

    #[test]
    fn providers_are_tables_and_nothing_else() {
        for (bad, said) in [
            ("provider = 'hunter2'", "is a string"),
            ("provider = []", "is an array"),
            ("provider = ['hunter2']", "is a string"),
            ("provider = [{ url = 'http://x' }, 4711]", "is an integer"),
        ] {
            let text = relay_error(bad);
            assert!(
                text.starts_with("provider, from the key provider of the file \"relay.toml\", "),
                "{text}"
            );
            assert!(
                text.contains(said) && text.contains("[[provider]]") && !text.contains("hunter2"),
                "{text}"
            );
        }
        let text = relay_error("[[provider]]\nurl = 4711");
        let said = "PROVIDER_URL, from the key url of provider 1 of the file \"relay.toml\", is an integer, expected a string";
        assert_eq!(text, said);
    }

    #[test]
    fn what_is_not_toml_is_refused_without_showing_the_line() {
        for bad in [
            "\nworker_key = 'hunter2",
            "\nworker_key = hunter2",
            "\nworker_key 'hunter2'",
            "\nworker_key = 'hunter2' 'hunter2'",
            "\nworker_key = \"hunter2\\q\"",
        ] {
            let text = relay_error(bad);
            assert!(
                text.starts_with("the file \"relay.toml\" is not TOML in line 2: "),
                "{text}"
            );
            assert!(!text.contains("hunter2") && !text.contains('\n'), "{text}");
        }
    }

    #[test]
    fn two_names_of_one_setting_must_agree() {
        assert!(relay_file("worker_key = 'a'\nclient_key = 'a'").is_ok());
        let text = relay_error("worker_key = 'hunter2'\nclient_key = 'hunter3'");
        assert!(
            text.contains("key worker_key of") && text.contains("key client_key of"),
            "{text}"
        );
        assert!(!text.contains("hunter"), "{text}");
    }
}
