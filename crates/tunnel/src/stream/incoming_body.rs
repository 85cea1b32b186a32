//! A body that arrives through the tunnel.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http_body::{Body, Frame, SizeHint};
use llamapool_head::Fields;
use llamapool_limits::{MemoryAccount, ShareError};
use tokio::task::JoinSet;

use super::error::StreamError;
use super::half::ReceiveHalf;
use super::state::BodyEvent;
use super::whole_body::WholeBody;

/// A body that arrives through the tunnel. Dropping it before its end stops the sender.
///
/// It yields bytes as they arrive, and gives the sender's window back only as they are read: a
/// reader that stops costs this end at most [`stream_window`](crate::TunnelConfig::stream_window)
/// bytes.
pub struct IncomingBody {
    half: ReceiveHalf,
    /// Bytes still to arrive according to the content length. With more or fewer the body is not
    /// the one that was sent.
    announced: Option<u64>,
    /// Allows `is_end_stream` to be true before the end was polled. False until the first frame, so
    /// that an empty chunked body is forwarded as chunked, not with length 0.
    may_report_end: bool,
    /// The rest of the request that this body answers, while it is still being sent.
    upload: Option<JoinSet<()>>,
    has_ended: bool,
    /// Sees the bytes as they are read.
    observer: Option<BytesObserver>,
}

/// A function that sees the bytes of a body as they are read.
pub type BytesObserver = Box<dyn FnMut(&Bytes) + Send>;

/// The reason why a body through the tunnel broke off.
#[derive(Debug, thiserror::Error)]
pub enum IncomingBodyError {
    /// The sender's own source broke off, or the sender gave up.
    #[error("the body broke off")]
    Aborted,
    /// The tunnel was lost.
    #[error("the tunnel was lost: {0}")]
    TunnelLost(String),
    /// This end read nothing for too long of what had arrived.
    #[error("its reader took nothing for too long")]
    ReaderStalled,
    /// This end had no memory for what had arrived and was not read.
    #[error("there was no memory for its unread bytes")]
    OutOfMemory,
}

/// Returns the length that a head announces of its body, or `None`.
pub(crate) fn content_length(fields: &Fields) -> Option<u64> {
    let value = fields.get(&CONTENT_LENGTH)?.as_bytes();
    let digits = value.strip_prefix(b"+").unwrap_or(value);
    let append = |number: u64, digit: &u8| {
        let digit = u64::from(digit.wrapping_sub(b'0'));
        number
            .checked_mul(10)
            .filter(|_| digit < 10)?
            .checked_add(digit)
    };
    match digits {
        [] => None,
        digits => digits.iter().try_fold(0, append),
    }
}

impl IncomingBody {
    /// Creates a body of `announced` bytes, as far as its head announces them. `is_empty`: the head
    /// was the last frame of the message.
    pub(crate) fn new(half: ReceiveHalf, announced: Option<u64>, is_empty: bool) -> Self {
        Self {
            half,
            announced,
            may_report_end: is_empty,
            upload: None,
            has_ended: false,
            observer: None,
        }
    }

    /// Keeps the rest of a request going for as long as its response is read.
    pub(crate) fn with_upload(mut self, upload: JoinSet<()>) -> Self {
        self.upload = Some(upload);
        self
    }

    /// Lets an observer see the bytes as they are read.
    pub fn observe(&mut self, observer: BytesObserver) {
        self.observer = Some(observer);
    }

    /// Returns the whole body as bytes if all of it has arrived and it has at most `max_bytes`, and,
    /// for a response, its stream is over for both ends. Otherwise the body itself, unchanged.
    pub fn into_whole(mut self, max_bytes: usize) -> Result<WholeBody, Self> {
        if self.has_ended || self.announced.is_some_and(|left| left > max_bytes as u64) {
            return Err(self);
        }
        let Some(data) = self.half.take_whole(max_bytes) else {
            return Err(self);
        };
        if let Some(observer) = &mut self.observer {
            observer(&data);
        }
        let is_complete = self
            .announced
            .is_none_or(|announced| announced == data.len() as u64);
        let may_report_end = self.may_report_end;
        Ok(WholeBody::new(
            data,
            is_complete,
            may_report_end,
            self.upload,
        ))
    }

    /// Takes the whole body if it has arrived as its head announced it, with `max_bytes` at most. `None`
    /// leaves it as it is; also a body without bytes whose head did not announce that.
    pub fn take_whole(&mut self, max_bytes: usize) -> Option<Bytes> {
        if self.has_ended {
            return None;
        }
        let Self {
            announced,
            may_report_end,
            ..
        } = *self;
        let data = self.half.take_arrived(|length| {
            length <= max_bytes
                && announced.is_none_or(|announced| announced == length as u64)
                && (length > 0 || may_report_end || announced.is_some())
        })?;
        if let Some(observer) = &mut self.observer
            && !data.is_empty()
        {
            observer(&data);
        }
        self.has_ended = true;
        Some(data)
    }

    /// Returns whether more of the body may arrive.
    pub fn is_arriving(&self) -> bool {
        !self.has_ended && self.half.is_receiving()
    }

    /// Counts the memory of what arrives for these parties. Fails if there is none for the window of
    /// the body, unless all of it has arrived.
    pub fn cover_window(&self, account: MemoryAccount) -> Result<(), ShareError> {
        self.half.cover_window(account)
    }

    /// Counts received bytes against the content length.
    fn count(&mut self, length: usize) -> Result<(), IncomingBodyError> {
        if let Some(announced) = &mut self.announced {
            *announced = announced
                .checked_sub(length as u64)
                .ok_or(IncomingBodyError::Aborted)?;
        }
        Ok(())
    }

    /// Returns the result of the body's end: a body shorter than its content length broke off.
    fn end(&self) -> Result<(), IncomingBodyError> {
        match self.announced {
            Some(1..) => Err(IncomingBodyError::Aborted),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for IncomingBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IncomingBody")
            .field("half", &self.half)
            .field("announced", &self.announced)
            .field("has_ended", &self.has_ended)
            .finish_non_exhaustive()
    }
}

impl Body for IncomingBody {
    type Data = Bytes;
    type Error = IncomingBodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, IncomingBodyError>>> {
        let this = self.get_mut();
        if this.has_ended {
            return Poll::Ready(None);
        }

        let end = match ready!(this.half.poll_body(cx)) {
            BodyEvent::Data(data) => match this.count(data.len()) {
                Ok(()) => {
                    this.may_report_end = true;
                    if let Some(observer) = &mut this.observer {
                        observer(&data);
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Err(error) => Err(error),
            },
            BodyEvent::End => this.end(),
            BodyEvent::Aborted | BodyEvent::Failed(StreamError::Cancelled(_)) => {
                Err(IncomingBodyError::Aborted)
            }
            BodyEvent::Failed(StreamError::TunnelLost(reason)) => {
                Err(IncomingBodyError::TunnelLost(reason.to_string()))
            }
            BodyEvent::Failed(StreamError::ReaderStalled) => Err(IncomingBodyError::ReaderStalled),
            BodyEvent::Failed(StreamError::OutOfMemory) => Err(IncomingBodyError::OutOfMemory),
        };
        this.has_ended = true;
        Poll::Ready(end.err().map(Err))
    }

    fn is_end_stream(&self) -> bool {
        let is_complete = self.announced.is_none_or(|left| left == 0);
        self.has_ended || (self.may_report_end && is_complete && self.half.has_read_all())
    }

    fn size_hint(&self) -> SizeHint {
        if self.is_end_stream() {
            SizeHint::with_exact(0)
        } else {
            SizeHint::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn length_of(value: &str) -> Option<u64> {
        let mut fields = Fields::new();
        fields.append(&CONTENT_LENGTH, &HeaderValue::try_from(value).unwrap());
        content_length(&fields)
    }

    #[test]
    fn a_content_length_is_what_numbers_are_parsed_as() {
        let values = [
            "",
            "+",
            "+1",
            "++1",
            "-1",
            "1 ",
            "0",
            "00",
            "1a",
            "/",
            ":",
            "18446744073709551615",
            "18446744073709551616",
            "99999999999999999999999",
        ];
        for value in values {
            assert_eq!(length_of(value), value.parse().ok(), "{value}");
        }
        assert_eq!(content_length(&Fields::new()), None);
    }

    proptest! {
        #[test]
        fn any_text_is_the_number_it_is_parsed_as(value in "[+0-9 /:]{0,21}") {
            prop_assert_eq!(length_of(&value), value.trim_matches(' ').parse().ok().filter(|_| !value.contains(' ')));
        }
    }
}
