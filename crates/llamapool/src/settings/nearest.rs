//! The known word that somebody may have meant.
//!
//! What is done about an unknown word is up to whoever met it. The one rule: a word that resembles nothing gets no
//! suggestion, because a wrong one is worse than none.

/// How alike two words must be, letter by letter, for one to be meant by the other, from 0 to 1. Below this the most
/// alike is mostly something else: of the server's settings, `id` is most like `bind_addr` (0.74), and `tls` like
/// `tunnel_stream_window`.
const ALIKE: f64 = 0.8;
/// From how many letters on a word with one slip in it is alike, whatever the measure says: it is too coarse for short
/// words, where a slip is much of the whole.
const SLIP_LETTERS: usize = 3;
/// How alike a word is at least to one that has all of its parts, as `auth_token` has all of `token`.
const CONTAINED: f64 = 0.9;
/// How short a part may be that stands for a longer one that begins with it, as `host` for `hosts`.
const MIN_BEGINNING: usize = 3;

/// The word that resembles another most, in either case and with either dash.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = plain(word);
    let scored = known
        .into_iter()
        .map(|candidate| (likeness(&word, &plain(candidate)), candidate));
    scored
        .filter(|(score, _)| *score >= ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

fn plain(word: &str) -> String {
    word.to_ascii_lowercase().replace('-', "_")
}

fn likeness(word: &str, candidate: &str) -> f64 {
    let is_slip = word.len() >= SLIP_LETTERS && strsim::osa_distance(word, candidate) == 1;
    let by_letters = strsim::jaro_winkler(word, candidate).max(if is_slip { ALIKE } else { 0.0 });
    let has_part = |part: &str| {
        let begins = |other: &str| part.len() >= MIN_BEGINNING && other.starts_with(part);
        candidate
            .split('_')
            .any(|other| other == part || begins(other))
    };
    if !word.split('_').all(has_part) {
        return by_letters;
    }
    // Of several that have all parts, the one with the least besides.
    let share = word.len() as f64 / candidate.len().max(1) as f64;
    by_letters.max(CONTAINED + (1.0 - CONTAINED) * share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_is_understood_and_nonsense_is_not() {
        let known = [
            "port",
            "first_byte_timeout",
            "stream_idle_timeout",
            "call_timeout",
        ];
        assert_eq!(
            nearest("frist_byte_timeout", known),
            Some("first_byte_timeout")
        );
        assert_eq!(
            nearest("FIRST-BYTE-TIMEOUT", known),
            Some("first_byte_timeout")
        );
        assert_eq!(nearest("timeout", known), Some("call_timeout"));
        assert_eq!(nearest("prot", known), Some("port"));
        assert_eq!(nearest("ulr", ["id", "url", "headers"]), Some("url"));
        assert_eq!(nearest("iq", ["id"]), None);
        assert_eq!(nearest("xyzzy", known), None);
        assert_eq!(nearest("xyzzy", []), None);
    }

    #[test]
    fn a_part_of_a_name_is_understood_and_a_chance_likeness_is_not() {
        let known = [
            "bind_addr",
            "client_id",
            "auth_token",
            "call_timeout",
            "stream_idle_timeout",
            "allowed_hosts",
        ];
        for (part, meant) in [
            ("id", Some("client_id")),
            ("TOKEN", Some("auth_token")),
            ("idle-timeout", Some("stream_idle_timeout")),
            ("host", Some("allowed_hosts")),
            ("timeout", Some("call_timeout")),
            ("bind", Some("bind_addr")),
            ("ca", None),
            ("ad", None),
            ("password", None),
            ("", None),
        ] {
            assert_eq!(nearest(part, known), meant, "{part}");
        }
    }
}
