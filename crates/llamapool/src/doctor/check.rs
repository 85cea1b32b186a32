//! The checks of a role before its start: names, causes and explanations. The table of the guide is made
//! of them.

use std::time::Duration;

use super::report::Status;

/// One check.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Check {
    /// The group that it is shown in.
    pub(super) area: &'static str,
    /// Its name in the group.
    pub(super) name: &'static str,
    /// The word for what it finds.
    pub(super) cause: &'static str,
    /// The roles that it is for.
    pub(super) roles: &'static [&'static str],
    /// Why it is looked at, and what follows from a failure.
    pub(super) about: &'static str,
}

/// What a check found.
#[derive(Debug, Clone)]
pub(super) struct Looked {
    pub(super) check: &'static Check,
    pub(super) status: Status,
    /// What is there.
    pub(super) found: String,
    /// What to do about it.
    pub(super) remedy: Option<String>,
    /// How long it took, where that says something.
    pub(super) took: Option<Duration>,
}

pub(super) const SERVER: &str = "server";
pub(super) const MCP: &str = "mcp";
pub(super) const WORKER: &str = "worker";
const RELAYS: &[&str] = &[MCP, WORKER];
const EVERY: &[&str] = &[SERVER, MCP, WORKER];

macro_rules! checks {
    ($($id:ident = $area:literal $name:literal $cause:literal $roles:expr, $about:literal;)*) => {
        $(pub(super) static $id: Check = Check {
            area: $area,
            name: $name,
            cause: $cause,
            roles: $roles,
            about: $about,
        };)*
        /// All checks, in the order in which they are made.
        pub(super) static ALL: &[&Check] = &[$(&$id),*];
    };
}

checks! {
    SETTINGS = "settings" "values" "settings_wrong" EVERY,
        "Reads flags, environment and file as the start does. Every value that is wrong is named with \
         its source; nothing else is looked at before it is right.";
    FILE_MODE = "settings" "file" "file_readable" EVERY,
        "A settings file with a key in it should be readable for its owner alone (mode 0600): every \
         other user of the machine has the key otherwise.";
    FLAGS = "settings" "flags" "secret_in_flags" EVERY,
        "Every user of a machine can read the flags of a process. A secret belongs in a variable of the \
         environment, or in a file that NAME_FILE names.";
    VARIABLES = "settings" "variables" "variables_unset" &[MCP],
        "PROVIDER_ENV names variables that the program is to inherit. One that is not set is passed over, \
         and the program may miss it.";
    WEAK_KEYS = "settings" "keys" "weak_key" EVERY,
        "A key of fewer than 16 characters can be guessed by trying. `openssl rand -hex 24` makes one \
         that cannot.";
    OPEN_FILES = "machine" "files" "few_open_files" &[SERVER],
        "Each connection takes an open file. Where the limit of the system is lower than what \
         MAX_CONNECTIONS and MAX_RELAYS need, the server lowers MAX_CONNECTIONS at its start.";
    RUNNING = "machine" "running" "already_running" &[SERVER],
        "A data directory belongs to one server at a time. Where one runs, its addresses are taken by \
         itself, and what can only be looked at before a start is left out.";
    DATA_DIR = "data" "directory" "data_dir_unusable" &[SERVER],
        "The data directory must be writable for the server and closed to others: keys and sign-ins are \
         in it. One that does not exist yet is made at the start; here it is only looked whether it can be.";
    STORE = "data" "store" "store_unusable" &[SERVER],
        "The store of keys and grants must be one that this version can open. A copy of it is opened, so \
         that nothing is changed.";
    CERTIFICATE = "tls" "certificate" "certificate_unusable" &[SERVER],
        "Certificate and key are read as at the start: they must fit each other, and the certificate must \
         not end within days.";
    ACME = "tls" "acme" "acme_unreachable" &[SERVER],
        "For certificates of an authority (ACME_DOMAINS) the server must reach the authority, and each \
         name must have an address. Nothing is ordered.";
    LISTEN = "start" "addresses" "port_taken" &[SERVER],
        "Each address that the server listens on is taken for a moment. Where another process has it, \
         the process is named, as far as the system shows it.";
    SERVER_START = "start" "server" "cannot_start" &[SERVER],
        "Everything that the server does before it listens is done, on a copy of its data directory, and \
         let go.";
    PUBLIC_URL = "public" "url" "public_url_elsewhere" &[SERVER],
        "The name of PUBLIC_URL must have an address, and if the server runs, the URL must lead to a \
         llamapool that is ready.";
    RELAY_START = "start" "relay" "cannot_start" RELAYS,
        "Everything that a relay does before it dials: the addresses of status and metrics, the \
         certificates of CA_FILE, the proxy. They are taken for a moment and let go.";
    NAME = "network" "name" "name_unknown" RELAYS,
        "The name of the server, or of the proxy on the way to it, must have an address.";
    TCP = "network" "tcp" "not_reached" RELAYS,
        "The port must take connections from here. A firewall that drops packets shows as a timeout, a \
         server that does not run as a refusal.";
    TLS = "network" "tls" "tls_failed" RELAYS,
        "With wss:// the certificate must be one of an authority that this machine trusts, for this name, \
         and valid. With ws:// the port must not be one of TLS, and on a way that others share the \
         worker key can be read.";
    PROTOCOL = "server" "protocol" "not_llamapool" RELAYS,
        "What answers at the URL must be a llamapool that speaks the protocol of this version. A 404 or \
         another program's answer means that host, port or path are not those of the server.";
    CLOCK = "server" "clock" "clock_differs" RELAYS,
        "The clocks of server and relay are compared by the Date header. Keys and certificates expire by \
         the clock, and logs of both sides are only read together if they agree.";
    KEY = "key, id" "key" "key_refused" RELAYS,
        "The server must accept WORKER_KEY. It is asked in the way in which a relay connects.";
    ID = "key, id" "id" "id_taken" RELAYS,
        "An id can be held by one relay, or by several with the same CLIENT_SECRET. The server is only \
         asked who holds it: a running relay is never displaced.";
    CONNECTED = "tunnel" "connected" "tunnel_refused" RELAYS,
        "A real relay connects, under a temporary id doctor-…, or under the real id if the key serves \
         nothing else and no relay has it.";
    SILENCE = "tunnel" "silence" "idle_cut" RELAYS,
        "For 30 s nothing is sent but heartbeats, and a call waits as long for its answer. Proxies and \
         firewalls that cut idle connections sooner break calls that take longer than their limit.";
    PROGRAM = "program" "program" "program_missing" &[MCP],
        "The program behind -- must be on the PATH that it is started with.";
    STARTED = "program" "start" "program_failed" &[MCP],
        "The program is started once, as for a session, and gets `initialize`. Where it ends instead, its \
         last line on standard error is shown.";
    OUTPUT = "program" "output" "junk_on_output" &[MCP],
        "Standard output of a program belongs to MCP (MCP 2025-11-25, transports, stdio). Other lines are \
         passed over, and can tear a message apart: they belong on standard error.";
    PROVIDER = "provider" "provider" "provider_down" &[MCP],
        "The host and port of PROVIDER_URL must take connections, as for the probes of the relay.";
    MCP_ANSWER = "provider" "answers" "no_mcp" &[MCP],
        "The provider must answer `initialize`, `ping` and `tools/list`. No tool is called.";
    ROUND_TRIP = "public" "round trip" "round_trip_failed" &[MCP],
        "A call goes the whole way: from here to the public URL, through the server and the tunnel back \
         to a relay, to the provider.";
    STREAMING = "public" "streaming" "stream_buffered" &[MCP],
        "Events that a provider sends at intervals must arrive at intervals. Where the first arrives with \
         the last, something between collects them, and clients wait for an answer that is long there.";
    HTTPS = "clients" "https" "no_https" &[MCP],
        "Claude and ChatGPT connect from the internet: the public URL must be https on port 443 under a \
         public name. `llamapool doctor connect` looks at it as they do.";
    OAUTH = "clients" "sign-in" "no_sign_in" &[MCP],
        "Clients look for OAuth metadata of the id. Without it they offer no sign-in, and the URL itself \
         is the only secret.";
    RUNTIME = "runtime" "runtime" "runtime_missing" &[WORKER],
        "The runtime at COMPLETION_BASE_URL, or the one on this machine, is asked what it is, as the \
         worker asks it.";
    MODELS = "runtime" "models" "no_models" &[WORKER],
        "The models that the worker would offer, after MODELS and MODEL_ALIASES.";
    GENERATION = "runtime" "generation" "generation_failed" &[WORKER],
        "With --generate the first model writes one token. It may have to be loaded for that.";
}

impl Check {
    pub(super) fn ok(&'static self, found: impl Into<String>) -> Looked {
        self.looked(Status::Ok, found.into(), None)
    }

    pub(super) fn warn(
        &'static self,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Looked {
        self.looked(Status::Warn, found.into(), Some(remedy.into()))
    }

    pub(super) fn fail(
        &'static self,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Looked {
        self.looked(Status::Fail, found.into(), Some(remedy.into()))
    }

    /// It was not looked at, for this reason.
    pub(super) fn skipped(&'static self, reason: impl Into<String>) -> Looked {
        self.looked(Status::NotLooked, reason.into(), None)
    }

    fn looked(&'static self, status: Status, found: String, remedy: Option<String>) -> Looked {
        Looked {
            check: self,
            status,
            found,
            remedy,
            took: None,
        }
    }
}

impl Looked {
    /// Adds how long it took.
    pub(super) fn within(self, took: Duration) -> Self {
        Self {
            took: Some(took),
            ..self
        }
    }

    /// Names the provider that it is about, where there are several.
    pub(super) fn of(self, provider: Option<&str>) -> Self {
        match provider {
            None => self,
            Some(provider) => Self {
                found: format!("{provider}: {}", self.found),
                ..self
            },
        }
    }
}

/// Returns the table of all checks, for the guide.
pub fn table() -> String {
    let mut table =
        String::from("| check | roles | cause | why it is looked at |\n|---|---|---|---|\n");
    for check in ALL {
        let Check {
            area, name, cause, ..
        } = check;
        let roles = check.roles.join(", ");
        let about = check.about;
        table.push_str(&format!(
            "| {area}: {name} | {roles} | `{cause}` | {about} |\n"
        ));
    }
    table
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_check_of_a_role_has_a_name_and_a_cause_of_its_own() {
        for role in EVERY {
            let of_role: Vec<_> = ALL.iter().filter(|it| it.roles.contains(role)).collect();
            let names: HashSet<_> = of_role.iter().map(|it| (it.area, it.name)).collect();
            let causes: HashSet<_> = of_role.iter().map(|it| it.cause).collect();

            assert!(of_role.len() > 5, "{role}");
            assert_eq!(names.len(), of_role.len(), "{role}");
            assert_eq!(causes.len(), of_role.len(), "{role}");
        }
    }
}
