//! The header of a WebSocket frame (RFC 6455, 5.2).

use super::{Role, WebSocketError};
use crate::config::MAX_MESSAGE_BYTES;

/// Size of the longest header: two bytes, eight of the length, four of the mask.
pub(in crate::socket) const MAX_HEADER_BYTES: usize = 14;

/// Maximum size of a control frame's payload (RFC 6455, 5.5).
pub(super) const MAX_CONTROL_BYTES: usize = 125;

const FINAL: u8 = 0x80;
const RESERVED: u8 = 0x70;
const OPCODE: u8 = 0x0f;
const MASKED: u8 = 0x80;
/// Values of the short length that say that a longer one follows, in two bytes or in eight.
const LENGTH_16: u8 = 126;
const LENGTH_64: u8 = 127;

/// The kind of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Opcode {
    Continuation = 0,
    Text = 1,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

/// The header of a received frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) opcode: Opcode,
    /// True if the frame ends its message.
    pub(super) is_final: bool,
    pub(super) mask: Option<[u8; 4]>,
    /// Size of the header itself, in bytes.
    pub(super) header_bytes: usize,
    /// Size of the payload, in bytes.
    pub(super) payload_bytes: usize,
}

impl Opcode {
    pub(super) fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }

    fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }
}

impl Header {
    /// Reads the header at the beginning of `bytes`, of a frame that this end receives in its
    /// `role`. Returns `None` if the header has not arrived whole.
    pub(super) fn read(bytes: &[u8], role: Role) -> Result<Option<Self>, WebSocketError> {
        let &[first, second, ref rest @ ..] = bytes else {
            return Ok(None);
        };
        let header = read_flags(first, second, role)?;

        let Some((length, length_bytes)) = read_length(second & !MASKED, rest) else {
            return Ok(None);
        };
        let payload_bytes = usize::try_from(length)
            .ok()
            .filter(|bytes| *bytes <= MAX_MESSAGE_BYTES)
            .ok_or(WebSocketError::TooLarge(length))?;
        if header.opcode.is_control() && payload_bytes > MAX_CONTROL_BYTES {
            return Err(WebSocketError::ControlTooLarge(payload_bytes));
        }

        let header_bytes = header.header_bytes + length_bytes;
        let mask = match role {
            Role::Client => None,
            Role::Server => match rest[length_bytes..].first_chunk::<4>() {
                Some(mask) => Some(*mask),
                None => return Ok(None),
            },
        };
        Ok(Some(Self {
            mask,
            header_bytes,
            payload_bytes,
            ..header
        }))
    }

    /// Writes the header of an unfragmented frame so that it ends where `room` ends. Returns its
    /// size.
    pub(super) fn write(
        room: &mut [u8; MAX_HEADER_BYTES],
        opcode: Opcode,
        payload_bytes: usize,
        mask: Option<[u8; 4]>,
    ) -> usize {
        let mut start = MAX_HEADER_BYTES;
        let mut prepend = |bytes: &[u8]| {
            let end = start;
            start -= bytes.len();
            room[start..end].copy_from_slice(bytes);
        };
        let masked = if mask.is_some() { MASKED } else { 0 };

        if let Some(mask) = mask {
            prepend(&mask);
        }
        match (u8::try_from(payload_bytes), u16::try_from(payload_bytes)) {
            (Ok(length @ ..LENGTH_16), _) => prepend(&[masked | length]),
            (_, Ok(length)) => {
                prepend(&length.to_be_bytes());
                prepend(&[masked | LENGTH_16]);
            }
            _ => {
                prepend(&(payload_bytes as u64).to_be_bytes());
                prepend(&[masked | LENGTH_64]);
            }
        }
        prepend(&[FINAL | opcode as u8]);
        MAX_HEADER_BYTES - start
    }
}

/// Reads the first two bytes, all but the length.
fn read_flags(first: u8, second: u8, role: Role) -> Result<Header, WebSocketError> {
    let is_final = first & FINAL != 0;
    if first & RESERVED != 0 {
        return Err(WebSocketError::Protocol(
            "has a reserved bit, and no extension was negotiated",
        ));
    }
    let Some(opcode) = Opcode::from_bits(first & OPCODE) else {
        return Err(WebSocketError::Opcode(first & OPCODE));
    };
    if opcode.is_control() && !is_final {
        return Err(WebSocketError::Protocol("is a fragment of a control frame"));
    }

    // A client masks every frame, and a server none (RFC 6455, 5.1).
    let is_masked = second & MASKED != 0;
    let mask_bytes = match role {
        Role::Server if is_masked => 4,
        Role::Client if !is_masked => 0,
        Role::Server => return Err(WebSocketError::Protocol("of a client is not masked")),
        Role::Client => return Err(WebSocketError::Protocol("of a server is masked")),
    };
    Ok(Header {
        opcode,
        is_final,
        mask: None,
        header_bytes: 2 + mask_bytes,
        payload_bytes: 0,
    })
}

/// Returns the length of the payload, and the number of bytes of `rest` that say it.
fn read_length(short: u8, rest: &[u8]) -> Option<(u64, usize)> {
    match short {
        LENGTH_64 => Some((u64::from_be_bytes(*rest.first_chunk()?), 8)),
        LENGTH_16 => Some((u16::from_be_bytes(*rest.first_chunk()?).into(), 2)),
        length => Some((length.into(), 0)),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;
    use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;

    use super::*;

    /// Reads a header with tungstenite, and applies the rules that it leaves to its caller.
    fn read_by_tungstenite(bytes: &[u8], role: Role) -> Result<Option<Header>, ()> {
        let mut cursor = Cursor::new(bytes);
        let Some((header, length)) = FrameHeader::parse(&mut cursor).map_err(drop)? else {
            return Ok(None);
        };
        let opcode = Opcode::from_bits(header.opcode.into()).ok_or(())?;
        let is_refused = header.rsv1
            || header.rsv2
            || header.rsv3
            || header.mask.is_some() != (role == Role::Server)
            || length > MAX_MESSAGE_BYTES as u64
            || (opcode.is_control() && (length > 125 || !header.is_final));
        if is_refused {
            return Err(());
        }
        Ok(Some(Header {
            opcode,
            is_final: header.is_final,
            mask: header.mask,
            header_bytes: usize::try_from(cursor.position()).unwrap(),
            payload_bytes: usize::try_from(length).unwrap(),
        }))
    }

    fn header_bytes() -> impl Strategy<Value = Vec<u8>> {
        let first = prop_oneof![
            4 => prop::sample::select(vec![0x82, 0x02, 0x00, 0x80, 0x81, 0x88, 0x89, 0x8a]),
            1 => any::<u8>(),
        ];
        let second = prop_oneof![
            2 => prop::sample::select(vec![126, 127, 126 | MASKED, 127 | MASKED]),
            1 => any::<u8>(),
        ];
        // The upper bytes of a length are mostly zeros, or nearly every length is too large.
        let length = prop::collection::vec(prop_oneof![3 => Just(0), 1 => any::<u8>()], 0..14);
        (first, second, length)
            .prop_map(|(first, second, rest)| [&[first, second], &rest[..]].concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn headers_are_read_as_tungstenite_reads_them(
            bytes in header_bytes(),
            is_server in any::<bool>(),
        ) {
            let role = if is_server { Role::Server } else { Role::Client };

            let ours = Header::read(&bytes, role);
            let theirs = read_by_tungstenite(&bytes, role);

            // What is refused may be refused before the rest of it has arrived.
            match (ours, theirs) {
                (Err(_), Err(()) | Ok(None)) => {}
                (ours, theirs) => prop_assert_eq!(ours.map_err(drop), theirs),
            }
        }

        #[test]
        fn written_headers_are_read_by_tungstenite(
            payload_bytes in prop_oneof![0..300_usize, 65_000..66_000_usize, 0..MAX_MESSAGE_BYTES],
            mask in any::<Option<[u8; 4]>>(),
        ) {
            let role = if mask.is_some() { Role::Server } else { Role::Client };
            let mut room = [0; MAX_HEADER_BYTES];

            let header_bytes = Header::write(&mut room, Opcode::Binary, payload_bytes, mask);

            let written = &room[MAX_HEADER_BYTES - header_bytes..];
            let expected = Header {
                opcode: Opcode::Binary,
                is_final: true,
                mask,
                header_bytes,
                payload_bytes,
            };
            prop_assert_eq!(read_by_tungstenite(written, role), Ok(Some(expected)));
        }
    }

    #[test]
    fn a_refusal_names_what_is_wrong() {
        let cases: [(&[u8], Role, &str); 7] = [
            (&[0xc2, 0], Role::Client, "a reserved bit"),
            (&[0x83, 0], Role::Client, "opcode 3"),
            (&[0x09, 0], Role::Client, "a fragment of a control frame"),
            (&[0x82, 0x80], Role::Client, "of a server is masked"),
            (&[0x82, 0], Role::Server, "of a client is not masked"),
            (&[0x89, 126, 0, 126], Role::Client, "126 bytes"),
            (
                &[0x82, 127, 0, 0, 0, 0, 0, 8, 0, 1],
                Role::Client,
                "524289 bytes",
            ),
        ];
        for (bytes, role, expected) in cases {
            let error = Header::read(bytes, role).unwrap_err().to_string();

            assert!(error.contains(expected), "{error}");
        }
    }
}
