//! The messages of callers that a program may receive that several callers share.
//!
//! The program takes all of them for one client. So a message must not change what other callers
//! get, nor refer to what belongs to the one client: the bridge.

use http::StatusCode;
use llamapool_mcp::{Message, MessageKind, RpcError, UnambiguousMessage, error_code};

/// Methods whose effect is on the whole program: the beginning of another session, the log level,
/// subscriptions whose notifications name no caller, the tasks of all callers.
const REFUSED_METHODS: [&str; 5] = [
    "initialize",
    "logging/setLevel",
    "resources/subscribe",
    "resources/unsubscribe",
    "tasks/list",
];
/// Notifications of a client about its session, its requests and its own answers. The ids in a
/// cancellation may be those of any caller: nothing distinguishes callers that have no session, so
/// it is not forwarded. A receiver may ignore cancellations (MCP 2025-11-25, cancellation).
const DROPPED_NOTIFICATIONS: [&str; 5] = [
    "notifications/initialized",
    "notifications/cancelled",
    "notifications/progress",
    "notifications/roots/list_changed",
    "notifications/tasks/status",
];

/// A message of a caller for a shared program.
pub(crate) enum SharedMessage<'a> {
    /// A request to forward.
    Request(UnambiguousMessage<'a>),
    /// A notification to forward.
    Notification(UnambiguousMessage<'a>),
    /// A notification that is accepted and has no effect.
    Dropped,
}

impl<'a> SharedMessage<'a> {
    /// Checks a message of a caller. A refused method is answered with `unknown_method` as its
    /// status.
    pub(crate) fn check(
        message: &'a Message,
        unknown_method: StatusCode,
    ) -> Result<Self, RpcError> {
        let checked = UnambiguousMessage::check(message).map_err(|error| {
            let text = format!("Invalid Request: {error}");
            RpcError::bad_request(error_code::INVALID_REQUEST, text).for_message(message)
        })?;

        match message.kind {
            MessageKind::Response => {
                let text = "Invalid Request: no request of the server was sent to this client";
                Err(RpcError::bad_request(error_code::INVALID_REQUEST, text))
            }
            MessageKind::Notification if DROPPED_NOTIFICATIONS.contains(&message.method()) => {
                Ok(Self::Dropped)
            }
            MessageKind::Notification => Ok(Self::Notification(checked)),
            MessageKind::Request if REFUSED_METHODS.contains(&message.method()) => {
                let text = format!(
                    "Method not found: {} has an effect on all callers of this server; it needs a session",
                    message.method()
                );
                let error = RpcError::new(unknown_method, error_code::METHOD_NOT_FOUND, text);
                Err(error.for_message(message))
            }
            MessageKind::Request => Ok(Self::Request(checked)),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn outcome(text: &str) -> String {
        let message = Message::parse(Bytes::copy_from_slice(text.as_bytes())).unwrap();
        match SharedMessage::check(&message, StatusCode::NOT_FOUND) {
            Ok(SharedMessage::Request(_)) => "request".into(),
            Ok(SharedMessage::Notification(_)) => "notification".into(),
            Ok(SharedMessage::Dropped) => "dropped".into(),
            Err(error) => format!("{} {}", error.status().as_u16(), error.to_json()),
        }
    }

    #[test]
    fn only_what_concerns_its_own_caller_is_forwarded() {
        let request = |method: &str| {
            outcome(&format!(
                r#"{{"jsonrpc":"2.0","id":7,"method":"{method}"}}"#
            ))
        };
        let notification =
            |method: &str| outcome(&format!(r#"{{"jsonrpc":"2.0","method":"{method}"}}"#));

        for method in ["tools/call", "ping", "tasks/get", "resources/read", "own/x"] {
            assert_eq!(request(method), "request");
        }
        for method in REFUSED_METHODS {
            let refused = request(method);
            assert!(
                refused.starts_with("404") && refused.contains(r#""id":7,"error":{"code":-32601"#),
                "{refused}"
            );
        }
        assert_eq!(notification("notifications/x"), "notification");
        for method in DROPPED_NOTIFICATIONS {
            assert_eq!(notification(method), "dropped");
        }
        assert!(outcome(r#"{"jsonrpc":"2.0","id":7,"result":{}}"#).starts_with("400"));
    }

    #[test]
    fn an_ambiguous_message_is_refused_with_the_key() {
        let refused = outcome(r#"{"jsonrpc":"2.0","id":7,"method":"ping","ID":8}"#);

        assert_eq!(
            refused,
            r#"400 {"jsonrpc":"2.0","id":7,"error":{"code":-32600,"message":"Invalid Request: the key \"ID\" could be read as \"id\"; spell it so"}}"#
        );
    }
}
