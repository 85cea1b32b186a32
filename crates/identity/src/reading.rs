//! The strict reading of a message: decides whether it may reach the provider of an id.
//!
//! A provider reads a message with a parser of its own, and headers that repeat it may not be read at
//! all. So a message is allowed only if every parser reads in it what was read here; everything else
//! is refused, also where no rule names it. What is allowed is forwarded byte for byte.
//!
//! Not decided here: the arguments of a tool, which are the provider's own, and what a method that
//! MCP does not have means to a provider. A list of allowed methods leaves those out.

mod headers;
mod json;
mod uri;

use std::fmt;
use std::sync::Arc;

use llamapool_mcp::{Revision, folded_name};
use serde_json::value::RawValue;

use crate::policy::{MessagePolicy, NameRules, RuleKind};

use self::json::{Keep, Known, Members, Value};

pub use headers::MessageHeaders;

/// The most messages of a batch (MCP 2025-03-26).
const MAX_BATCH: usize = 50;
/// The most URIs that one request listens for.
const MAX_URIS: usize = 256;
/// The most characters of a foreign name in the log.
const LOGGED_CHARS: usize = 128;
/// The methods by whose parameters is decided. One that only resembles them is refused.
const DECIDING: [&str; 7] = [
    "tools/call",
    "prompts/get",
    "completion/complete",
    "resources/read",
    "resources/subscribe",
    "resources/unsubscribe",
    "subscriptions/listen",
];

const MESSAGE: Keep = Keep::Members(ENVELOPE);
const ENVELOPE: &[Known] = &[
    known("jsonrpc", "jsonrpc", Keep::Nothing),
    known("id", "id", Keep::Raw),
    known("method", "method", Keep::Text),
    known("params", "params", Keep::Members(PARAMS)),
    known("result", "result", Keep::Nothing),
    known("error", "error", Keep::Nothing),
];
const PARAMS: &[Known] = &[
    known("name", "name", Keep::Text),
    known("uri", "uri", Keep::Text),
    known("taskId", "taskid", Keep::Text),
    known("ref", "ref", Keep::Members(REFERENCE)),
    known("notifications", "notifications", Keep::Members(WANTED)),
    known("_meta", "meta", Keep::Members(META)),
];
/// What `completion/complete` completes.
const REFERENCE: &[Known] = &[
    known("type", "type", Keep::Nothing),
    known("name", "name", Keep::Text),
    known("uri", "uri", Keep::Text),
];
/// What `subscriptions/listen` listens for (MCP 2026-07-28).
const WANTED: &[Known] = &[known(
    "resourceSubscriptions",
    "resourcesubscriptions",
    Keep::OneOrList(&Keep::Text, MAX_URIS),
)];
const META: &[Known] = &[known(
    META_REVISION,
    "io.modelcontextprotocol/protocolversion",
    Keep::Text,
)];
const META_REVISION: &str = "io.modelcontextprotocol/protocolVersion";

/// The policies that a message must satisfy, all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MessageRules(Vec<(RuleSource, Arc<MessagePolicy>)>);

/// What a policy belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RuleSource {
    /// The access of the id.
    Id,
    /// The key or the token that was presented: its operations, or its scope.
    Credential,
}

/// A message that is refused, and the text of the id of its request, if that is unambiguous.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{error}")]
pub struct RefusedMessageError {
    /// The reason.
    #[source]
    pub error: ReadingError,
    /// The id that an answer repeats.
    pub id: Option<Box<RawValue>>,
}

/// The reasons for refusing a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadingError {
    /// Parsers could read it differently, or it is no message.
    #[error("{0}")]
    Unreadable(String),
    /// A header does not repeat the value of the body.
    #[error("{0}")]
    HeaderMismatch(String),
    /// A rule does not allow it.
    #[error("{0}")]
    Denied(Denial),
}

/// A rule that does not allow a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// What the rule belongs to.
    pub source: RuleSource,
    /// The kind of the rule.
    pub rule: RuleKind,
    /// What the rule does not allow, for the log alone: the method, tool, prompt or URI, cut and
    /// escaped.
    pub denied: String,
}

impl MessageRules {
    /// Returns whether every message is allowed, so that none needs to be read.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a policy, unless it allows everything. A message must satisfy it, too.
    #[must_use]
    pub fn and(mut self, source: RuleSource, policy: Arc<MessagePolicy>) -> Self {
        if !policy.is_empty() {
            self.0.push((source, policy));
        }
        self
    }

    /// Decides whether the message in the body of a request may pass.
    ///
    /// # Errors
    ///
    /// If it is no message that every parser reads alike, its headers do not repeat it, or one of the
    /// policies does not allow it.
    pub fn decide(
        &self,
        body: &[u8],
        headers: &MessageHeaders<'_>,
    ) -> Result<(), RefusedMessageError> {
        let read = json::read(body, Keep::OneOrList(&MESSAGE, MAX_BATCH));
        let whole = read.map_err(|why| ReadingError::Unreadable(why).without_id())?;
        match whole {
            Value::Members(message) => self.decide_one(&message, headers),
            Value::List(batch) => {
                check_batch(&batch, headers).map_err(ReadingError::without_id)?;
                for message in &batch {
                    let Value::Members(message) = message else {
                        return Err(unreadable("a batch has an element that is no object"));
                    };
                    self.decide_one(message, headers)?;
                }
                Ok(())
            }
            _ => Err(unreadable("it is neither an object nor a batch of them")),
        }
    }

    fn decide_one(
        &self,
        message: &Members<'_>,
        headers: &MessageHeaders<'_>,
    ) -> Result<(), RefusedMessageError> {
        let id = id_of(message).map_err(ReadingError::without_id)?;
        let decided = Message::of(message).and_then(|message| {
            headers.check(&message)?;
            self.decide_message(&message)
        });
        decided.map_err(|error| RefusedMessageError {
            error,
            id: id.map(ToOwned::to_owned),
        })
    }

    fn decide_message(&self, message: &Message<'_>) -> Result<(), ReadingError> {
        let Some(method) = message.method else {
            return Ok(());
        };
        for (source, policy) in &self.0 {
            if !policy.allows_method(method) {
                return Err(Denial::new(*source, RuleKind::Method, method).into());
            }
            message.check_names(*source, policy)?;
        }
        Ok(())
    }
}

/// A message as far as is decided by it.
struct Message<'a> {
    /// The method; `None` for an answer.
    method: Option<&'a str>,
    params: Option<&'a Members<'a>>,
}

impl<'a> Message<'a> {
    fn of(envelope: &'a Members<'a>) -> Result<Self, ReadingError> {
        let outcomes = ["result", "error"].map(|name| envelope.get(name).is_some());
        let method = match envelope.get("method") {
            None if outcomes[0] != outcomes[1] => None,
            None => return Err(wrong("expected a method, or either a result or an error")),
            Some(_) if outcomes.contains(&true) => {
                return Err(wrong("it has a method, and a result or an error"));
            }
            Some(Value::Text(method)) => Some(&**method),
            Some(_) => return Err(wrong("its method is no string")),
        };
        if let Some(method) = method {
            check_method(method)?;
        }

        let params = match envelope.get("params") {
            None | Some(Value::Null) => None,
            Some(Value::Members(params)) => Some(params),
            Some(_) => return Err(wrong("its params are no object")),
        };
        Ok(Self { method, params })
    }

    /// Returns the revision that it names itself (MCP 2026-07-28).
    fn revision(&self) -> Option<&str> {
        match self.params?.get("_meta")? {
            Value::Members(meta) => text(meta.get(META_REVISION)?),
            _ => None,
        }
    }

    /// Returns the value that `Mcp-Name` repeats, `None` if there is none (MCP 2026-07-28, streamable
    /// HTTP; the tasks extension).
    fn repeated_name(&self) -> Option<&str> {
        let name = match self.method? {
            "tools/call" | "prompts/get" => "name",
            "resources/read" => "uri",
            "tasks/get" | "tasks/update" | "tasks/cancel" => "taskId",
            _ => return None,
        };
        text(self.params?.get(name)?)
    }

    /// Checks the tools, prompts and resources that it names.
    fn check_names(&self, source: RuleSource, policy: &MessagePolicy) -> Result<(), ReadingError> {
        let param = |name| self.params.and_then(|params| params.get(name));
        let tool = Check::new(source, RuleKind::Tool, &policy.tools);
        let prompt = Check::new(source, RuleKind::Prompt, &policy.prompts);
        let resource = Check::new(source, RuleKind::Resource, &policy.resources);

        match self.method {
            Some("tools/call") => tool.one(param("name")),
            Some("prompts/get") => prompt.one(param("name")),
            Some("resources/read" | "resources/subscribe" | "resources/unsubscribe") => {
                resource.one(param("uri"))
            }
            Some("completion/complete") => check_reference(param("ref"), prompt, resource),
            Some("subscriptions/listen") => match param("notifications") {
                None | Some(Value::Null) => Ok(()),
                Some(Value::Members(wanted)) => resource.all(wanted.get("resourceSubscriptions")),
                Some(_) if resource.is_idle() => Ok(()),
                Some(_) => Err(wrong("its notifications are no object")),
            },
            _ => Ok(()),
        }
    }
}

/// Checks the prompt or the resource that a completion is for.
fn check_reference(
    reference: Option<&Value<'_>>,
    prompt: Check<'_>,
    resource: Check<'_>,
) -> Result<(), ReadingError> {
    if prompt.is_idle() && resource.is_idle() {
        return Ok(());
    }
    let Some(Value::Members(reference)) = reference else {
        return Err(wrong("its params have no ref, which is an object"));
    };
    match (reference.get("name"), reference.get("uri")) {
        (None, uri) => resource.one(uri),
        (name, None) => prompt.one(name),
        (name, uri) => prompt.one(name).and_then(|()| resource.one(uri)),
    }
}

/// The check of names by the rules of one kind.
#[derive(Clone, Copy)]
struct Check<'a> {
    source: RuleSource,
    kind: RuleKind,
    rules: &'a NameRules,
}

impl<'a> Check<'a> {
    fn new(source: RuleSource, kind: RuleKind, rules: &'a NameRules) -> Self {
        Self {
            source,
            kind,
            rules,
        }
    }

    /// Returns whether every name is allowed.
    fn is_idle(self) -> bool {
        self.rules.is_empty()
    }

    /// Checks a name that must be there.
    fn one(self, name: Option<&Value<'_>>) -> Result<(), ReadingError> {
        if self.is_idle() {
            return Ok(());
        }
        let word = self.kind.word();
        let name = name.and_then(text);
        let name = name.ok_or_else(|| wrong(format!("it names no {word}")))?;
        if name.contains(char::is_control) {
            return Err(wrong(format!("the {word} has a control character")));
        }
        if self.kind == RuleKind::Resource {
            uri::check_plain(name).map_err(wrong)?;
        }

        if self.rules.allows(name) {
            return Ok(());
        }
        Err(Denial::new(self.source, self.kind, name).into())
    }

    /// Checks names that may be absent.
    fn all(self, names: Option<&Value<'_>>) -> Result<(), ReadingError> {
        match names {
            None | Some(Value::Null) => Ok(()),
            Some(Value::List(names)) => names.iter().try_for_each(|name| self.one(Some(name))),
            name => self.one(name),
        }
    }
}

impl Denial {
    fn new(source: RuleSource, rule: RuleKind, denied: &str) -> Self {
        let start: String = denied.chars().take(LOGGED_CHARS).collect();
        Self {
            source,
            rule,
            denied: start.escape_debug().to_string(),
        }
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rule = self.rule.word();
        match self.source {
            RuleSource::Id => write!(f, "the policy of the id does not allow this {rule}"),
            RuleSource::Credential => {
                write!(f, "what was presented does not allow this {rule}")
            }
        }
    }
}

impl From<Denial> for ReadingError {
    fn from(denial: Denial) -> Self {
        Self::Denied(denial)
    }
}

impl ReadingError {
    fn without_id(self) -> RefusedMessageError {
        RefusedMessageError {
            error: self,
            id: None,
        }
    }
}

const fn known(name: &'static str, folded: &'static str, keep: Keep) -> Known {
    Known { name, folded, keep }
}

fn wrong(why: impl Into<String>) -> ReadingError {
    ReadingError::Unreadable(why.into())
}

fn unreadable(why: &str) -> RefusedMessageError {
    wrong(why).without_id()
}

fn text<'a>(value: &'a Value<'_>) -> Option<&'a str> {
    match value {
        Value::Text(text) => Some(text),
        _ => None,
    }
}

/// Returns the id of a message: a string, a number or null (JSON-RPC 2.0).
fn id_of<'a>(message: &Members<'a>) -> Result<Option<&'a RawValue>, ReadingError> {
    let Some(Value::Raw(id)) = message.get("id") else {
        return Ok(None);
    };
    let is_scalar = !id.get().starts_with(['{', '[', 't', 'f']);
    // The string of an id was not decoded yet.
    let checked = json::read(id.get().as_bytes(), Keep::Nothing);
    if is_scalar && checked.is_ok() {
        return Ok(Some(id));
    }
    Err(wrong("its id is neither a string nor a number"))
}

/// Checks that no provider takes a method for another one.
fn check_method(method: &str) -> Result<(), ReadingError> {
    let is_printable = method.bytes().all(|byte| byte.is_ascii_graphic());
    if method.is_empty() || !is_printable {
        return Err(wrong("its method is not printable ASCII"));
    }
    let folded = folded_name(method);
    let resembled = DECIDING.into_iter().find(|known| *known == folded);
    match resembled.filter(|known| *known != method) {
        Some(known) => Err(wrong(format!("its method could be read as {known:?}"))),
        None => Ok(()),
    }
}

/// Checks that a request may be a batch at all.
fn check_batch(batch: &[Value<'_>], headers: &MessageHeaders<'_>) -> Result<(), ReadingError> {
    if batch.is_empty() {
        return Err(wrong("the batch is empty"));
    }
    let latest = Revision::LAST_WITH_BATCHES;
    if headers.names_later_than(latest) {
        return Err(wrong(format!("batches end with revision {latest}")));
    }
    headers.check_absent()
}

#[cfg(test)]
mod tests;
