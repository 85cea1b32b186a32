//! The paths that the provider itself announced: what a caller may reach of its host besides the configured URL.
//!
//! An endpoint of HTTP with SSE is remembered for as long as its stream is open, so that nobody else's streams can push
//! it out, and for a while after; where an answer led is remembered for a while.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use llamapool_wire::path;

/// How many endpoints are remembered whose streams are over, and how many places that answers led to. What is open
/// besides has a bound already: each is a call.
const REMEMBERED_PATHS: usize = 4096;
/// The longest path that is remembered. No server that is known takes longer ones.
const MAX_PATH_BYTES: usize = 4 * 1024;

/// The announced paths. Clones are the same list.
#[derive(Clone, Default)]
pub(super) struct Announced(Arc<Mutex<Paths>>);

#[derive(Default)]
struct Paths {
    /// The endpoints of open streams, and how many streams each has.
    open: HashMap<String, usize>,
    /// The endpoints of streams that are over, the newest last.
    over: VecDeque<String>,
    /// Where answers led, the newest last.
    led_to: VecDeque<String>,
}

/// How a path was announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// As the endpoint of a stream.
    Endpoint,
    /// As the place that an answer leads to.
    LedTo,
}

/// The endpoint of a stream that is open.
#[must_use]
pub(super) struct OpenEndpoint {
    announced: Announced,
    path: String,
}

impl Announced {
    /// A stream that is open announces its endpoint.
    pub(super) fn endpoint(&self, path: &str) -> Option<OpenEndpoint> {
        if path.len() > MAX_PATH_BYTES {
            return None;
        }
        *self.paths().open.entry(path.to_owned()).or_default() += 1;
        Some(OpenEndpoint {
            announced: self.clone(),
            path: path.to_owned(),
        })
    }

    /// An answer leads to a path; whether that is remembered.
    pub(super) fn led_to(&self, path: &str) -> bool {
        if path.len() > MAX_PATH_BYTES {
            return false;
        }
        remember(&mut self.paths().led_to, path);
        true
    }

    /// The path on the provider that a caller's path stands for, if the provider announced it.
    pub(super) fn path_of(&self, below: &str) -> Option<(String, How)> {
        let path = below.strip_prefix(path::ANNOUNCED)?;
        let paths = self.paths();
        let is_among = |list: &VecDeque<String>| list.iter().any(|known| known == path);
        if paths.open.contains_key(path) || is_among(&paths.over) {
            return Some((path.to_owned(), How::Endpoint));
        }
        is_among(&paths.led_to).then(|| (path.to_owned(), How::LedTo))
    }

    fn paths(&self) -> MutexGuard<'_, Paths> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for OpenEndpoint {
    fn drop(&mut self) {
        let mut paths = self.announced.paths();
        let Some(streams) = paths.open.get_mut(&self.path) else {
            return;
        };
        *streams -= 1;
        if *streams == 0 {
            paths.open.remove(&self.path);
            // What is on its way to it still gets the provider's own answer.
            remember(&mut paths.over, &self.path);
        }
    }
}

/// Puts a path last, in place of the first if there are too many.
fn remember(list: &mut VecDeque<String>, path: &str) {
    if let Some(place) = list.iter().position(|known| known == path) {
        list.remove(place);
    } else if list.len() == REMEMBERED_PATHS {
        list.pop_front();
    }
    list.push_back(path.to_owned());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn how(announced: &Announced, below: &str) -> Option<How> {
        announced.path_of(below).map(|(_, how)| how)
    }

    #[test]
    fn only_announced_paths_are_reachable() {
        let announced = Announced::default();
        let _open = announced.endpoint("/messages/");
        assert!(announced.led_to("/jobs/1"));
        assert_eq!(
            announced.path_of("/~announced/messages/"),
            Some(("/messages/".into(), How::Endpoint))
        );
        assert_eq!(how(&announced, "/~announced/jobs/1"), Some(How::LedTo));
        for below in [
            "/messages/",
            "/~announced/admin",
            "/~announced/messages/../admin",
            "/~announced/messages",
        ] {
            assert_eq!(announced.path_of(below), None, "{below}");
        }
        let long = format!("/{}", "a".repeat(MAX_PATH_BYTES));
        assert!(!announced.led_to(&long) && announced.endpoint(&long).is_none());
    }

    #[test]
    fn nobody_pushes_the_endpoint_of_an_open_stream_out() {
        let announced = Announced::default();
        let (one, two) = (announced.endpoint("/mine"), announced.endpoint("/mine"));
        let others = |count: usize| {
            for number in 0..count {
                drop(announced.endpoint(&format!("/{number}")));
                assert!(announced.led_to(&format!("/job/{number}")));
            }
        };
        others(REMEMBERED_PATHS + 1);
        drop(one);
        assert_eq!(how(&announced, "/~announced/mine"), Some(How::Endpoint));
        assert_eq!(
            how(&announced, "/~announced/0"),
            None,
            "the oldest whose stream is over is forgotten"
        );
        assert_eq!(
            how(&announced, "/~announced/job/0"),
            None,
            "the oldest that was led to is forgotten"
        );
        drop(two);
        assert_eq!(
            how(&announced, "/~announced/mine"),
            Some(How::Endpoint),
            "its stream has just ended"
        );
        others(REMEMBERED_PATHS);
        assert_eq!(how(&announced, "/~announced/mine"), None);
    }
}
