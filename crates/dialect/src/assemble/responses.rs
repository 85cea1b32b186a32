//! `responses`: the last event has the whole answer in it.

use bytes::Bytes;

use super::{AssembleError, utf8};
use crate::content::event_kind;
use crate::events::RawEvent;
use crate::members::{NotJsonError, each_member};
use crate::runtime_error::ErrorMembers;

/// The last events.
const LAST: &[&str] = &[
    "response.completed",
    "response.incomplete",
    "response.failed",
];

/// An answer of `responses`, once it came.
#[derive(Debug)]
pub(super) struct Responses {
    max_bytes: usize,
    answer: Option<Bytes>,
}

impl Responses {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self {
            max_bytes,
            answer: None,
        }
    }

    pub(super) fn event(&mut self, event: &RawEvent) -> Result<(), AssembleError> {
        // Most events are deltas, of which nothing is needed.
        let is_delta = |name: &[u8]| name.starts_with(b"response.") && name.ends_with(b".delta");
        if event.name.as_deref().is_some_and(is_delta) {
            return Ok(());
        }

        let data = utf8(&event.data)?;
        let mut errors = ErrorMembers::default();
        let mut kind = None;
        let mut response = None;
        each_member(data, |member| {
            errors.take(&member.name, member.value);
            match &*member.name {
                "type" => kind = Some(member.value),
                "response" => response = Some(member.value),
                _ => {}
            }
            Ok::<(), NotJsonError>(())
        })?;

        let kind = event_kind(event, kind);
        if kind == "error" || (kind.is_empty() && errors.error().is_some()) {
            return Err(errors.described().into());
        }
        if !LAST.contains(&kind.as_str()) {
            return Ok(());
        }
        let response = response.filter(|response| response.starts_with('{'));
        let response = response.ok_or(AssembleError::Malformed {
            expected: "a last event with a `response`",
        })?;
        if response.len() > self.max_bytes {
            return Err(AssembleError::TooLarge {
                max: self.max_bytes,
            });
        }
        self.answer = Some(Bytes::copy_from_slice(response.as_bytes()));
        Ok(())
    }

    pub(super) fn finish(self) -> Result<Bytes, AssembleError> {
        self.answer.ok_or(AssembleError::Incomplete {
            expected: "`response.completed`",
        })
    }
}
