//! What a scenario has seen, on both sides, in the order in which it saw it; and how two such transcripts differ.
//!
//! The one rule: everything is compared, to the byte, but for what `allowed.rs` has a name and a reason for. Addresses
//! have names; and where a provider makes ids up by chance, those are compared by where they come back: each becomes a
//! number, by its first appearance.

use std::collections::{BTreeMap, BTreeSet};
use std::slice::from_ref;

use crate::allowed::{ALLOWED, At, Difference};
use crate::harness::{BodyEnd, RawHead};

/// What the server sends on an idle stream.
pub(crate) const COMMENT: &[u8] = b":\n\n";
/// How much of a long body is shown when something is wrong.
const SHOWN_BYTES: usize = 600;

/// What was seen.
#[derive(Debug, Clone, PartialEq)]
enum Entry {
    /// The head of a request, as the provider got it.
    Asked(RawHead),
    /// The head of an answer, as the caller got it.
    Answered(RawHead),
    /// A whole body, or the rest of one.
    Body(Vec<u8>),
    /// One event of a stream with the blank line at its end, or one comment.
    Event(Vec<u8>),
    End(BodyEnd),
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
        Self { has_random_ids: true, ..Self::default() }
    }

    /// A request as the provider got it.
    pub(crate) fn asked(&mut self, head: &RawHead, body: &[u8]) {
        self.entries.push(Entry::Asked(head.clone()));
        self.body(body);
    }

    /// The head of an answer as the caller got it.
    pub(crate) fn answered(&mut self, head: &RawHead) {
        self.entries.push(Entry::Answered(head.clone()));
    }

    pub(crate) fn body(&mut self, body: &[u8]) {
        self.entries.push(Entry::Body(body.to_vec()));
    }

    pub(crate) fn event(&mut self, event: &[u8]) {
        self.entries.push(Entry::Event(event.to_vec()));
    }

    pub(crate) fn end(&mut self, end: BodyEnd) {
        self.entries.push(Entry::End(end));
    }

    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.entries.push(Entry::Note(note.into()));
    }

    /// What stands for something that is different in each run, such as an address.
    pub(crate) fn alias(&mut self, text: impl AsRef<[u8]>, name: &str) {
        self.aliases.push((text.as_ref().to_vec(), format!("<{name}>")));
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

    fn with_numbers_for_ids(&self) -> Vec<Entry> {
        let mut ids = Ids { aliases: &self.aliases, has_random: self.has_random_ids, seen: Vec::new() };
        let head = |ids: &mut Ids<'_>, head: &RawHead| RawHead {
            line: String::from_utf8_lossy(&ids.numbered(head.line.as_bytes())).into_owned(),
            fields: head.fields.iter().map(|(name, value)| (name.clone(), ids.numbered_in(name, value))).collect(),
        };
        let numbered = |entry: &Entry| match entry {
            Entry::Asked(it) => Entry::Asked(head(&mut ids, it)),
            Entry::Answered(it) => Entry::Answered(head(&mut ids, it)),
            Entry::Body(it) => Entry::Body(ids.numbered(it)),
            Entry::Event(it) => Entry::Event(ids.numbered(it)),
            Entry::End(_) | Entry::Note(_) => entry.clone(),
        };
        self.entries.iter().map(numbered).collect()
    }
}

/// Puts numbers in the place of random ids.
struct Ids<'a> {
    aliases: &'a [(Vec<u8>, String)],
    has_random: bool,
    seen: Vec<Vec<u8>>,
}

impl Ids<'_> {
    fn numbered(&mut self, text: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(text.len());
        let mut at = 0;
        while at < text.len() {
            let rest = &text[at..];
            if let Some((alias, name)) = self.aliases.iter().find(|(alias, _)| rest.starts_with(alias)) {
                out.extend(name.bytes());
                at += alias.len();
            } else if let Some(length) =
                id_length(rest, at == 0 || !text[at - 1].is_ascii_alphanumeric()).filter(|_| self.has_random)
            {
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

    /// The id of a request is there on one way alone, so it must not take a number.
    fn numbered_in(&mut self, name: &str, value: &[u8]) -> Vec<u8> {
        if name == "x-request-id" { value.to_vec() } else { self.numbered(value) }
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
fn id_length(text: &[u8], is_word_start: bool) -> Option<usize> {
    if !is_word_start || !text.first()?.is_ascii_hexdigit() {
        return None;
    }
    let is_hex = |byte: &u8| byte.is_ascii_hexdigit();
    let is_uuid = |text: &[u8]| {
        text.len() >= 36
            && text[..36].iter().enumerate().all(|(place, byte)| match place {
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

/// Compares what was seen straight at the provider with what was seen through llamapool: which of the allowed
/// differences there were, or the one that is not allowed.
pub(crate) fn compare(direct: &Transcript, through: &Transcript) -> Result<BTreeSet<&'static str>, String> {
    let (direct, through) = (direct.with_numbers_for_ids(), through.with_numbers_for_ids());
    let mut seen = BTreeSet::new();
    let whole = || format!("--- direct\n{}\n--- through\n{}", shown_all(&direct), shown_all(&through));
    let mut ours = through.iter().peekable();
    for (place, own) in direct.iter().enumerate() {
        while ours.next_if(|entry| is_comment(entry) && *entry != own).is_some() {
            seen.insert(allowed(At::IdleStream, "comments", &Difference::default())?);
        }
        entries(own, ours.next(), &mut seen).map_err(|what| format!("entry {place}: {what}\n{}", whole()))?;
    }
    for rest in ours {
        if !is_comment(rest) {
            return Err(format!("only through llamapool: {}\n{}", shown(rest), whole()));
        }
        seen.insert(allowed(At::IdleStream, "comments", &Difference::default())?);
    }
    Ok(seen)
}

fn is_comment(entry: &Entry) -> bool {
    matches!(entry, Entry::Event(event) if event == COMMENT)
}

fn entries(direct: &Entry, through: Option<&Entry>, seen: &mut BTreeSet<&'static str>) -> Result<(), String> {
    match (direct, through) {
        (Entry::Asked(direct), Some(Entry::Asked(through))) => heads(At::Request, direct, through, seen),
        (Entry::Answered(direct), Some(Entry::Answered(through))) => heads(At::Answer, direct, through, seen),
        (direct, Some(through)) if direct == through => Ok(()),
        (Entry::Event(direct), Some(Entry::Event(through))) => {
            let difference = Difference::of(from_ref(direct), from_ref(through));
            seen.insert(allowed(At::Event, "endpoint", &difference)?);
            Ok(())
        }
        (direct, Some(through)) => Err(format!("direct {}, through {}", shown(direct), shown(through))),
        (direct, None) => Err(format!("direct {}, through nothing", shown(direct))),
    }
}

fn heads(at: At, direct: &RawHead, through: &RawHead, seen: &mut BTreeSet<&'static str>) -> Result<(), String> {
    if direct.line != through.line {
        let difference = Difference::of(&[direct.line.clone().into_bytes()], &[through.line.clone().into_bytes()]);
        seen.insert(allowed(at, "the first line", &difference)?);
    }
    let (mine, theirs) = (direct.without(&[]), through.without(&[]));
    let names: BTreeSet<&String> = mine.keys().chain(theirs.keys()).collect();
    let values = |fields: &BTreeMap<String, Vec<Vec<u8>>>, name: &str| fields.get(name).cloned().unwrap_or_default();
    for name in names {
        let difference = Difference {
            direct: values(&mine, name),
            through: values(&theirs, name),
            is_event_stream: values(&mine, "content-type").iter().any(|value| value.starts_with(b"text/event-stream")),
        };
        if difference.direct != difference.through {
            seen.insert(allowed(at, name, &difference)?);
        }
    }
    Ok(())
}

/// The name of the allowed difference that this is.
fn allowed(at: At, what: &str, difference: &Difference) -> Result<&'static str, String> {
    let it = ALLOWED.iter().find(|allowed| allowed.at == at && allowed.what == what && (allowed.is_it)(difference));
    it.map(|allowed| allowed.name).ok_or_else(|| format!("{at:?}, {what}: {difference}"))
}

fn shown_all(entries: &[Entry]) -> String {
    entries.iter().map(shown).collect::<Vec<_>>().join("\n")
}

fn shown(entry: &Entry) -> String {
    let text = |bytes: &[u8]| {
        let start = String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN_BYTES)]).into_owned();
        format!("{} bytes {start:?}", bytes.len())
    };
    match entry {
        Entry::Asked(head) => format!("asked {:?} {:?}", head.line, fields(head)),
        Entry::Answered(head) => format!("answered {:?} {:?}", head.line, fields(head)),
        Entry::Body(body) => format!("body {}", text(body)),
        Entry::Event(event) => format!("event {}", text(event)),
        Entry::End(end) => format!("end {end:?}"),
        Entry::Note(note) => format!("note {note:?}"),
    }
}

fn fields(head: &RawHead) -> Vec<String> {
    head.fields.iter().map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value))).collect()
}
