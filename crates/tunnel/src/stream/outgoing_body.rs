//! A body that this end sends.

use bytes::Bytes;

/// A body that is to be sent.
#[derive(Debug)]
pub enum OutgoingBody<B> {
    /// The whole body, which may be empty: it goes out with its head, as far as the receiver takes
    /// that much at once.
    Whole(Bytes),
    /// A body that is produced in pieces.
    Stream(B),
}
