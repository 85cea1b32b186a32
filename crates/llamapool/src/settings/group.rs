//! The sections of the help and of the documents.

use llamapool_settings::Group;

/// Settings that most people set.
pub const MAIN: Group = Group::new("Main");
/// Keys, tokens and allow-lists.
pub const ACCESS: Group = Group::new("Access");
/// A provider that is a program.
pub(super) const PROGRAM: Group = Group::new("Provider that is a program");
/// An LLM runtime, and what is offered of it.
pub(super) const RUNTIME: Group = Group::new("LLM runtime");
/// The audit log.
pub(super) const AUDIT: Group = Group::new("Audit log");
/// Proxies and certificates of outgoing connections.
pub(super) const NETWORK: Group = Group::new("Network");
/// The relay's status server.
pub(super) const STATUS: Group = Group::new("Status");
/// Bounds of sizes and numbers.
pub(super) const LIMITS: Group = Group::new("Limits");
/// Timeouts and intervals.
pub(super) const TIME: Group = Group::new("Time");
/// The tunnel between server and relay.
pub(super) const TUNNEL: Group = Group::new("Tunnel");
/// The log.
pub(super) const LOGGING: Group = Group::new("Logging");

/// All sections, in the order of the help.
pub const ALL: &[Group] = &[
    MAIN, ACCESS, AUDIT, RUNTIME, PROGRAM, NETWORK, STATUS, LIMITS, TIME, TUNNEL, LOGGING,
];
