//! The id of a provider, made of the name of an MCP server.

use llamapool_wire::RelayId;

use super::error::McpServersError;

/// Returns whether an id can contain a character.
pub(super) fn is_legal(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '.' | '~')
}

/// Returns the id for a name: every run of other characters becomes one `-`, and `-` and `.` go from
/// both ends, so that no name becomes `..`. The prefix stands before it as it is.
pub(super) fn of_name(prefix: &str, name: &str) -> Result<RelayId, McpServersError> {
    let mut legal = String::new();
    for character in name.chars() {
        if is_legal(character) {
            legal.push(character);
        } else if !legal.ends_with('-') {
            legal.push('-');
        }
    }
    let legal = legal.trim_matches(['-', '.']);
    if !legal.contains(|c: char| c.is_ascii_alphanumeric()) {
        return Err(McpServersError::NoId);
    }

    let id = format!("{prefix}{legal}");
    id.parse().map_err(|_| McpServersError::LongId(id.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(prefix: &str, name: &str) -> String {
        of_name(prefix, name).unwrap().to_string()
    }

    #[test]
    fn a_legal_name_is_the_id() {
        for name in ["notes", "GitHub", "a.b_c~d-9", "7"] {
            assert_eq!(id("", name), name);
        }
    }

    #[test]
    fn other_characters_become_one_hyphen() {
        for (name, expected) in [
            ("My Notes", "My-Notes"),
            ("files (work)", "files-work"),
            ("@scope/server", "scope-server"),
            ("a \u{1b}[31m b", "a-31m-b"),
            ("../../etc/passwd", "etc-passwd"),
            ("..a..", "a"),
            ("caf\u{e9} bar", "caf-bar"),
        ] {
            assert_eq!(id("", name), expected, "{name}");
        }
    }

    #[test]
    fn the_prefix_is_kept_as_it_is() {
        assert_eq!(id("alice-", "notes"), "alice-notes");
        assert_eq!(id("a.", "..b"), "a.b");
    }

    #[test]
    fn some_names_make_no_id() {
        for name in ["", "..", ".", "---", "日本", "\u{202e}", "_~_"] {
            let made = of_name("alice-", name);
            assert!(matches!(made, Err(McpServersError::NoId)), "{name:?}");
        }
        let made = of_name("p-", &"x".repeat(127));
        assert!(matches!(made, Err(McpServersError::LongId(129))));
    }
}
