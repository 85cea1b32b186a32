//! Suggestions for mistyped words.
//!
//! A word that resembles no candidate gets no suggestion: a wrong one is worse than none.

/// Least similarity of a suggestion, from 0 to 1. Below it the most similar word is mostly another
/// one: of a server's settings, `id` is most similar to `bind_addr` (0.74), and `tls` to
/// `tunnel_stream_window`.
const MIN_SIMILARITY: f64 = 0.8;
/// Fewest letters of a word for which one typo counts as similar. The measure is too coarse for
/// short words, where a typo is much of the whole.
const MIN_TYPO_LETTERS: usize = 3;
/// Similarity, at least, to a name that contains all parts of the word, as `auth_token` contains
/// `token`.
const CONTAINED_SIMILARITY: f64 = 0.9;
/// Fewest letters of a prefix that stands for a part of a name, as `host` for `hosts`.
const MIN_PREFIX_LETTERS: usize = 3;

/// Returns the candidate that is most similar to `word`, ignoring case and taking `-` for `_`;
/// `None` if none is similar enough.
pub fn suggest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = normalized(word);
    let scored = known
        .into_iter()
        .map(|candidate| (similarity(&word, &normalized(candidate)), candidate));

    scored
        .filter(|(score, _)| *score >= MIN_SIMILARITY)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

fn normalized(word: &str) -> String {
    word.to_ascii_lowercase().replace('-', "_")
}

fn similarity(word: &str, candidate: &str) -> f64 {
    let is_typo = word.len() >= MIN_TYPO_LETTERS && strsim::osa_distance(word, candidate) == 1;
    let of_typo = if is_typo { MIN_SIMILARITY } else { 0.0 };
    let by_letters = strsim::jaro_winkler(word, candidate).max(of_typo);

    let is_contained = word.split('_').all(|part| has_part(candidate, part));
    if !is_contained {
        return by_letters;
    }

    // Of several names that contain all parts, the one with the least besides is the most similar.
    let share = word.len() as f64 / candidate.len().max(1) as f64;
    by_letters.max(CONTAINED_SIMILARITY + (1.0 - CONTAINED_SIMILARITY) * share)
}

/// Returns whether a part of `candidate` is `part`, or begins with it.
fn has_part(candidate: &str, part: &str) -> bool {
    let is_prefix_of = |other: &str| part.len() >= MIN_PREFIX_LETTERS && other.starts_with(part);

    candidate
        .split('_')
        .any(|other| other == part || is_prefix_of(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_gets_a_suggestion_and_nonsense_gets_none() {
        let known = [
            "port",
            "first_byte_timeout",
            "stream_idle_timeout",
            "call_timeout",
        ];

        for (word, suggested) in [
            ("frist_byte_timeout", Some("first_byte_timeout")),
            ("FIRST-BYTE-TIMEOUT", Some("first_byte_timeout")),
            ("timeout", Some("call_timeout")),
            ("prot", Some("port")),
            ("xyzzy", None),
        ] {
            assert_eq!(suggest(word, known), suggested, "{word}");
        }

        assert_eq!(suggest("ulr", ["id", "url", "headers"]), Some("url"));
        assert_eq!(suggest("iq", ["id"]), None);
        assert_eq!(suggest("xyzzy", []), None);
    }

    #[test]
    fn a_part_of_a_name_suggests_it_and_chance_does_not() {
        let known = [
            "bind_addr",
            "client_id",
            "auth_token",
            "call_timeout",
            "stream_idle_timeout",
            "allowed_hosts",
        ];

        for (part, suggested) in [
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
            assert_eq!(suggest(part, known), suggested, "{part}");
        }
    }
}
