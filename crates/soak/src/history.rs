//! The history of one window of a run: its calls with their ends, the executions that the providers
//! recorded, the processes that faults ended, and the state in which everything settled.
//!
//! Data alone. Times are milliseconds of one monotonic clock, the harness's.

use serde::{Deserialize, Serialize};

/// Milliseconds since the start of the run.
pub type Millis = u64;

/// The name of the caller that calls every id once when all faults are over.
pub const PROBE: &str = "probe";

/// One window of a run, from its first call until everything has settled.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// Every request of every caller.
    pub calls: Vec<Call>,
    /// Every execution, in the order of the journals.
    pub executions: Vec<Execution>,
    /// Every cancellation that reached a provider and named a call.
    pub cancellations: Vec<Cancellation>,
    /// Every end of a process that a fault caused.
    pub stops: Vec<Stop>,
    /// Processes that did not end after `SIGTERM`, although they may not drain for so long.
    pub stuck: Vec<String>,
    /// The longest time for which the harness itself was not run.
    pub lag: Millis,
    /// The state after the last fault; `None` for a window that did not get so far.
    pub settled: Option<Settled>,
}

/// One HTTP request of a caller.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// The mark that its execution and every message about it carry. Unique in the run.
    pub nonce: String,
    /// The name of the caller.
    pub caller: String,
    /// The id that it called.
    pub id: String,
    /// The purpose of the request.
    pub operation: Operation,
    /// The nonce of the call that began the session to which this one belongs.
    pub session: Option<String>,
    /// The length of the text that the caller uploaded in it.
    pub upload: usize,
    /// The number of events before its result; `None` where the answer is one JSON object.
    pub events: Option<u32>,
    /// The time at which it was sent.
    pub began: Millis,
    /// The time within which it must end.
    pub within: Millis,
    /// The messages of the answer, in their order.
    pub messages: Vec<Message>,
    /// How it ended: exactly one entry, unless llamapool or the harness is at fault.
    pub ends: Vec<End>,
}

/// The purpose of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operation {
    /// Calls a tool, which the provider executes and records.
    Tool,
    /// Begins a session.
    Initialize,
    /// Sends a notification.
    Notify,
    /// Ends a session.
    Delete,
    /// Goes on with the event stream of the tool call with this nonce.
    Resume(String),
}

/// A message in an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The nonce of the call that it belongs to; empty if it has none.
    pub nonce: String,
    /// Its content.
    pub content: Content,
}

/// The content of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Content {
    /// A JSON-RPC result.
    Result {
        /// `true` if the download in it has the bytes that belong to the nonce.
        intact: bool,
    },
    /// A JSON-RPC error.
    Error {
        /// Its code.
        code: i64,
    },
    /// An event of the call with its number, counted from 0.
    Event(u32),
}

/// The end of a call, as its caller saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// Its time.
    pub at: Millis,
    /// Its kind.
    pub outcome: Outcome,
}

/// The kinds of ends.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Outcome {
    /// An answer that ended cleanly.
    Answered {
        /// Its status.
        status: u16,
        /// Its `Llamapool-Error`, if llamapool made it.
        cause: Option<String>,
    },
    /// An answer that broke off after its head.
    Broken {
        /// Its status.
        status: u16,
    },
    /// The connection was lost before a head came.
    NoAnswer,
    /// The connection could not be made.
    NotSent,
    /// The caller left on purpose.
    Left,
    /// The caller gave up after the time within which the call had to end.
    Hung,
}

/// The record of a provider that it executes a call, written before it answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Execution {
    /// The nonce of the call.
    pub nonce: String,
    /// The length of the upload that arrived; `None` if its content is not the nonce's.
    pub upload: Option<usize>,
}

/// The record of a provider that it received a cancellation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancellation {
    /// The nonce of the call that its request id names at the provider.
    pub named: String,
    /// The nonce of the call that its sender meant.
    pub meant: String,
}

/// The end of a process by a fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// The name of the process.
    pub process: String,
    /// Its time.
    pub at: Millis,
}

/// The state after the last fault of a window.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Settled {
    /// The ids, with the number of relays that are connected under each in truth.
    pub truth: Vec<IdTruth>,
    /// The ids as `/api/state` reported them at last; `None` without an answer.
    pub reported: Option<Vec<IdState>>,
    /// The totals of each id at the start of the window, where the server ran through all of it.
    pub before: Option<Vec<IdState>>,
    /// The processes at the end of the window.
    pub processes: Vec<ProcessSample>,
    /// Programs that run at the end of the window.
    pub programs: usize,
    /// Programs that may run: the shared ones, and one for each session that may be open.
    pub programs_allowed: usize,
}

/// The relays that serve an id in truth.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdTruth {
    /// The id.
    pub id: String,
    /// Its relays.
    pub relays: usize,
}

/// An id in `/api/state`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdState {
    /// The id.
    pub id: String,
    /// The number of its relays.
    pub relays: usize,
    /// How many of them report a provider that is reached.
    pub reachable: usize,
    /// Calls that run.
    pub inflight: u64,
    /// Calls that ended since the start of the server.
    pub calls_total: u64,
}

/// A process at the end of a window.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessSample {
    /// Its name.
    pub name: String,
    /// Counts the starts of the process of this name.
    pub instance: u32,
    /// The reason for which it ended without a fault that ends processes; `None` if it runs.
    pub exited: Option<String>,
    /// Open descriptors.
    pub descriptors: usize,
    /// Open descriptors at the first end of a window that this instance saw.
    pub descriptors_before: usize,
    /// Resident memory in bytes.
    pub memory: u64,
    /// Resident memory at the end of the first windows that this instance saw: the largest of them.
    pub memory_before: u64,
}
