//! The paths that the provider itself named: what a caller may reach on its host besides the
//! configured URL.
//!
//! An endpoint of HTTP with SSE is allowed while its stream is open, so that other callers' streams
//! cannot displace it, and for a while after; the target of a response is allowed for a while.

use std::collections::HashMap;
use std::sync::Arc;

use llamapool_wire::path;
use lru::LruCache;
use parking_lot::Mutex;

/// How many endpoints are remembered whose streams are closed, and how many targets of responses.
/// Open endpoints have a bound already: each is a call.
const REMEMBERED_PATHS: usize = 4096;
/// The longest path that is remembered, in bytes. Common servers take no longer ones.
const MAX_PATH_BYTES: usize = 4 * 1024;

/// The paths that the provider named. Clones share one list.
#[derive(Clone)]
pub(super) struct AllowedPaths(Arc<Mutex<Paths>>);

struct Paths {
    /// The endpoints of open streams, with the number of streams of each.
    open_endpoints: HashMap<String, usize>,
    /// The endpoints of closed streams.
    closed_endpoints: LruCache<String, ()>,
    /// The targets of responses.
    targets: LruCache<String, ()>,
}

/// The way in which the provider named a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NamedAs {
    /// As the endpoint of an event stream.
    Endpoint,
    /// As the target of a response.
    Target,
}

/// Keeps the endpoint of an open stream allowed, until it is dropped.
#[must_use]
pub(super) struct OpenEndpoint {
    allowed: AllowedPaths,
    path: String,
}

impl Default for AllowedPaths {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Paths {
            open_endpoints: HashMap::new(),
            // Unbounded for the map, so that it grows as it is used; `remember` keeps the bound.
            closed_endpoints: LruCache::unbounded(),
            targets: LruCache::unbounded(),
        })))
    }
}

impl AllowedPaths {
    /// Allows the endpoint of a stream that is open. `None` if the path is too long.
    pub(super) fn open_endpoint(&self, path: &str) -> Option<OpenEndpoint> {
        if path.len() > MAX_PATH_BYTES {
            return None;
        }
        let mut paths = self.0.lock();
        *paths.open_endpoints.entry(path.to_owned()).or_default() += 1;
        Some(OpenEndpoint {
            allowed: self.clone(),
            path: path.to_owned(),
        })
    }

    /// Allows the target of a response. Returns false if the path is too long.
    pub(super) fn allow_target(&self, path: &str) -> bool {
        if path.len() > MAX_PATH_BYTES {
            return false;
        }
        remember(&mut self.0.lock().targets, path);
        true
    }

    /// Returns the path on the provider for a caller's path `/~announced/…`, `None` if the provider
    /// did not name it.
    pub(super) fn resolve(&self, below: &str) -> Option<(String, NamedAs)> {
        let path = below.strip_prefix(path::ANNOUNCED)?;
        let paths = self.0.lock();
        let is_endpoint =
            paths.open_endpoints.contains_key(path) || paths.closed_endpoints.contains(path);
        if is_endpoint {
            Some((path.to_owned(), NamedAs::Endpoint))
        } else if paths.targets.contains(path) {
            Some((path.to_owned(), NamedAs::Target))
        } else {
            None
        }
    }
}

impl Drop for OpenEndpoint {
    fn drop(&mut self) {
        let mut paths = self.allowed.0.lock();
        let Some(streams) = paths.open_endpoints.get_mut(&self.path) else {
            return;
        };
        *streams -= 1;
        if *streams == 0 {
            paths.open_endpoints.remove(&self.path);
            // A request that is on its way still gets the provider's own response.
            remember(&mut paths.closed_endpoints, &self.path);
        }
    }
}

/// Makes a path the most recent one, and forgets the least recent if there are too many.
fn remember(paths: &mut LruCache<String, ()>, path: &str) {
    paths.put(path.to_owned(), ());
    if paths.len() > REMEMBERED_PATHS {
        paths.pop_lru();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named_as(allowed: &AllowedPaths, below: &str) -> Option<NamedAs> {
        allowed.resolve(below).map(|(_, named_as)| named_as)
    }

    #[test]
    fn only_paths_that_the_provider_named_are_allowed() {
        let allowed = AllowedPaths::default();
        let _open = allowed.open_endpoint("/messages/");

        assert!(allowed.allow_target("/jobs/1"));
        assert_eq!(
            allowed.resolve("/~announced/messages/"),
            Some(("/messages/".into(), NamedAs::Endpoint))
        );
        assert_eq!(
            named_as(&allowed, "/~announced/jobs/1"),
            Some(NamedAs::Target)
        );
        for below in [
            "/messages/",
            "/~announced/admin",
            "/~announced/messages/../admin",
            "/~announced/messages",
        ] {
            assert_eq!(allowed.resolve(below), None, "{below}");
        }
    }

    #[test]
    fn a_path_that_is_too_long_is_not_remembered() {
        let allowed = AllowedPaths::default();
        let long = format!("/{}", "a".repeat(MAX_PATH_BYTES));

        assert!(!allowed.allow_target(&long));
        assert!(allowed.open_endpoint(&long).is_none());
    }

    #[test]
    fn no_other_path_displaces_the_endpoint_of_an_open_stream() {
        let allowed = AllowedPaths::default();
        let one = allowed.open_endpoint("/mine");
        let two = allowed.open_endpoint("/mine");
        let name_others = |count: usize| {
            for number in 0..count {
                drop(allowed.open_endpoint(&format!("/{number}")));
                assert!(allowed.allow_target(&format!("/job/{number}")));
            }
        };

        name_others(REMEMBERED_PATHS + 1);
        drop(one);

        let mine = "/~announced/mine";

        assert_eq!(named_as(&allowed, mine), Some(NamedAs::Endpoint));
        for least_recent in ["/~announced/0", "/~announced/job/0"] {
            assert_eq!(named_as(&allowed, least_recent), None, "{least_recent}");
        }

        drop(two);
        let after_its_end = named_as(&allowed, mine);
        name_others(REMEMBERED_PATHS);

        assert_eq!(after_its_end, Some(NamedAs::Endpoint));
        assert_eq!(named_as(&allowed, mine), None);
    }
}
