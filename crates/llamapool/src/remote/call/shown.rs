//! Tools and results as people read them.

use std::io::{IsTerminal, stdout};

use serde_json::Value;

use super::super::text::{lines, shown};

/// The longest name and the longest list of arguments of a tool, in characters.
const MAX_NAME: usize = 48;
/// The longest description of a tool, in characters.
const MAX_DESCRIPTION: usize = 80;

/// Returns the tools, each in a line: its name, its arguments, those that may be missing in brackets, and what it does.
pub(super) fn tools(tools: &[Value]) -> String {
    if tools.is_empty() {
        return "It has no tools.\n".to_owned();
    }
    let rows: Vec<[String; 3]> = tools.iter().map(row).collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or(0)
    };
    let names = width(0);
    let arguments = width(1);
    let lines = rows.iter().map(|[name, needs, does]| {
        let line = format!("{name:<names$}  {needs:<arguments$}  {does}");
        format!("{}\n", line.trim_end())
    });
    lines.collect()
}

fn row(tool: &Value) -> [String; 3] {
    let schema = &tool["inputSchema"];
    let required = schema["required"].as_array();
    let is_required = |name: &str| {
        let mut required = required.into_iter().flatten();
        required.any(|it| it.as_str() == Some(name))
    };
    let properties = schema["properties"].as_object();
    let names = properties.into_iter().flatten().map(|(name, _)| {
        if is_required(name) {
            name.clone()
        } else {
            format!("[{name}]")
        }
    });
    let arguments = names.collect::<Vec<_>>().join(" ");

    let texts = [
        &tool["description"],
        &tool["title"],
        &tool["annotations"]["title"],
    ];
    let mut texts = texts.into_iter().filter_map(Value::as_str);
    let does = texts.next().unwrap_or_default().trim();
    let does = does.lines().next().unwrap_or_default();
    [
        shown(tool["name"].as_str().unwrap_or_default(), MAX_NAME),
        shown(&arguments, MAX_NAME),
        shown(does, MAX_DESCRIPTION),
    ]
}

/// Returns a result: its texts, and what is no text as JSON. On a terminal without what would control it; to a program
/// every byte.
pub(super) fn result(result: &Value) -> String {
    let content = result["content"].as_array();
    let parts: Vec<String> = content
        .into_iter()
        .flatten()
        .map(|part| match part["text"].as_str() {
            Some(text) => text.to_owned(),
            None => part.to_string(),
        })
        .collect();

    let mut text = parts.join("\n");
    if parts.is_empty() && !result["structuredContent"].is_null() {
        text = format!("{:#}", result["structuredContent"]);
    }
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    if stdout().is_terminal() {
        lines(&text)
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_tool_is_a_line_and_hostile_ones_are_too() {
        let list = [
            json!({"name": "search", "description": "Searches.\nAt length.", "inputSchema":
                {"properties": {"query": {}, "limit": {}}, "required": ["query"]}}),
            json!({"name": "a\u{1b}[2J", "description": "\u{202e}".repeat(200)}),
        ];

        let text = tools(&list);

        assert!(text.starts_with("search"), "{text}");
        let is_listed = ["[limit] query", "query [limit]"]
            .iter()
            .any(|it| text.contains(it));
        assert!(is_listed && text.contains("  Searches."), "{text}");
        assert!(
            !text.contains('\u{1b}') && !text.contains('\u{202e}'),
            "{text}"
        );
        assert_eq!(text.lines().count(), 2);
    }

    #[test]
    fn a_result_is_its_text_or_its_structure() {
        let text =
            json!({"content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]});
        assert_eq!(result(&text), "one\ntwo\n");
        let structure = json!({"content": [], "structuredContent": {"a": 1}});
        assert_eq!(result(&structure), "{\n  \"a\": 1\n}\n");
        let image = json!({"content": [{"type": "image", "data": "AA=="}]});
        assert!(result(&image).contains("\"data\":\"AA==\""));
    }
}
