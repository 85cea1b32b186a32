//! When a stream gets a sign of life, and which: agents give a stream up that is silent for long.

use std::pin::Pin;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, header};
use bytes::{Bytes, BytesMut};
use llamapool_dialect::{Dialect, Endpoint, Framing, codex_keep_alive, keep_alive};
use tokio::time::{Instant, Sleep};

/// The intervals of silence after which Codex gets an event: comments do not reset its timer.
const CODEX_INTERVALS: u32 = 4;

/// The clock of the signs of life of one stream.
pub(super) struct SignsOfLife {
    endpoint: Endpoint,
    is_codex: bool,
    /// The silence after which a sign is due; zero: never.
    interval: Duration,
    /// The time of the last byte.
    last: Instant,
    /// The time of the last event, signs for Codex included.
    last_event: Instant,
    // Moved only when it has rung: an event costs no timer.
    alarm: Pin<Box<Sleep>>,
}

impl SignsOfLife {
    /// Returns signs after each interval of silence.
    pub(super) fn new(endpoint: Endpoint, is_codex: bool, interval: Duration) -> Self {
        let now = Instant::now();
        Self {
            endpoint,
            is_codex: is_codex && endpoint == Endpoint::Responses,
            interval,
            last: now,
            last_event: now,
            alarm: Box::pin(tokio::time::sleep_until(now + interval)),
        }
    }

    /// Makes the next sign due at once.
    pub(super) fn hurry(&mut self) {
        let now = Instant::now();
        self.last = now.checked_sub(self.interval).unwrap_or(now);
        self.alarm.as_mut().reset(now);
    }

    /// Sets the interval.
    pub(super) fn set_interval(&mut self, interval: Duration) {
        self.interval = interval;
        self.alarm.as_mut().reset(self.last + interval);
    }

    /// Notes that an event was sent.
    pub(super) fn note_event(&mut self) {
        self.last = Instant::now();
        self.last_event = self.last;
    }

    /// Waits until a sign is due.
    pub(super) async fn due(&mut self) {
        if self.interval.is_zero() {
            std::future::pending::<()>().await;
        }
        loop {
            self.alarm.as_mut().await;
            let due = self.last + self.interval;
            if Instant::now() >= due {
                return;
            }
            self.alarm.as_mut().reset(due);
        }
    }

    /// Returns the sign that is due, with a text for people.
    pub(super) fn sign(&mut self, text: Option<&str>) -> Bytes {
        self.last = Instant::now();
        self.alarm.as_mut().reset(self.last + self.interval);
        let comment = keep_alive(self.endpoint, text);
        if !self.is_codex || self.last_event.elapsed() < self.interval * CODEX_INTERVALS {
            return comment;
        }

        self.last_event = self.last;
        let mut both = BytesMut::from(&comment[..]);
        both.extend_from_slice(&codex_keep_alive());
        both.freeze()
    }
}

/// Returns whether a stream of an endpoint, with this framing, has places for signs.
pub(super) fn fit(endpoint: Endpoint, framing: Option<Framing>) -> bool {
    let expected = match endpoint.dialect() {
        Dialect::Ollama => Framing::Lines,
        Dialect::OpenAi | Dialect::Anthropic => Framing::Sse,
    };
    framing == Some(expected) && !keep_alive(endpoint, None).is_empty()
}

/// Returns whether a request is one of Codex.
pub(super) fn is_codex(headers: &HeaderMap) -> bool {
    const ORIGINATOR: HeaderName = HeaderName::from_static("originator");
    [ORIGINATOR, header::USER_AGENT].iter().any(|name| {
        let value = headers.get(name).map(|value| value.as_bytes());
        value.is_some_and(|value| {
            value
                .get(..5)
                .is_some_and(|start| start.eq_ignore_ascii_case(b"codex"))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(15);

    async fn signs(endpoint: Endpoint, is_codex: bool, for_seconds: u64) -> Vec<(u64, String)> {
        let mut signs = SignsOfLife::new(endpoint, is_codex, INTERVAL);
        let started = Instant::now();
        let mut seen = Vec::new();
        loop {
            signs.due().await;
            let at = started.elapsed().as_secs();
            if at > for_seconds {
                return seen;
            }
            let sign = signs.sign(None);
            seen.push((at, String::from_utf8(sign.to_vec()).unwrap()));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn signs_come_after_each_interval_of_silence() {
        let seen = signs(Endpoint::ChatCompletions, false, 40).await;

        assert_eq!(seen.len(), 2);
        assert_eq!(seen[0], (15, ":\n\n".to_owned()));
        assert_eq!(seen[1].0, 30);
    }

    #[tokio::test(start_paused = true)]
    async fn codex_gets_an_event_each_minute_and_others_do_not() {
        let of_codex = signs(Endpoint::Responses, true, 70).await;
        let of_others = signs(Endpoint::Responses, false, 70).await;

        let has_event = |(_, sign): &&(u64, String)| sign.contains("event: keepalive");
        let events: Vec<_> = of_codex
            .iter()
            .filter(has_event)
            .map(|(at, _)| *at)
            .collect();
        assert_eq!(events, [60]);
        assert_eq!(of_others.iter().filter(has_event).count(), 0);
        assert_eq!(of_others.len(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn events_put_the_next_sign_off() {
        let mut signs = SignsOfLife::new(Endpoint::Messages, false, INTERVAL);
        let started = Instant::now();

        tokio::time::sleep(Duration::from_secs(10)).await;
        signs.note_event();
        signs.due().await;

        assert_eq!(started.elapsed().as_secs(), 25);
        assert!(signs.sign(None).starts_with(b"event: ping"));
    }

    #[test]
    fn codex_is_recognized_by_its_headers() {
        let with = |name: &'static str, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            headers
        };

        assert!(is_codex(&with("originator", "codex_cli_rs")));
        assert!(is_codex(&with("user-agent", "Codex/1.0")));
        assert!(!is_codex(&with("user-agent", "openai-python codex")));
        assert!(!is_codex(&HeaderMap::new()));
    }
}
