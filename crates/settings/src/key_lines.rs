//! The lines of the keys of a TOML file, for messages.

use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroU32;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The lines of a table and of its keys, counted from 1.
#[derive(Debug, Default)]
pub(crate) struct KeyLines {
    /// The line where the table begins, `None` if there is none.
    pub(crate) line: Option<Line>,
    keys: HashMap<String, Line>,
    /// The tables below a key: those of an array, or one.
    tables: HashMap<String, Vec<KeyLines>>,
}

impl KeyLines {
    /// Returns the lines of a file, none if it is not TOML.
    pub(crate) fn of(text: &str) -> Self {
        match DeTable::parse(text) {
            Ok(document) => Self::of_table(&LineIndex::of(text), document.get_ref(), None),
            Err(_) => Self::default(),
        }
    }

    /// Returns the lines of keys that a reader of another format has found.
    pub(crate) fn from_parts(line: Option<Line>, keys: HashMap<String, Line>) -> Self {
        Self {
            line,
            keys,
            tables: HashMap::new(),
        }
    }

    /// Returns the line of a key, `None` if there is none.
    pub(crate) fn of_key(&self, key: &str) -> Option<Line> {
        self.keys.get(key).copied()
    }

    /// Returns the lines of the tables below a key, none if there is no table.
    pub(crate) fn below(&self, key: &str) -> &[KeyLines] {
        self.tables.get(key).map(Vec::as_slice).unwrap_or_default()
    }

    fn of_table(index: &LineIndex, table: &DeTable<'_>, line: Option<Line>) -> Self {
        let mut lines = Self {
            line,
            ..Self::default()
        };
        for (key, value) in table {
            let name: &str = key.get_ref();
            lines
                .keys
                .insert(name.to_owned(), index.line_of(key.span().start));

            let values = match value.get_ref() {
                DeValue::Array(values) => values.iter().collect(),
                _ => vec![value],
            };
            let tables = values.into_iter();
            let tables: Vec<Self> = tables.map(|value| Self::of_value(index, value)).collect();
            lines.tables.insert(name.to_owned(), tables);
        }
        lines
    }

    fn of_value(index: &LineIndex, value: &Spanned<DeValue<'_>>) -> Self {
        let line = Some(index.line_of(value.span().start));
        match value.get_ref() {
            DeValue::Table(table) => Self::of_table(index, table, line),
            _ => Self {
                line,
                ..Self::default()
            },
        }
    }
}

/// The line ends of a text, by which the line of an offset is found.
pub struct LineIndex(Vec<usize>);

impl LineIndex {
    /// Finds the line ends of a text.
    pub fn of(text: &str) -> Self {
        let bytes = text.bytes().enumerate();
        Self(
            bytes
                .filter(|(_, byte)| *byte == b'\n')
                .map(|(at, _)| at)
                .collect(),
        )
    }

    /// Returns the line of an offset in bytes.
    pub fn line_of(&self, offset: usize) -> Line {
        let before = self.0.partition_point(|line_end| *line_end < offset);
        let before = u32::try_from(before).unwrap_or(u32::MAX);
        Line(NonZeroU32::MIN.saturating_add(before))
    }
}

/// The number of a line, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line(NonZeroU32);

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_tables_have_their_lines() {
        let text = "a = 1\n\n[[item]]\nb = 2\n[[item]]\n# c\nd = { e = 3 }\n[one]\nf = 4\n";

        let lines = KeyLines::of(text);

        let number = |line: Option<Line>| line.map(|line| line.0.get());
        assert_eq!(number(lines.of_key("a")), Some(1));
        assert_eq!(lines.of_key("b"), None);
        let [first, second] = lines.below("item") else {
            panic!("{lines:?}")
        };
        assert_eq!(
            [first.line, first.of_key("b")].map(number),
            [Some(3), Some(4)]
        );
        assert_eq!(
            [second.line, second.of_key("d")].map(number),
            [Some(5), Some(7)]
        );
        assert_eq!(number(lines.below("one")[0].of_key("f")), Some(9));
        assert!(lines.below("a")[0].keys.is_empty());
        assert!(KeyLines::of("a = ").keys.is_empty());
    }
}
