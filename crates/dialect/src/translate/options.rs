//! The options of a request: sampling, the format of the answer, whether the model is to think.

use super::RuntimeExtensions;
use super::fields::{Fields, wrong};
use super::writing::ObjectText;
use crate::members::is_filled;
use crate::request::RequestError;

/// The options that are read. Those about how a model is loaded mean nothing to a runtime that has
/// loaded it: `num_ctx`, `num_gpu`, `num_batch`, `num_thread` and others.
const OPTIONS: &[&str] = &[
    "options.temperature",
    "options.top_p",
    "options.seed",
    "options.presence_penalty",
    "options.frequency_penalty",
    "options.top_k",
    "options.min_p",
    "options.repeat_penalty",
    "options.stop",
    "options.num_predict",
];

/// The numbers that OpenAI's API has under the same name.
const SAME: &[(&str, &str)] = &[
    ("options.temperature", "temperature"),
    ("options.top_p", "top_p"),
    ("options.seed", "seed"),
    ("options.presence_penalty", "presence_penalty"),
    ("options.frequency_penalty", "frequency_penalty"),
];

/// Writes the members that are those of `options`.
pub(super) fn write_options(
    options: Option<&str>,
    extensions: &RuntimeExtensions,
    out: &mut ObjectText,
) -> Result<(), RequestError> {
    let Some(options) = options else {
        return Ok(());
    };
    let options = Fields::read(("options", options), OPTIONS)?;
    for &(option, name) in SAME {
        if let Some(value) = options.number(option)? {
            out.json(name, value);
        }
    }

    let known = extensions.repeat_penalty;
    let extended = [
        ("options.top_k", known.map(|_| "top_k")),
        ("options.min_p", known.map(|_| "min_p")),
        ("options.repeat_penalty", known),
    ];
    for (option, name) in extended {
        if let (Some(value), Some(name)) = (options.number(option)?, name) {
            out.json(name, value);
        }
    }
    if let Some(stop) = options.get("options.stop") {
        match stop.as_bytes().first() {
            Some(b'[' | b'"') if is_filled(stop) => drop(out.json("stop", stop)),
            Some(b'[' | b'"') => {}
            _ => return Err(wrong("options.stop", stop, "a list of strings")),
        }
    }
    write_max_tokens(&options, out)
}

/// Writes the most tokens of the answer. No number above zero is Ollama's word for no bound.
fn write_max_tokens(options: &Fields<'_>, out: &mut ObjectText) -> Result<(), RequestError> {
    let Some(value) = options.number("options.num_predict")? else {
        return Ok(());
    };
    let number = value.parse::<f64>().ok().filter(|it| it.fract() == 0.0);
    match number {
        // Saturates where the number is absurd.
        Some(number) if number > 0.0 => {
            out.json("max_tokens", &(number as u64).to_string());
            Ok(())
        }
        Some(_) => Ok(()),
        None => Err(wrong("options.num_predict", value, "a whole number")),
    }
}

/// Writes the format of the answer.
pub(super) fn write_format(format: Option<&str>, out: &mut ObjectText) -> Result<(), RequestError> {
    match format {
        None | Some("\"\"") => {}
        Some("\"json\"") => {
            out.json("response_format", r#"{"type":"json_object"}"#);
        }
        Some(schema) if schema.starts_with('{') => {
            let mut described = ObjectText::with_room(schema.len() + 64);
            described.text("name", "answer").json("schema", schema);
            let mut format = ObjectText::with_room(schema.len() + 128);
            format.text("type", "json_schema");
            format.json("json_schema", &described.end());
            out.json("response_format", &format.end());
        }
        Some(other) => {
            return Err(wrong("format", other, "\"json\" or a JSON schema"));
        }
    }
    Ok(())
}

/// Writes whether and how much the model is to think.
pub(super) fn write_think(
    think: Option<&str>,
    extensions: &RuntimeExtensions,
    out: &mut ObjectText,
) -> Result<(), RequestError> {
    let arguments = match think {
        None => return Ok(()),
        Some(flag @ ("true" | "false")) => format!(r#"{{"enable_thinking":{flag}}}"#),
        Some(level @ ("\"low\"" | "\"medium\"" | "\"high\"")) => {
            format!(r#"{{"enable_thinking":true,"reasoning_effort":{level}}}"#)
        }
        Some(other) => {
            let expected = "true, false, \"low\", \"medium\" or \"high\"";
            return Err(wrong("think", other, expected));
        }
    };
    if !extensions.template_arguments {
        return Err(RequestError::NotTranslatable {
            name: "think",
            reason: "it has no such switch",
        });
    }
    out.json("chat_template_kwargs", &arguments);
    Ok(())
}
