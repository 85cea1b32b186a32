//! The arguments of tools that clients repeat in headers, according to the program's list of tools.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use llamapool_mcp::Revision;
use llamapool_wire::{CallError, Cause};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use tokio::sync::{OnceCell, watch};
use tokio::time::Instant;

use crate::multiplexer::Multiplexer;

/// How many pages of the list are read.
const PAGES: usize = 64;
/// How deep the properties of a schema are searched.
const DEPTH: usize = 16;
/// How long a list is current that does not contain the tool of a call.
const UNKNOWN_TOOL: Duration = Duration::from_secs(1);

/// An argument that is repeated in a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HeaderParameter {
    /// The whole name of the header, in lower case.
    pub(super) header: String,
    /// The keys that lead to the argument.
    pub(super) path: Vec<String>,
}

/// The header parameters of the tools of one program. The list is requested once, for all callers
/// that wait for it.
#[derive(Default)]
pub(super) struct ToolHeaders(Mutex<Arc<OnceCell<ToolList>>>);

struct ToolList {
    parameters: HashMap<String, Arc<[HeaderParameter]>>,
    at: Instant,
    changes: watch::Receiver<()>,
}

impl ToolHeaders {
    /// Returns the header parameters of a tool; empty for an unknown tool.
    pub(super) async fn of(
        &self,
        program: &Arc<Multiplexer>,
        tool: &str,
    ) -> Result<Arc<[HeaderParameter]>, CallError> {
        let list = self.current(tool);
        let list = list.get_or_try_init(|| request_list(program)).await?;
        Ok(list.parameters.get(tool).cloned().unwrap_or_default())
    }

    /// Returns the cell of the list, an empty one where the list is outdated for this tool.
    fn current(&self, tool: &str) -> Arc<OnceCell<ToolList>> {
        let mut current = self.0.lock();
        if current.get().is_some_and(|list| !list.is_current_for(tool)) {
            *current = Arc::default();
        }
        current.clone()
    }
}

impl ToolList {
    fn is_current_for(&self, tool: &str) -> bool {
        let is_known = self.parameters.contains_key(tool);
        let is_recent = self.at.elapsed() < UNKNOWN_TOOL;
        let has_changed = self.changes.has_changed().unwrap_or(true);
        (is_known || is_recent) && !has_changed
    }
}

async fn request_list(program: &Arc<Multiplexer>) -> Result<ToolList, CallError> {
    let changes = program.tool_changes();
    let mut parameters = HashMap::new();
    let mut cursor = None;
    for _ in 0..PAGES {
        let mut params = Map::from_iter([("_meta".to_owned(), client_meta())]);
        params.extend(cursor.map(|cursor| ("cursor".to_owned(), cursor)));
        let params = Value::from(params).to_string();
        let response = program.request("tools/list", &params).await?;

        let result = response.result();
        if response.has_result() && result.is_none() {
            let message = "the MCP server's list of tools cannot be read: it is nested too deep";
            return Err(CallError::new(Cause::ProviderGarbage, message));
        }
        // A program without tools answers with an error: then no argument is repeated.
        let result = result.unwrap_or_default();
        for tool in result["tools"].as_array().into_iter().flatten() {
            if let Some(name) = tool["name"].as_str() {
                let of_tool = header_parameters(&tool["inputSchema"]);
                parameters.insert(name.to_owned(), of_tool.into());
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

    Ok(ToolList {
        parameters,
        at: Instant::now(),
        changes,
    })
}

/// Returns the header parameters of a schema: properties that are reached through properties alone.
pub(super) fn header_parameters(schema: &Value) -> Vec<HeaderParameter> {
    let mut found = Vec::new();
    collect_parameters(schema, &mut Vec::new(), &mut found);
    found
}

fn collect_parameters(schema: &Value, path: &mut Vec<String>, found: &mut Vec<HeaderParameter>) {
    if path.len() >= DEPTH {
        return;
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        path.push(name.clone());
        if let Some(header) = property["x-mcp-header"].as_str() {
            found.push(HeaderParameter {
                header: format!("mcp-param-{}", header.to_ascii_lowercase()),
                path: path.clone(),
            });
        }
        collect_parameters(property, path, found);
        path.pop();
    }
}

/// Returns the `_meta` of the bridge's own requests.
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
    fn parameters_are_found_below_properties_alone() {
        let schema = json!({
            "properties": {
                "region": { "type": "string", "x-mcp-header": "Region" },
                "note": { "type": "string" },
                "a": { "properties": { "depth": { "x-mcp-header": "Depth" } } },
                "list": { "items": { "properties": { "x": { "x-mcp-header": "X" } } } },
            },
        });
        let mut found = header_parameters(&schema);
        found.sort_by(|one, other| one.header.cmp(&other.header));
        let of = |header: &str, path: &[&str]| HeaderParameter {
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
        assert!(header_parameters(&json!(null)).is_empty());
    }
}
