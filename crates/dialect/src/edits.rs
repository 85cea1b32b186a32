//! Edits of a request's body: some spans are replaced, inserted or cut, everything else stays byte
//! for byte.

#[cfg(test)]
mod tests;

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use serde_json::Value;

use crate::request::{FormSpans, InputList, JsonSpans, RequestInfo, Spans, StreamOptions};

/// The byte order mark of UTF-8.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Edits of one body. The last edit of a member counts.
#[derive(Debug, Clone, Default)]
pub struct Edits {
    edits: Vec<(Target, Edit)>,
}

/// The part of a body that an edit is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Model,
    Stream,
    StreamOptions,
    ReturnProgress,
    KeepAlive,
    BillingHeader,
    Inputs,
}

/// A change of the text.
#[derive(Debug, Clone)]
enum Edit {
    /// A span is replaced. An empty text cuts it.
    Replace { span: Range<usize>, text: String },
    /// Of a span only a part is kept.
    Keep {
        span: Range<usize>,
        part: Range<usize>,
    },
    /// A member is added to the object, behind its `{`.
    Insert {
        at: usize,
        /// The members that the object has.
        members: usize,
        text: String,
    },
}

impl Edits {
    /// Returns edits that change nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns whether nothing is edited.
    pub fn is_empty(&self) -> bool {
        self.edits.is_empty()
    }

    /// Returns the body with these edits, and without the byte order mark that may stand before its
    /// JSON. `body` is the one that was read.
    pub fn apply(self, body: &Bytes) -> Bytes {
        let mut changes = Vec::with_capacity(self.edits.len() + 1);
        let has_mark = body.starts_with(BYTE_ORDER_MARK);
        if self.edits.is_empty() {
            return body.slice(if has_mark { BYTE_ORDER_MARK.len() } else { 0 }..);
        }
        if has_mark {
            changes.push((0..BYTE_ORDER_MARK.len(), String::new()));
        }

        let is_cut = |(target, _): &&(Target, Edit)| *target == Target::KeepAlive;
        let cut = self.edits.iter().filter(is_cut).count();
        let mut inserted: Option<(usize, usize, String)> = None;
        for (_, edit) in self.edits {
            match edit {
                Edit::Replace { span, text } => changes.push((span, text)),
                Edit::Keep { span, part } => {
                    changes.push((span.start..part.start, String::new()));
                    changes.push((part.end..span.end, String::new()));
                }
                Edit::Insert { at, members, text } => match &mut inserted {
                    Some((_, _, others)) => {
                        others.push(',');
                        others.push_str(&text);
                    }
                    None => inserted = Some((at, members, text)),
                },
            }
        }
        if let Some((at, members, mut text)) = inserted {
            if members > cut {
                text.push(',');
            }
            changes.push((at..at, text));
        }
        replace_spans(body, changes)
    }

    /// Sets `model`, which is inserted if it is missing.
    pub fn set_model(&mut self, info: &RequestInfo, name: &str) {
        match &info.spans {
            Spans::Json(spans) => {
                let value = Value::from(name).to_string();
                self.set_member(Target::Model, spans, "model", (&spans.model, value));
            }
            Spans::Form(spans) => {
                self.set_part(Target::Model, spans, "model", (&spans.model, name))
            }
            Spans::None => {}
        }
    }

    /// Sets `stream`, which is inserted if it is missing.
    pub fn set_stream(&mut self, info: &RequestInfo, stream: bool) {
        let value = stream.to_string();
        match &info.spans {
            Spans::Json(spans) => {
                self.set_member(Target::Stream, spans, "stream", (&spans.stream, value));
            }
            Spans::Form(spans) => {
                self.set_part(Target::Stream, spans, "stream", (&spans.stream, &value));
            }
            Spans::None => {}
        }
    }

    /// Sets `stream_options.include_usage`. Other members of `stream_options` stay.
    pub fn include_usage(&mut self, info: &RequestInfo) {
        const OPTIONS: &str = r#"{"include_usage":true}"#;
        let Spans::Json(spans) = &info.spans else {
            return;
        };
        let edit = match &spans.stream_options {
            StreamOptions::Missing => Edit::Insert {
                at: spans.start,
                members: spans.members,
                text: format!(r#""stream_options":{OPTIONS}"#),
            },
            StreamOptions::Null(span) => replace(span, OPTIONS),
            StreamOptions::Object {
                include_usage: Some(span),
                ..
            } => replace(span, "true"),
            StreamOptions::Object {
                start, has_members, ..
            } => {
                let comma = if *has_members { "," } else { "" };
                replace(
                    &(*start..*start),
                    &format!(r#""include_usage":true{comma}"#),
                )
            }
            // The runtime refuses it.
            StreamOptions::Other => return,
        };
        self.set(Target::StreamOptions, edit);
    }

    /// Sets llama.cpp's `return_progress`.
    pub fn return_progress(&mut self, info: &RequestInfo) {
        if let Spans::Json(spans) = &info.spans {
            let value = (&spans.return_progress, "true".to_owned());
            self.set_member(Target::ReturnProgress, spans, "return_progress", value);
        }
    }

    /// Cuts Ollama's `keep_alive`.
    pub fn remove_keep_alive(&mut self, info: &RequestInfo) {
        if let Spans::Json(spans) = &info.spans
            && let Some(span) = &spans.keep_alive
        {
            self.set(Target::KeepAlive, replace(span, ""));
        }
    }

    /// Cuts the block that Claude Code puts first into `system`, and that differs in each request.
    pub fn strip_billing_header(&mut self, info: &RequestInfo) {
        if let Spans::Json(spans) = &info.spans
            && let Some(span) = &spans.billing_header
        {
            self.set(Target::BillingHeader, replace(span, ""));
        }
    }

    /// Keeps some inputs of embeddings alone, of which `items` are the numbers, from 0. Where one of
    /// them is not there, all are kept. `inputs` are those of the body.
    pub fn select_inputs(&mut self, inputs: &InputList, items: &Range<usize>) {
        if let Some(part) = inputs.place_of(items) {
            let span = inputs.list.start + 1..inputs.list.end - 1;
            self.set(Target::Inputs, Edit::Keep { span, part });
        }
    }

    /// Replaces the value of a member, or inserts the member.
    fn set_member(
        &mut self,
        target: Target,
        spans: &JsonSpans,
        name: &str,
        (place, value): (&Option<Range<usize>>, String),
    ) {
        let edit = match place {
            Some(span) => replace(span, &value),
            None => Edit::Insert {
                at: spans.start,
                members: spans.members,
                text: format!("\"{name}\":{value}"),
            },
        };
        self.set(target, edit);
    }

    /// Replaces the content of a part of a form, or inserts the part before all others.
    fn set_part(
        &mut self,
        target: Target,
        spans: &FormSpans,
        name: &str,
        (place, value): (&Option<Range<usize>>, &str),
    ) {
        let edit = match place {
            Some(span) => replace(span, value),
            None => {
                let boundary = &spans.boundary;
                let head = format!("Content-Disposition: form-data; name=\"{name}\"");
                let part = format!("--{boundary}\r\n{head}\r\n\r\n{value}\r\n");
                replace(&(spans.start..spans.start), &part)
            }
        };
        self.set(target, edit);
    }

    fn set(&mut self, target: Target, edit: Edit) {
        self.edits.retain(|(earlier, _)| *earlier != target);
        self.edits.push((target, edit));
    }
}

fn replace(span: &Range<usize>, text: &str) -> Edit {
    Edit::Replace {
        span: span.clone(),
        text: text.to_owned(),
    }
}

/// Returns a text with some of its spans replaced, which do not overlap. Spans beyond its end, which
/// are those of another text, change nothing.
fn replace_spans(text: &Bytes, mut changes: Vec<(Range<usize>, String)>) -> Bytes {
    // An insertion stands before a span that begins at the same place.
    changes.sort_by_key(|(span, _)| (span.start, span.end));
    let added: usize = changes.iter().map(|(_, new)| new.len()).sum();

    let mut edited = BytesMut::with_capacity(text.len() + added);
    let mut from = 0;
    for (span, new) in changes {
        let Some(kept) = text.get(from..span.start) else {
            continue;
        };
        edited.extend_from_slice(kept);
        edited.extend_from_slice(new.as_bytes());
        from = span.end;
    }
    edited.extend_from_slice(text.get(from..).unwrap_or_default());
    edited.freeze()
}
