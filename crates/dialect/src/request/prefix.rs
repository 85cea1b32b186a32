//! Marks of a prompt: hashes of its beginning at the places where the cache of a runtime may end.
//!
//! Each hash includes the one before it, so that two prompts have a mark in common exactly where they
//! are equal up to there. The hash is the standard library's and begins with the seed. It takes some
//! 40 µs for a prompt of 85 KB, whose tokens take seconds, so that a faster one is not worth a
//! dependency.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hasher};

use super::prompt::Block;
use super::{PrefixMark, tokens};

/// The most marks of a prompt. The deepest ones are kept, as those save the most.
const MAX_MARKS: usize = 64;
/// Where the first mark inside a long block is, in bytes. The next ones are at twice as much, up to
/// [`MAX_PIECE_BYTES`], and then each so many bytes.
const MIN_PIECE_BYTES: usize = 1024;
const MAX_PIECE_BYTES: usize = 8 * 1024;

/// Returns the marks of the prompt that consists of some blocks of a body, the deepest last.
pub(super) fn marks<'a>(
    body: &[u8],
    blocks: impl Iterator<Item = &'a Block>,
    seed: u64,
) -> Vec<PrefixMark> {
    let mut marks = VecDeque::with_capacity(MAX_MARKS);
    let mut last = PrefixMark {
        hash: chain(seed, b""),
        bytes: 0,
        media: 0,
    };

    for block in blocks {
        let Some(content) = body.get(block.span.clone()) else {
            break;
        };
        let has_media = block.media.count > 0;
        for piece in pieces(content, has_media) {
            // A block with media is one piece: marks inside a picture would push out all others.
            let bytes = if has_media {
                block.text_bytes()
            } else {
                piece.len()
            };
            last = PrefixMark {
                hash: chain(last.hash, piece),
                bytes: last.bytes + bytes as u64,
                media: last.media.saturating_add(block.media.count),
            };
            if marks.len() == MAX_MARKS {
                marks.pop_front();
            }
            marks.push_back(last);
        }
    }
    marks.into()
}

impl PrefixMark {
    /// Returns the tokens of the prompt up to here, estimated as those of the whole prompt are.
    pub fn estimated_tokens(&self, bytes_per_token: f64) -> u64 {
        tokens(self.bytes, self.media, bytes_per_token)
    }
}

/// Returns the pieces of a block, of which each ends at a mark. The place of a mark does not depend
/// on what follows it.
fn pieces(block: &[u8], is_one_piece: bool) -> impl Iterator<Item = &[u8]> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = block.get(at..).filter(|rest| !rest.is_empty())?;
        let next = match at {
            _ if is_one_piece => block.len(),
            0 => MIN_PIECE_BYTES,
            _ => at + at.min(MAX_PIECE_BYTES),
        };
        let piece = &rest[..rest.len().min(next - at)];
        at += piece.len();
        Some(piece)
    })
}

fn chain(before: u64, piece: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write_u64(before);
    hasher.write(piece);
    hasher.finish()
}
