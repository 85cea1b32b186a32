//! The blocks that a role shows at its start: a title, and rows with their labels in a column.

use super::COLUMNS;
use super::text::wrap;
use crate::version::BUILD;

/// The columns before a label, and of a label with the space behind it.
const INDENT: usize = 2;
const LABEL_COLUMNS: usize = 13;

/// Returns the title of a role.
pub(crate) fn title(role: &str) -> String {
    format!("  llamapool {} {role}", BUILD.version)
        .trim_end()
        .to_owned()
}

/// Returns a row: its label, and behind it a text that is wrapped in its own column.
pub(crate) fn row(label: &str, text: &str) -> Vec<String> {
    let before = INDENT + LABEL_COLUMNS;
    let text = super::escaped(text);
    let mut lines = wrap(&text, COLUMNS - before, 0);
    for (number, line) in lines.iter_mut().enumerate() {
        let label = if number == 0 { label } else { "" };
        *line = format!("{:INDENT$}{label:<LABEL_COLUMNS$}{line}", "")
            .trim_end()
            .to_owned();
    }
    lines
}

/// Returns something to mind, below the rows.
pub(crate) fn note(text: &str) -> Vec<String> {
    let mut lines = wrap(text, COLUMNS - INDENT, 2);
    for line in &mut lines {
        line.insert_str(0, "  ");
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_texts_are_in_columns() {
        assert_eq!(
            row("url", "https://pool.example"),
            ["  url          https://pool.example"]
        );

        let long = row("program", &"word ".repeat(40));
        assert_eq!(long.len(), 2);
        assert!(long[1].starts_with("               word"), "{long:?}");
        assert!(long.iter().all(|line| line.chars().count() <= COLUMNS));
    }

    #[test]
    fn a_hostile_name_stays_in_its_row() {
        let rows = row("provider", "evil\n  url  https://evil.example\u{1b}[2J");

        assert!(
            rows.iter().all(|row| !row.contains(['\n', '\u{1b}'])),
            "{rows:?}"
        );
    }
}
