//! Texts as a terminal shows them: escaped, wrapped at columns, and cut.

use std::fmt::Write as _;

use llamapool_wire::controls_display;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Returns a text with every character escaped that controls how text is shown.
pub(crate) fn escaped(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if controls_display(c) {
            let _ = write!(shown, "{}", c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Returns a text as lines of so many columns, broken between words. Lines after the first are
/// indented. A URL stays whole, as it is there to be copied; other words that are too long are cut.
pub(super) fn wrap(text: &str, columns: usize, indent: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_inclusive(' ') {
        let is_url = word.contains("://");
        for part in parts(word, columns - indent, is_url) {
            let is_full = line.width() + part.trim_end().width() > columns;
            if is_full && !line.trim().is_empty() {
                lines.push(line.trim_end().to_owned());
                line = " ".repeat(indent);
            }
            line.push_str(part);
        }
    }
    lines.push(line.trim_end().to_owned());
    lines
}

/// Returns a word in parts of so many columns at the most.
fn parts(word: &str, columns: usize, stays_whole: bool) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = word;
    while !stays_whole && rest.trim_end().width() > columns {
        let (part, after) = rest.split_at(prefix_bytes(rest, columns));
        parts.push(part);
        rest = after;
    }
    parts.push(rest);
    parts
}

/// Returns the beginning of a text that has so many columns, with a sign where it is cut.
pub(super) fn fit(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let end = prefix_bytes(text, columns.saturating_sub(1));
    format!("{}…", &text[..end])
}

/// Returns the bytes of the beginning of a text that has so many columns at the most: at least one
/// character.
fn prefix_bytes(text: &str, columns: usize) -> usize {
    let mut width = 0;
    for (at, c) in text.char_indices() {
        width += c.width().unwrap_or(0);
        if width > columns && at > 0 {
            return at;
        }
    }
    text.len()
}

/// Returns a word with its middle left out: so many characters of its beginning and of its end.
pub(crate) fn middle_cut(word: &str, ends: usize) -> String {
    let chars: Vec<char> = word.chars().collect();
    if chars.len() <= 2 * ends + 1 {
        return word.to_owned();
    }
    let first: String = chars[..ends].iter().collect();
    let last: String = chars[chars.len() - ends..].iter().collect();
    format!("{first}…{last}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_wrapped_between_words_and_a_url_is_whole() {
        assert_eq!(wrap("short", 10, 2), ["short"]);
        assert_eq!(wrap("one two three", 10, 2), ["one two", "  three"]);
        assert_eq!(wrap("abcdefghijklm", 10, 2), ["abcdefgh", "  ijklm"]);
        assert_eq!(
            wrap("see https://pool.example/x", 10, 2),
            ["see", "  https://pool.example/x"]
        );
        assert_eq!(wrap("", 10, 2), [""]);
    }

    #[test]
    fn wide_characters_take_two_columns() {
        assert_eq!(wrap("日本語日本語", 10, 2), ["日本語日", "  本語"]);
        assert_eq!(fit("日本語", 4), "日…");
    }

    #[test]
    fn a_long_word_loses_its_middle() {
        assert_eq!(
            middle_cut("dd31ae4979c9df11a6dbec28643daef9", 4),
            "dd31…aef9"
        );
        assert_eq!(middle_cut("short", 4), "short");
    }
}
