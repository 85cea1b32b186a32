//! The arguments of a tool, as they are typed.

use serde_json::{Map, Value};

use super::session::CallFailure;
use crate::cli::CliError;

/// Reads `name=value`.
pub(super) fn pair(text: &str) -> Result<(String, String), CliError> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(CliError::Usage(
            "invalid --arg, expected NAME=VALUE".to_owned(),
        )),
    }
}

/// Reads all arguments at once.
pub(super) fn object(text: &str) -> Result<Map<String, Value>, CliError> {
    match serde_json::from_str(text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(CliError::Usage(
            "invalid --json, expected a JSON object such as '{\"query\": \"llama\"}'".to_owned(),
        )),
        // The place, and nothing of the value.
        Err(error) => Err(CliError::Usage(format!(
            "invalid --json at line {}, column {}: expected a JSON object",
            error.line(),
            error.column()
        ))),
    }
}

/// Returns arguments with the types that a tool declares. One that it does not declare, or of no single type, is JSON if
/// it can be read so, and else text.
pub(super) fn typed(
    pairs: &[(String, String)],
    schema: &Value,
) -> Result<Map<String, Value>, CallFailure> {
    let mut arguments = Map::new();
    for (name, text) in pairs {
        let declared = schema["properties"][name]["type"].as_str();
        let json = || serde_json::from_str::<Value>(text).ok();
        let value = match declared {
            Some("string") => Some(Value::from(text.as_str())),
            Some("integer") => json().filter(|it| it.is_i64() || it.is_u64()),
            Some("number") => json().filter(Value::is_number),
            Some("boolean") => json().filter(Value::is_boolean),
            Some("array") => json().filter(Value::is_array),
            Some("object") => json().filter(Value::is_object),
            _ => Some(json().unwrap_or_else(|| Value::from(text.as_str()))),
        };
        let Some(value) = value else {
            let declared = declared.unwrap_or_default();
            let message =
                format!("--arg {name}: the tool wants a value of type {declared}, as JSON");
            return Err(CallFailure::Tool(message));
        };
        if arguments.insert(name.clone(), value).is_some() {
            let message = format!("--arg {name} is there twice; an array is typed as JSON");
            return Err(CallFailure::Tool(message));
        }
    }
    Ok(arguments)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Map<String, Value>, CallFailure> {
        let schema = json!({"properties": {
            "query": {"type": "string"},
            "limit": {"type": "integer"},
            "tags": {"type": "array"},
            "any": {"type": ["string", "number"]},
        }});
        let pairs = pairs
            .iter()
            .map(|(name, value)| pair(&format!("{name}={value}")).unwrap());
        typed(&pairs.collect::<Vec<_>>(), &schema)
    }

    #[test]
    fn arguments_have_the_types_that_the_tool_declares() {
        let read = read(&[
            ("query", "12"),
            ("limit", "3"),
            ("tags", "[1]"),
            ("any", "4"),
            ("else", "a=b"),
        ]);

        let expected = json!({"query": "12", "limit": 3, "tags": [1], "any": 4, "else": "a=b"});
        assert_eq!(Value::from(read.unwrap()), expected);
    }

    #[test]
    fn what_cannot_be_of_its_type_is_an_error() {
        assert!(read(&[("limit", "three")]).is_err());
        assert!(read(&[("limit", "1.5")]).is_err());
        assert!(read(&[("query", "a"), ("query", "b")]).is_err());
        for wrong in ["query", "=1", ""] {
            assert!(pair(wrong).is_err(), "{wrong}");
        }
        for wrong in ["[1]", "{", "1"] {
            assert!(object(wrong).is_err(), "{wrong}");
        }
    }
}
