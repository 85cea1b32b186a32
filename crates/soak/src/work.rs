//! The execution of one call by a provider of any kind: recorded first, then answered message by
//! message.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;

use crate::history::{Cancellation, Execution};
use crate::journal::{Journal, Record};
use crate::plant::{Plant, Planter};
use crate::tool::{self, Arguments};

/// The tool of one provider process.
pub(crate) struct Work {
    journal: Journal,
    planter: Planter,
}

/// A call of the tool that was executed.
#[derive(Debug, Clone)]
pub(crate) struct Executed {
    /// The JSON-RPC id of the request.
    pub(crate) id: Value,
    pub(crate) arguments: Arguments,
    token: Value,
    plant: Plant,
}

impl Work {
    pub(crate) fn new(journal: &Path, plant: Plant) -> anyhow::Result<Self> {
        Ok(Self {
            journal: Journal::open(journal)?,
            planter: Planter::new(plant),
        })
    }

    /// Executes a call: records it. `Err` if it was not executed.
    pub(crate) fn execute(&self, message: &Value) -> anyhow::Result<Executed> {
        let arguments = Arguments::of(message).context("no arguments of the tool")?;
        let plant = self.planter.next();
        let record = Record::Execution(Execution {
            nonce: arguments.nonce.clone(),
            upload: arguments.upload_length(),
        });

        let times = match plant {
            Plant::Invent => 0,
            Plant::Twice => 2,
            _ => 1,
        };
        for _ in 0..times {
            self.journal.record(&record)?;
        }
        let arguments = Arguments {
            upload: String::new(),
            ..arguments
        };
        Ok(Executed {
            id: message["id"].clone(),
            token: message["params"]["_meta"]["progressToken"].clone(),
            arguments,
            plant,
        })
    }

    /// Records a `notifications/cancelled` whose request id names the call `named`. Those of
    /// callers have the nonce of the call that they mean as their reason.
    pub(crate) fn record_cancellation(&self, named: &str, message: &Value) -> anyhow::Result<()> {
        let Some(meant) = message["params"]["reason"].as_str() else {
            return Ok(());
        };
        // Those of the bridge itself have other reasons.
        let Some(meant) = meant.strip_prefix("nonce ") else {
            return Ok(());
        };
        let cancellation = Cancellation {
            named: named.to_owned(),
            meant: meant.to_owned(),
        };
        Ok(self.journal.record(&Record::Cancellation(cancellation))?)
    }
}

impl Executed {
    /// Returns the messages of the answer, in their order.
    pub(crate) fn messages(&self) -> Vec<Value> {
        let Arguments {
            nonce,
            events,
            download,
            ..
        } = &self.arguments;
        let mut messages: Vec<Value> = (0..*events)
            .map(|number| tool::event(nonce, &self.token, number))
            .collect();

        if self.plant == Plant::Repeat
            && let Some(last) = messages.last()
        {
            messages.push(last.clone());
        }
        let nonce = if self.plant == Plant::Swap {
            "w0c0n0"
        } else {
            nonce
        };
        messages.push(tool::result(&self.id, nonce, *download));
        messages
    }

    /// Waits for as long as the work before one message takes.
    pub(crate) async fn wait(&self) {
        tokio::time::sleep(Duration::from_millis(self.arguments.wait)).await;
    }
}
