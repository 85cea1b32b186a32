//! Writes frames to a buffer.

use bytes::{BufMut, BytesMut};

use super::kind::{
    ABORT, CANCEL, DATA, DRAIN, Frame, HEAD, HELLO, LAST, PRELUDE_BYTES, STOP_SENDING, VERSION,
    WINDOW_UPDATE,
};

/// Appends a head frame whose content `write` appends.
pub(crate) fn encode_head(
    out: &mut BytesMut,
    stream: u32,
    is_last: bool,
    write: impl FnOnce(&mut BytesMut),
) {
    let start = out.len();
    let content_start = start + PRELUDE_BYTES;

    // The length follows from the content.
    put_prelude(out, if is_last { HEAD | LAST } else { HEAD }, stream, 0);
    write(out);
    let length = u32::try_from(out.len() - content_start).unwrap_or(u32::MAX);
    out[content_start - 4..content_start].copy_from_slice(&length.to_be_bytes());
}

/// Appends a data frame.
pub(crate) fn encode_data(out: &mut BytesMut, stream: u32, data: &[u8], is_last: bool) {
    let kind = if is_last { DATA | LAST } else { DATA };

    out.reserve(PRELUDE_BYTES + data.len());
    put_prelude(out, kind, stream, data.len() as u32);
    out.extend_from_slice(data);
}

fn put_prelude(out: &mut BytesMut, kind: u8, stream: u32, length: u32) {
    let [s0, s1, s2, s3] = stream.to_be_bytes();
    let [l0, l1, l2, l3] = length.to_be_bytes();
    out.extend_from_slice(&[kind, s0, s1, s2, s3, l0, l1, l2, l3]);
}

impl Frame {
    /// Appends the frame to `out`.
    pub(crate) fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Hello(hello) => {
                put_prelude(out, HELLO, 0, 13);
                out.put_u8(VERSION);
                out.put_u32(hello.window);
                out.put_u32(hello.max_streams);
                out.put_u32(hello.max_header_bytes);
            }
            Self::Head {
                stream,
                head,
                is_last,
            } => encode_head(out, *stream, *is_last, |out| out.extend_from_slice(head)),
            Self::Data {
                stream,
                data,
                is_last,
            } => encode_data(out, *stream, data, *is_last),
            Self::Abort { stream } => put_prelude(out, ABORT, *stream, 0),
            Self::StopSending { stream } => put_prelude(out, STOP_SENDING, *stream, 0),
            Self::Cancel { stream, reason } => {
                put_prelude(out, CANCEL, *stream, 1);
                out.put_u8(reason.code());
            }
            Self::WindowUpdate { stream, bytes } => {
                put_prelude(out, WINDOW_UPDATE, *stream, 4);
                out.put_u32(*bytes);
            }
            Self::Drain => put_prelude(out, DRAIN, 0, 0),
        }
    }
}
