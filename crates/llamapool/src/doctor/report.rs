//! What was found, step by step.

use serde_json::{Value, json};

/// How a step went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Status {
    /// It was not looked at: something before it failed, or it was not asked for.
    NotLooked,
    /// As clients need it.
    Ok,
    /// Some clients, or some people, are kept out.
    Warn,
    /// Clients do not get through.
    Fail,
}

/// What one step found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    /// The step, one word.
    pub(super) step: &'static str,
    pub(super) status: Status,
    /// What is there.
    pub(super) found: String,
    /// What to do about it.
    pub(super) remedy: Option<String>,
}

/// All findings about one URL.
#[derive(Debug)]
pub(super) struct Report {
    url: String,
    pub(super) findings: Vec<Finding>,
}

/// The width of the names of steps.
const STEP_WIDTH: usize = 10;

impl Status {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::NotLooked => "not_looked_at",
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }

    /// Returns the sign for it.
    pub(super) fn mark(self) -> char {
        match self {
            Self::NotLooked => '–',
            Self::Ok => '✓',
            Self::Warn => '!',
            Self::Fail => '✗',
        }
    }
}

impl Finding {
    pub(super) fn ok(step: &'static str, found: impl Into<String>) -> Self {
        Self {
            step,
            status: Status::Ok,
            found: found.into(),
            remedy: None,
        }
    }

    pub(super) fn warn(
        step: &'static str,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            step,
            status: Status::Warn,
            found: found.into(),
            remedy: Some(remedy.into()),
        }
    }

    pub(super) fn fail(
        step: &'static str,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            status: Status::Fail,
            ..Self::warn(step, found, remedy)
        }
    }
}

impl Report {
    pub(super) fn new(url: String) -> Self {
        Self {
            url,
            findings: Vec::new(),
        }
    }

    /// Adds a finding. Returns whether the walk can go on behind it.
    pub(super) fn add(&mut self, finding: Finding) -> bool {
        let goes_on = finding.status != Status::Fail;
        self.findings.push(finding);
        goes_on
    }

    fn count(&self, status: Status) -> usize {
        let findings = self.findings.iter();
        findings.filter(|finding| finding.status == status).count()
    }

    /// Returns the exit code: 1 for a failure, 2 for warnings alone.
    pub(super) fn exit_code(&self) -> u8 {
        exit_code(self.findings.iter().map(|finding| finding.status))
    }

    /// Returns the report for people. Texts of the other side are shown without what controls a
    /// terminal.
    pub(super) fn text(&self) -> String {
        let mut text = format!("{}\n", plain(&self.url));
        for finding in &self.findings {
            let word = finding.status.word();
            let step = finding.step;
            let found = plain(&finding.found);
            text.push_str(&format!("{word:<5} {step:<STEP_WIDTH$} {found}\n"));
            for line in finding.remedy.iter().flat_map(|remedy| remedy.lines()) {
                text.push_str(&format!("{:<16} {}\n", "", plain(line)));
            }
        }
        text.push_str(&format!(
            "{}, {}\n",
            counted(self.count(Status::Fail), "failure"),
            counted(self.count(Status::Warn), "warning")
        ));
        text
    }

    /// Returns the report for programs.
    pub(super) fn json(&self) -> String {
        let findings = self.findings.iter().map(|finding| {
            let mut json = json!({
                "step": finding.step,
                "status": finding.status.word(),
                "found": finding.found,
            });
            if let Some(remedy) = &finding.remedy {
                json["remedy"] = Value::from(remedy.as_str());
            }
            json
        });
        let steps: Vec<_> = findings.collect();
        let report = json!({
            "url": self.url,
            "failures": self.count(Status::Fail),
            "warnings": self.count(Status::Warn),
            "steps": steps,
        });
        format!("{report:#}\n")
    }
}

/// Returns the exit code of what was found: 1 for a failure, 2 for warnings alone.
pub(super) fn exit_code(statuses: impl Iterator<Item = Status>) -> u8 {
    match statuses.max() {
        None | Some(Status::NotLooked | Status::Ok) => 0,
        Some(Status::Warn) => 2,
        Some(Status::Fail) => 1,
    }
}

pub(super) fn counted(number: usize, word: &str) -> String {
    match number {
        1 => format!("1 {word}"),
        _ => format!("{number} {word}s"),
    }
}

/// Returns a text of the other side without what controls a terminal.
pub(super) fn plain(text: &str) -> String {
    let shown = |c: char| !llamapool_wire::controls_display(c);
    text.chars().filter(|c| shown(*c)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_finding_is_the_exit_code() {
        let mut report = Report::new("https://pool.example/api/mcp/id/notes".to_owned());
        assert_eq!(report.exit_code(), 0);

        assert!(report.add(Finding::ok("dns", "found")));
        assert_eq!(report.exit_code(), 0);
        assert!(report.add(Finding::warn("tcp", "slow", "wait")));
        assert_eq!(report.exit_code(), 2);
        assert!(!report.add(Finding::fail("tls", "ended", "renew it\nsoon")));
        assert!(report.add(Finding::ok("health", "fine")));
        assert_eq!(report.exit_code(), 1);

        assert_eq!(
            report.text(),
            "https://pool.example/api/mcp/id/notes\n\
             ok    dns        found\n\
             warn  tcp        slow\n                 wait\n\
             fail  tls        ended\n                 renew it\n                 soon\n\
             ok    health     fine\n\
             1 failure, 1 warning\n"
        );
        let json: Value = serde_json::from_str(&report.json()).unwrap();
        assert_eq!(json["failures"], 1);
        assert_eq!(json["steps"][2]["remedy"], "renew it\nsoon");
        assert_eq!(json["steps"][0].get("remedy"), None);
    }

    #[test]
    fn texts_of_the_other_side_cannot_control_the_terminal() {
        let mut report = Report::new("https://pool.example".to_owned());
        report.add(Finding::ok("call", "a\u{1b}[2Jb\u{202e}c"));

        assert!(report.text().contains("a[2Jbc"), "{}", report.text());
    }
}
