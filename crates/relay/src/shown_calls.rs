//! Calls as people see them pass: method and tool, time, outcome.
//!
//! The relay reads no body otherwise. Where calls are shown, the beginning of a request is copied as
//! it passes and read once the call is over: nothing is held back, and nothing is decided by it.

use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use llamapool_head::{FieldLookup, Fields};
use llamapool_http::BodyEnd;
use llamapool_mcp::{CallName, header as mcp};
use llamapool_wire::llm::{CallEnd, CallReport};
use llamapool_wire::{DisplayName, Mark, people_line};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::call::CallRequest;

/// How much of a body is copied: a message names its tool before long arguments, or does not name it.
const SEEN_BYTES: usize = 4 * 1024;

/// A call that is shown when the last of its holders is gone: the guard of the call, and the task
/// that makes its answer.
#[derive(Clone)]
pub(crate) struct ShownCall(Arc<CallState>);

struct CallState {
    provider: Arc<str>,
    method: Method,
    named: Option<CallName>,
    started: Instant,
    seen: Mutex<Vec<u8>>,
    outcome: Mutex<Option<String>>,
}

impl ShownCall {
    /// A call that begins. Its body is copied in part as it passes.
    pub(crate) fn begin(provider: &Arc<str>, request: &mut CallRequest<'_>) -> Self {
        let call = Self(Arc::new(CallState {
            provider: provider.clone(),
            method: request.method.clone(),
            named: named_by_headers(request.fields),
            started: Instant::now(),
            seen: Mutex::default(),
            outcome: Mutex::default(),
        }));

        // Weak: a body that is still sent after the answer does not keep the call.
        let state = Arc::downgrade(&call.0);
        request.body.observe(Box::new(move |data: &Bytes| {
            if let Some(state) = state.upgrade() {
                state.copy(data);
            }
        }));
        call
    }

    /// Notes the outcome by the head of the answer, which counts before its end.
    pub(crate) fn note_answer(&self, answer: impl ToString) {
        *self.0.outcome.lock() = Some(answer.to_string());
    }

    /// Notes the end of the answer; `None` if the caller has left.
    pub(crate) fn note_end(&self, end: Option<&BodyEnd>) {
        self.0.outcome.lock().get_or_insert_with(|| of_end(end));
    }
}

impl CallState {
    fn copy(&self, data: &Bytes) {
        let mut seen = self.seen.lock();
        let room = SEEN_BYTES - seen.len();
        seen.extend_from_slice(&data[..data.len().min(room)]);
    }
}

impl Drop for CallState {
    fn drop(&mut self) {
        let named = self.named.take();
        let named = named.unwrap_or_else(|| CallName::in_prefix(self.seen.get_mut()));
        let method = named.method.unwrap_or_else(|| self.method.to_string());
        let outcome = self.outcome.get_mut().take();
        show(Shown {
            provider: &self.provider,
            method: &method,
            name: named.name.as_deref().unwrap_or_default(),
            ms: self.started.elapsed().as_millis() as u64,
            outcome: &outcome.unwrap_or_else(|| of_end(None)),
        });
    }
}

/// Shows a call to an LLM, which is over.
pub(crate) fn show_llm(provider: &str, api: &str, model: &str, report: &CallReport) {
    let outcome = match report.end {
        CallEnd::Complete => "ok",
        CallEnd::Refused => "refused by the runtime",
        CallEnd::Failed => "failed",
        CallEnd::Cancelled => "caller left",
    };
    let writing_ms = report.total_ms.saturating_sub(report.first_ms.unwrap_or(0));
    let speed = if report.completion > 1 && writing_ms > 0 {
        let per_second = report.completion as f64 * 1000.0 / writing_ms as f64;
        format!("  {} tokens, {per_second:.0}/s", report.completion)
    } else {
        String::new()
    };
    show(Shown {
        provider,
        method: api,
        name: model,
        ms: report.total_ms,
        outcome: &format!("{outcome}{speed}"),
    });
}

struct Shown<'a> {
    provider: &'a str,
    method: &'a str,
    name: &'a str,
    ms: u64,
    outcome: &'a str,
}

fn show(call: Shown<'_>) {
    let Shown {
        provider,
        ms,
        outcome,
        ..
    } = call;
    // A caller chooses both, at any length.
    let method = DisplayName::new(call.method);
    let name = DisplayName::new(call.name);
    let method = method.as_str();
    let name = name.as_str();
    tracing::info!(
        provider, method, name, ms, outcome,
        people = %people_line(Mark::Call, method, format_args!("{name:<20} {ms:>6} ms  {outcome}")),
        "call"
    );
}

fn of_end(end: Option<&BodyEnd>) -> String {
    let word = match end {
        Some(BodyEnd::Complete) => "ok",
        Some(BodyEnd::Broken | BodyEnd::Aborted) => "failed",
        Some(BodyEnd::TimedOut) => "timed out",
        None => "caller left",
    };
    word.to_owned()
}

/// Returns what the headers name (MCP 2026-07-28, streamable HTTP).
fn named_by_headers(fields: &Fields) -> Option<CallName> {
    let text = |name| fields.text_of(name).map(str::to_owned);
    Some(CallName {
        method: Some(text(&mcp::METHOD)?),
        name: text(&mcp::NAME),
    })
}
