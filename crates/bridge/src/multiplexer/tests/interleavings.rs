//! The multiplexer under random interleavings of several callers: every message of the program
//! reaches the caller whose request it is about, and no other.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const CALLERS: usize = 4;

/// One step.
#[derive(Debug, Clone)]
enum Step {
    /// A caller begins a call, with an id and a progress token that others also use.
    Call {
        caller: usize,
        id: u8,
        token: Option<u8>,
    },
    /// A caller leaves its oldest call.
    Leave { caller: usize },
    /// The program reports the progress of a call, by its number.
    Progress { call: usize },
    /// The program answers a call, by its number.
    Respond { call: usize, is_text: bool },
    /// The program answers a call with a line that is no message.
    Break { call: usize },
    /// The program writes something that names no call, about one that runs or has just ended.
    Log { call: usize },
    /// The program answers an id, or reports progress, as a caller named it.
    Confuse { number: u8 },
}

/// A call as the program knows it.
struct Received {
    caller: usize,
    id: Value,
    token: Option<Value>,
    is_running: bool,
    /// The number of calls that had begun when it ended.
    ended: usize,
}

/// The callers, and the program that they share.
struct Model {
    program: ScriptedProgram,
    calls: Vec<(usize, usize, MultiplexedCall)>,
    received: Vec<Received>,
}

fn step() -> impl Strategy<Value = Step> {
    let call = 0..8usize;
    prop_oneof![
        4 => (0..CALLERS, 0..3u8, proptest::option::of(0..3u8))
            .prop_map(|(caller, id, token)| Step::Call { caller, id, token }),
        1 => (0..CALLERS).prop_map(|caller| Step::Leave { caller }),
        3 => call.clone().prop_map(|call| Step::Progress { call }),
        3 => (call.clone(), any::<bool>()).prop_map(|(call, is_text)| Step::Respond { call, is_text }),
        1 => call.clone().prop_map(|call| Step::Break { call }),
        4 => call.prop_map(|call| Step::Log { call }),
        1 => (0..3u8).prop_map(|number| Step::Confuse { number }),
    ]
}

impl Model {
    fn new() -> Self {
        Self {
            program: ScriptedProgram::new(),
            calls: Vec::new(),
            received: Vec::new(),
        }
    }

    async fn take(&mut self, step: Step) {
        match step {
            Step::Call { caller, id, token } => self.call(caller, id, token).await,
            Step::Leave { caller } => self.leave(caller).await,
            Step::Progress { call } => {
                if let Some(token) = self.received(call).and_then(|it| it.token.clone()) {
                    let params = json!({ "progressToken": token, "progress": call });
                    self.notify("notifications/progress", params).await;
                }
            }
            Step::Respond { call, is_text } => {
                let Some(id) = self.received(call).map(|it| it.id.clone()) else {
                    return;
                };
                let id = if is_text { json!(id.to_string()) } else { id };
                let response = json!({ "jsonrpc": "2.0", "id": id, "result": call });
                self.program.write(&response.to_string()).await;
                self.end(call);
            }
            Step::Break { call } => {
                if let Some(id) = self.received(call).map(|it| it.id.clone()) {
                    let line = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":"	"}}"#);
                    self.program.write(&line).await;
                    self.end(call);
                }
            }
            Step::Log { call } => {
                if self.may_log_about(call) {
                    self.notify("notifications/message", json!({ "data": call }))
                        .await;
                }
            }
            Step::Confuse { number } => {
                let params = json!({ "progressToken": number, "progress": 99 });
                self.notify("notifications/progress", params).await;
                let response = json!({ "jsonrpc": "2.0", "id": number, "result": 99 });
                self.program.write(&response.to_string()).await;
            }
        }
    }

    fn received(&self, call: usize) -> Option<&Received> {
        self.received.get(call)
    }

    /// Records the end of a call.
    fn end(&mut self, call: usize) {
        let begun = self.received.len();
        let received = &mut self.received[call];
        if std::mem::take(&mut received.is_running) {
            received.ended = begun;
        }
    }

    /// Returns whether the program may still write about a call without naming it: while it runs,
    /// and after it has ended unless a call runs that began later. Nothing distinguishes the two
    /// calls then.
    fn may_log_about(&self, call: usize) -> bool {
        let Some(received) = self.received(call) else {
            return false;
        };
        let mut later = self.received.iter().skip(received.ended);
        received.is_running || !later.any(|other| other.is_running)
    }

    async fn call(&mut self, caller: usize, id: u8, token: Option<u8>) {
        let meta = match token {
            Some(token) => json!({ "progressToken": token }),
            None => json!({}),
        };
        let request =
            json!({ "jsonrpc": "2.0", "id": id, "method": "x", "params": { "_meta": meta } });
        let (call, received) = self.program.call(&request.to_string()).await;
        let received: Value = serde_json::from_slice(&received.text).unwrap();
        let token = received["params"]["_meta"].get("progressToken").cloned();

        self.calls.push((caller, self.received.len(), call));
        self.received.push(Received {
            caller,
            id: received["id"].clone(),
            token,
            is_running: true,
            ended: 0,
        });
    }

    async fn leave(&mut self, caller: usize) {
        let Some(at) = self.calls.iter().position(|(of, ..)| *of == caller) else {
            return;
        };
        let (_, number, call) = self.calls.remove(at);
        drop(call);
        if self.received[number].is_running {
            self.end(number);
            let cancelled: Value = serde_json::from_str(&self.program.next_input().await).unwrap();
            assert_eq!(cancelled["method"], "notifications/cancelled");
            assert_eq!(cancelled["params"]["requestId"], self.received[number].id);
        }
    }

    async fn notify(&self, method: &str, params: Value) {
        let notification = json!({ "jsonrpc": "2.0", "method": method, "params": params });
        self.program.write(&notification.to_string()).await;
    }

    /// Checks all that every caller has received: each message contains the number of its call.
    async fn check(mut self) {
        for (caller, number, call) in &mut self.calls {
            assert_eq!(self.received[*number].caller, *caller);
            loop {
                let next = std::pin::pin!(call.receiver.next());
                let part = match futures_util::poll!(next) {
                    std::task::Poll::Ready(Ok(Some(part))) => part,
                    std::task::Poll::Ready(Err(broken)) => {
                        assert_eq!(broken.failure.cause, Cause::ProviderGarbage);
                        break;
                    }
                    std::task::Poll::Ready(Ok(None)) | std::task::Poll::Pending => break,
                };
                let (ResponsePart::Whole(text, _) | ResponsePart::Event(_, text)) = part else {
                    panic!("{part:?}");
                };
                let message: Value = serde_json::from_slice(&text).unwrap();
                let found = [
                    &message["result"],
                    &message["params"]["progress"],
                    &message["params"]["data"],
                ];
                let found = found.into_iter().find(|value| !value.is_null());
                assert_eq!(found, Some(&json!(number)), "{message}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn no_message_reaches_another_caller(steps in proptest::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut model = Model::new();
            for step in steps {
                model.take(step).await;
            }
            model.check().await;
        });
    }
}
