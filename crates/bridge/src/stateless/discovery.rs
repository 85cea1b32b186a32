//! Asks a program which revisions it supports (MCP 2026-07-28, versioning), and waits while it
//! loads.
//!
//! A package runner may download the program first. Such a program is silent and alive, as are some
//! programs of the older revisions before they are initialized. The second question, `initialize`,
//! tells them apart: programs of all revisions answer it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use llamapool_mcp::{Message, ServerFacts, error_code};
use llamapool_wire::CallError;
use serde_json::json;

use super::tools::client_meta;
use crate::launcher::SparePlace;
use crate::multiplexer::Multiplexer;
use crate::shared_session::initialize_params;

/// The outcome of asking a program for its revisions.
#[derive(Debug)]
pub(super) enum Discovery {
    /// It supports revisions without sessions.
    Stateless {
        /// These, empty if it did not answer with a list.
        supported: Vec<String>,
        /// Its facts.
        facts: ServerFacts,
    },
    /// It supports such revisions, and was also asked to initialize a session meanwhile.
    StatelessButInitialized,
    /// It supports only older revisions.
    Older {
        /// True if the bridge has asked it to initialize a session.
        is_initialized: bool,
        /// Its facts from then.
        facts: Option<ServerFacts>,
    },
    /// It exited.
    Exited(CallError),
    /// It has answered nothing at all.
    Silent,
}

/// How long a program may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct DiscoveryPatience {
    /// To answer the question for its revisions.
    pub(super) revisions: Duration,
    /// To answer anything.
    pub(super) start: Duration,
}

/// Asks a program for its revisions. It is in the place of the spare program, and a caller that
/// takes it asks the second question.
pub(super) async fn discover(
    program: &Arc<Multiplexer>,
    spare: &SparePlace,
    patience: DiscoveryPatience,
) -> Discovery {
    let params = json!({ "_meta": client_meta() }).to_string();
    let discovering = program.request("server/discover", &params);
    tokio::pin!(discovering);
    if let Ok(answer) = tokio::time::timeout(patience.revisions, &mut discovering).await {
        return answer.map_or_else(Discovery::Exited, |answer| judge(&answer));
    }

    let left = patience.start.saturating_sub(patience.revisions);
    if !spare.begin_initialize() {
        return match tokio::time::timeout(left, discovering).await {
            Ok(answer) => answer.map_or_else(Discovery::Exited, |answer| judge(&answer)),
            Err(_) => Discovery::Silent,
        };
    }
    let params = initialize_params().to_string();
    let initializing = program.request("initialize", &params);
    tokio::pin!(initializing);
    let older = |answer: Option<&Message>| Discovery::Older {
        is_initialized: true,
        facts: answer
            .and_then(Message::result)
            .map(|result| ServerFacts::of_initialize(&result)),
    };
    match tokio::time::timeout(left, select(discovering, initializing)).await {
        Ok(Either::Left((Ok(answer), _))) => match judge(&answer) {
            Discovery::Stateless { .. } => Discovery::StatelessButInitialized,
            _ => older(None),
        },
        Ok(Either::Right((Ok(answer), _))) => older(Some(&answer)),
        Ok(Either::Left((Err(failure), _)) | Either::Right((Err(failure), _))) => {
            Discovery::Exited(failure)
        }
        Err(_) => Discovery::Silent,
    }
}

/// Judges the answer to the question for the revisions.
fn judge(answer: &Message) -> Discovery {
    if !answer.has_result() && !is_stateless_error(answer.error_code) {
        return Discovery::Older {
            is_initialized: false,
            facts: None,
        };
    }

    let result = answer.result().unwrap_or_default();
    let versions = result["supportedVersions"].as_array().into_iter().flatten();
    let supported = versions.filter_map(|version| version.as_str().map(str::to_owned));
    Discovery::Stateless {
        supported: supported.collect(),
        facts: ServerFacts::of_discovery(&result),
    }
}

/// Returns whether an error code exists only in the revisions without sessions.
pub(super) fn is_stateless_error(code: Option<i64>) -> bool {
    matches!(
        code,
        Some(
            error_code::HEADER_MISMATCH
                | error_code::MISSING_CAPABILITY
                | error_code::UNSUPPORTED_VERSION
        )
    )
}
