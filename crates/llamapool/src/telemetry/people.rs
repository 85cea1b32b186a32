//! The lines for people. An event declares its own, so that its text stands where it is caused and
//! cannot drift from it:
//!
//! - `people`: the line, made by `llamapool_wire::people_line`; empty where another line has it all
//! - `banner`: true where a banner shows the same
//! - `progress`: true where the progress on a terminal shows the same
//! - `repeats`: true where more of it means nothing new; see `throttle`
//!
//! A warning or an error without a declaration is shown with its subject, its message and its
//! error. Everything else is for the full log.

use std::fmt;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::Banner;
use crate::terminal::Screen;

/// The fields that declare a line for people, and are in no other log.
pub(super) const DECLARING_FIELDS: &[&str] = &["people", "banner", "progress", "repeats"];

/// The fields that name what a warning or an error is about.
const SUBJECTS: &[&str] = &[
    "id",
    "provider",
    "setting",
    "flag",
    "names",
    "certificate",
    "file",
    "path",
    "what",
    "variables",
];

/// A layer that shows events to people.
pub(super) struct PeopleLayer {
    screen: Screen,
    banner: Banner,
}

/// The targets of the server's events.
const SERVER_TARGETS: &str = "llamapool_server";

/// What a line is made of.
#[derive(Default)]
struct LineFields {
    people: Option<String>,
    is_in_banner: bool,
    is_progress: bool,
    subject: String,
    message: String,
    error: String,
}

impl PeopleLayer {
    pub(super) fn new(screen: Screen, banner: Banner) -> Self {
        if banner != Banner::None {
            screen.open_banner();
        }
        Self { screen, banner }
    }

    fn is_shown_elsewhere(&self, fields: &LineFields) -> bool {
        (fields.is_in_banner && self.screen.has_banner())
            || (fields.is_progress && self.screen.is_terminal())
    }
}

impl<S: Subscriber> Layer<S> for PeopleLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let is_of_other_side = self.banner == Banner::OfBothSides
            && *metadata.level() >= Level::INFO
            && metadata.target().starts_with(SERVER_TARGETS);
        if is_of_other_side {
            return;
        }

        let mut fields = LineFields::default();
        event.record(&mut fields);
        if self.is_shown_elsewhere(&fields) {
            return;
        }
        if let Some(line) = fields.line(*metadata.level()) {
            self.screen.line(&line);
        }
    }
}

impl LineFields {
    /// Returns the line, `None` if the event has none.
    fn line(self, level: Level) -> Option<String> {
        if let Some(people) = self.people {
            return Some(people).filter(|people| !people.is_empty());
        }

        let mark = match level {
            Level::ERROR => '✗',
            Level::WARN => '!',
            _ => return None,
        };
        let mut line = format!("{mark} ");
        // The place of a provider without an id of its own, such as `#1`, is no name for people.
        let subject = match self.subject.as_str() {
            place if place.starts_with('#') => String::new(),
            subject => subject.to_owned(),
        };
        for part in [subject, self.message] {
            line.push_str(&part);
            line.push_str(if part.is_empty() { "" } else { ": " });
        }
        line.push_str(&self.error);
        Some(line.trim_end_matches(": ").to_owned())
    }
}

impl Visit for LineFields {
    fn record_bool(&mut self, field: &Field, value: bool) {
        match field.name() {
            "banner" => self.is_in_banner = value,
            "progress" => self.is_progress = value,
            _ => {}
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "people" => self.people = Some(format!("{value:?}")),
            name if SUBJECTS.contains(&name) && self.subject.is_empty() => {
                self.subject = format!("{value:?}")
            }
            "message" => self.message = format!("{value:?}"),
            "error" | "last_words" if self.error.is_empty() => self.error = format!("{value:?}"),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use llamapool_wire::{Mark, people_line};
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    fn shown(banner: Banner, events: impl FnOnce()) -> String {
        let (screen, text) = Screen::for_test();
        let log = tracing_subscriber::registry().with(PeopleLayer::new(screen, banner));
        tracing::subscriber::with_default(log, events);
        text()
    }

    #[test]
    fn an_event_declares_its_own_line() {
        let text = shown(Banner::Shown, || {
            tracing::info!(
                id = "demo",
                people = %people_line(Mark::Up, "connected", "https://pool.example/x"),
                "connected: callers reach it"
            );
            tracing::info!(id = "demo", "not for people");
            tracing::warn!(people = "", "shown by another line");
        });

        assert_eq!(text, "22:13:42  ● connected    https://pool.example/x\n");
    }

    #[test]
    fn a_warning_is_shown_with_subject_and_error() {
        let text = shown(Banner::None, || {
            tracing::warn!(id = "demo", req_id = "7", error = "refused", "call failed");
            tracing::error!("keys cannot be read");
            tracing::debug!(error = "x", "a detail");
        });

        assert_eq!(
            text,
            "22:13:42  ! demo: call failed: refused\n22:13:42  ✗ keys cannot be read\n"
        );
    }

    #[test]
    fn what_a_banner_shows_is_shown_once() {
        let event = || {
            tracing::info!(banner = true, people = "● connected    x", "connected");
        };

        assert_eq!(shown(Banner::Shown, event), "");
        assert_eq!(shown(Banner::None, event), "22:13:42  ● connected    x\n");
    }

    #[test]
    fn a_hostile_text_stays_in_its_line() {
        let text = shown(Banner::None, || {
            tracing::warn!(
                error = "a\n22:00:00  ● forged\r\u{1b}[2J\u{202e}",
                "call failed"
            );
        });

        assert_eq!(text.lines().count(), 1, "{text:?}");
        assert!(!text.contains(['\u{1b}', '\r', '\u{202e}']), "{text:?}");
    }
}
