//! What a scenario has seen, on both sides, in the order in which it saw it.
//!
//! The one rule: whatever is recorded is compared (`compare.rs`), to the byte. What differs in each run has a name here:
//! addresses by what they belong to; and where a provider makes ids up by chance, each becomes a number, by its first
//! appearance, so that they are compared by where they come back.

use std::time::Duration;

use crate::harness::{BodyEnd, RawHead};
use crate::pace::{Pace, Timed};

/// What the server sends on an idle stream.
pub(crate) const COMMENT: &[u8] = b":\n\n";

/// The fields of a head or of a trailer section, in their order.
pub(crate) type Fields = Vec<(String, Vec<u8>)>;

/// What was seen.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Entry {
    /// The head of a request, as the provider got it.
    Asked(RawHead),
    /// An interim answer (1xx), as the caller got it.
    Interim(RawHead),
    /// The head of an answer, as the caller got it.
    Answered(RawHead),
    /// The names of a head's fields as they were written.
    Names(Vec<String>),
    /// A whole body, or the rest of one.
    Body(Vec<u8>),
    /// One event of a stream with the blank line at its end, or one comment.
    Event(Vec<u8>),
    /// What followed the last chunk.
    Trailers(Fields),
    End(BodyEnd),
    /// How long something took.
    Took(Timed, Pace),
    /// An exchange that somebody in between may see to, by what that is called.
    Exchange(&'static str, Vec<Entry>),
    /// Something that can only be said in words, such as what came before what.
    Note(String),
}

/// What a scenario has seen.
#[derive(Default)]
pub(crate) struct Transcript {
    entries: Vec<Entry>,
    /// What differs in each run and has a name.
    aliases: Vec<(Vec<u8>, String)>,
    has_random_ids: bool,
}

impl Transcript {
    /// Of a provider that makes up ids by chance: they are compared by where they come back.
    pub(crate) fn of_random_ids() -> Self {
        Self {
            has_random_ids: true,
            ..Self::default()
        }
    }

    /// A request as the provider got it.
    pub(crate) fn asked(&mut self, head: &RawHead, body: &[u8]) {
        self.entries.push(Entry::Asked(head.clone()));
        self.body(body);
    }

    /// The head of an answer as the caller got it.
    pub(crate) fn answered(&mut self, head: &RawHead) {
        let is_interim = (100..200).contains(&head.status());
        let entry = if is_interim {
            Entry::Interim
        } else {
            Entry::Answered
        };
        self.entries.push(entry(head.clone()));
    }

    /// The names of a head's fields as they were written.
    pub(crate) fn names(&mut self, names: &[String]) {
        self.entries.push(Entry::Names(names.to_vec()));
    }

    pub(crate) fn body(&mut self, body: &[u8]) {
        self.entries.push(Entry::Body(body.to_vec()));
    }

    pub(crate) fn event(&mut self, event: &[u8]) {
        self.entries.push(Entry::Event(event.to_vec()));
    }

    /// What followed the last chunk, if anything did.
    pub(crate) fn trailers(&mut self, fields: &[(String, Vec<u8>)]) {
        if !fields.is_empty() {
            self.entries.push(Entry::Trailers(fields.to_vec()));
        }
    }

    pub(crate) fn end(&mut self, end: BodyEnd) {
        self.entries.push(Entry::End(end));
    }

    /// How long something took; of several times, the one in the middle.
    pub(crate) fn took(&mut self, what: Timed, times: &mut [Duration]) {
        times.sort();
        self.entries
            .push(Entry::Took(what, Pace::of(times[times.len() / 2])));
    }

    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.entries.push(Entry::Note(note.into()));
    }

    /// All of an exchange that somebody in between may see to.
    pub(crate) fn exchange(&mut self, what: &'static str, seen: Self) {
        self.aliases.extend(seen.aliases);
        self.entries.push(Entry::Exchange(what, seen.entries));
    }

    /// What stands for something that is different in each run, such as an address.
    pub(crate) fn alias(&mut self, text: impl AsRef<[u8]>, name: &str) {
        self.aliases
            .push((text.as_ref().to_vec(), format!("<{name}>")));
    }

    /// Appends what another one has seen, such as one of several streams.
    pub(crate) fn append(&mut self, other: Self) {
        self.entries.extend(other.entries);
        self.aliases.extend(other.aliases);
    }

    /// Whether anything was compared at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether its provider makes up what it says by chance.
    pub(crate) fn is_of_a_program(&self) -> bool {
        self.has_random_ids
    }

    /// What was seen, with names and numbers for what differs in each run.
    pub(crate) fn named(&self) -> Vec<Entry> {
        let mut names = Names {
            aliases: &self.aliases,
            has_random_ids: self.has_random_ids,
            seen: Vec::new(),
        };
        self.entries
            .iter()
            .map(|entry| names.entry(entry))
            .collect()
    }
}

/// Puts names in the place of addresses, and numbers in the place of random ids.
struct Names<'a> {
    aliases: &'a [(Vec<u8>, String)],
    has_random_ids: bool,
    seen: Vec<Vec<u8>>,
}

impl Names<'_> {
    fn entry(&mut self, entry: &Entry) -> Entry {
        match entry {
            Entry::Asked(it) => Entry::Asked(self.head(it)),
            Entry::Interim(it) => Entry::Interim(self.head(it)),
            Entry::Answered(it) => Entry::Answered(self.head(it)),
            Entry::Body(it) => Entry::Body(self.text(it)),
            Entry::Event(it) => Entry::Event(self.text(it)),
            Entry::Exchange(what, of) => {
                Entry::Exchange(what, of.iter().map(|entry| self.entry(entry)).collect())
            }
            Entry::Names(_)
            | Entry::Trailers(_)
            | Entry::End(_)
            | Entry::Took(..)
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

    /// The id of a request is there on one way alone, so it must not take a number.
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

/// The length of the random id that a text begins with: a UUID, or as many hexadecimal digits.
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
                .all(|(place, byte)| match place {
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
