//! Logs the lines on a program's standard output that are no messages (MCP 2025-11-25, stdio: a
//! server must not write anything else there), as few as the log bears.

use std::fmt::Display;
use std::sync::Arc;

use llamapool_mcp::{TokenKey, readable_responses};
use llamapool_wire::{CallError, Cause};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::stderr::{LogBudget, without_controls};

/// The lines of one program that are no messages.
pub(crate) struct InvalidLines {
    /// The name of the provider in the log.
    provider: Option<Arc<str>>,
    budget: Mutex<LogBudget>,
}

impl InvalidLines {
    pub(crate) fn new(provider: Option<Arc<str>>) -> Self {
        Self {
            provider,
            budget: Mutex::new(LogBudget::new()),
        }
    }

    /// Logs a line that is no message. Returns the ids of the calls whose responses can be read in
    /// it, and the failure that they end with, for they get no other response.
    pub(crate) fn record(&self, line: &[u8], error: &dyn Display) -> (Vec<TokenKey>, CallError) {
        let responses = readable_responses(line);
        if responses.is_empty() {
            self.log_output(line, error);
        } else {
            self.log_response(line, error);
        }

        let message = format!("the MCP server's answer is no message: {error}");
        (responses, CallError::new(Cause::ProviderGarbage, message))
    }

    /// Logs a line in which no response can be read: usually output that was meant for standard
    /// error.
    fn log_output(&self, line: &[u8], error: &dyn Display) {
        if self.is_within_budget() {
            tracing::warn!(
                provider = self.provider.as_deref(),
                line = without_controls(line),
                %error,
                "the program wrote a line to standard output that is no message"
            );
        }
    }

    /// Logs a line in which a response can be read. Its content is the callers' alone.
    fn log_response(&self, line: &[u8], error: &dyn Display) {
        if self.is_within_budget() {
            tracing::warn!(
                provider = self.provider.as_deref(),
                bytes = line.len(),
                %error,
                "the program wrote a response that is no message"
            );
        }
    }

    fn is_within_budget(&self) -> bool {
        let Some(left_out) = self.budget.lock().try_take(Instant::now()) else {
            return false;
        };
        if left_out > 0 {
            tracing::warn!(
                provider = self.provider.as_deref(),
                left_out,
                "the program wrote more lines that are no messages than are logged"
            );
        }
        true
    }
}
