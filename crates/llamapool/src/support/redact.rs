//! Takes secrets out of texts: each as it is, and in base64 at any place of what is encoded.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use llamapool_settings::value::VARIABLES;
use llamapool_settings::{SetValue, Syntax};
use serde_json::Value;

use crate::settings::Environment;

/// What stands in the place of a secret.
const REDACTED: &str = "[redacted]";
/// The shortest secret that is searched for, in characters: shorter ones are in every text.
const LEAST_CHARS: usize = 4;
/// The shortest part of a secret in base64 that is searched for.
const LEAST_ENCODED: usize = 8;
/// The keys of an `mcpServers` file below which secrets are.
const SECRET_KEYS: [&str; 4] = ["env", "headers", "args", "url"];

/// The secrets to take out, the longest first.
pub(super) struct Redactor(Vec<String>);

impl Redactor {
    /// Collects the secrets of settings.
    pub(super) fn new(values: &[SetValue], environment: &Environment) -> Self {
        let mut secrets = Vec::new();
        for value in values {
            match value.setting.syntax {
                Syntax::Secret => secrets.push(value.text.clone()),
                Syntax::Headers => secrets.extend(of_headers(&value.text)),
                Syntax::Variables => secrets.extend(of_variables(&value.text, environment)),
                Syntax::Command => secrets.extend(of_command(&value.text)),
                Syntax::Url => secrets.extend(of_url(&value.text)),
                Syntax::Path if value.setting.name == "MCP_SERVERS" => {
                    secrets.extend(of_mcp_servers(&value.text));
                }
                _ if value.text.contains("://") => secrets.extend(of_url(&value.text)),
                _ => {}
            }
        }
        Self::of(secrets)
    }

    fn of(secrets: Vec<String>) -> Self {
        let mut all: Vec<String> = Vec::new();
        for secret in secrets {
            let secret = secret.trim();
            if secret.chars().count() < LEAST_CHARS {
                continue;
            }
            all.push(secret.to_owned());
            all.extend(encoded(secret));
        }
        all.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        all.dedup();
        Self(all)
    }

    /// Returns a text without them.
    pub(super) fn text(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.0 {
            if text.contains(secret) {
                text = text.replace(secret, REDACTED);
            }
        }
        text
    }

    /// Takes them out of all texts of a value, where they are not escaped yet.
    pub(super) fn value(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.text(text),
            Value::Array(values) => values.iter_mut().for_each(|it| self.value(it)),
            Value::Object(members) => members.values_mut().for_each(|it| self.value(it)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

/// Returns what stands of a secret in base64, whatever is encoded before and behind it.
fn encoded(secret: &str) -> Vec<String> {
    let mut forms = Vec::new();
    for before in 0..3 {
        let mut bytes = vec![0; before];
        bytes.extend_from_slice(secret.as_bytes());
        // The characters that are made of other bytes, too, at both ends.
        let first = (before * 8).div_ceil(6);
        let last = bytes.len() * 8 / 6;
        for text in [
            STANDARD_NO_PAD.encode(&bytes),
            URL_SAFE_NO_PAD.encode(&bytes),
        ] {
            if let Some(inner) = text.get(first..last)
                && inner.len() >= LEAST_ENCODED
            {
                forms.push(inner.to_owned());
            }
        }
    }
    forms
}

/// Returns the values of `Name: value` lines, with and without the word before a credential.
fn of_headers(text: &str) -> Vec<String> {
    let lines = text.lines().flat_map(|line| line.split(','));
    let values = lines.filter_map(|line| line.split_once(':').map(|(_, value)| value.trim()));
    let mut secrets: Vec<String> = text
        .lines()
        .filter_map(|line| {
            line.split_once(':')
                .map(|(_, value)| value.trim().to_owned())
        })
        .collect();
    for value in values {
        secrets.push(value.to_owned());
        secrets.extend(value.split(' ').next_back().map(str::to_owned));
    }
    secrets
}

/// Returns the values of variables, also of those that are inherited.
fn of_variables(text: &str, environment: &Environment) -> Vec<String> {
    let variables = (VARIABLES.parse)(text).unwrap_or_default();
    let values = variables
        .into_iter()
        .filter_map(|variable| match variable.value {
            Some(value) => Some(value),
            None => {
                let inherited = environment.get(&variable.name)?;
                Some(inherited.to_string_lossy().into_owned())
            }
        });
    let mut secrets: Vec<String> = values.collect();
    // Also where the text is none that can be used.
    let parts = text.split([',', '\n', '\0']);
    secrets.extend(parts.filter_map(|part| Some(part.split_once('=')?.1.to_owned())));
    secrets
}

/// Returns the arguments of a program, and the values in them.
fn of_command(text: &str) -> Vec<String> {
    let words = shlex::split(text).unwrap_or_default();
    let arguments = words.into_iter().skip(1).filter(|word| !is_flag(word));
    arguments
        .flat_map(|word| {
            let value = word.split_once('=').map(|(_, value)| value.to_owned());
            [Some(word), value]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
        })
        .collect()
}

/// Returns whether a word is only the name of a flag.
fn is_flag(word: &str) -> bool {
    word.starts_with('-') && !word.contains('=')
}

/// Returns user and password of a URL, its query, and its fragment.
fn of_url(url: &str) -> Vec<String> {
    let mut secrets = Vec::new();
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let login = rest.rsplit_once('@').map(|(login, _)| login);
    if let Some(login) = login.or(authority.rsplit_once('@').map(|(login, _)| login)) {
        secrets.push(login.to_owned());
        if let Some((_, password)) = login.split_once(':') {
            let decoded = percent_decoded(password);
            secrets.extend([password.to_owned(), decoded.clone()]);
            let user = login.split(':').next().unwrap_or_default();
            secrets.push(format!("{user}:{decoded}"));
        }
    }
    let query = rest.split_once(['?', '#']).map(|(_, query)| query);
    for part in query.unwrap_or_default().split(['&', '#']) {
        secrets.push(part.to_owned());
        secrets.extend(part.split_once('=').map(|(_, value)| value.to_owned()));
    }
    secrets
}

fn percent_decoded(text: &str) -> String {
    let pair = format!("x={}", text.replace('+', "%2B"));
    let decoded = form_urlencoded::parse(pair.as_bytes()).next();
    decoded.map_or_else(|| text.to_owned(), |(_, value)| value.into_owned())
}

/// Returns the texts of an `mcpServers` file that may be secrets.
fn of_mcp_servers(path: &str) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let file: Value = serde_json::from_str(&text).unwrap_or_default();
    let mut secrets = Vec::new();
    collect_below(&file, false, &mut secrets);
    secrets
}

fn collect_below(value: &Value, is_secret: bool, secrets: &mut Vec<String>) {
    match value {
        Value::String(text) if is_secret => {
            secrets.push(text.clone());
            secrets.extend(of_url(text));
        }
        Value::Array(values) => {
            for value in values {
                collect_below(value, is_secret, secrets);
            }
        }
        Value::Object(members) => {
            for (name, value) in members {
                let is_secret = is_secret || SECRET_KEYS.contains(&name.as_str());
                collect_below(value, is_secret, secrets);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    #[test]
    fn a_secret_is_found_at_any_place_of_what_is_encoded() {
        let redactor = Redactor::of(vec!["open-sesame-42".to_owned()]);

        for before in ["", "a", "ab", "user:", "me:me:"] {
            let text = STANDARD.encode(format!("{before}open-sesame-42 and more"));
            let shown = redactor.text(&text);
            assert!(shown.contains(REDACTED), "{before}: {text}");
        }
        assert_eq!(redactor.text("x open-sesame-42 y"), "x [redacted] y");
        let mut value = serde_json::json!({"a": [{"b": "=open-sesame-42"}], "n": 1});
        redactor.value(&mut value);
        assert_eq!(value["a"][0]["b"], "=[redacted]");
    }

    #[test]
    fn secrets_are_found_in_every_form_of_a_setting() {
        let has = |secrets: Vec<String>, wanted: &str| {
            assert!(
                secrets.iter().any(|it| it == wanted),
                "{wanted}: {secrets:?}"
            );
        };

        has(
            of_headers("Authorization: Bearer abc123\nX-Key: k,1"),
            "abc123",
        );
        has(
            of_headers("Authorization: Bearer abc123\nX-Key: k,1"),
            "k,1",
        );
        has(of_url("http://me:p%40ss@proxy:3128"), "p@ss");
        has(of_url("http://me:p@ss@proxy:3128"), "p@ss");
        has(of_url("https://a.example/mcp?token=t0k3n"), "t0k3n");
        has(of_command("npx -y server --token=t0k3n s3cret"), "t0k3n");
        has(of_command("npx -y server --token=t0k3n s3cret"), "s3cret");
        let environment: Environment = [("DB_URL", "postgres://x")].into_iter().collect();
        has(
            of_variables("A=b1b1b1,DB_URL", &environment),
            "postgres://x",
        );
        has(of_variables("A=b1b1b1,DB_URL", &environment), "b1b1b1");
    }

    #[test]
    fn what_may_be_secret_in_a_file_of_servers_is_found() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = r#"{"mcpServers": {"a": {"command": "npx", "args": ["-y", "t0k3n-a"],
            "env": {"KEY": "t0k3n-b"}}, "c": {"url": "https://x/mcp?k=t0k3n-c",
            "headers": {"Authorization": "Bearer t0k3n-d"}}}}"#;
        std::fs::write(file.path(), text).unwrap();

        let redactor = Redactor::of(of_mcp_servers(file.path().to_str().unwrap()));

        for secret in ["t0k3n-a", "t0k3n-b", "t0k3n-c", "Bearer t0k3n-d"] {
            assert_eq!(redactor.text(secret), REDACTED, "{secret}");
        }
        assert_eq!(redactor.text("npx"), "npx");
    }
}
