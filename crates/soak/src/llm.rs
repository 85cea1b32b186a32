//! The history of calls to the LLM API under faults: a server, several workers and their runtimes as
//! processes, and a checker of its own.
//!
//! It differs from the history of MCP calls in what it promises: a call to an LLM may be sent again
//! until first content, and never after it.

mod caller;
mod check;
mod fault;
mod history;
mod inject;
mod runtime;
mod script;
mod site;
mod window;

pub(crate) use self::runtime::run as run_runtime;
pub(crate) use self::window::{LlmPlan, run};
