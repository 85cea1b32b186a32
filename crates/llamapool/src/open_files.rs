//! The number of files that the process may have open, and what of it is for connections.
//!
//! Login shells and systemd start processes with a soft limit of 1024, whatever the system allows:
//! for programs that wait with `select`, which llamapool does not.

use llamapool_bridge::HttpServerConfig;
use llamapool_server::ServerConfig;

/// The open files of a relay or bridge at most: each program that it starts inherits the limit, and
/// some go through all numbers up to it.
pub(crate) const WITH_PROGRAMS: u64 = 8192;
/// The open files of a server at most: far more than the connections it can have.
pub(crate) const SERVER: u64 = 1 << 20;
/// The open files that are neither callers nor relays: listeners, the log, the data directory,
/// metrics, spare places, and connections that are being closed.
const RESERVED: usize = 192;

/// Raises the limit of open files to the system's, or to `at_most`. Returns the limit now, `None` if
/// there is none or it is not known.
#[cfg(unix)]
pub(crate) fn raise(at_most: u64) -> Option<usize> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let limit = getrlimit(Resource::Nofile);
    let current = limit.current?;
    let wanted = limit.maximum.map_or(at_most, |hard| hard.min(at_most));
    let raised = wanted > current && {
        let raised = Rlimit {
            current: Some(wanted),
            maximum: limit.maximum,
        };
        setrlimit(Resource::Nofile, raised)
            .inspect_err(|error| tracing::warn!(%error, current, "the limit of open files stays"))
            .is_ok()
    };

    let now = if raised { wanted } else { current };
    tracing::debug!(before = current, now, "open files");
    usize::try_from(now).ok()
}

/// Returns `None`: there is no such limit.
#[cfg(not(unix))]
pub(crate) fn raise(_: u64) -> Option<usize> {
    None
}

/// Lowers the bound of callers' connections to what the limit of open files leaves beside those of
/// the threads, and warns. A quarter is for relays, each of which is a connection.
pub(crate) fn fit(config: &mut ServerConfig, open_files: usize, of_threads: usize) {
    let available = open_files.saturating_sub(RESERVED.saturating_add(of_threads));
    let relays = config.relays.max_relays.min(available / 4);
    lower(
        &mut config.listen.max_connections,
        available - relays,
        open_files,
    );
}

/// Lowers the bound of a bridge's connections likewise. A half is for its programs, each of which
/// takes some files.
pub(crate) fn fit_bridge(config: &mut HttpServerConfig, open_files: usize) {
    let available = open_files.saturating_sub(RESERVED);
    lower(&mut config.max_connections, available / 2, open_files);
}

fn lower(max_connections: &mut usize, fitting: usize, open_files: usize) {
    let configured = *max_connections;
    let fitting = fitting.max(1);
    if fitting < configured {
        tracing::warn!(
            open_files,
            max_connections = fitting,
            configured,
            "MAX_CONNECTIONS is lowered to what the limit of open files leaves: raise that limit \
             (ulimit -n, LimitNOFILE)"
        );
        *max_connections = fitting;
    }
}

#[cfg(test)]
mod tests {
    use llamapool_settings::Sources;

    use super::*;
    use crate::runtime::files_of;
    use crate::settings::{Environment, SERVER as SCHEMA, ServerSettings};

    fn fitted(open_files: usize, settings: &[(&str, &str)]) -> usize {
        let environment: Environment = settings.iter().copied().collect();
        let sources = Sources::collect(&SCHEMA, [], &environment).unwrap();
        let settings = ServerSettings::resolve(&sources).unwrap();
        let mut config = settings.config;
        let of_threads = settings.threads.map_or(0, |it| files_of(Some(it)));
        fit(&mut config, open_files, of_threads);
        config.listen.max_connections
    }

    #[test]
    fn connections_fit_into_the_open_files_and_leave_room() {
        assert_eq!(fitted(1024, &[]), 1024 - RESERVED - 208);
        assert_eq!(fitted(1024, &[("MAX_RELAYS", "8")]), 1024 - RESERVED - 8);
        assert_eq!(fitted(1024, &[("MAX_CONNECTIONS", "100")]), 100);
        assert_eq!(fitted(524_288, &[]), 50_000);
        assert_eq!(fitted(100, &[]), 1);
        let with_threads = [("MAX_RELAYS", "8"), ("THREADS", "65")];
        assert_eq!(fitted(1024, &with_threads), 1024 - RESERVED - 8 - 64 * 3);
    }

    #[test]
    fn a_bridge_leaves_half_of_the_open_files_to_programs() {
        let mut config = HttpServerConfig {
            bind: ([127, 0, 0, 1], 0).into(),
            auth_token: None,
            allowed_hosts: Vec::new(),
            max_connections: 1024,
            max_starting: None,
            drain_timeout: std::time::Duration::ZERO,
        };

        fit_bridge(&mut config, 8192);
        assert_eq!(config.max_connections, 1024);
        fit_bridge(&mut config, 1024);
        assert_eq!(config.max_connections, (1024 - RESERVED) / 2);
    }
}
