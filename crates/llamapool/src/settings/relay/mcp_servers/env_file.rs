//! The file that `envFile` names: a variable on each line, read as VS Code reads it.
//!
//! No library fits: those for `.env` files replace `$NAME` in values, which editors do not, and would
//! so change passwords.

use std::path::Path;

use super::text;

/// Reads the variables of a file, in its order.
///
/// # Errors
///
/// The reason in words, which contain no value.
pub(super) fn read(path: &Path) -> Result<Vec<(String, String)>, String> {
    let of_file = |problem| format!("the file {path:?} {problem}");
    let bytes = text::read_bytes(path).map_err(of_file)?;
    let text = text::decode(bytes).map_err(of_file)?;

    let mut variables = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        match variable(line) {
            Line::Variable(name, value) => variables.push((name, value)),
            Line::Nothing => {}
            Line::Wrong => {
                return Err(format!(
                    "the file {path:?}, line {number}: expected NAME=value"
                ));
            }
        }
    }
    Ok(variables)
}

/// One line of the file.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    Variable(String, String),
    /// It is blank, or a comment.
    Nothing,
    Wrong,
}

fn variable(line: &str) -> Line {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Line::Nothing;
    }
    let line = line.strip_prefix("export ").unwrap_or(line);
    let Some((name, value)) = line.split_once('=') else {
        return Line::Wrong;
    };

    let name = name.trim();
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !is_name || value.contains('\0') {
        return Line::Wrong;
    }
    Line::Variable(name.to_owned(), unquoted(value.trim()))
}

/// Returns a value without its quotes. Between double quotes `\n` is a line end. Without quotes a
/// comment may follow.
fn unquoted(value: &str) -> String {
    let between = |quote: char| {
        let inside = value.strip_prefix(quote)?;
        let (inside, behind) = inside.rsplit_once(quote)?;
        let behind = behind.trim_start();
        (behind.is_empty() || behind.starts_with('#')).then_some(inside)
    };

    if let Some(inside) = between('"') {
        return inside
            .replace("\\n", "\n")
            .replace("\\\"", "\"")
            .replace("\\\\", "\\");
    }
    if let Some(inside) = between('\'') {
        return inside.to_owned();
    }
    match value.split_once(" #") {
        Some((value, _)) => value.trim_end().to_owned(),
        None => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &str, value: &str) -> Line {
        Line::Variable(name.to_owned(), value.to_owned())
    }

    #[test]
    fn a_line_is_a_variable_a_comment_or_wrong() {
        for (line, expected) in [
            ("A=b", set("A", "b")),
            (" export A = b c ", set("A", "b c")),
            ("A=pa$$word", set("A", "pa$$word")),
            ("A=b # comment", set("A", "b")),
            ("A=b#c", set("A", "b#c")),
            ("A=\"b # c\" # d", set("A", "b # c")),
            ("A=\"b\\nc\"", set("A", "b\nc")),
            ("A='b\\nc'", set("A", "b\\nc")),
            ("A=", set("A", "")),
            ("# A=b", Line::Nothing),
            ("  ", Line::Nothing),
            ("A", Line::Wrong),
            ("1A=b", Line::Wrong),
            ("A B=c", Line::Wrong),
        ] {
            assert_eq!(variable(line), expected, "{line}");
        }
    }
}
