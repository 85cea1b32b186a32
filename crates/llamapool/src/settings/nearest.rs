//! The known word that somebody may have meant.
//!
//! What is done about an unknown word is up to whoever met it. The one rule: a word that resembles nothing gets no
//! suggestion, because a wrong one is worse than none.

/// How alike two words must be for one to be meant by the other, from 0 to 1.
const ALIKE: f64 = 0.8;
/// From how many letters on a word with one slip in it is alike, whatever the measure says: it is too coarse for short
/// words, where a slip is much of the whole.
const SLIP_LETTERS: usize = 3;

/// The word that resembles another most, in either case and with either dash.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |word: &str| word.to_ascii_lowercase().replace('-', "_");
    let word = plain(word);
    let likeness = |candidate: &str| {
        let candidate = plain(candidate);
        let is_slip = word.len() >= SLIP_LETTERS && strsim::osa_distance(&word, &candidate) == 1;
        strsim::jaro_winkler(&word, &candidate).max(if is_slip { ALIKE } else { 0.0 })
    };
    let scored = known.into_iter().map(|candidate| (likeness(candidate), candidate));
    scored.filter(|(score, _)| *score >= ALIKE).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_is_understood_and_nonsense_is_not() {
        let known = ["port", "first_byte_timeout", "stream_idle_timeout", "call_timeout"];
        assert_eq!(nearest("frist_byte_timeout", known), Some("first_byte_timeout"));
        assert_eq!(nearest("FIRST-BYTE-TIMEOUT", known), Some("first_byte_timeout"));
        assert_eq!(nearest("timeout", known), Some("call_timeout"));
        assert_eq!(nearest("prot", known), Some("port"));
        assert_eq!(nearest("ulr", ["id", "url", "headers"]), Some("url"));
        assert_eq!(nearest("iq", ["id"]), None);
        assert_eq!(nearest("xyzzy", known), None);
        assert_eq!(nearest("xyzzy", []), None);
    }
}
