//! Ollama's `chat` and `generate` from their lines.

use bytes::Bytes;

use super::joined::{Joined, Room, close, write_name};
use super::tool_calls::write_object;
use super::{AssembleError, utf8};
use crate::members::each_member;
use crate::runtime_error::ErrorMembers;

/// An answer, as far as it came.
#[derive(Debug)]
pub(super) struct Ollama {
    room: Room,
    members: Joined,
    message: Joined,
    is_done: bool,
}

impl Ollama {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self {
            room: Room::new(max_bytes),
            members: Joined::default(),
            message: Joined::default(),
            is_done: false,
        }
    }

    pub(super) fn event(&mut self, data: &[u8]) -> Result<(), AssembleError> {
        let mut errors = ErrorMembers::default();
        let mut is_done = false;
        each_member(utf8(data)?, |member| {
            let name = &*member.name;
            let value = member.value;
            errors.take(name, value);
            match name {
                "message" if value.starts_with('{') => self.add_message(value),
                "error" => Ok(()),
                "response" | "thinking" => self.members.join(name, value, &mut self.room),
                "logprobs" => self.members.append(name, value, &mut self.room),
                _ => {
                    if name == "done" {
                        is_done = value == "true";
                    }
                    self.members.last(name, value, &mut self.room)
                }
            }
        })?;
        self.is_done |= is_done;
        match errors.error() {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    }

    pub(super) fn finish(self) -> Result<Bytes, AssembleError> {
        if !self.is_done {
            return Err(AssembleError::Incomplete {
                expected: "`\"done\":true`",
            });
        }

        let mut out = String::from("{");
        self.members.write_members(&mut out);
        if !self.message.is_empty() {
            write_name("message", &mut out);
            write_object(&self.message, &mut out);
        }
        close(&mut out, '}');
        Ok(Bytes::from(out))
    }

    fn add_message(&mut self, message: &str) -> Result<(), AssembleError> {
        each_member(message, |member| match &*member.name {
            "role" => self.message.last("role", member.value, &mut self.room),
            name => self.message.join(name, member.value, &mut self.room),
        })
    }
}
