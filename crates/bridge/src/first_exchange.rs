//! The first exchange with a program: who it is, and how many tools it has. The bridge asks before
//! any caller, in the program that it has started anyway, so that whoever starts a relay sees at once
//! whether a call would be answered.
//!
//! It is as harmless as what every client does first. A program that a client's session is to use is
//! asked only where no caller waits for it, and another one takes its place.

use std::sync::Arc;
use std::time::Duration;

use llamapool_mcp::{Message, ServerFacts, UnambiguousMessage};
use llamapool_wire::CallError;
use serde_json::{Value, json};

use crate::launcher::Launcher;
use crate::multiplexer::Multiplexer;
use crate::shared_session::initialize_params;

/// The time for which no caller needs the program before it is asked: a client that comes right
/// after the start gets it as it is, and does not wait for another one.
const QUIET: Duration = Duration::from_secs(1);
/// The longest wait for each answer. A program that takes longer is not asked again: its callers
/// wait for as long as they want.
const PATIENCE: Duration = Duration::from_secs(30);

/// Asks the program that waits for a caller, and puts another one in its place.
pub(crate) async fn ask_spare(launcher: &Launcher) {
    tokio::time::sleep(QUIET).await;
    let Some((handle, program)) = launcher.spare().take_for_exchange() else {
        return launcher.note_facts(None);
    };
    let is_shared = launcher.config().shared_session;

    let facts = within(initialize(&program)).await;
    if is_shared && facts.is_some() {
        // The shared session goes on where this ends: its first message is the notification.
        launcher.spare().put_idle(handle, program, true);
        return launcher.note_facts(facts);
    }
    let facts = match facts {
        Some(facts) => Some(with_tools_of_session(&program, facts).await),
        None => None,
    };
    program.input.close();
    launcher.note_facts(facts);

    let another = launcher.start(|input| Arc::new(Multiplexer::new(input, true, None)));
    if let Ok((program, handle)) = another.await {
        handle.expect_nothing();
        launcher.spare().put_idle(handle, program, false);
    }
}

/// Asks a program of the revisions without sessions for its tools.
pub(crate) async fn ask_stateless(
    launcher: &Launcher,
    program: &Arc<Multiplexer>,
    facts: ServerFacts,
    meta: Value,
) {
    let params = json!({ "_meta": meta });
    let facts = with_tools(program, facts, &params).await;
    launcher.note_facts(Some(facts));
}

/// Adds the tools of a program that the bridge has initialized.
pub(crate) async fn with_tools_of_session(
    program: &Arc<Multiplexer>,
    facts: ServerFacts,
) -> ServerFacts {
    let initialized = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    if let Ok(initialized) = Message::parse(initialized.into())
        && let Ok(initialized) = UnambiguousMessage::check(&initialized)
        && program.notify(initialized).await.is_err()
    {
        return facts;
    }
    with_tools(program, facts, &json!({})).await
}

async fn with_tools(program: &Arc<Multiplexer>, facts: ServerFacts, params: &Value) -> ServerFacts {
    let params = params.to_string();
    let answer = within(program.request("tools/list", &params)).await;
    match answer.and_then(|answer| answer.result()) {
        Some(result) => facts.with_tools(&result),
        None => facts,
    }
}

async fn initialize(program: &Arc<Multiplexer>) -> Result<ServerFacts, CallError> {
    let params = initialize_params().to_string();
    let answer = program.request("initialize", &params).await?;
    let result = answer.result().unwrap_or_default();
    Ok(ServerFacts::of_initialize(&result))
}

/// Returns an answer, `None` if it fails or takes too long.
async fn within<T>(answer: impl Future<Output = Result<T, CallError>>) -> Option<T> {
    let answer = tokio::time::timeout(PATIENCE, answer).await;
    answer.ok().and_then(Result::ok)
}
