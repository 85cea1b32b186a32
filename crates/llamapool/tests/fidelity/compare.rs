//! Compares the transcript through llamapool with the direct one.
//!
//! A difference that `allowed.rs` does not name is an error, which contains the position of the
//! entry.

use std::collections::{BTreeMap, BTreeSet};
use std::slice::from_ref;

use crate::allowed;
use crate::difference::{Difference, Part};
use crate::harness::RawHead;
use crate::transcript::{COMMENT, Entry, Fields, Transcript};

/// The bytes of a long body that an error message shows.
const SHOWN_BYTES: usize = 600;

/// The names of the allowed differences that occurred.
pub(crate) type DifferenceNames = BTreeSet<&'static str>;

/// A difference that is not allowed.
#[derive(Debug, Clone)]
pub(crate) struct MismatchError {
    pub(crate) message: String,
    /// True if it may come from a busy machine, or from a program that is not deterministic.
    pub(crate) is_transient: bool,
}

impl MismatchError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            is_transient: false,
        }
    }
}

/// Returns the names of the allowed differences, or `Err` with the first that is not allowed.
pub(crate) fn compare(
    direct: &Transcript,
    through: &Transcript,
) -> Result<DifferenceNames, MismatchError> {
    let has_random_ids = direct.has_random_ids();
    let direct = direct.normalized();
    let through = through.normalized();
    let mut seen = DifferenceNames::new();

    compare_lists(&direct, &through, has_random_ids, &mut seen).map_err(|error| {
        let direct = format_entries(&direct);
        let through = format_entries(&through);
        MismatchError {
            message: format!(
                "{}\n--- direct\n{direct}\n--- through\n{through}",
                error.message
            ),
            ..error
        }
    })?;
    Ok(seen)
}

fn compare_lists(
    direct: &[Entry],
    through: &[Entry],
    has_random_ids: bool,
    seen: &mut DifferenceNames,
) -> Result<(), MismatchError> {
    let mut direct = direct.iter().peekable();
    let mut through = through.iter().peekable();
    let mut position = 0;

    loop {
        let pair = (direct.peek().copied(), through.peek().copied());
        // An entry that may exist on one route alone is taken from that route.
        let alone = match pair {
            (None, None) => return Ok(()),
            (own, Some(other)) if may_be_added(other) && own != Some(other) => through.next(),
            (Some(own), other)
                if may_be_removed(own) && other.is_none_or(|it| !is_same_kind(own, it)) =>
            {
                direct.next()
            }
            _ => None,
        };

        let found = match (alone, pair) {
            (Some(alone), _) => name_of_one_sided(alone).map(|name| seen.extend([name])),
            (None, (Some(own), Some(other))) => {
                direct.next();
                through.next();
                compare_entries(own, other, has_random_ids, seen)
            }
            (None, (Some(own), None)) => Err(MismatchError::new(format!(
                "direct {}, through nothing",
                format_entry(own)
            ))),
            (None, (None, other)) => Err(MismatchError::new(format!(
                "only through llamapool: {}",
                other.map(format_entry).unwrap_or_default()
            ))),
        };
        found.map_err(|error| MismatchError {
            message: format!("entry {position}: {}", error.message),
            ..error
        })?;
        position += 1;
    }
}

/// Returns whether an entry may exist through llamapool alone.
fn may_be_added(entry: &Entry) -> bool {
    match entry {
        Entry::Interim(head) => head.status() == 100,
        Entry::Event(event) => event == COMMENT,
        _ => false,
    }
}

/// Returns whether an entry may exist on the direct route alone.
fn may_be_removed(entry: &Entry) -> bool {
    matches!(entry, Entry::Interim(_) | Entry::Trailers(_))
}

fn is_same_kind(one: &Entry, other: &Entry) -> bool {
    std::mem::discriminant(one) == std::mem::discriminant(other)
}

/// Returns the name of the allowed difference that an entry on one route alone is.
fn name_of_one_sided(entry: &Entry) -> Result<&'static str, MismatchError> {
    let nothing = Difference::default();
    match entry {
        Entry::Event(_) => name_of_allowed(Part::IdleStream, "comments", &nothing),
        Entry::Interim(head) => {
            name_of_allowed(Part::Interim, &head.status().to_string(), &nothing)
        }
        Entry::Trailers(_) => name_of_allowed(Part::Trailers, "trailers", &nothing),
        _ => Err(MismatchError::new(format!(
            "on one route alone: {}",
            format_entry(entry)
        ))),
    }
}

fn compare_entries(
    direct: &Entry,
    through: &Entry,
    has_random_ids: bool,
    seen: &mut DifferenceNames,
) -> Result<(), MismatchError> {
    let name = match (direct, through) {
        (Entry::Request(direct), Entry::Request(through)) => {
            return compare_heads(Part::Request, direct, through, seen);
        }
        (Entry::Answer(direct), Entry::Answer(through)) => {
            return compare_heads(Part::Answer, direct, through, seen).map_err(|error| {
                // A real program may send a short answer with a length or in chunks, depending on
                // its timing.
                MismatchError {
                    is_transient: has_random_ids && differ_in_framing_alone(direct, through),
                    ..error
                }
            });
        }
        (direct, through) if direct == through => return Ok(()),
        (Entry::Event(direct), Entry::Event(through)) => name_of_allowed(
            Part::Event,
            "endpoint",
            &Difference::of(from_ref(direct), from_ref(through)),
        )?,
        (Entry::Body(direct), Entry::Body(through)) => name_of_allowed(
            Part::Body,
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
            name_of_allowed(
                Part::Names,
                "names",
                &Difference::of(&bytes(direct), &bytes(through)),
            )?
        }
        (Entry::Timing(step, usual), Entry::Timing(same, pace))
            if step == same && pace <= usual =>
        {
            return Ok(());
        }
        (Entry::Timing(step, _), Entry::Timing(same, _)) if step == same => {
            let message = format!(
                "{} took longer: direct {}, through {}",
                step.name(),
                format_entry(direct),
                format_entry(through)
            );
            return Err(MismatchError {
                message,
                is_transient: true,
            });
        }
        (Entry::Exchange(subject, direct), Entry::Exchange(same, through)) if subject == same => {
            return compare_exchanges(subject, direct, through, has_random_ids, seen);
        }
        _ => {
            return Err(MismatchError::new(format!(
                "direct {}, through {}",
                format_entry(direct),
                format_entry(through)
            )));
        }
    };
    seen.insert(name);
    Ok(())
}

/// Returns whether one body has a length, the other one is chunked, and everything else is the
/// same.
fn differ_in_framing_alone(direct: &RawHead, through: &RawHead) -> bool {
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

    let rest = compare_heads(
        Part::Answer,
        &unframed(direct),
        &unframed(through),
        &mut DifferenceNames::new(),
    );
    has_one(direct) && has_one(through) && rest.is_ok()
}

/// Compares an exchange that an intermediary may answer itself, in part or with other content.
fn compare_exchanges(
    subject: &'static str,
    direct: &[Entry],
    through: &[Entry],
    has_random_ids: bool,
    seen: &mut DifferenceNames,
) -> Result<(), MismatchError> {
    let mut inner = DifferenceNames::new();
    if compare_lists(direct, through, has_random_ids, &mut inner).is_ok() {
        seen.extend(inner);
        return Ok(());
    }

    let lines = |entries: &[Entry]| {
        entries
            .iter()
            .map(|entry| format_entry(entry).into_bytes())
            .collect::<Vec<_>>()
    };
    let difference = Difference::of(&lines(direct), &lines(through));
    seen.insert(name_of_allowed(Part::Exchange, subject, &difference)?);
    Ok(())
}

fn compare_heads(
    part: Part,
    direct: &RawHead,
    through: &RawHead,
    seen: &mut DifferenceNames,
) -> Result<(), MismatchError> {
    if direct.line != through.line {
        let difference = Difference::of(
            &[direct.line.clone().into_bytes()],
            &[through.line.clone().into_bytes()],
        );
        seen.insert(name_of_allowed(part, "the first line", &difference)?);
    }

    let direct = direct.without(&[]);
    let through = through.without(&[]);
    let names: BTreeSet<&String> = direct.keys().chain(through.keys()).collect();
    let values = |fields: &BTreeMap<String, Vec<Vec<u8>>>, name: &str| {
        fields.get(name).cloned().unwrap_or_default()
    };

    for name in names {
        let difference = Difference {
            direct: values(&direct, name),
            through: values(&through, name),
            is_event_stream: values(&direct, "content-type")
                .iter()
                .any(|value| value.starts_with(b"text/event-stream")),
        };
        if difference.direct != difference.through {
            seen.insert(name_of_allowed(part, name, &difference)?);
        }
    }

    Ok(())
}

/// Returns the name of the allowed difference that this one is, `Err` if there is none.
fn name_of_allowed(
    part: Part,
    subject: &str,
    difference: &Difference,
) -> Result<&'static str, MismatchError> {
    allowed::all()
        .find(|it| it.is_about(part, subject) && (it.matches)(difference))
        .map(|allowed| allowed.name)
        .ok_or_else(|| MismatchError::new(format!("{part:?}, {subject}: {difference}")))
}

fn format_entries(entries: &[Entry]) -> String {
    entries
        .iter()
        .map(format_entry)
        .collect::<Vec<_>>()
        .join("\n")
}

fn format_entry(entry: &Entry) -> String {
    let text = |bytes: &[u8]| {
        let start = String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN_BYTES)]).into_owned();
        format!("{} bytes {start:?}", bytes.len())
    };
    let with_fields = |name: &str, head: &RawHead| {
        format!("{name} {:?} {:?}", head.line, format_fields(&head.fields))
    };

    match entry {
        Entry::Request(head) => with_fields("request", head),
        Entry::Interim(head) => with_fields("interim", head),
        Entry::Answer(head) => with_fields("answer", head),
        Entry::Names(names) => format!("names {names:?}"),
        Entry::Body(body) => format!("body {}", text(body)),
        Entry::Event(event) => format!("event {}", text(event)),
        Entry::Trailers(trailers) => format!("trailers {:?}", format_fields(trailers)),
        Entry::End(end) => format!("end {end:?}"),
        Entry::Timing(step, pace) => format!("timing {step:?} {pace:?}"),
        Entry::Exchange(subject, entries) => {
            format!("exchange {subject} [{}]", format_entries(entries))
        }
        Entry::Note(note) => format!("note {note:?}"),
    }
}

fn format_fields(fields: &Fields) -> Vec<String> {
    fields
        .iter()
        .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value)))
        .collect()
}
