//! Checks that the headers of a request repeat the values of its body (MCP 2026-07-28, streamable
//! HTTP, SEP-2243). The program never receives a header, so only the bridge can check it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use llamapool_mcp::header::{METHOD, NAME, PROTOCOL_VERSION};
use llamapool_mcp::{Message, MessageKind, Revision, RpcError, error_code};
use serde_json::Value;

use super::tools::HeaderParameter;

/// Checks the headers that every request has: revision, method, name.
pub(super) fn check(headers: &HeaderMap, message: &Message) -> Result<(), RpcError> {
    if message.kind == MessageKind::Notification {
        return Ok(());
    }
    let params = message.params();
    let Some(version) = message.meta_revision().filter(|_| params.has_meta()) else {
        check_known(headers)?;
        let text = "Invalid params: _meta has no io.modelcontextprotocol/protocolVersion";
        return Err(RpcError::bad_request(error_code::INVALID_PARAMS, text));
    };

    check_equal(headers, PROTOCOL_VERSION.as_str(), &version)?;
    check_equal(headers, METHOD.as_str(), message.method())?;
    match params.name_for(message.method()) {
        Some(name) => check_equal(headers, NAME.as_str(), &name),
        None => Ok(()),
    }
}

/// Checks that the revision in the header is one that there is: a request of an unknown one need
/// not have what the known ones require.
fn check_known(headers: &HeaderMap) -> Result<(), RpcError> {
    let Some(header) = headers.get(PROTOCOL_VERSION) else {
        return Ok(());
    };
    let named = String::from_utf8_lossy(header.as_bytes());
    if Revision::parse(named.trim()).is_some() {
        return Ok(());
    }
    let known = Revision::ALL.map(|revision| revision.name().to_owned());
    Err(RpcError::unsupported_version(&named, &known))
}

/// Checks the headers that repeat arguments of a tool.
pub(super) fn check_arguments(
    headers: &HeaderMap,
    arguments: Option<&str>,
    parameters: &[HeaderParameter],
) -> Result<(), RpcError> {
    if parameters.is_empty() {
        return Ok(());
    }
    let arguments = serde_json::from_str(arguments.unwrap_or("null"));
    let arguments: Value = arguments.map_err(|error| {
        let text = format!("Invalid params: the arguments cannot be read: {error}");
        RpcError::bad_request(error_code::INVALID_PARAMS, text)
    })?;

    for HeaderParameter { header, path } in parameters {
        let argument = path
            .iter()
            .try_fold(&arguments, |value, key| value.get(key))
            .filter(|value| !value.is_null());
        let sent = header_value(headers, header)?;
        if !is_equal(argument, sent.as_deref()) {
            return Err(mismatch(
                header,
                "is not what the argument in the body says",
            ));
        }
    }
    Ok(())
}

fn is_equal(argument: Option<&Value>, header: Option<&str>) -> bool {
    match (argument, header) {
        (None, None) => true,
        (Some(Value::String(text)), Some(header)) => text == header,
        (Some(Value::Bool(true)), Some(header)) => header == "true",
        (Some(Value::Bool(false)), Some(header)) => header == "false",
        (Some(Value::Number(number)), Some(header)) => is_equal_number(number, header),
        _ => false,
    }
}

fn is_equal_number(number: &serde_json::Number, header: &str) -> bool {
    let is_equal_value = || {
        number
            .as_f64()
            .is_some_and(|number| header.parse() == Ok(number))
    };
    number.to_string() == header || is_equal_value()
}

fn check_equal(headers: &HeaderMap, name: &str, expected: &str) -> Result<(), RpcError> {
    match header_value(headers, name)? {
        None => Err(mismatch(name, "is missing")),
        Some(sent) if sent != expected => Err(mismatch(name, "is not what the body says")),
        Some(_) => Ok(()),
    }
}

/// Returns the single value of a header, decoded if it is encoded; `None` if there is none.
fn header_value(headers: &HeaderMap, name: &str) -> Result<Option<String>, RpcError> {
    let mut values = headers.get_all(name).into_iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(mismatch(name, "stands there twice"));
    }

    let text = value
        .to_str()
        .map_err(|_| mismatch(name, "is not ASCII"))?
        .trim();
    let encoded = text
        .strip_prefix("=?base64?")
        .and_then(|text| text.strip_suffix("?="));
    let Some(encoded) = encoded else {
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

fn mismatch(name: &str, what: &str) -> RpcError {
    RpcError::bad_request(
        error_code::HEADER_MISMATCH,
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
        Message::parse(Bytes::from(text)).unwrap()
    }

    #[test]
    fn revision_method_and_name_must_be_those_of_the_body() {
        let version = (VERSION, "2026-07-28");
        let method = (METHOD, "tools/call");

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

        let bare = Message::parse(Bytes::from_static(
            br#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#,
        ))
        .unwrap();

        assert!(check(&headers(&[version, (METHOD, "tools/list")]), &bare).is_err());
    }

    /// It need not have a `_meta` at all, so the lack of one is not the fault to report.
    #[test]
    fn an_unknown_revision_in_the_header_is_the_error() {
        let bare = Message::parse(Bytes::from_static(
            br#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#,
        ))
        .unwrap();

        for name in ["2999-01-01", "DRAFT-2027-v1"] {
            let error = check(&headers(&[(VERSION, name)]), &bare).unwrap_err();

            let text = error.to_json();
            assert!(
                text.contains(&format!("Unsupported protocol version: {name}")),
                "{text}"
            );
            assert!(text.contains(r#""supported":["2024-11-05""#), "{text}");
        }
    }

    #[test]
    fn arguments_in_headers_must_be_those_of_the_body() {
        let parameters = [
            HeaderParameter {
                header: "mcp-param-region".into(),
                path: vec!["region".into()],
            },
            HeaderParameter {
                header: "mcp-param-depth".into(),
                path: vec!["a".into(), "depth".into()],
            },
            HeaderParameter {
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
            let checked = check_arguments(&headers(fields), Some(arguments), &parameters);
            assert_eq!(checked.is_ok(), is_good, "{fields:?} {arguments}");
        }
    }
}
