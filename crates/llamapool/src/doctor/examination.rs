//! What the checks of a role found, for people and for programs.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use serde_json::{Value, json};

use super::check::{ALL, Check, Looked};
use super::report::{Status, counted, exit_code, plain};

/// The checks of one role, in the order in which they were made.
#[derive(Debug)]
pub(super) struct Examination {
    role: &'static str,
    /// Why this role was looked at, if the command does not name it.
    guessed: Option<String>,
    pub(super) looked: Vec<Looked>,
}

/// The width of the names of areas.
const AREA_WIDTH: usize = 12;
/// The width of a line.
const LINE_WIDTH: usize = 110;
/// The time from which on it is shown.
const SHOWN_FROM: Duration = Duration::from_millis(10);

impl Examination {
    pub(super) fn new(role: &'static str, guessed: Option<String>) -> Self {
        Self {
            role,
            guessed,
            looked: Vec::new(),
        }
    }

    /// Adds what a check found. Returns whether what depends on it can be looked at.
    pub(super) fn add(&mut self, looked: Looked) -> bool {
        let goes_on = looked.status != Status::Fail;
        self.looked.push(looked);
        goes_on
    }

    /// Shows on a terminal what is looked at now, in a line that is rewritten.
    pub(super) fn now(&self, what: &str) {
        if is_shown() {
            // Nothing depends on it.
            let _ = write!(io::stderr(), "\r\x1b[K  looking at {what} …");
        }
    }

    /// Adds the checks of the role that were not made, and puts all in order. `not_for` are checks that
    /// this configuration has no use for.
    pub(super) fn finish(&mut self, not_for: &[&'static Check]) {
        if is_shown() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
        let place_of = |check: &Check| ALL.iter().position(|it| *it == check);
        let failed = self.looked.iter().filter(|it| it.status == Status::Fail);
        let mut failed: Vec<_> = failed.map(|it| (place_of(it.check), it.check)).collect();
        failed.sort_by_key(|(place, _)| *place);

        let of_role = ALL.iter().copied();
        for check in of_role.filter(|check| check.roles.contains(&self.role)) {
            let is_there = self.looked.iter().any(|it| it.check == check);
            if is_there || not_for.contains(&check) {
                continue;
            }
            // What fails last before it is what it depends on.
            let before = failed.iter().rfind(|(place, _)| *place < place_of(check));
            let reason = match before.or(failed.first()) {
                Some((_, failed)) => format!("not looked at, as {} failed", failed.name),
                None => "not looked at".to_owned(),
            };
            self.looked.push(check.skipped(reason));
        }
        self.looked.sort_by_key(|looked| place_of(looked.check));
    }

    fn count(&self, status: Status) -> usize {
        let looked = self.looked.iter();
        looked.filter(|looked| looked.status == status).count()
    }

    /// Returns the exit code: 1 for a failure, 2 for warnings alone.
    pub(super) fn exit_code(&self) -> u8 {
        exit_code(self.looked.iter().map(|looked| looked.status))
    }

    /// Returns the report for people. With `explains`, each check says why it is looked at.
    pub(super) fn text(&self, explains: bool) -> String {
        let mut text = match &self.guessed {
            None => format!("llamapool {}\n", self.role),
            Some(reason) => format!("llamapool {} (as {reason})\n", self.role),
        };
        let mut area = "";
        for looked in &self.looked {
            let shown_area = if looked.check.area == area {
                ""
            } else {
                looked.check.area
            };
            area = looked.check.area;
            let took = looked.took.filter(|took| *took >= SHOWN_FROM);
            let took = took.map(|took| format!(" ({})", shown_time(took)));
            let name = match looked.status {
                Status::NotLooked => format!("{}: ", looked.check.name),
                _ => String::new(),
            };
            let found = plain(&looked.found);
            let line = format!("{name}{found}{}", took.unwrap_or_default());
            let mark = looked.status.mark();
            let first = format!("  {shown_area:<AREA_WIDTH$} {mark} ");
            text.push_str(&wrapped(&first, &line));
            let indent = " ".repeat(first.chars().count());
            for line in looked.remedy.iter().flat_map(|remedy| remedy.lines()) {
                text.push_str(&wrapped(&format!("{indent}→ "), &plain(line)));
            }
            if explains {
                let about = format!("{}: {}", looked.check.cause, looked.check.about);
                text.push_str(&wrapped(&indent, &about));
            }
        }
        text.push_str(&format!("  {}.", self.summary()));
        if self.exit_code() != 0 && !explains {
            text.push_str("   --explain says why each is looked at.");
        }
        text.push('\n');
        text
    }

    fn summary(&self) -> String {
        let failures = self.count(Status::Fail);
        let warnings = self.count(Status::Warn);
        if failures + warnings == 0 {
            return "All good".to_owned();
        }
        format!(
            "{}, {}",
            counted(failures, "failure"),
            counted(warnings, "warning")
        )
    }

    /// Returns the report for programs.
    pub(super) fn json(&self) -> Value {
        let checks = self.looked.iter().map(|looked| {
            let mut json = json!({
                "area": looked.check.area,
                "check": looked.check.name,
                "cause": looked.check.cause,
                "status": looked.status.word(),
                "found": looked.found,
            });
            if let Some(remedy) = &looked.remedy {
                json["remedy"] = Value::from(remedy.as_str());
            }
            if let Some(took) = looked.took {
                json["ms"] = Value::from(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
            }
            json
        });
        let checks: Vec<_> = checks.collect();
        json!({
            "role": self.role,
            "failures": self.count(Status::Fail),
            "warnings": self.count(Status::Warn),
            "checks": checks,
        })
    }
}

/// Returns whether people see what is written to standard error, on a terminal that can rewrite a line.
fn is_shown() -> bool {
    io::stderr().is_terminal() && io::stdout().is_terminal()
}

/// Returns a text in lines of bounded width, of which the first has this beginning and the others are
/// indented as far. A word that is longer, such as a URL, stays whole.
fn wrapped(beginning: &str, text: &str) -> String {
    let indent = beginning.chars().count();
    let mut lines = beginning.to_owned();
    let mut width = indent;
    for (place, word) in text.split(' ').enumerate() {
        let length = word.chars().count();
        if place > 0 && width + 1 + length > LINE_WIDTH {
            lines.push('\n');
            lines.push_str(&" ".repeat(indent));
            width = indent;
        } else if place > 0 {
            lines.push(' ');
            width += 1;
        }
        lines.push_str(word);
        width += length;
    }
    lines.push('\n');
    lines
}

/// Returns a time for people.
pub(super) fn shown_time(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        format!("{} ms", time.as_millis())
    } else {
        format!("{:.1} s", time.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::check::{KEY, MCP, NAME, SETTINGS, TCP};

    #[test]
    fn what_depends_on_a_failure_was_not_looked_at() {
        let mut examination = Examination::new(MCP, Some("SERVER_URL is set".to_owned()));
        assert!(examination.add(SETTINGS.ok("read")));
        assert!(examination.add(NAME.warn("a\u{1b}[2Jb", "look")));
        let took = Duration::from_millis(18);
        assert!(!examination.add(TCP.fail("refused", "start it").within(took)));
        examination.finish(&[]);

        let text = examination.text(false);
        assert!(text.contains("network      ! a[2Jb\n"), "{text}");
        assert!(
            text.contains("✗ refused (18 ms)\n                 → start it\n"),
            "{text}"
        );
        assert!(
            text.contains("– key: not looked at, as tcp failed"),
            "{text}"
        );
        assert!(text.contains("1 failure, 1 warning."), "{text}");
        assert_eq!(examination.exit_code(), 1);
        let json = examination.json();
        let key = json["checks"].as_array().unwrap().iter();
        let key = key.clone().find(|it| it["cause"] == KEY.cause).unwrap();
        assert_eq!(key["status"], "not_looked_at");
        let explained = examination.text(true);
        assert!(explained.contains("not_reached: The port"), "{explained}");
    }
}
