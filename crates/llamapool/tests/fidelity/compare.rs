//! How what was seen through llamapool differs from what was seen straight at the provider.
//!
//! The one rule: a difference that `allowed.rs` has no name and reason for is an error, and says where it is.

use std::collections::{BTreeMap, BTreeSet};
use std::slice::from_ref;

use crate::allowed;
use crate::difference::{At, Difference};
use crate::harness::RawHead;
use crate::transcript::{COMMENT, Entry, Fields, Transcript};

/// How much of a long body is shown when something is wrong.
const SHOWN_BYTES: usize = 600;

/// The names of the allowed differences that were there.
pub(crate) type Seen = BTreeSet<&'static str>;

/// A difference that is not allowed.
#[derive(Debug, Clone)]
pub(crate) struct Wrong {
    pub(crate) says: String,
    /// Whether it may be the moment's: of a machine that is busy, or of a program that does things one way or the other.
    pub(crate) is_of_the_moment: bool,
}

impl Wrong {
    pub(crate) fn new(says: impl Into<String>) -> Self {
        Self {
            says: says.into(),
            is_of_the_moment: false,
        }
    }
}

/// Which of the allowed differences there were, or the one that is not allowed.
pub(crate) fn compare(direct: &Transcript, through: &Transcript) -> Result<Seen, Wrong> {
    let is_of_a_program = direct.is_of_a_program();
    let (direct, through) = (direct.named(), through.named());
    let mut seen = Seen::new();
    lists(&direct, &through, is_of_a_program, &mut seen).map_err(|wrong| {
        let both = format!(
            "--- direct\n{}\n--- through\n{}",
            shown_all(&direct),
            shown_all(&through)
        );
        Wrong {
            says: format!("{}\n{both}", wrong.says),
            ..wrong
        }
    })?;
    Ok(seen)
}

fn lists(
    direct: &[Entry],
    through: &[Entry],
    is_of_a_program: bool,
    seen: &mut Seen,
) -> Result<(), Wrong> {
    let (mut mine, mut theirs) = (direct.iter().peekable(), through.iter().peekable());
    let mut place = 0;
    loop {
        let pair = (mine.peek().copied(), theirs.peek().copied());
        let alone = match pair {
            (None, None) => return Ok(()),
            (direct, Some(through)) if is_extra(through) && direct != Some(through) => {
                theirs.next()
            }
            (Some(direct), through)
                if is_one_hops(direct) && through.is_none_or(|it| !same_kind(direct, it)) =>
            {
                mine.next()
            }
            _ => None,
        };
        let found = match (alone, pair) {
            (Some(alone), _) => one_sided(alone).map(|name| seen.extend([name])),
            (None, (Some(direct), Some(through))) => {
                mine.next();
                theirs.next();
                entries(direct, through, is_of_a_program, seen)
            }
            (None, (Some(direct), None)) => Err(Wrong::new(format!(
                "direct {}, through nothing",
                shown(direct)
            ))),
            (None, (None, through)) => Err(Wrong::new(format!(
                "only through llamapool: {}",
                through.map(shown).unwrap_or_default()
            ))),
        };
        found.map_err(|wrong| Wrong {
            says: format!("entry {place}: {}", wrong.says),
            ..wrong
        })?;
        place += 1;
    }
}

/// What may be there through llamapool alone.
fn is_extra(entry: &Entry) -> bool {
    match entry {
        Entry::Interim(head) => head.status() == 100,
        Entry::Event(event) => event == COMMENT,
        _ => false,
    }
}

/// What may be there straight at the provider alone.
fn is_one_hops(entry: &Entry) -> bool {
    matches!(entry, Entry::Interim(_) | Entry::Trailers(_))
}

fn same_kind(one: &Entry, other: &Entry) -> bool {
    std::mem::discriminant(one) == std::mem::discriminant(other)
}

/// The name of what is there on one way alone.
fn one_sided(entry: &Entry) -> Result<&'static str, Wrong> {
    match entry {
        Entry::Event(_) => the_allowed(At::IdleStream, "comments", &Difference::default()),
        Entry::Interim(head) => the_allowed(
            At::Interim,
            &head.status().to_string(),
            &Difference::default(),
        ),
        Entry::Trailers(_) => the_allowed(At::Trailers, "trailers", &Difference::default()),
        _ => Err(Wrong::new(format!("on one way alone: {}", shown(entry)))),
    }
}

fn entries(
    direct: &Entry,
    through: &Entry,
    is_of_a_program: bool,
    seen: &mut Seen,
) -> Result<(), Wrong> {
    let name = match (direct, through) {
        (Entry::Asked(direct), Entry::Asked(through)) => {
            return heads(At::Request, direct, through, seen);
        }
        (Entry::Answered(direct), Entry::Answered(through)) => {
            return heads(At::Answer, direct, through, seen).map_err(|wrong| {
                // Such a program takes what it has after a moment for the whole of a short answer, or not.
                Wrong {
                    is_of_the_moment: is_of_a_program && are_framings(direct, through),
                    ..wrong
                }
            });
        }
        (direct, through) if direct == through => return Ok(()),
        (Entry::Event(direct), Entry::Event(through)) => the_allowed(
            At::Event,
            "endpoint",
            &Difference::of(from_ref(direct), from_ref(through)),
        )?,
        (Entry::Body(direct), Entry::Body(through)) => the_allowed(
            At::Body,
            "body",
            &Difference::of(from_ref(direct), from_ref(through)),
        )?,
        (Entry::Names(direct), Entry::Names(through)) => {
            let bytes = |names: &[String]| {
                names
                    .iter()
                    .map(|name| name.clone().into_bytes())
                    .collect::<Vec<_>>()
            };
            the_allowed(
                At::Names,
                "names",
                &Difference::of(&bytes(direct), &bytes(through)),
            )?
        }
        (Entry::Took(what, usual), Entry::Took(same, pace)) if what == same && pace <= usual => {
            return Ok(());
        }
        (Entry::Took(what, _), Entry::Took(same, _)) if what == same => {
            let says = format!(
                "{} took longer: direct {}, through {}",
                what.name(),
                shown(direct),
                shown(through)
            );
            return Err(Wrong {
                says,
                is_of_the_moment: true,
            });
        }
        (Entry::Exchange(what, direct), Entry::Exchange(same, through)) if what == same => {
            return exchanges(what, direct, through, is_of_a_program, seen);
        }
        _ => {
            return Err(Wrong::new(format!(
                "direct {}, through {}",
                shown(direct),
                shown(through)
            )));
        }
    };
    seen.insert(name);
    Ok(())
}

/// Whether nothing differs but one way to say where a body ends and the other.
fn are_framings(direct: &RawHead, through: &RawHead) -> bool {
    const FRAMING: [&str; 2] = ["content-length", "transfer-encoding"];
    let has_one = |head: &RawHead| {
        FRAMING
            .iter()
            .filter(|name| !head.values(name).is_empty())
            .count()
            == 1
    };
    let unframed = |head: &RawHead| RawHead {
        line: head.line.clone(),
        fields: head
            .fields
            .iter()
            .filter(|(name, _)| !FRAMING.contains(&name.as_str()))
            .cloned()
            .collect(),
    };
    let rest = heads(
        At::Answer,
        &unframed(direct),
        &unframed(through),
        &mut Seen::new(),
    );
    has_one(direct) && has_one(through) && rest.is_ok()
}

/// What somebody in between has seen to is there in part, or in other words.
fn exchanges(
    what: &'static str,
    direct: &[Entry],
    through: &[Entry],
    is_of_a_program: bool,
    seen: &mut Seen,
) -> Result<(), Wrong> {
    let mut inner = Seen::new();
    if lists(direct, through, is_of_a_program, &mut inner).is_ok() {
        seen.extend(inner);
        return Ok(());
    }
    let lines = |entries: &[Entry]| {
        entries
            .iter()
            .map(|entry| shown(entry).into_bytes())
            .collect::<Vec<_>>()
    };
    seen.insert(the_allowed(
        At::Exchange,
        what,
        &Difference::of(&lines(direct), &lines(through)),
    )?);
    Ok(())
}

fn heads(at: At, direct: &RawHead, through: &RawHead, seen: &mut Seen) -> Result<(), Wrong> {
    if direct.line != through.line {
        let difference = Difference::of(
            &[direct.line.clone().into_bytes()],
            &[through.line.clone().into_bytes()],
        );
        seen.insert(the_allowed(at, "the first line", &difference)?);
    }
    let (mine, theirs) = (direct.without(&[]), through.without(&[]));
    let names: BTreeSet<&String> = mine.keys().chain(theirs.keys()).collect();
    let values = |fields: &BTreeMap<String, Vec<Vec<u8>>>, name: &str| {
        fields.get(name).cloned().unwrap_or_default()
    };
    for name in names {
        let difference = Difference {
            direct: values(&mine, name),
            through: values(&theirs, name),
            is_event_stream: values(&mine, "content-type")
                .iter()
                .any(|value| value.starts_with(b"text/event-stream")),
        };
        if difference.direct != difference.through {
            seen.insert(the_allowed(at, name, &difference)?);
        }
    }
    Ok(())
}

/// The name of the allowed difference that this is.
fn the_allowed(at: At, what: &str, difference: &Difference) -> Result<&'static str, Wrong> {
    let it =
        allowed::all().find(|allowed| allowed.is_about(at, what) && (allowed.is_it)(difference));
    it.map(|allowed| allowed.name)
        .ok_or_else(|| Wrong::new(format!("{at:?}, {what}: {difference}")))
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
        Entry::Asked(head) => format!("asked {:?} {:?}", head.line, fields(&head.fields)),
        Entry::Interim(head) => format!("interim {:?} {:?}", head.line, fields(&head.fields)),
        Entry::Answered(head) => format!("answered {:?} {:?}", head.line, fields(&head.fields)),
        Entry::Names(names) => format!("names {names:?}"),
        Entry::Body(body) => format!("body {}", text(body)),
        Entry::Event(event) => format!("event {}", text(event)),
        Entry::Trailers(trailers) => format!("trailers {:?}", fields(trailers)),
        Entry::End(end) => format!("end {end:?}"),
        Entry::Took(what, pace) => format!("took {what:?} {pace:?}"),
        Entry::Exchange(what, entries) => format!("exchange {what} [{}]", shown_all(entries)),
        Entry::Note(note) => format!("note {note:?}"),
    }
}

fn fields(fields: &Fields) -> Vec<String> {
    fields
        .iter()
        .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value)))
        .collect()
}
