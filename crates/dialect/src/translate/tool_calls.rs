//! Calls of tools in answers: their arguments become objects.

use super::writing::{ObjectText, push_item};
use crate::assemble::AssembleError;
use crate::members::{NotJsonError, decoded, each_item, each_member, is_filled};

/// Returns a list of calls as Ollama has them.
///
/// # Errors
///
/// The arguments of a call are no object: it was cut off, or the model wrote something else.
pub(super) fn ollama_calls(list: &str) -> Result<String, AssembleError> {
    let mut calls = "[".to_owned();
    let mut index = 0;
    each_item(list, |call| {
        let mut id = None;
        let mut function = None;
        each_member(call, |member| {
            match &*member.name {
                "id" if is_filled(member.value) => id = Some(member.value),
                "function" => function = Some(member.value),
                _ => {}
            }
            Ok::<(), NotJsonError>(())
        })?;
        // A tool that is no function is none of Ollama's.
        let Some(function) = function else {
            return Ok(());
        };

        let mut written = ObjectText::new();
        if let Some(id) = id {
            written.json("id", id);
        }
        written.json("function", &ollama_function(function, index)?);
        push_item(&mut calls, &written.end());
        index += 1;
        Ok::<(), AssembleError>(())
    })?;
    calls.push(']');
    Ok(calls)
}

fn ollama_function(function: &str, index: usize) -> Result<String, AssembleError> {
    let mut name = "\"\"";
    let mut arguments = "{}";
    each_member(function, |member| {
        match &*member.name {
            "name" if member.value.starts_with('"') => name = member.value,
            "arguments" => arguments = member.value,
            _ => {}
        }
        Ok::<(), NotJsonError>(())
    })?;

    let mut written = ObjectText::new();
    written.json("index", &index.to_string()).json("name", name);
    written.json("arguments", &arguments_object(arguments)?);
    Ok(written.end())
}

/// Returns arguments as an object on one line.
fn arguments_object(arguments: &str) -> Result<String, AssembleError> {
    let text = match arguments.as_bytes().first() {
        Some(b'"') => decoded(arguments).unwrap_or_default(),
        _ => arguments.to_owned(),
    };
    let text = match text.trim_ascii() {
        "" | "null" => "{}",
        text => text,
    };
    let read = each_member(text, |_| Ok::<(), NotJsonError>(()));
    read.map_err(|NotJsonError| AssembleError::Malformed {
        expected: "a tool call whose arguments are an object",
    })?;
    // In strings line ends are escaped.
    Ok(text.replace(['\n', '\r'], " "))
}
