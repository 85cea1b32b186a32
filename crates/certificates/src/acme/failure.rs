//! A try that failed: why, in the authority's own words, by which names, and what follows from it.

use std::error::Error as StdError;
use std::fmt;
use std::time::{Duration, Instant, SystemTime};

use instant_acme::{Error, Identifier, Problem};

use super::name::DomainName;

/// The pause after a rate limit whose end the authority does not name.
const RATE_LIMIT_PAUSE: Duration = Duration::from_secs(60 * 60);
/// The most characters of a reason. An authority's own are a sentence or two.
const MAX_REASON: usize = 600;
/// The beginning of every type of problem of ACME (RFC 8555, section 6.7).
const PROBLEM_PREFIX: &str = "urn:ietf:params:acme:error:";

/// What a failure asks for beside another try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FailureKind {
    /// Nothing.
    Other,
    /// The authority did not answer, so that it may have done what it was asked for.
    NoAnswer,
    /// The authority refused one nonce after the other, which says nothing of the order.
    BadNonce,
    /// The authority admits no more for now.
    RateLimited,
    /// The account is unknown to the authority, so another one is to be made.
    NoAccount,
    /// The certificate that was to be replaced has a successor already.
    AlreadyReplaced,
}

/// A try that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) kind: FailureKind,
    /// The names by which it failed; empty if by none of them, or if that is not known.
    pub(super) by: Vec<DomainName>,
    /// The reason, for the log and the state.
    pub(super) reason: String,
    /// The authority's own word on the earliest next try.
    pub(super) not_before: Option<SystemTime>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl Failure {
    /// Makes a failure that is by no name and asks for nothing.
    pub(super) fn of(reason: impl fmt::Display) -> Self {
        Self {
            kind: FailureKind::Other,
            by: Vec::new(),
            reason: shown(&reason.to_string()),
            not_before: None,
        }
    }

    /// Makes the failure of a step, such as `the order`.
    pub(super) fn at(step: &str, error: &Error) -> Self {
        match error {
            Error::Api(problem) => Self::of_problem(step, problem),
            Error::Timeout(next) => Self {
                kind: FailureKind::NoAnswer,
                not_before: next.and_then(system_time),
                ..Self::of(format!("{step}: the authority was not ready in time"))
            },
            error => Self {
                kind: FailureKind::NoAnswer,
                ..Self::of(format!("{step}: {}", chain(error)))
            },
        }
    }

    /// Makes the failure of the check of one name.
    pub(super) fn of_name(name: &DomainName, check: &str, problem: Option<&Problem>) -> Self {
        let step = format!("{check} of {name}");
        let mut failure = match problem {
            Some(problem) => Self::of_problem(&step, problem),
            None => Self::of(format!("{step}: the authority gave no reason")),
        };
        if failure.kind == FailureKind::Other {
            failure.by = vec![name.clone()];
        }
        failure
    }

    /// Adds another failure of the same try.
    pub(super) fn and(mut self, other: Self) -> Self {
        self.by.extend(other.by);
        self.reason = shown(&format!("{}; {}", self.reason, other.reason));
        if other.kind != FailureKind::Other {
            self.kind = other.kind;
        }
        self.not_before = self.not_before.max(other.not_before);
        self
    }

    /// Adds the pause that the authority asked for beside its answer.
    pub(super) fn with_pause(mut self, retry_at: Option<SystemTime>, now: SystemTime) -> Self {
        self.not_before = self.not_before.max(retry_at);
        if self.kind == FailureKind::RateLimited && self.not_before.is_none() {
            self.not_before = Some(now + RATE_LIMIT_PAUSE);
        }
        self
    }

    fn of_problem(step: &str, problem: &Problem) -> Self {
        let kind = problem.r#type.as_deref().unwrap_or_default();
        let kind = kind.strip_prefix(PROBLEM_PREFIX).unwrap_or(kind);
        let detail = problem.detail.as_deref().unwrap_or("no detail was given");
        let mut reason = format!("{step}: {detail} ({kind})");
        for part in &problem.subproblems {
            reason.push_str(&format!("; {part}"));
        }

        let named = problem.subproblems.iter();
        let named = named.filter_map(|part| name_of(part.identifier.as_ref()?));
        Self {
            kind: match kind {
                "badNonce" => FailureKind::BadNonce,
                "rateLimited" => FailureKind::RateLimited,
                "accountDoesNotExist" => FailureKind::NoAccount,
                "alreadyReplaced" => FailureKind::AlreadyReplaced,
                _ => FailureKind::Other,
            },
            by: named.collect(),
            reason: shown(&reason),
            not_before: None,
        }
    }
}

/// Returns the name of an identifier. `None` if it is for something else.
pub(super) fn name_of(identifier: &Identifier) -> Option<DomainName> {
    match identifier {
        Identifier::Dns(name) => name.parse().ok(),
        _ => None,
    }
}

/// Returns an error with the errors that caused it.
fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// Returns foreign text in one line of bounded length, without characters that control a terminal.
fn shown(text: &str) -> String {
    let visible = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut shown: String = visible.take(MAX_REASON).collect();
    if text.chars().nth(MAX_REASON).is_some() {
        shown.push('…');
    }
    shown
}

fn system_time(at: Instant) -> Option<SystemTime> {
    SystemTime::now().checked_add(at.saturating_duration_since(Instant::now()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(json: &str) -> Problem {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn the_authoritys_own_words_are_kept_in_one_line() {
        let name: DomainName = "pool.example".parse().unwrap();
        let problem = problem(
            r#"{"type":"urn:ietf:params:acme:error:connection",
                "detail":"Failed to connect to [::1]:443\n\u001b[2J for the tls-alpn-01 challenge"}"#,
        );

        let failure = Failure::of_name(&name, "tls-alpn-01", Some(&problem));

        assert_eq!(
            failure.reason,
            "tls-alpn-01 of pool.example: Failed to connect to [::1]:443  [2J for the tls-alpn-01 \
             challenge (connection)"
        );
        assert_eq!(failure.by, [name]);
        assert_eq!(shown(&"é".repeat(10_000)).chars().count(), MAX_REASON + 1);
    }

    #[test]
    fn a_rejected_order_names_its_names() {
        let problem = problem(
            r#"{"type":"urn:ietf:params:acme:error:rejectedIdentifier","detail":"no",
                "subproblems":[{"type":"x","detail":"blocked",
                    "identifier":{"type":"dns","value":"b.example"}}]}"#,
        );

        let failure = Failure::at("the order", &Error::Api(problem));

        assert_eq!(failure.by, ["b.example".parse().unwrap()]);
        assert!(failure.reason.contains("blocked"), "{failure}");
    }

    /// A limit is not the fault of the name whose turn it was.
    #[test]
    fn a_rate_limit_is_obeyed_with_and_without_its_end() {
        let name = "pool.example".parse().unwrap();
        let problem =
            problem(r#"{"type":"urn:ietf:params:acme:error:rateLimited","detail":"too many"}"#);
        let now = SystemTime::UNIX_EPOCH;
        let end = now + Duration::from_secs(100);

        let failure = Failure::of_name(&name, "http-01", Some(&problem));

        assert_eq!(failure.kind, FailureKind::RateLimited);
        assert!(failure.by.is_empty());
        let unnamed = failure.clone().with_pause(None, now);
        assert_eq!(unnamed.not_before, Some(now + RATE_LIMIT_PAUSE));
        let named = failure.with_pause(Some(end), now);
        assert_eq!(named.not_before, Some(end));
    }
}
