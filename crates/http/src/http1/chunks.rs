//! The chunked coding (RFC 9112, section 7.1), read as its bytes arrive.

use bytes::{Buf, BytesMut};

use super::body_decoder::BodyError;
use super::received_head::MAX_FIELDS;

/// The most bytes of extensions in one body. They have no meaning for any hop.
const MAX_EXTENSION_BYTES: usize = 16 * 1024;
/// The most bytes of trailers.
const MAX_TRAILER_BYTES: usize = 16 * 1024;

/// The place in a chunked body up to which it was read.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    place: Place,
    /// The bytes of the chunk that are still to come; while its size is read, the size so far.
    left: u64,
    extension_bytes: usize,
    /// Set when there are trailers.
    trailers: Option<Box<Trailers>>,
}

#[derive(Debug, Default)]
struct Trailers {
    bytes: Vec<u8>,
    lines: usize,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Place {
    #[default]
    Size,
    RestOfSize,
    SpaceAfterSize,
    Extension,
    SizeLineFeed,
    Data,
    DataReturn,
    DataLineFeed,
    /// At the beginning of a line behind the last chunk.
    TrailerStart,
    Trailer,
    TrailerLineFeed,
    LastLineFeed,
    End,
}

impl Chunks {
    /// Returns whether the body was read to its end.
    pub(super) fn is_at_end(&self) -> bool {
        self.place == Place::End
    }

    /// Takes everything up to the next data off the front of `buffer`, and returns how many bytes of
    /// data are there. 0 if the body is over, or more bytes are needed.
    pub(super) fn advance_to_data(&mut self, buffer: &mut BytesMut) -> Result<usize, BodyError> {
        let mut used = 0;
        for &byte in buffer.iter() {
            if matches!(self.place, Place::Data | Place::End) {
                break;
            }
            self.place = self.step(byte)?;
            used += 1;
        }
        buffer.advance(used);

        if self.place != Place::Data {
            return Ok(0);
        }
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        Ok(left.min(buffer.len()))
    }

    /// Notes that so many bytes of data were taken.
    pub(super) fn took(&mut self, bytes: usize) {
        self.left = self.left.saturating_sub(bytes as u64);
        if self.left == 0 {
            self.place = Place::DataReturn;
        }
    }

    fn step(&mut self, byte: u8) -> Result<Place, BodyError> {
        match (self.place, byte) {
            (Place::Size, _) => {
                self.left = 0;
                self.add_digit(byte)
            }
            (Place::RestOfSize | Place::SpaceAfterSize, b' ' | b'\t') => Ok(Place::SpaceAfterSize),
            (Place::RestOfSize | Place::SpaceAfterSize, b';') => Ok(Place::Extension),
            (Place::RestOfSize | Place::SpaceAfterSize | Place::Extension, b'\r') => {
                Ok(Place::SizeLineFeed)
            }
            (Place::RestOfSize, _) => self.add_digit(byte),
            (Place::Extension, b'\n') => Err(BodyError::Chunk),
            (Place::Extension, _) => {
                self.extension_bytes += 1;
                if self.extension_bytes >= MAX_EXTENSION_BYTES {
                    return Err(BodyError::Chunk);
                }
                Ok(Place::Extension)
            }
            (Place::SizeLineFeed, b'\n') if self.left == 0 => Ok(Place::TrailerStart),
            (Place::SizeLineFeed, b'\n') => Ok(Place::Data),
            (Place::DataReturn, b'\r') => Ok(Place::DataLineFeed),
            (Place::DataLineFeed, b'\n') => Ok(Place::Size),
            (Place::TrailerStart, b'\r') if self.trailers.is_none() => Ok(Place::LastLineFeed),
            (Place::TrailerStart | Place::Trailer | Place::TrailerLineFeed, _) => {
                self.step_in_trailers(byte)
            }
            (Place::LastLineFeed, b'\n') => {
                self.check_trailers()?;
                Ok(Place::End)
            }
            _ => Err(BodyError::Chunk),
        }
    }

    fn add_digit(&mut self, byte: u8) -> Result<Place, BodyError> {
        let digit = char::from(byte).to_digit(16).ok_or(BodyError::Chunk)?;
        let left = self.left.checked_mul(16).ok_or(BodyError::Chunk)?;
        self.left = left + u64::from(digit);
        Ok(Place::RestOfSize)
    }

    fn step_in_trailers(&mut self, byte: u8) -> Result<Place, BodyError> {
        let trailers = self.trailers.get_or_insert_default();
        trailers.bytes.push(byte);
        if trailers.bytes.len() >= MAX_TRAILER_BYTES {
            return Err(BodyError::Trailers);
        }
        match (self.place, byte) {
            (Place::TrailerLineFeed, b'\n') => {
                trailers.lines += 1;
                if trailers.lines > MAX_FIELDS {
                    return Err(BodyError::Trailers);
                }
                Ok(Place::TrailerStart)
            }
            (Place::TrailerLineFeed, _) => Err(BodyError::Trailers),
            (Place::TrailerStart, b'\r') => Ok(Place::LastLineFeed),
            (_, b'\r') => Ok(Place::TrailerLineFeed),
            _ => Ok(Place::Trailer),
        }
    }

    /// Checks that trailers are fields. Nothing is done with them.
    fn check_trailers(&mut self) -> Result<(), BodyError> {
        let Some(mut trailers) = self.trailers.take() else {
            return Ok(());
        };
        trailers.bytes.push(b'\n');
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let room = fields
            .get_mut(..trailers.lines)
            .ok_or(BodyError::Trailers)?;
        match httparse::parse_headers(&trailers.bytes, room) {
            Ok(httparse::Status::Complete((bytes, _))) if bytes == trailers.bytes.len() => Ok(()),
            _ => Err(BodyError::Trailers),
        }
    }
}
