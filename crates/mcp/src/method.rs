//! The methods of MCP as labels under which calls are counted, and the scan that finds a message's
//! method in its first bytes.
//!
//! Labels are for counting alone: nothing is decided by them. Method names come from callers, so
//! they are mapped to a fixed list; any other name counts as `other`.

macro_rules! labels {
    ($($(#[doc = $doc:literal])+ $variant:ident = $label:literal;)+) => {
        /// The label under which a call is counted: the method of a request or notification that
        /// clients send in any revision, an HTTP method that carries no message, or one of three
        /// kinds of messages without a method of their own.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum MethodLabel { $($(#[doc = $doc])+ $variant,)+ }

        impl MethodLabel {
            /// Every label, in the order of [`index`](Self::index).
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// How many labels there are.
            pub const COUNT: usize = Self::ALL.len();

            /// Returns the text of the label, as metrics and the state API show it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $label,)+ }
            }

            /// Returns the label of a JSON-RPC or HTTP method, [`Other`](Self::Other) for an
            /// unknown name.
            pub fn from_name(name: &str) -> Self {
                match name {
                    $($label => Self::$variant,)+
                    _ => Self::Other,
                }
            }
        }
    };
}

labels! {
    /// Any method that the list does not have, and text that is no message.
    Other = "other";
    /// Several messages in one array (MCP 2025-03-26).
    Batch = "batch";
    /// A response to a request of the server.
    Response = "response";
    /// A client that listens.
    HttpGet = "GET";
    /// A client that ends its session.
    HttpDelete = "DELETE";
    /// A request for the head alone.
    HttpHead = "HEAD";
    /// A preflight, or a question for the methods.
    HttpOptions = "OPTIONS";
    /// Begins a session.
    Initialize = "initialize";
    /// Asks for a sign of life.
    Ping = "ping";
    /// Lists the tools.
    ToolsList = "tools/list";
    /// Calls a tool.
    ToolsCall = "tools/call";
    /// Lists the prompts.
    PromptsList = "prompts/list";
    /// Reads a prompt.
    PromptsGet = "prompts/get";
    /// Lists the resources.
    ResourcesList = "resources/list";
    /// Lists the templates of resources.
    ResourcesTemplatesList = "resources/templates/list";
    /// Reads a resource.
    ResourcesRead = "resources/read";
    /// Subscribes to a resource.
    ResourcesSubscribe = "resources/subscribe";
    /// Ends a subscription.
    ResourcesUnsubscribe = "resources/unsubscribe";
    /// Completes an argument.
    CompletionComplete = "completion/complete";
    /// Sets the level of log messages.
    LoggingSetLevel = "logging/setLevel";
    /// Reads a task.
    TasksGet = "tasks/get";
    /// Waits for the result of a task.
    TasksResult = "tasks/result";
    /// Lists the tasks.
    TasksList = "tasks/list";
    /// Updates a task.
    TasksUpdate = "tasks/update";
    /// Cancels a task.
    TasksCancel = "tasks/cancel";
    /// Asks which revisions and capabilities a server has (MCP 2026-07-28).
    ServerDiscover = "server/discover";
    /// Listens for notifications (MCP 2026-07-28).
    SubscriptionsListen = "subscriptions/listen";
    /// Ends the handshake of a session.
    NotificationsInitialized = "notifications/initialized";
    /// Cancels a request.
    NotificationsCancelled = "notifications/cancelled";
    /// Reports the progress of a request.
    NotificationsProgress = "notifications/progress";
    /// A log message.
    NotificationsMessage = "notifications/message";
    /// The client's roots have changed.
    NotificationsRootsListChanged = "notifications/roots/list_changed";
    /// The status of a task has changed.
    NotificationsTasksStatus = "notifications/tasks/status";
    /// An elicitation by URL is complete.
    NotificationsElicitationComplete = "notifications/elicitation/complete";
    /// Asks the client's model.
    SamplingCreateMessage = "sampling/createMessage";
    /// Asks the client's user.
    ElicitationCreate = "elicitation/create";
    /// Lists the client's roots.
    RootsList = "roots/list";
}

impl MethodLabel {
    /// Returns the label's place in [`ALL`](Self::ALL).
    pub const fn index(self) -> u8 {
        self as u8
    }

    /// Returns the label at a place in [`ALL`](Self::ALL), [`Other`](Self::Other) beyond its end.
    pub fn from_index(index: u8) -> Self {
        Self::ALL
            .get(usize::from(index))
            .copied()
            .unwrap_or(Self::Other)
    }

    /// Returns whether a call of this method lasts for as long as its client listens. The duration
    /// of such a call does not measure how fast a provider answers.
    pub const fn is_long_lived(self) -> bool {
        matches!(self, Self::HttpGet | Self::SubscriptionsListen)
    }

    /// Finds the method in the first bytes of a message. Returns `None` if they end before it; a
    /// longer beginning of the same message may then contain it.
    pub fn in_message(start: &[u8]) -> Option<Self> {
        let mut scan = Scan { rest: start };
        match scan.next_byte()? {
            b'[' => return Some(Self::Batch),
            b'{' => {}
            _ => return Some(Self::Other),
        }

        loop {
            match scan.next_byte()? {
                b'}' => return Some(Self::Response),
                b',' => {}
                b'"' => {
                    let is_method = scan.string()? == b"method";
                    if scan.next_byte()? != b':' {
                        return Some(Self::Other);
                    }
                    if is_method {
                        return scan.method();
                    }
                    scan.skip_value()?;
                }
                _ => return Some(Self::Other),
            }
        }
    }
}

/// A walk over JSON that finds where a value ends and understands no more of it.
struct Scan<'a> {
    rest: &'a [u8],
}

impl<'a> Scan<'a> {
    /// Reads the label from the value of the `method` member.
    fn method(&mut self) -> Option<MethodLabel> {
        if self.next_byte()? != b'"' {
            return Some(MethodLabel::Other);
        }
        let name = std::str::from_utf8(self.string()?);
        Some(name.map_or(MethodLabel::Other, MethodLabel::from_name))
    }

    /// Returns the next byte that is neither white space nor part of a byte order mark.
    fn next_byte(&mut self) -> Option<u8> {
        loop {
            let (&byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            if !byte.is_ascii_whitespace() && !b"\xef\xbb\xbf".contains(&byte) {
                return Some(byte);
            }
        }
    }

    /// Returns the inside of a string whose opening quote has been read, with its escapes as they
    /// are.
    fn string(&mut self) -> Option<&'a [u8]> {
        let mut length = 0;
        loop {
            length += memchr::memchr2(b'"', b'\\', self.rest.get(length..)?)?;
            if self.rest.get(length) == Some(&b'"') {
                break;
            }
            length += 2;
        }

        let (text, rest) = self.rest.split_at_checked(length)?;
        self.rest = &rest[1..];
        Some(text)
    }

    /// Skips one value, up to the comma or brace after it.
    fn skip_value(&mut self) -> Option<()> {
        let mut depth = 0usize;
        loop {
            match *self.rest.first()? {
                b'"' => {
                    self.rest = &self.rest[1..];
                    self.string()?;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' | b',' if depth == 0 => return Some(()),
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            self.rest = &self.rest[1..];
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn label(message: &str) -> Option<&'static str> {
        MethodLabel::in_message(message.as_bytes()).map(MethodLabel::as_str)
    }

    #[test]
    fn the_method_is_found_wherever_it_stands() {
        let first = r#"{"jsonrpc":"2.0","id":2,"method":"tools/list","params":{}}"#;
        let spaced = r#" { "method" : "ping" "#;
        let last =
            r#"{"params":{"method":"x","a":[1,{"b":"}\""}]},"id":null,"method":"tools/call"}"#;

        assert_eq!(label(first), Some("tools/list"));
        assert_eq!(label(spaced), Some("ping"));
        assert_eq!(label(last), Some("tools/call"));
    }

    #[test]
    fn messages_without_a_known_method_have_labels_of_their_own() {
        let response = r#"{"jsonrpc":"2.0","id":2,"result":{}}"#;

        assert_eq!(label(response), Some("response"));
        assert_eq!(label(r#"[{"method":"ping"}]"#), Some("batch"));
        assert_eq!(label(r#"{"method":"evil/label\n"}"#), Some("other"));
        assert_eq!(label(r#"{"method":7}"#), Some("other"));
        assert_eq!(label("nonsense"), Some("other"));
    }

    #[test]
    fn an_incomplete_message_has_no_label_yet() {
        let whole = r#"{"jsonrpc":"2.0","id":2,"method":"tools/list""#;

        for length in 0..whole.len() {
            assert_eq!(label(&whole[..length]), None, "{length}");
        }

        assert_eq!(label(whole), Some("tools/list"));
    }

    #[test]
    fn labels_are_unique_and_fit_their_index() {
        for (index, label) in MethodLabel::ALL.iter().enumerate() {
            assert_eq!(usize::from(label.index()), index);
            assert_eq!(MethodLabel::from_index(index as u8), *label);
            assert_eq!(MethodLabel::from_name(label.as_str()), *label);
        }
        assert_eq!(MethodLabel::from_index(255), MethodLabel::Other);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_scan_panic(bytes in r#"(method|\{|\}|\[|\]|"|\\|:|,| |7|é)*"#) {
            let _ = MethodLabel::in_message(bytes.as_bytes());
        }
    }
}
