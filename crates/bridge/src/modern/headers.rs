//! What the headers of a request repeat of its body must be the same (MCP 2026-07-28, streamable HTTP, SEP-2243). The
//! program never sees a header, so nobody else can check it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use llamapool_mcp::header::{METHOD, NAME, PROTOCOL_VERSION};
use serde_json::Value;
use serde_json::value::RawValue;

use super::tools::Repeated;
use crate::answers::{Refusal, code};
use crate::message::{Kind, Message};

/// Checks what every request repeats.
pub(super) fn check(headers: &HeaderMap, message: &Message) -> Result<(), Refusal> {
    if message.kind == Kind::Notification {
        return Ok(());
    }
    let params = message.params();
    let Some(version) = message.modern_version().filter(|_| params.has_meta()) else {
        let text = "Invalid params: _meta has no io.modelcontextprotocol/protocolVersion";
        return Err(Refusal::bad_request(code::INVALID_PARAMS, text));
    };
    same(headers, PROTOCOL_VERSION.as_str(), &version)?;
    same(headers, METHOD.as_str(), message.method())?;
    match params.name_for(message.method()) {
        Some(name) => same(headers, NAME.as_str(), &name),
        None => Ok(()),
    }
}

/// Checks what the call of a tool repeats of its arguments.
pub(super) fn check_arguments(
    headers: &HeaderMap,
    arguments: Option<&RawValue>,
    repeated: &[Repeated],
) -> Result<(), Refusal> {
    let arguments: Value = arguments
        .and_then(|text| serde_json::from_str(text.get()).ok())
        .unwrap_or_default();
    for Repeated { header, path } in repeated {
        let argument = path
            .iter()
            .try_fold(&arguments, |value, key| value.get(key))
            .filter(|value| !value.is_null());
        let given = value(headers, header)?;
        let is_same = match (argument, &given) {
            (None, None) => true,
            (Some(Value::String(text)), Some(given)) => text == given,
            (Some(Value::Bool(flag)), Some(given)) => given == if *flag { "true" } else { "false" },
            (Some(Value::Number(number)), Some(given)) => is_number(number, given),
            _ => false,
        };
        if !is_same {
            return Err(mismatch(
                header,
                "is not what the argument in the body says",
            ));
        }
    }
    Ok(())
}

fn is_number(number: &serde_json::Number, given: &str) -> bool {
    number.to_string() == given
        || number
            .as_f64()
            .is_some_and(|number| given.parse() == Ok(number))
}

fn same(headers: &HeaderMap, name: &str, expected: &str) -> Result<(), Refusal> {
    match value(headers, name)? {
        None => Err(mismatch(name, "is missing")),
        Some(given) if given != expected => Err(mismatch(name, "is not what the body says")),
        Some(_) => Ok(()),
    }
}

/// The one value of a header, decoded if it is encoded.
fn value(headers: &HeaderMap, name: &str) -> Result<Option<String>, Refusal> {
    let mut values = headers.get_all(name).into_iter();
    let (first, second) = (values.next(), values.next());
    if second.is_some() {
        return Err(mismatch(name, "stands there twice"));
    }
    let Some(first) = first else { return Ok(None) };
    let text = first
        .to_str()
        .map_err(|_| mismatch(name, "is not ASCII"))?
        .trim();
    let Some(encoded) = text
        .strip_prefix("=?base64?")
        .and_then(|text| text.strip_suffix("?="))
    else {
        return Ok(Some(text.to_owned()));
    };
    let decoded = STANDARD
        .decode(encoded)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok());
    decoded
        .map(Some)
        .ok_or_else(|| mismatch(name, "is not the Base64 of UTF-8"))
}

fn mismatch(name: &str, what: &str) -> Refusal {
    Refusal::bad_request(
        code::HEADER_MISMATCH,
        format!("Header mismatch: {name} {what}"),
    )
}

#[cfg(test)]
mod tests {
    const VERSION: &str = "mcp-protocol-version";
    const METHOD: &str = "mcp-method";
    const NAME: &str = "mcp-name";

    use bytes::Bytes;
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let fields = fields.iter().map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        });
        fields.fold(HeaderMap::new(), |mut headers, (name, value)| {
            headers.append(name, value);
            headers
        })
    }

    fn call(name: &str) -> Message {
        let meta = r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}"#;
        let params = format!(r#"{{"name":"{name}","_meta":{meta}}}"#);
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#);
        Message::read(Bytes::from(text)).unwrap()
    }

    #[test]
    fn version_method_and_name_must_be_those_of_the_body() {
        let (version, method) = ((VERSION, "2026-07-28"), (METHOD, "tools/call"));
        for (fields, name, is_good) in [
            (&[version, method, (NAME, "echo")][..], "echo", true),
            (&[version, method, (NAME, "  echo ")], "echo", true),
            (
                &[version, method, (NAME, "=?base64?Z3LDvMOfZQ==?=")],
                "grüße",
                true,
            ),
            (
                &[version, method, (NAME, "=?base64?Z3LDvMOfZQ?=")],
                "grüße",
                false,
            ),
            (&[version, method, (NAME, "other")], "echo", false),
            (
                &[version, method, (NAME, "echo"), (NAME, "echo")],
                "echo",
                false,
            ),
            (&[version, method], "echo", false),
            (
                &[version, (METHOD, "TOOLS/CALL"), (NAME, "echo")],
                "echo",
                false,
            ),
            (&[version, (NAME, "echo")], "echo", false),
            (&[method, (NAME, "echo")], "echo", false),
            (
                &[(VERSION, "2026-07-29"), method, (NAME, "echo")],
                "echo",
                false,
            ),
        ] {
            assert_eq!(
                check(&headers(fields), &call(name)).is_ok(),
                is_good,
                "{fields:?}"
            );
        }
        let bare = Message::read(Bytes::from_static(
            br#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#,
        ))
        .unwrap();
        assert!(check(&headers(&[version, (METHOD, "tools/list")]), &bare).is_err());
    }

    #[test]
    fn arguments_in_headers_must_be_those_of_the_body() {
        let repeated = [
            Repeated {
                header: "mcp-param-region".into(),
                path: vec!["region".into()],
            },
            Repeated {
                header: "mcp-param-depth".into(),
                path: vec!["a".into(), "depth".into()],
            },
            Repeated {
                header: "mcp-param-dry".into(),
                path: vec!["dry".into()],
            },
        ];
        for (fields, arguments, is_good) in [
            (&[][..], "{}", true),
            (&[("mcp-param-region", "eu")], r#"{"region":"eu"}"#, true),
            (
                &[("mcp-param-region", "=?base64?ZXU=?=")],
                r#"{"region":"eu"}"#,
                true,
            ),
            (
                &[("mcp-param-depth", "7"), ("mcp-param-dry", "true")],
                r#"{"a":{"depth":7},"dry":true}"#,
                true,
            ),
            (&[], r#"{"region":null}"#, true),
            (&[], r#"{"region":"eu"}"#, false),
            (&[("mcp-param-region", "us")], r#"{"region":"eu"}"#, false),
            (&[("mcp-param-region", "eu")], "{}", false),
            (&[("mcp-param-depth", "8")], r#"{"a":{"depth":7}}"#, false),
            (
                &[("mcp-param-region", "=?base64?SGVs!!!bG8=?=")],
                r#"{"region":"Hello"}"#,
                false,
            ),
        ] {
            let raw = RawValue::from_string(arguments.into()).unwrap();
            let checked = check_arguments(&headers(fields), Some(&raw), &repeated);
            assert_eq!(checked.is_ok(), is_good, "{fields:?} {arguments}");
        }
    }
}
