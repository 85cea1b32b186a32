//! Content codings of requests (RFC 9110, 8.4): agents compress their bodies, and runtimes take
//! none that is compressed.

use std::io::{self, Read};

use axum::http::{HeaderMap, header};
use bytes::Bytes;
use llamapool_http::CountedMemory;
use llamapool_limits::{MemoryAccount, ShareError};

/// The bytes that are decoded at once.
const STEP_BYTES: usize = 64 * 1024;

/// A coding of a request body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ContentCoding {
    /// None, or `identity`.
    Identity,
    /// `gzip`, and `x-gzip` as its other name.
    Gzip,
    /// `deflate`: the zlib format.
    Deflate,
    /// `zstd` (RFC 8878).
    Zstd,
}

/// The codings of a request are not one that is supported.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("Content-Encoding: {0} is not supported, expected one of gzip, deflate and zstd")]
pub(super) struct UnsupportedCodingError(pub(super) String);

/// A body was not decoded.
#[derive(Debug, thiserror::Error)]
pub(super) enum DecodeError {
    /// It is not in the format of its coding, or is cut off.
    #[error("the body is not in the format of its Content-Encoding: {0}")]
    Invalid(#[from] io::Error),
    /// Decoded, it has more bytes than the bound.
    #[error("the decoded body exceeds {0} bytes, see MAX_REQUEST_BYTES")]
    TooLarge(usize),
    /// There is no memory for it.
    #[error("there is no memory for the decoded body")]
    OutOfMemory(#[from] ShareError),
}

impl ContentCoding {
    /// Reads the coding of a request. Several layers are not supported.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, UnsupportedCodingError> {
        let values = headers.get_all(header::CONTENT_ENCODING).into_iter();
        let values = values.map(|value| String::from_utf8_lossy(value.as_bytes()));
        let listed = values.collect::<Vec<_>>().join(",").to_ascii_lowercase();
        let mut codings = listed
            .split(',')
            .map(str::trim)
            .filter(|coding| !coding.is_empty() && *coding != "identity");

        let coding = match codings.next() {
            None => Self::Identity,
            Some("gzip" | "x-gzip") => Self::Gzip,
            Some("deflate") => Self::Deflate,
            Some("zstd") => Self::Zstd,
            Some(_) => return Err(UnsupportedCodingError(listed)),
        };
        if codings.next().is_some() {
            return Err(UnsupportedCodingError(listed));
        }
        Ok(coding)
    }

    /// Decodes a body, to at most `max_bytes`. Each step is counted in `memory` before it is held.
    pub(super) fn decode(
        self,
        body: Bytes,
        max_bytes: usize,
        memory: &MemoryAccount,
    ) -> Result<Bytes, DecodeError> {
        match self {
            Self::Identity => Ok(body),
            Self::Gzip => read_all(
                flate2::read::MultiGzDecoder::new(&body[..]),
                max_bytes,
                memory,
            ),
            Self::Deflate => read_all(flate2::read::ZlibDecoder::new(&body[..]), max_bytes, memory),
            Self::Zstd => {
                let decoder = ruzstd::decoding::StreamingDecoder::new(&body[..]);
                let decoder = decoder.map_err(io::Error::other)?;
                read_all(decoder, max_bytes, memory)
            }
        }
    }
}

fn read_all(
    mut decoder: impl Read,
    max_bytes: usize,
    memory: &MemoryAccount,
) -> Result<Bytes, DecodeError> {
    let mut memory = CountedMemory::new(memory);
    let mut decoded = Vec::new();
    loop {
        let filled = decoded.len();
        if decoded.capacity() - filled < STEP_BYTES {
            // Doubled, so that a long body is not copied again and again.
            let capacity = (filled + STEP_BYTES).max(2 * decoded.capacity());
            memory.cover(capacity)?;
            decoded.reserve_exact(capacity - filled);
        }

        decoded.resize(filled + STEP_BYTES, 0);
        let read = decoder.read(&mut decoded[filled..])?;
        decoded.truncate(filled + read);
        if decoded.len() > max_bytes {
            return Err(DecodeError::TooLarge(max_bytes));
        }
        if read == 0 {
            let held = decoded.capacity();
            return Ok(memory.seal(decoded.into(), held));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;

    use super::*;

    const MAX_BYTES: usize = 1 << 20;

    fn headers(values: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::CONTENT_ENCODING, value.parse().unwrap());
        }
        headers
    }

    fn gzip(data: &[u8]) -> Bytes {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap().into()
    }

    fn zlib(data: &[u8]) -> Bytes {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap().into()
    }

    fn zstd(data: &[u8]) -> Bytes {
        let level = ruzstd::encoding::CompressionLevel::Fastest;
        ruzstd::encoding::compress_to_vec(data, level).into()
    }

    fn decode(coding: ContentCoding, body: Bytes) -> Result<Bytes, DecodeError> {
        coding.decode(body, MAX_BYTES, &MemoryAccount::default())
    }

    #[test]
    fn every_coding_gives_the_body_back() {
        let body = br#"{"model":"m","messages":[]}"#.repeat(9000);

        assert_eq!(decode(ContentCoding::Gzip, gzip(&body)).unwrap(), body);
        assert_eq!(decode(ContentCoding::Deflate, zlib(&body)).unwrap(), body);
        assert_eq!(decode(ContentCoding::Zstd, zstd(&body)).unwrap(), body);
        let plain = Bytes::from(body.clone());
        assert_eq!(decode(ContentCoding::Identity, plain).unwrap(), body);
    }

    #[test]
    fn a_small_body_cannot_unfold_beyond_the_bound() {
        let huge = vec![b' '; 64 * MAX_BYTES];
        let account = MemoryAccount::default();

        for (coding, body) in [
            (ContentCoding::Gzip, gzip(&huge)),
            (ContentCoding::Deflate, zlib(&huge)),
            (ContentCoding::Zstd, zstd(&huge)),
        ] {
            let decoded = coding.decode(body, MAX_BYTES, &account);
            assert!(
                matches!(decoded, Err(DecodeError::TooLarge(MAX_BYTES))),
                "{coding:?}"
            );
        }
        assert_eq!(account.budget().used(), 0);
    }

    #[test]
    fn a_body_that_is_cut_off_or_corrupt_is_invalid() {
        let body = b"some text that is long enough to be cut".repeat(50);

        for (coding, whole) in [
            (ContentCoding::Gzip, gzip(&body)),
            (ContentCoding::Deflate, zlib(&body)),
            (ContentCoding::Zstd, zstd(&body)),
        ] {
            let cut = whole.slice(..whole.len() / 2);
            assert!(
                matches!(decode(coding, cut), Err(DecodeError::Invalid(_))),
                "{coding:?}"
            );
            let other = Bytes::from_static(b"{\"model\":\"m\"}");
            assert!(
                matches!(decode(coding, other), Err(DecodeError::Invalid(_))),
                "{coding:?}"
            );
        }
    }

    #[test]
    fn one_layer_of_a_known_coding_is_supported() {
        let of = |values: &[&'static str]| ContentCoding::of(&headers(values));

        assert_eq!(of(&[]), Ok(ContentCoding::Identity));
        assert_eq!(of(&["identity"]), Ok(ContentCoding::Identity));
        assert_eq!(of(&["X-GZip"]), Ok(ContentCoding::Gzip));
        assert_eq!(of(&["zstd, identity"]), Ok(ContentCoding::Zstd));
        for unsupported in [&["br"][..], &["gzip, zstd"], &["gzip", "gzip"]] {
            assert!(of(unsupported).is_err(), "{unsupported:?}");
        }
    }
}
