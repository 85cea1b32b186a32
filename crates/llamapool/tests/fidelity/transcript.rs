//! The record of one run of a scenario, on the caller's and the provider's side, in order.
//!
//! Everything that is recorded is compared to the byte (`compare.rs`). Values that differ in each
//! run are replaced: addresses by an alias, and the random ids of a provider by a number in the
//! order of their first appearance, so that their repetitions are compared.

use std::time::Duration;

use crate::harness::{BodyEnd, RawHead};
use crate::pace::{Pace, Timing};

/// The keep-alive comment of the server.
pub(crate) const COMMENT: &[u8] = b":\n\n";

/// The fields of a head or of a trailer section, in their order.
pub(crate) type Fields = Vec<(String, Vec<u8>)>;

/// One observation.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Entry {
    /// The head of a request at the provider.
    Request(RawHead),
    /// An interim answer (1xx) at the caller.
    Interim(RawHead),
    /// The head of an answer at the caller.
    Answer(RawHead),
    /// The names of a head's fields in their original spelling.
    Names(Vec<String>),
    /// A whole body, or the rest of one.
    Body(Vec<u8>),
    /// One event of a stream with the blank line at its end, or one comment.
    Event(Vec<u8>),
    /// The trailer section.
    Trailers(Fields),
    End(BodyEnd),
    /// The duration of a step.
    Timing(Timing, Pace),
    /// An exchange that an intermediary may answer itself, with its subject.
    Exchange(&'static str, Vec<Entry>),
    /// An observation in words, such as an order of events.
    Note(String),
}

/// The record of one run of a scenario.
#[derive(Default)]
pub(crate) struct Transcript {
    entries: Vec<Entry>,
    /// Texts that differ in each run, and their aliases.
    aliases: Vec<(Vec<u8>, String)>,
    has_random_ids: bool,
}

impl Transcript {
    /// Returns a transcript for a provider with random ids, of which only the repetitions are
    /// compared.
    pub(crate) fn of_random_ids() -> Self {
        Self {
            has_random_ids: true,
            ..Self::default()
        }
    }

    /// Records a request at the provider.
    pub(crate) fn request(&mut self, head: &RawHead, body: &[u8]) {
        self.entries.push(Entry::Request(head.clone()));
        self.body(body);
    }

    /// Records the head of an answer at the caller.
    pub(crate) fn answer_head(&mut self, head: &RawHead) {
        let is_interim = (100..200).contains(&head.status());
        let entry = if is_interim {
            Entry::Interim
        } else {
            Entry::Answer
        };
        self.entries.push(entry(head.clone()));
    }

    /// Records the names of a head's fields in their original spelling.
    pub(crate) fn names(&mut self, names: &[String]) {
        self.entries.push(Entry::Names(names.to_vec()));
    }

    pub(crate) fn body(&mut self, body: &[u8]) {
        self.entries.push(Entry::Body(body.to_vec()));
    }

    pub(crate) fn event(&mut self, event: &[u8]) {
        self.entries.push(Entry::Event(event.to_vec()));
    }

    /// Records the trailer section, if there is one.
    pub(crate) fn trailers(&mut self, fields: &[(String, Vec<u8>)]) {
        if !fields.is_empty() {
            self.entries.push(Entry::Trailers(fields.to_vec()));
        }
    }

    pub(crate) fn end(&mut self, end: BodyEnd) {
        self.entries.push(Entry::End(end));
    }

    /// Records the median of several durations of one step.
    pub(crate) fn timing(&mut self, step: Timing, times: &mut [Duration]) {
        times.sort();
        let median = times[times.len() / 2];
        self.entries.push(Entry::Timing(step, Pace::of(median)));
    }

    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.entries.push(Entry::Note(note.into()));
    }

    /// Records an exchange that an intermediary may answer itself.
    pub(crate) fn exchange(&mut self, subject: &'static str, inner: Self) {
        self.aliases.extend(inner.aliases);
        self.entries.push(Entry::Exchange(subject, inner.entries));
    }

    /// Adds an alias for a text that differs in each run, such as an address.
    pub(crate) fn alias(&mut self, text: impl AsRef<[u8]>, name: &str) {
        self.aliases
            .push((text.as_ref().to_vec(), format!("<{name}>")));
    }

    /// Appends another transcript, such as one of several streams.
    pub(crate) fn append(&mut self, other: Self) {
        self.entries.extend(other.entries);
        self.aliases.extend(other.aliases);
    }

    /// Returns whether nothing was recorded.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns whether its provider is a real program with random ids.
    pub(crate) fn has_random_ids(&self) -> bool {
        self.has_random_ids
    }

    /// Returns the entries with aliases and numbers for the values that differ in each run.
    pub(crate) fn normalized(&self) -> Vec<Entry> {
        let mut normalizer = Normalizer {
            aliases: &self.aliases,
            has_random_ids: self.has_random_ids,
            seen: Vec::new(),
        };
        self.entries
            .iter()
            .map(|entry| normalizer.entry(entry))
            .collect()
    }
}

/// Replaces addresses by aliases, and random ids by numbers.
struct Normalizer<'a> {
    aliases: &'a [(Vec<u8>, String)],
    has_random_ids: bool,
    seen: Vec<Vec<u8>>,
}

impl Normalizer<'_> {
    fn entry(&mut self, entry: &Entry) -> Entry {
        match entry {
            Entry::Request(it) => Entry::Request(self.head(it)),
            Entry::Interim(it) => Entry::Interim(self.head(it)),
            Entry::Answer(it) => Entry::Answer(self.head(it)),
            Entry::Body(it) => Entry::Body(self.text(it)),
            Entry::Event(it) => Entry::Event(self.text(it)),
            Entry::Exchange(subject, entries) => {
                let entries = entries.iter().map(|entry| self.entry(entry)).collect();
                Entry::Exchange(subject, entries)
            }
            Entry::Names(_)
            | Entry::Trailers(_)
            | Entry::End(_)
            | Entry::Timing(..)
            | Entry::Note(_) => entry.clone(),
        }
    }

    fn head(&mut self, head: &RawHead) -> RawHead {
        RawHead {
            line: String::from_utf8_lossy(&self.text(head.line.as_bytes())).into_owned(),
            fields: head
                .fields
                .iter()
                .map(|(name, value)| (name.clone(), self.value(name, value)))
                .collect(),
        }
    }

    /// Leaves `X-Request-Id` alone: it exists on one route only, so it must not consume a number.
    fn value(&mut self, name: &str, value: &[u8]) -> Vec<u8> {
        if name == "x-request-id" {
            value.to_vec()
        } else {
            self.text(value)
        }
    }

    fn text(&mut self, text: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(text.len());
        let mut at = 0;
        while at < text.len() {
            let rest = &text[at..];
            let is_word_start = at == 0 || !text[at - 1].is_ascii_alphanumeric();
            let id = if self.has_random_ids && is_word_start {
                id_length(rest)
            } else {
                None
            };

            if let Some((alias, name)) = self
                .aliases
                .iter()
                .find(|(alias, _)| rest.starts_with(alias))
            {
                out.extend(name.bytes());
                at += alias.len();
            } else if let Some(length) = id {
                let number = self.number(&rest[..length]);
                out.extend(format!("<id {number}>").bytes());
                at += length;
            } else {
                out.push(rest[0]);
                at += 1;
            }
        }

        out
    }

    fn number(&mut self, id: &[u8]) -> usize {
        let known = self.seen.iter().position(|seen| seen == id);
        known.unwrap_or_else(|| {
            self.seen.push(id.to_vec());
            self.seen.len() - 1
        })
    }
}

/// Returns the length of the random id that a text begins with: a UUID, or 32 hexadecimal digits.
fn id_length(text: &[u8]) -> Option<usize> {
    if !text.first()?.is_ascii_hexdigit() {
        return None;
    }
    let is_hex = |byte: &u8| byte.is_ascii_hexdigit();
    let is_uuid = |text: &[u8]| {
        text.len() >= 36
            && text[..36]
                .iter()
                .enumerate()
                .all(|(index, byte)| match index {
                    8 | 13 | 18 | 23 => *byte == b'-',
                    _ => is_hex(byte),
                })
    };
    if is_uuid(text) {
        return Some(36);
    }

    let digits = text.iter().take(33).take_while(|byte| is_hex(byte)).count();
    (digits == 32).then_some(32)
}
