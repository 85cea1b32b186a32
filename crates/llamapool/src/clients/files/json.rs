//! Edits of JSON as editors write it: with comments, and with commas at the end.

use jsonc_parser::cst::{CstArray, CstInputValue, CstObject, CstRootNode};
use serde_json::Value;

use super::EditError;
use crate::editor_json::EDITOR_JSON;

/// One edit.
pub(super) enum Edit<'a> {
    /// A member of an object of the root.
    Set {
        below: &'static str,
        name: &'a str,
        value: Value,
    },
    /// An entry of `inputs`, unless one has its id.
    Input(Value),
}

/// Returns a text after some edits.
pub(super) fn edited(text: &str, edits: &[Edit<'_>]) -> Result<String, EditError> {
    let is_new = text.trim().is_empty();
    let root = CstRootNode::parse(if is_new { "{}" } else { text }, &EDITOR_JSON);
    let root = root.map_err(|error| EditError::Syntax {
        line: error.line_display(),
        column: error.column_display(),
        what: error.kind().to_string(),
    })?;
    let shape = |name: &str, kind: &str| EditError::Shape(format!("{name} is no {kind}"));
    let object = root
        .object_value_or_create()
        .ok_or_else(|| shape("the file", "object"))?;

    for edit in edits {
        match edit {
            Edit::Set { below, name, value } => {
                let servers = object.object_value_or_create(below);
                let servers = servers.ok_or_else(|| shape(below, "object"))?;
                set(&servers, name, value);
            }
            Edit::Input(value) => {
                let inputs = object.array_value_or_create("inputs");
                add_input(&inputs.ok_or_else(|| shape("inputs", "array"))?, value);
            }
        }
    }
    let mut text = root.to_string();
    if is_new && !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}

/// Adds an input, unless one with its id is there.
fn add_input(inputs: &CstArray, value: &Value) {
    let is_there = inputs.elements().iter().any(|element| {
        let id = element.as_object().and_then(|input| input.get("id"));
        let id = id.and_then(|id| id.value()?.as_string_lit()?.decoded_value().ok());
        value["id"].as_str() == id.as_deref()
    });
    if !is_there {
        inputs.ensure_multiline();
        inputs.append(input_value(value));
    }
}

fn set(servers: &CstObject, name: &str, value: &Value) {
    match servers.get(name) {
        Some(property) => property.set_value(input_value(value)),
        None => {
            servers.ensure_multiline();
            servers.append(name, input_value(value));
        }
    }
}

fn input_value(value: &Value) -> CstInputValue {
    match value {
        Value::Null => CstInputValue::Null,
        Value::Bool(value) => CstInputValue::Bool(*value),
        Value::Number(number) => CstInputValue::Number(number.to_string()),
        Value::String(text) => CstInputValue::String(text.clone()),
        Value::Array(items) => CstInputValue::Array(items.iter().map(input_value).collect()),
        Value::Object(members) => {
            let members = members
                .iter()
                .map(|(name, value)| (name.clone(), input_value(value)));
            CstInputValue::Object(members.collect())
        }
    }
}
