//! Counts sentences and words of comments: the register that STYLE.md asks for.

use crate::comments::{self, SPAN};
use crate::sources::Source;

const OPENERS: [&str; 7] = [
    "what",
    "who",
    "which",
    "whether",
    "whoever",
    "whatever",
    "whichever",
];
const SPEECH: [&str; 17] = [
    "say", "says", "said", "saying", "tell", "tells", "told", "telling", "hear", "hears", "heard",
    "hearing", "know", "knows", "knew", "known", "knowing",
];
const PERSONS: [&str; 12] = [
    "whoever",
    "whatever",
    "somebody",
    "someone",
    "nobody",
    "no-one",
    "anybody",
    "anyone",
    "everybody",
    "everyone",
    "whomever",
    "whichever",
];
/// Ends of words that are no end of a sentence.
const ABBREVIATIONS: [&str; 5] = ["e.g.", "i.e.", "cf.", "vs.", "etc."];

/// Counts over the comments of a package, without those of test code.
#[derive(Default)]
pub(crate) struct Prose {
    pub(crate) sentences: usize,
    pub(crate) words: usize,
    pub(crate) openers: Vec<Phrase>,
    pub(crate) speech: Vec<Phrase>,
    pub(crate) persons: Vec<Phrase>,
}

/// A place where a counted word stands.
pub(crate) struct Phrase {
    pub(crate) path: String,
    pub(crate) line: usize,
    pub(crate) text: String,
}

/// Adds the comments of a file to the counts.
pub(crate) fn count(source: &Source, prose: &mut Prose) {
    let paragraphs = comments::paragraphs(&source.comments);
    for paragraph in paragraphs
        .iter()
        .filter(|paragraph| !source.is_test_at(paragraph.start))
    {
        for sentence in sentences(&paragraph.text) {
            let phrase = || Phrase {
                path: source.path.clone(),
                line: paragraph.line,
                text: sentence.to_owned(),
            };
            count_sentence(sentence, prose, phrase);
        }
    }
}

fn count_sentence(sentence: &str, prose: &mut Prose, phrase: impl Fn() -> Phrase) {
    let mut words = words(sentence).peekable();
    let opens_with_span = sentence
        .trim_start_matches(['(', '*', '[', '"'])
        .starts_with(SPAN);
    prose.sentences += usize::from(words.peek().is_some());
    if !opens_with_span
        && words
            .peek()
            .is_some_and(|word| OPENERS.contains(&word.as_str()))
    {
        prose.openers.push(phrase());
    }

    let mut last = String::new();
    for word in words {
        prose.words += 1;
        if SPEECH.contains(&word.as_str()) {
            prose.speech.push(phrase());
        }
        let is_no_one = last == "no" && word == "one";
        if is_no_one || PERSONS.contains(&word.as_str()) {
            prose.persons.push(phrase());
        }
        last = word;
    }
}

/// Splits a paragraph at the ends of its sentences.
fn sentences(paragraph: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut start = 0;
    for (at, end) in paragraph.match_indices(['.', '!', '?']) {
        let stop = at + end.len();
        let after = paragraph[stop..].trim_start_matches([')', '"', '\'', '*', ']']);
        let stops = after.starts_with(' ') && !after.trim_start().starts_with(char::is_lowercase);
        let is_abbreviation = ABBREVIATIONS
            .iter()
            .any(|word| paragraph[start..stop].ends_with(word));
        if stops && !is_abbreviation {
            let next = paragraph.len() - after.len();
            found.push(paragraph[start..next].trim());
            start = next;
        }
    }
    found.push(paragraph[start..].trim());
    found
}

/// Returns the words in lower case; a word may contain apostrophes and hyphens.
fn words(sentence: &str) -> impl Iterator<Item = String> {
    sentence
        .split(|letter: char| !letter.is_alphabetic() && letter != '\'' && letter != '-')
        .map(|word| word.trim_matches(['\'', '-']))
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(sentence: &str) -> [usize; 5] {
        let mut prose = Prose::default();
        let phrase = || Phrase {
            path: String::new(),
            line: 1,
            text: String::new(),
        };
        count_sentence(sentence, &mut prose, phrase);
        let found = [&prose.openers, &prose.speech, &prose.persons].map(Vec::len);
        [prose.sentences, prose.words, found[0], found[1], found[2]]
    }

    #[test]
    fn sentences_end_at_a_stop_before_a_new_one() {
        let text = "One, e.g. Two. Three (four.) § five? Version 1.2 ends";

        assert_eq!(
            sentences(text),
            [
                "One, e.g. Two.",
                "Three (four.)",
                "§ five?",
                "Version 1.2 ends"
            ]
        );
    }

    #[test]
    fn openers_are_counted_once_a_sentence() {
        assert_eq!(counts("What a relay sends."), [1, 4, 1, 0, 0]);
        assert_eq!(counts("(Whether it is open.)"), [1, 4, 1, 0, 0]);
        assert_eq!(counts("Returns what it sends."), [1, 4, 0, 0, 0]);
        assert_eq!(counts("§ which stays."), [1, 2, 0, 0, 0]);
    }

    #[test]
    fn speech_and_persons_are_counted_by_the_word() {
        assert_eq!(counts("It says what nobody knows."), [1, 5, 0, 2, 1]);
        assert_eq!(counts("No one is told."), [1, 4, 0, 1, 1]);
        assert_eq!(counts("A well-known path is unknown."), [1, 5, 0, 0, 0]);
    }
}
