//! The known word that somebody may have meant.
//!
//! What is done about an unknown word is up to whoever met it. The one rule: a word that resembles nothing gets no
//! suggestion, because a wrong one is worse than none.

/// How alike two words must be for one to be meant by the other, from 0 to 1.
const ALIKE: f64 = 0.8;

/// The word that resembles another most, in either case and with either dash.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |word: &str| word.to_ascii_lowercase().replace('-', "_");
    let word = plain(word);
    let likeness = |candidate: &str| strsim::jaro_winkler(&word, &plain(candidate));
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
        assert_eq!(nearest("xyzzy", known), None);
        assert_eq!(nearest("xyzzy", []), None);
    }
}
