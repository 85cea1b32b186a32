//! Takes out of a stream what llamapool itself had asked for: usage and progress.

use std::ops::Range;

use bytes::Bytes;
use memchr::memmem;

use crate::content::delta_has_content;
use crate::endpoint::Endpoint;
use crate::events::RawEvent;
use crate::members::{
    Member, NotJsonError, each_item, each_member, is_filled, is_nothing, place_of,
};

/// The members that a chunk of usage alone has beside it.
const ENVELOPE: &[&str] = &["id", "object", "created", "model", "system_fingerprint"];

const PROGRESS: &str = "prompt_progress";

/// The parts that the caller had not asked for, and does not get.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StreamFilter {
    /// The counts of tokens.
    pub strip_usage: bool,
    /// The chunks that report how far the prompt was read.
    pub strip_progress: bool,
}

/// The contents of the choices of a chunk.
struct Choices {
    is_empty: bool,
    has_content: bool,
    cuts: Vec<Range<usize>>,
}

/// The decision about a chunk.
enum Verdict {
    Drop,
    /// These parts of its data go, in order and apart. None: it stays as it is.
    Cut(Vec<Range<usize>>),
}

/// A member of an object, as places in the text that it is a part of.
struct Place {
    /// Its name, value and the colon between them.
    whole: Range<usize>,
    goes: bool,
}

impl StreamFilter {
    /// Returns the bytes of an event as the caller gets them, `None` if it gets nothing of it.
    ///
    /// Everything else stays byte for byte. Only the chunks of chat and completions have
    /// something to take out.
    pub fn apply(&self, endpoint: Endpoint, event: RawEvent) -> Option<Bytes> {
        let is_chunk = matches!(endpoint, Endpoint::ChatCompletions | Endpoint::Completions);
        if !is_chunk || !self.may_concern(&event.data) {
            return Some(event.raw);
        }
        let Ok(data) = std::str::from_utf8(&event.data) else {
            return Some(event.raw);
        };

        match self.verdict(data) {
            Ok(Verdict::Drop) => None,
            Ok(Verdict::Cut(cuts)) if !cuts.is_empty() => Some(without(&event, &cuts)),
            // An event that is not JSON is not changed.
            Ok(Verdict::Cut(_)) | Err(_) => Some(event.raw),
        }
    }

    /// Returns `false` if nothing can be taken out, without a parse.
    fn may_concern(&self, data: &[u8]) -> bool {
        let has = |name: &[u8]| memmem::find(data, name).is_some();
        (self.strip_usage && has(b"\"usage\"")) || (self.strip_progress && has(PROGRESS.as_bytes()))
    }

    fn verdict(&self, data: &str) -> Result<Verdict, NotJsonError> {
        let mut has_usage = false;
        let mut has_progress = false;
        let mut has_more = false;
        let mut choices = Choices::none();
        let mut places = Vec::new();
        each_member(data, |member| {
            let name = &*member.name;
            match name {
                "usage" => has_usage = true,
                "choices" => choices = self.choices(data, member.value)?,
                PROGRESS => has_progress = true,
                _ => has_more |= member.value != "null" && !ENVELOPE.contains(&name),
            }
            let goes =
                (self.strip_usage && name == "usage") || (self.strip_progress && name == PROGRESS);
            places.push(Place::of(&member, data, goes));
            Ok::<(), NotJsonError>(())
        })?;

        let is_usage = has_usage && !has_more && !has_progress && choices.is_empty;
        let is_progress = has_progress && !choices.has_content;
        if (self.strip_usage && is_usage) || (self.strip_progress && is_progress) {
            return Ok(Verdict::Drop);
        }
        let mut cuts = cuts(&places);
        cuts.append(&mut choices.cuts);
        cuts.sort_by_key(|cut| cut.start);
        Ok(Verdict::Cut(cuts))
    }

    /// Reads the choices of a chunk.
    fn choices(&self, data: &str, value: &str) -> Result<Choices, NotJsonError> {
        let mut choices = Choices::none();
        if value == "null" {
            return Ok(choices);
        }
        each_item(value, |choice| {
            choices.is_empty = false;
            let mut places = Vec::new();
            each_member(choice, |member| {
                let name = &*member.name;
                choices.has_content |= match name {
                    "delta" if member.value.starts_with('{') => delta_has_content(member.value)?,
                    "text" => is_filled(member.value),
                    "finish_reason" => !is_nothing(member.value),
                    _ => false,
                };
                let goes = self.strip_usage && name == "usage";
                places.push(Place::of(&member, data, goes));
                Ok::<(), NotJsonError>(())
            })?;
            choices.cuts.append(&mut cuts(&places));
            Ok::<(), NotJsonError>(())
        })?;
        Ok(choices)
    }
}

impl Choices {
    fn none() -> Self {
        Self {
            is_empty: true,
            has_content: false,
            cuts: Vec::new(),
        }
    }
}

impl Place {
    fn of(member: &Member<'_>, data: &str, goes: bool) -> Self {
        let whole = place_of(member.raw_name, data).start..place_of(member.value, data).end;
        Self { whole, goes }
    }
}

/// Returns the parts of an object that go with some of its members: each with the comma before it,
/// or the one behind it where none stays before it.
fn cuts(places: &[Place]) -> Vec<Range<usize>> {
    let mut cuts = Vec::new();
    let mut has_before = false;
    for (i, place) in places.iter().enumerate() {
        if !place.goes {
            has_before = true;
            continue;
        }
        cuts.push(match places.get(i + 1) {
            _ if has_before => places[i - 1].whole.end..place.whole.end,
            Some(next) => place.whole.start..next.whole.start,
            None => place.whole.clone(),
        });
    }
    cuts
}

/// Returns the bytes of an event without parts of its data.
fn without(event: &RawEvent, cuts: &[Range<usize>]) -> Bytes {
    let raw = &event.raw;
    let lines = event.data_lines();
    let length: usize = lines.iter().map(|line| line.len() + 1).sum();
    if length != event.data.len() + 1 {
        return raw.clone();
    }

    let mut kept = Vec::with_capacity(raw.len());
    let mut at = 0;
    // Where the line begins in the data, which joins the lines by one byte.
    let mut offset = 0;
    for line in lines {
        for cut in cuts {
            let from = line.start + cut.start.saturating_sub(offset);
            let to = line.start + cut.end.saturating_sub(offset);
            if from < line.end && to > line.start {
                kept.extend_from_slice(&raw[at..from]);
                at = to.min(line.end);
            }
        }
        offset += line.len() + 1;
    }
    kept.extend_from_slice(&raw[at..]);
    Bytes::from(kept)
}
