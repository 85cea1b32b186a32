//! Which arguments of which tools a client repeats in headers: what the program's own list of tools says.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use llamapool_mcp::Revision;
use llamapool_wire::CallError;
use serde_json::{Map, Value, json};
use tokio::sync::{OnceCell, watch};
use tokio::time::Instant;

use crate::shared::Shared;

/// How many pages of the list are read.
const PAGES: usize = 64;
/// How deep the properties of a schema are looked through.
const DEPTH: usize = 16;
/// How long a list is good that does not have the tool that is called.
const UNKNOWN_TOOL: Duration = Duration::from_secs(1);

/// An argument that is repeated in a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Repeated {
    /// The header's whole name, in small letters.
    pub(super) header: String,
    /// The keys that lead to the argument.
    pub(super) path: Vec<String>,
}

/// What is known of the tools of one program: a list that is asked for once, however many want to know.
#[derive(Default)]
pub(super) struct Tools(Mutex<Arc<OnceCell<Listed>>>);

struct Listed {
    repeated: HashMap<String, Arc<[Repeated]>>,
    at: Instant,
    changes: watch::Receiver<()>,
}

impl Tools {
    /// What a call of a tool repeats.
    pub(super) async fn repeated(
        &self,
        program: &Arc<Shared>,
        tool: &str,
    ) -> Result<Arc<[Repeated]>, CallError> {
        let listed = self.current(tool);
        let listed = listed.get_or_try_init(|| list(program)).await?;
        Ok(listed.repeated.get(tool).cloned().unwrap_or_default())
    }

    /// The list, or a place for a new one where it is of no use for this tool.
    fn current(&self, tool: &str) -> Arc<OnceCell<Listed>> {
        let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if current
            .get()
            .is_some_and(|listed| !listed.is_good_for(tool))
        {
            *current = Arc::default();
        }
        current.clone()
    }
}

impl Listed {
    fn is_good_for(&self, tool: &str) -> bool {
        let is_known = self.repeated.contains_key(tool) || self.at.elapsed() < UNKNOWN_TOOL;
        is_known && !self.changes.has_changed().unwrap_or(true)
    }
}

async fn list(program: &Arc<Shared>) -> Result<Listed, CallError> {
    let changes = program.tool_changes();
    let (mut repeated, mut cursor) = (HashMap::new(), None);
    for _ in 0..PAGES {
        let mut params = Map::from_iter([("_meta".to_owned(), client_meta())]);
        params.extend(cursor.map(|cursor| ("cursor".to_owned(), cursor)));
        let answer = program
            .ask("tools/list", &Value::from(params).to_string())
            .await?;
        // A program without tools says that it has no such method: then nothing is repeated.
        let result: Value = serde_json::from_str(answer.result()).unwrap_or_default();
        for tool in result["tools"].as_array().into_iter().flatten() {
            if let Some(name) = tool["name"].as_str() {
                repeated.insert(name.to_owned(), repeated_by(&tool["inputSchema"]).into());
            }
        }
        cursor = result
            .get("nextCursor")
            .filter(|cursor| cursor.is_string())
            .cloned();
        if cursor.is_none() {
            break;
        }
    }
    Ok(Listed {
        repeated,
        at: Instant::now(),
        changes,
    })
}

/// The arguments that a schema wants repeated: properties that are reached through properties alone.
fn repeated_by(schema: &Value) -> Vec<Repeated> {
    let mut found = Vec::new();
    look(schema, &mut Vec::new(), &mut found);
    found
}

fn look(schema: &Value, path: &mut Vec<String>, found: &mut Vec<Repeated>) {
    if path.len() >= DEPTH {
        return;
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        path.push(name.clone());
        if let Some(header) = property["x-mcp-header"].as_str() {
            found.push(Repeated {
                header: format!("mcp-param-{}", header.to_ascii_lowercase()),
                path: path.clone(),
            });
        }
        look(property, path, found);
        path.pop();
    }
}

/// What the bridge says of itself when it asks, under MCP's own names.
pub(super) fn client_meta() -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": Revision::V2026_07_28.name(),
        "io.modelcontextprotocol/clientInfo": { "name": "llamapool", "version": env!("CARGO_PKG_VERSION") },
        "io.modelcontextprotocol/clientCapabilities": {},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_repeated_is_found_below_properties_alone() {
        let schema = json!({
            "properties": {
                "region": { "type": "string", "x-mcp-header": "Region" },
                "note": { "type": "string" },
                "a": { "properties": { "depth": { "x-mcp-header": "Depth" } } },
                "list": { "items": { "properties": { "x": { "x-mcp-header": "X" } } } },
            },
        });
        let mut found = repeated_by(&schema);
        found.sort_by(|one, other| one.header.cmp(&other.header));
        let of = |header: &str, path: &[&str]| Repeated {
            header: header.into(),
            path: path.iter().map(|key| (*key).to_owned()).collect(),
        };
        assert_eq!(
            found,
            [
                of("mcp-param-depth", &["a", "depth"]),
                of("mcp-param-region", &["region"])
            ]
        );
        assert!(repeated_by(&json!(null)).is_empty());
    }
}
