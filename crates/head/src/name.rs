//! What names and values may consist of, and the bit by which a name is missed.

/// The bytes of a name, in lower case (RFC 9110, 5.6.2: a token).
const NAME: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = matches!(byte as u8, b'a'..=b'z' | b'0'..=b'9' | b'!' | b'#' | b'$' | b'%' | b'&'
            | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~');
        byte += 1;
    }
    table
};

/// A word with the number 1 in each byte.
const ONES: u64 = u64::MAX / 255;
/// A word with the highest bit of each byte.
const HIGHEST: u64 = ONES << 7;

/// Names of fields that are looked for together. Most heads have none of them, which is found without a look
/// at the fields.
#[derive(Debug)]
pub struct NameSet {
    names: &'static [&'static str],
    bits: u64,
    /// A bit for each of their lengths.
    lengths: u64,
}

impl NameSet {
    /// Returns the set of these names, in lower case.
    pub const fn new(names: &'static [&'static str]) -> Self {
        let mut set = Self {
            names,
            bits: 0,
            lengths: 0,
        };
        let mut at = 0;
        while at < names.len() {
            set.bits |= bit(names[at].as_bytes());
            set.lengths |= length_bit(names[at].len());
            at += 1;
        }
        set
    }

    /// Returns whether a name is one of these.
    #[inline]
    pub fn contains(&self, name: &[u8]) -> bool {
        // Most names have another length.
        self.lengths & length_bit(name.len()) != 0 && self.is_there(name)
    }

    fn is_there(&self, name: &[u8]) -> bool {
        self.names.iter().any(|own| own.as_bytes() == name)
    }

    /// Returns whether one of these may be among names with these bits.
    #[inline]
    pub(crate) fn may_be_among(&self, bits: u64) -> bool {
        self.bits & bits != 0
    }
}

/// Returns a bit for a length, one for all from 63 on.
const fn length_bit(length: usize) -> u64 {
    1 << if length < 63 { length } else { 63 }
}

/// Returns whether bytes are the name of a field in lower case.
#[inline]
pub fn is_field_name(bytes: &[u8]) -> bool {
    is_usual_name(bytes) || (!bytes.is_empty() && bytes.iter().all(is_of_name))
}

/// Returns whether a name is long enough to be looked at by words, and of usual characters alone.
#[inline]
fn is_usual_name(bytes: &[u8]) -> bool {
    // The last eight bytes may overlap those before.
    let (words, _) = bytes.as_chunks::<8>();
    let is_usual = |word: &[u8; 8]| has_usual_characters(u64::from_ne_bytes(*word));
    bytes.last_chunk::<8>().is_some_and(is_usual) && words.iter().all(is_usual)
}

fn is_of_name(byte: &u8) -> bool {
    NAME[usize::from(*byte)]
}

/// Returns whether eight bytes are letters in lower case, digits and hyphens.
const fn has_usual_characters(word: u64) -> bool {
    // The highest bit of each byte is its answer: no sum of two bytes below 128 reaches the next one.
    const fn at_least(byte: u8) -> u64 {
        ONES * (0x80 - byte) as u64
    }
    let is_ascii = word & HIGHEST == 0;
    let word = word & !HIGHEST;
    let letters = (word + at_least(b'a')) & !(word + at_least(b'z' + 1));
    let digits = (word + at_least(b'0')) & !(word + at_least(b'9' + 1));
    let others = (word ^ (ONES * b'-' as u64)) + at_least(1);
    is_ascii && (letters | digits | !others) & HIGHEST == HIGHEST
}

/// Returns whether bytes are the value of a field (RFC 9110, 5.5): no control characters, except for tabs.
#[inline]
pub fn is_field_value(bytes: &[u8]) -> bool {
    // Eight bytes at a time: the last eight may overlap those before.
    let (words, _) = bytes.as_chunks::<8>();
    let Some(last) = bytes.last_chunk::<8>() else {
        return bytes.iter().all(is_of_value);
    };
    let is_clear = |word: &[u8; 8]| control_characters(u64::from_ne_bytes(*word)) == 0;
    (words.iter().all(is_clear) && is_clear(last)) || bytes.iter().all(is_of_value)
}

fn is_of_value(byte: &u8) -> bool {
    (*byte >= b' ' && *byte != 0x7f) || *byte == b'\t'
}

/// Returns 0 for eight bytes without a control character, and bits of those that may be one.
const fn control_characters(word: u64) -> u64 {
    let below_space = word.wrapping_sub(ONES * b' ' as u64) & !word;
    let is_not_delete = word ^ (ONES * 0x7f);
    let delete = is_not_delete.wrapping_sub(ONES) & !is_not_delete;
    (below_space | delete) & HIGHEST
}

/// Returns one bit of 64 for a name. The factors are those of which names that are looked for share few bits with
/// names that are usual.
#[inline]
pub(crate) const fn bit(name: &[u8]) -> u64 {
    let [first, .., last] = name else {
        // One character or none.
        return name.len() as u64;
    };
    let middle = name[name.len() / 2];
    let sum = name.len() + 5 * (*first as usize + *last as usize) + 15 * middle as usize;
    1 << (sum & 63)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A value of every length has each byte at each place.
    #[test]
    fn control_characters_are_found_at_every_place() {
        for length in 1..=25 {
            for at in 0..length {
                for byte in 0..=u8::MAX {
                    let mut value = vec![b'\xff'; length];
                    value[at] = byte;

                    let is_value = byte == b'\t' || (byte >= 0x20 && byte != 0x7f);
                    assert_eq!(
                        is_field_value(&value),
                        is_value,
                        "{byte} at {at} of {length}"
                    );
                }
            }
        }
        assert!(is_field_value(b""));
    }

    /// A name of every length has each byte at each place.
    #[test]
    fn characters_of_no_name_are_found_at_every_place() {
        for length in 1..=25 {
            for at in 0..length {
                for byte in 0..=u8::MAX {
                    let mut name = vec![b"az09-m_"[length % 7]; length];
                    name[at] = byte;

                    let is_name = NAME[usize::from(byte)];
                    assert_eq!(is_field_name(&name), is_name, "{byte} at {at} of {length}");
                }
            }
        }
        assert!(!is_field_name(b""));
    }

    #[test]
    fn every_name_of_a_set_is_in_it() {
        const SET: NameSet = NameSet::new(&["te", "upgrade"]);
        assert!(SET.contains(b"te") && SET.contains(b"upgrade") && !SET.contains(b"tea"));
        assert!(SET.may_be_among(bit(b"te")) && SET.may_be_among(bit(b"upgrade") | 1));
        assert!(!SET.may_be_among(0));
    }
}
