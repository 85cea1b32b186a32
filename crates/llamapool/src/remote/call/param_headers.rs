//! The headers that repeat arguments of a tool (MCP 2026-07-28, SEP-2243).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue};
use serde_json::{Map, Value};

/// Returns the headers for the arguments that a tool declares so, at the first level of its schema.
pub(super) fn param_headers(
    arguments: &Map<String, Value>,
    schema: &Value,
) -> Vec<(HeaderName, HeaderValue)> {
    let properties = schema["properties"].as_object();
    let declared = properties.into_iter().flatten();
    let headers = declared.filter_map(|(name, property)| {
        let header = property["x-mcp-header"].as_str()?;
        let text = match arguments.get(name)? {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            Value::Bool(value) => value.to_string(),
            _ => return None,
        };
        let name = format!("mcp-param-{}", header.to_ascii_lowercase());
        Some((name.parse().ok()?, encoded(&text)?))
    });
    headers.collect()
}

/// Returns a text as the value of a header: as it is, or in Base64 where it could not be sent so.
pub(super) fn encoded(text: &str) -> Option<HeaderValue> {
    let is_plain = text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
        && text.trim() == text
        && !text.starts_with("=?base64?");
    if is_plain {
        return HeaderValue::from_str(text).ok();
    }
    HeaderValue::from_str(&format!("=?base64?{}?=", STANDARD.encode(text))).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn declared_arguments_are_repeated_in_headers() {
        let schema = json!({"properties": {
            "region": {"type": "string", "x-mcp-header": "Region"},
            "count": {"type": "integer", "x-mcp-header": "Count"},
            "other": {"type": "string"},
        }});
        let arguments = json!({"region": "grüße", "count": 3, "other": "x"});

        let headers = param_headers(arguments.as_object().unwrap(), &schema);

        let mut headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
            .collect();
        headers.sort_unstable();
        let expected = [
            ("mcp-param-count", "3"),
            ("mcp-param-region", "=?base64?Z3LDvMOfZQ==?="),
        ];
        assert_eq!(headers, expected);
    }
}
