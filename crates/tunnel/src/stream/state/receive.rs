//! Transitions of a stream by received frames.

use bytes::Bytes;

use super::super::error::{ProtocolError, StreamError};
use super::{BodyProgress, ReceivedHead, StreamState};
use crate::config::UNCOUNTED_BYTES;
use crate::frame::Frame;

impl StreamState {
    pub(crate) fn receive_head(&mut self, head: ReceivedHead) -> Result<(), ProtocolError> {
        if std::mem::replace(&mut self.has_received_head, true) {
            return Err(ProtocolError::SecondHead(self.number));
        }
        if head.is_last {
            self.receiving = BodyProgress::Ended;
        }
        self.response_head = Some(head);
        Ok(())
    }

    /// Buffers a piece of the peer's body, within the receive window. Returns a frame for the peer
    /// if there is no memory for it: the stream is given up then.
    pub(crate) fn receive_data(
        &mut self,
        data: Bytes,
        is_last: bool,
    ) -> Result<Option<Frame>, ProtocolError> {
        self.check_body_expected()?;

        let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
        let window = &mut self.receive_window;
        if !window.has_room(length) {
            return Err(ProtocolError::WindowExceeded(self.number));
        }

        if self.receiving == BodyProgress::Open {
            window.use_up(length);
            self.receive_buffer.push(data);
        }
        if is_last {
            self.receiving = BodyProgress::Ended;
        }

        let is_counted = self.receive_buffer.len() > UNCOUNTED_BYTES as usize;
        if is_counted && self.receive_window.cover().is_err() {
            return Ok(self.give_up(StreamError::OutOfMemory));
        }
        Ok(None)
    }

    pub(crate) fn receive_abort(&mut self) -> Result<(), ProtocolError> {
        self.check_body_expected()?;
        self.receiving = BodyProgress::Aborted;
        Ok(())
    }

    pub(crate) fn receive_stop_sending(&mut self) {
        if self.sending == BodyProgress::Open {
            self.sending = BodyProgress::Stopped;
        }
    }

    pub(crate) fn receive_window_update(&mut self, bytes: u32) -> Result<(), ProtocolError> {
        self.send_window = self
            .send_window
            .checked_add(bytes)
            .ok_or(ProtocolError::WindowOverflow(self.number))?;
        Ok(())
    }

    fn check_body_expected(&self) -> Result<(), ProtocolError> {
        if !self.has_received_head {
            return Err(ProtocolError::BodyBeforeHead(self.number));
        }
        match self.receiving {
            BodyProgress::Open | BodyProgress::Stopped => Ok(()),
            BodyProgress::Ended | BodyProgress::Aborted => {
                Err(ProtocolError::BodyBehindEnd(self.number))
            }
        }
    }
}
