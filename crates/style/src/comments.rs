//! Finds the comments of a file, and the paragraphs of prose in them.
//!
//! A comment is what stands between two tokens, or a token that the parser made of a `///` line.
//! Code spans, URLs, fenced code and tables are no prose.

use proc_macro2::{TokenStream, TokenTree};

/// Stands for a code span or an address in prose: a noun that is never counted as a word.
pub(crate) const SPAN: char = '§';

/// One comment as it stands in the source, markers included.
pub(crate) struct Comment {
    pub(crate) start: usize,
    pub(crate) line: usize,
    /// The columns before it on its line contain only white space.
    is_alone: bool,
    text: String,
}

/// A paragraph of prose with the line on which it starts.
pub(crate) struct Paragraph {
    pub(crate) start: usize,
    pub(crate) line: usize,
    pub(crate) text: String,
}

/// Returns true when the tree belongs to a doc comment.
pub(crate) fn is_doc(tree: &TokenTree, text: &str) -> bool {
    let at = tree.span().byte_range();
    at.len() > 1
        && text
            .get(at)
            .is_some_and(|text| text.starts_with("//") || text.starts_with("/*"))
}

/// Finds all comments of a file in their order.
pub(crate) fn find(stream: &TokenStream, text: &str) -> Vec<Comment> {
    let mut finder = Finder {
        text,
        end: 0,
        line: 1,
        line_at: 0,
        found: Vec::new(),
    };
    finder.walk(stream);
    finder.find_before(text.len());
    finder.found
}

struct Finder<'a> {
    text: &'a str,
    /// The end of the last token.
    end: usize,
    /// The line of the byte at `line_at`.
    line: usize,
    line_at: usize,
    found: Vec<Comment>,
}

impl Finder<'_> {
    fn walk(&mut self, stream: &TokenStream) {
        for tree in stream.clone() {
            let at = tree.span().byte_range();
            if at.start < self.end {
                // The second token of one doc comment.
                continue;
            }
            self.find_before(at.start);
            if is_doc(&tree, self.text) {
                self.find_before(at.end);
                continue;
            }
            if let TokenTree::Group(group) = &tree {
                self.end = group.span_open().byte_range().end;
                self.walk(&group.stream());
                self.find_before(group.span_close().byte_range().start);
            }
            self.end = at.end;
        }
    }

    /// Splits the text from the last token to `end` into comments.
    fn find_before(&mut self, end: usize) {
        while let Some(offset) = self.text[self.end..end].find('/') {
            let start = self.end + offset;
            let rest = &self.text[start..end];
            let length = if rest.starts_with("//") {
                rest.find('\n').unwrap_or(rest.len())
            } else {
                rest.find("*/").map_or(rest.len(), |at| at + 2)
            };

            self.line += self.text[self.line_at..start].matches('\n').count();
            self.line_at = start;
            let line_start = self.text[..start].rfind('\n').map_or(0, |at| at + 1);
            self.found.push(Comment {
                start,
                line: self.line,
                is_alone: self.text[line_start..start].trim().is_empty(),
                text: rest[..length].to_owned(),
            });
            self.end = start + length;
        }
        self.end = end;
    }
}

impl Comment {
    fn marker(&self) -> &'static str {
        ["///", "//!", "/*", "//"]
            .into_iter()
            .find(|marker| self.text.starts_with(marker))
            .unwrap_or("")
    }

    fn content(&self) -> &str {
        let text = self.text.trim_end_matches("*/");
        text.trim_start_matches(['/', '!', '*'])
    }
}

/// Joins the comments of a file to paragraphs.
pub(crate) fn paragraphs(comments: &[Comment]) -> Vec<Paragraph> {
    let mut found: Vec<Paragraph> = Vec::new();
    let mut is_open = false;
    let mut is_code = false;
    let mut before: Option<&Comment> = None;
    for comment in comments {
        let continues = before.is_some_and(|before| {
            before.is_alone
                && comment.is_alone
                && before.line + 1 == comment.line
                && before.marker() == comment.marker()
        });
        before = Some(comment);
        is_open &= continues;
        is_code &= continues;

        for (index, line) in comment.content().split('\n').enumerate() {
            let line = line.trim().trim_start_matches("* ");
            if line.starts_with("```") {
                is_code = !is_code;
                is_open = false;
                continue;
            }
            if is_code || line.is_empty() || line.starts_with('|') || line.starts_with("---") {
                is_open = false;
                continue;
            }

            let item = list_item(line);
            let prose = item.unwrap_or(line).trim_start_matches('#').trim();
            match found.last_mut() {
                Some(open) if is_open && item.is_none() => {
                    open.text.push(' ');
                    open.text.push_str(prose);
                }
                _ => found.push(Paragraph {
                    start: comment.start,
                    line: comment.line + index,
                    text: prose.to_owned(),
                }),
            }
            is_open = !line.starts_with('#');
        }
    }

    for paragraph in &mut found {
        paragraph.text = without_code(&paragraph.text);
    }
    found
}

/// Returns the text of a list item without its marker.
fn list_item(line: &str) -> Option<&str> {
    let number = line.trim_start_matches(|digit: char| digit.is_ascii_digit());
    let numbered = (number.len() < line.len())
        .then(|| number.strip_prefix(". "))
        .flatten();
    line.strip_prefix("- ").or(numbered)
}

/// Replaces code spans and addresses by one character each.
fn without_code(text: &str) -> String {
    let mut prose = String::new();
    for (index, part) in text.split('`').enumerate() {
        match index % 2 {
            0 => prose.push_str(part),
            _ => prose.push(SPAN),
        }
    }

    let words = prose.split(' ').map(|word| {
        if word.contains("://") {
            SPAN.to_string()
        } else {
            word.to_owned()
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prose(text: &str) -> Vec<String> {
        let comments = find(&text.parse().unwrap(), text);
        paragraphs(&comments)
            .into_iter()
            .map(|paragraph| paragraph.text)
            .collect()
    }

    #[test]
    fn doc_and_line_comments_are_joined_to_paragraphs() {
        let text = "//! One\n//! two.\n//!\n//! Three.\n\n/// Four.\nfn f() {\n    // Five\n    \
                    // six.\n    let x = 1; // Seven.\n}\n// Eight.\n";

        assert_eq!(
            prose(text),
            [
                "One two.",
                "Three.",
                "Four.",
                "Five six.",
                "Seven.",
                "Eight."
            ]
        );
    }

    #[test]
    fn strings_and_code_are_no_prose() {
        let text = "/// Sends `a.b()` to https://host/x now.\n/// ```\n/// let x = 1;\n/// ```\n\
                    /// | a | b |\nconst X: &str = \"// no comment\";\n";

        assert_eq!(prose(text), ["Sends § to § now."]);
    }

    #[test]
    fn list_items_are_paragraphs() {
        let text = "/// A list:\n/// - one\n///   more\n/// - two\n/// 1. three\nfn f() {}\n";

        assert_eq!(prose(text), ["A list:", "one more", "two", "three"]);
    }

    #[test]
    fn block_comments_are_prose() {
        let text = "/* One\n * two. */\nfn f() {}\n";

        assert_eq!(prose(text), ["One two."]);
    }
}
