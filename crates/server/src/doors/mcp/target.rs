//! The target of a call, parsed from its URL: the id, one of its relays if the URL names it, and
//! the path below.

use std::sync::Arc;

use axum::http::Uri;
use axum::http::uri::PathAndQuery;
use llamapool_http::has_dot_segment;
use llamapool_wire::{CallError, Cause, RelayId, path};

use crate::calls::failure::path_refused;

/// The target of a call.
pub(crate) struct Target {
    pub(crate) id: RelayId,
    /// The sealed name of one of the relays that share the id.
    pub(super) at: Option<String>,
    /// The path and query of the request inside the tunnel.
    pub(crate) in_tunnel: Uri,
}

/// The target of the last call on a connection, which most that follow have as well.
#[derive(Default)]
pub(crate) struct TargetMemo(Option<(PathAndQuery, Arc<Target>)>);

impl TargetMemo {
    /// Parses the URL of a call, unless it is that of the last one.
    pub(super) fn parse(&mut self, uri: &Uri) -> Result<Arc<Target>, CallError> {
        let path = uri.path_and_query();
        if let Some((known, target)) = &self.0
            && path.is_some_and(|path| path.as_str() == known.as_str())
        {
            return Ok(target.clone());
        }
        let target = Arc::new(Target::parse(uri)?);
        // A copy: the path is a part of what was read, which would be kept with it.
        let path = path.and_then(|path| path.as_str().parse().ok());
        self.0 = path.map(|path| (path, target.clone()));
        Ok(target)
    }

    /// Returns the id of the last call.
    pub(super) fn id(&self) -> Option<&RelayId> {
        self.0.as_ref().map(|(_, target)| &target.id)
    }
}

impl Target {
    /// Parses the URL of a call.
    pub(super) fn parse(uri: &Uri) -> Result<Self, CallError> {
        Self::parse_parts(uri.path(), uri.query())
    }

    /// Parses the path of a call, without a query.
    pub(crate) fn parse_path(path: &str) -> Result<Self, CallError> {
        Self::parse_parts(path, None)
    }

    fn parse_parts(path: &str, query: Option<&str>) -> Result<Self, CallError> {
        let tail = path.strip_prefix(path::MCP_BY_ID).unwrap_or_default();
        let (id, rest) = split_segment(tail);
        let id = id.parse().map_err(|error| {
            CallError::new(
                Cause::RelayOffline,
                format!("no relay can have this id: {error}"),
            )
        })?;
        if has_dot_segment(rest) {
            return Err(path_refused("it has a segment that could mean `.` or `..`"));
        }

        let (at, below) = match rest.strip_prefix(path::AT) {
            Some(named) => {
                let (at, below) = split_segment(named);
                (Some(at.to_owned()), below)
            }
            None => (None, rest),
        };
        // The id's URL is the same with and without a slash at its end.
        let below = if below == "/" { "" } else { below };
        let mut in_tunnel = path::call(&id, below);
        if let Some(query) = query {
            in_tunnel.push('?');
            in_tunnel.push_str(query);
        }
        let in_tunnel =
            Uri::try_from(in_tunnel).map_err(|_| path_refused("it is not a valid path"))?;
        Ok(Self { id, at, in_tunnel })
    }
}

/// Splits a path before its first slash.
fn split_segment(path: &str) -> (&str, &str) {
    path.split_at(path.find('/').unwrap_or(path.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &'static str) -> Result<(String, Option<String>, String), Cause> {
        let target = Target::parse(&Uri::from_static(url)).map_err(|failure| failure.cause)?;

        Ok((
            target.id.to_string(),
            target.at,
            target.in_tunnel.to_string(),
        ))
    }

    #[test]
    fn the_url_has_the_id_and_the_path_below_it() {
        let target = |at: Option<&str>, in_tunnel: &str| {
            Ok(("x".to_owned(), at.map(str::to_owned), in_tunnel.to_owned()))
        };

        assert_eq!(parse("/api/mcp/id/x"), target(None, "/mcp/x"));
        assert_eq!(parse("/api/mcp/id/x/"), target(None, "/mcp/x"));
        assert_eq!(parse("/api/mcp/id/x?a=1"), target(None, "/mcp/x?a=1"));
        assert_eq!(
            parse("/api/mcp/id/x/sse/?a=1"),
            target(None, "/mcp/x/sse/?a=1")
        );
        assert_eq!(
            parse("/api/mcp/id/x/~at/seal/~announced/m?a=1"),
            target(Some("seal"), "/mcp/x/~announced/m?a=1")
        );
        assert_eq!(
            parse("/api/mcp/id/x/~at/seal"),
            target(Some("seal"), "/mcp/x")
        );
    }

    #[test]
    fn an_invalid_id_is_offline_and_a_path_up_is_refused() {
        for url in [
            "/api/mcp/id/",
            "/api/mcp/id//a",
            "/api/mcp/id/a%2fb",
            "/api/mcp/id/..",
        ] {
            assert_eq!(parse(url), Err(Cause::RelayOffline), "{url}");
        }

        for url in [
            "/api/mcp/id/x/..",
            "/api/mcp/id/x/a/%2E%2e/b",
            "/api/mcp/id/x/a%2f..%2fb",
            "/api/mcp/id/x/..%5Cb",
            "/api/mcp/id/x/..;/b",
            "/api/mcp/id/x/%252e%252e/b",
        ] {
            assert_eq!(parse(url), Err(Cause::PathRefused), "{url}");
        }
    }
}
