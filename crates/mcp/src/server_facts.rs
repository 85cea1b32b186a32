//! The facts about an MCP server: from its answer to `initialize`, or to `server/discover` where
//! there are no sessions (MCP 2026-07-28), and in its list of tools.

use serde_json::Value;

use crate::Revision;

/// The facts about an MCP server. The texts are its own, of any length and content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerFacts {
    /// Its name; empty if it has none.
    pub name: String,
    /// Its version; empty if it has none.
    pub version: String,
    /// The revision that was agreed on, or the newest that it supports.
    pub revision: String,
    /// The number of its tools; `None` if it has none, or was not asked.
    pub tools: Option<usize>,
    /// True if it has more tools than were counted.
    pub has_more_tools: bool,
}

impl ServerFacts {
    /// Reads the result of `initialize`.
    pub fn of_initialize(result: &Value) -> Self {
        Self::read(result, text(&result["protocolVersion"]))
    }

    /// Reads the result of `server/discover`.
    pub fn of_discovery(result: &Value) -> Self {
        let versions = result["supportedVersions"].as_array().into_iter().flatten();
        let newest = versions.filter_map(Value::as_str).max();
        let newest = newest.unwrap_or(Revision::V2026_07_28.name());
        Self::read(result, newest.to_owned())
    }

    fn read(result: &Value, revision: String) -> Self {
        let info = match &result["serverInfo"] {
            // Where there is no `initialize` it is metadata (MCP 2026-07-28, schema).
            Value::Null => &result["_meta"]["io.modelcontextprotocol/serverInfo"],
            info => info,
        };
        Self {
            name: text(&info["name"]),
            version: text(&info["version"]),
            revision,
            tools: None,
            has_more_tools: false,
        }
    }

    /// Adds the result of `tools/list`, of which there may be further pages.
    #[must_use]
    pub fn with_tools(mut self, result: &Value) -> Self {
        self.tools = result["tools"].as_array().map(Vec::len);
        self.has_more_tools = result["nextCursor"].is_string();
        self
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_server_of_sessions_says_who_it_is() {
        let result = json!({
            "protocolVersion": "2025-06-18",
            "serverInfo": { "name": "files", "version": "0.6.3" },
        });
        let facts = ServerFacts::of_initialize(&result)
            .with_tools(&json!({ "tools": [{}, {}], "nextCursor": "x" }));

        assert_eq!(
            (facts.name.as_str(), facts.version.as_str()),
            ("files", "0.6.3")
        );
        assert_eq!(facts.revision, "2025-06-18");
        assert_eq!((facts.tools, facts.has_more_tools), (Some(2), true));
    }

    #[test]
    fn a_server_without_sessions_has_its_newest_revision() {
        let result = json!({
            "supportedVersions": ["2026-07-28", "2025-11-25"],
            "_meta": { "io.modelcontextprotocol/serverInfo": { "name": "clock" } },
        });

        let facts = ServerFacts::of_discovery(&result);

        assert_eq!((facts.name.as_str(), facts.version.as_str()), ("clock", ""));
        assert_eq!(facts.revision, "2026-07-28");
        assert_eq!(facts.tools, None);
    }

    #[test]
    fn any_answer_is_read() {
        for odd in [
            json!(null),
            json!([]),
            json!({ "serverInfo": 7, "tools": {} }),
        ] {
            let facts = ServerFacts::of_initialize(&odd).with_tools(&odd);

            assert_eq!(facts.tools, None, "{odd}");
        }
    }
}
