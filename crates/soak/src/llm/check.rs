//! The checker: a pure function from a history of calls to LLMs to its violations.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;

use super::history::{AttemptRecord, LlmCall, LlmHistory, LlmOutcome, word};
use crate::history::Millis;

/// The time within which every call ends: `CALL_TIMEOUT`, and the faults on the way.
pub(super) const WITHIN_MS: Millis = 30_000;
/// The most attempts of a call.
const MAX_ATTEMPTS: usize = 3;
/// Words of errors that end a call although it had attempts left: its time was over.
const TIMEOUTS: [&str; 3] = ["first_token_timeout", "call_timeout", "queue_timeout"];

/// A rule, by what breaks it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum LlmRule {
    /// A call has no end, or several.
    NotOneEnd,
    /// A call did not end within its time.
    Late,
    /// No answer came, although the server ran on.
    NoAnswer,
    /// The text is not what one attempt of the call wrote.
    Invented,
    /// A whole answer is not the whole text of its attempt, or a stream ended without a last event.
    CutShort,
    /// A call was executed again although its caller had received content.
    Repeated,
    /// A call had more attempts than it may have.
    TooManyAttempts,
    /// A call failed before first content although it had attempts left.
    Lost,
    /// A runtime computed a call that no caller sent.
    UnknownAttempt,
    /// A call was refused as not executed, and a runtime had computed it.
    ExecutedThoughRefused,
    /// The state is not the truth once all faults are over, or no call is answered.
    NotSettled,
}

/// A broken rule, with the excerpt of the history that breaks it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LlmViolation {
    /// The rule.
    pub(crate) rule: LlmRule,
    /// What broke it, as text.
    pub(crate) excerpt: String,
}

impl fmt::Display for LlmViolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.rule, self.excerpt)
    }
}

/// An attempt, as its runtime recorded it.
#[derive(Debug)]
struct Attempt<'a> {
    mark: &'a str,
    nonce: &'a str,
    words: u32,
    is_complete: bool,
}

impl Attempt<'_> {
    fn text(&self) -> String {
        (0..self.words)
            .map(|number| word(self.mark, number))
            .collect()
    }
}

/// Returns every violation of a history.
pub(crate) fn check(history: &LlmHistory) -> Vec<LlmViolation> {
    let attempts = attempts(&history.records);
    let mut by_nonce: HashMap<&str, Vec<&Attempt<'_>>> = HashMap::new();
    for attempt in &attempts {
        by_nonce.entry(attempt.nonce).or_default().push(attempt);
    }
    let mut failed: HashMap<&str, usize> = HashMap::new();
    for nonce in &history.failed_attempts {
        *failed.entry(nonce).or_default() += 1;
    }

    let mut violations = Vec::new();
    for call in &history.calls {
        let facts = CallFacts {
            call,
            attempts: by_nonce.remove(call.nonce.as_str()).unwrap_or_default(),
            failed: failed.get(call.nonce.as_str()).copied().unwrap_or(0),
        };
        let broken = facts.broken(history.lag).into_iter();
        violations.extend(broken.map(|rule| LlmViolation {
            rule,
            excerpt: format!("{facts:?}"),
        }));
    }
    for attempts in by_nonce.values() {
        violations.push(LlmViolation {
            rule: LlmRule::UnknownAttempt,
            excerpt: format!("{attempts:?}"),
        });
    }
    violations.extend(history.unsettled.iter().map(|what| LlmViolation {
        rule: LlmRule::NotSettled,
        excerpt: what.clone(),
    }));
    violations
}

/// Puts the records of each attempt together, in the order in which they began.
fn attempts(records: &[AttemptRecord]) -> Vec<Attempt<'_>> {
    let mut attempts: Vec<Attempt<'_>> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    for record in records {
        match record {
            AttemptRecord::Begin { attempt, nonce } => {
                places.insert(attempt, attempts.len());
                attempts.push(Attempt {
                    mark: attempt,
                    nonce,
                    words: 0,
                    is_complete: false,
                });
            }
            AttemptRecord::Word { attempt, number } => {
                if let Some(at) = places.get(attempt.as_str()) {
                    attempts[*at].words = number + 1;
                }
            }
            AttemptRecord::End { attempt } => {
                if let Some(at) = places.get(attempt.as_str()) {
                    attempts[*at].is_complete = true;
                }
            }
        }
    }
    attempts
}

/// A call, what runtimes recorded of it, and how many of its attempts failed.
#[derive(Debug)]
struct CallFacts<'a> {
    call: &'a LlmCall,
    attempts: Vec<&'a Attempt<'a>>,
    failed: usize,
}

impl CallFacts<'_> {
    /// Returns the rules that are broken.
    fn broken(&self, lag: Millis) -> Vec<LlmRule> {
        let [end] = &self.call.ends[..] else {
            return vec![LlmRule::NotOneEnd];
        };
        let mut broken = self.of_text(&end.outcome);
        let late = end.at > self.call.began + WITHIN_MS + lag;
        let in_all = self.attempts.len().max(self.failed);
        for (is_broken, rule) in [
            (late || end.outcome == LlmOutcome::Hung, LlmRule::Late),
            (end.outcome == LlmOutcome::NoAnswer, LlmRule::NoAnswer),
            (end.outcome == LlmOutcome::Endless, LlmRule::CutShort),
            (in_all > MAX_ATTEMPTS, LlmRule::TooManyAttempts),
            (self.is_lost(&end.outcome), LlmRule::Lost),
            (self.is_denied(&end.outcome), LlmRule::ExecutedThoughRefused),
        ] {
            broken.extend(is_broken.then_some(rule));
        }
        broken
    }

    /// Compares the text with what the attempts wrote.
    fn of_text(&self, outcome: &LlmOutcome) -> Vec<LlmRule> {
        let text = &self.call.text;
        let is_whole = *outcome == LlmOutcome::Whole;
        if text.is_empty() {
            return is_whole.then_some(LlmRule::Invented).into_iter().collect();
        }
        let written = |attempt: &&Attempt<'_>| attempt.text().starts_with(text.as_str());
        let Some(at) = self.attempts.iter().position(written) else {
            return vec![LlmRule::Invented];
        };
        let attempt = self.attempts[at];
        let is_cut = is_whole && !(attempt.is_complete && attempt.text() == *text);
        // An attempt is sent only when the one before it was given up, whose content then goes nowhere. A runtime may
        // begin late what was sent to it: one that failed before a whole answer may begin after it.
        let others = self.attempts.len() - 1;
        let is_repeated = at < others && !(is_whole && self.failed >= others);
        [
            is_cut.then_some(LlmRule::CutShort),
            is_repeated.then_some(LlmRule::Repeated),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// Returns whether it failed before first content although it had attempts left.
    fn is_lost(&self, outcome: &LlmOutcome) -> bool {
        let word = match outcome {
            LlmOutcome::Refused(refusal) => refusal.word.as_str(),
            LlmOutcome::Broken(word) => word.as_deref().unwrap_or_default(),
            _ => return false,
        };
        // What the last attempt wrote may have reached the server before it was lost.
        let last = self.attempts.last();
        let has_content = !self.call.text.is_empty() || last.is_some_and(|last| last.words > 0);
        !has_content && self.failed < MAX_ATTEMPTS && !TIMEOUTS.contains(&word)
    }

    /// Returns whether the answer promises that nothing was executed, and something was.
    fn is_denied(&self, outcome: &LlmOutcome) -> bool {
        match outcome {
            LlmOutcome::Refused(refusal) => refusal.should_retry && !self.attempts.is_empty(),
            _ => false,
        }
    }
}
