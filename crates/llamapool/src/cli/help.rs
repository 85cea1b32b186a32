//! What `--help` says.
//!
//! Which flags exist is not decided here. The one rule: help never shows the current value of anything.

use crate::settings::{Form, Role, Setting, Unset};

/// What the whole program is.
pub(super) const TOP: &str = "\
Makes private MCP servers reachable: a relay next to each of them dials out to one public server, which gives every \
one a URL and forwards each call through the relay's connection, streaming both ways.";

/// How it is used.
pub(super) const TOP_EXAMPLES: &str = "\
Examples:
  llamapool server --api-key test123 --worker-key secret
  llamapool mcp --server-url wss://llamapool.example --worker-key secret --client-id clock -r

Every command has its own help: llamapool server --help";

/// What may follow `--` for a relay.
pub(super) const PROGRAM: &str =
    "A program that is the MCP server, and its arguments; the same as --provider-command";

/// A role in a few words, for the list of commands.
pub(super) fn summary(role: Role) -> &'static str {
    match role {
        Role::Server => "Runs the public server",
        Role::Mcp => "Runs the relay of a private MCP server",
        Role::Demo => "Runs server, relay and a small MCP server on this machine",
    }
}

/// A role in a paragraph and two examples.
pub(super) fn introduction(role: Role) -> &'static str {
    match role {
        Role::Server => SERVER,
        Role::Mcp => MCP,
        Role::Demo => DEMO,
    }
}

const SERVER: &str = "\
Runs the public server. Relays connect to it with the worker key; callers reach the provider of a relay under \
/api/mcp/id/<id>. A key that is not set is generated and logged once at start.

Each setting is a flag, an environment variable, or a key of a TOML file; the flag counts first, then the \
environment. Durations: 500ms, 20s, 5m, 1h, or seconds. Sizes: 512KiB, 64MiB, 1GiB, or bytes.

Examples:
  API_KEY=test123 WORKER_KEY=secret llamapool server
  llamapool server --config-file server.toml --port 8080 --metrics-port 9090";

const MCP: &str = "\
Runs the relay of a private MCP server, the provider. It dials out to the public server, so it needs no open port, and \
forwards what callers send there to the provider. One relay can have several: each is a [[provider]] table of the file.

Each setting is a flag, an environment variable, or a key of a TOML file; the flag counts first, then the \
environment. Durations: 500ms, 20s, 5m, 1h, or seconds. Sizes: 512KiB, 64MiB, 1GiB, or bytes.

Examples:
  WORKER_KEY=secret llamapool mcp --server-url wss://llamapool.example --client-id clock -r
  llamapool mcp --server-url wss://llamapool.example -r -- npx -y @modelcontextprotocol/server-filesystem ~/notes
  llamapool mcp --config-file relay.toml --provider-url http://127.0.0.1:7777/mcp/";

const DEMO: &str = "\
Runs a server, a relay and a small MCP server on this machine, connected with each other, and says how to call it.

Examples:
  llamapool demo
  llamapool demo --port 9000 --log-level debug";

/// A setting in its sentence, with the names of its environment variables and its default.
pub(super) fn meaning(setting: &Setting) -> String {
    let names: Vec<&str> = setting.names().collect();
    let default = match setting.unset {
        Unset::Default("false") if setting.form == Form::Switch => "off",
        Unset::Default(text) => text,
        Unset::Otherwise(words) => words,
    };
    format!(
        "{} [env: {}] [default: {default}]",
        setting.help,
        names.join(", ")
    )
}
