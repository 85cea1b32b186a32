//! The router of llama.cpp: one server with many models, each of which it runs as a server of its own.
//!
//! `/models` has a status for each model. A request for one model's `/slots` would load it, so that
//! only loaded ones are asked, and with `autoload=false`. Changes are pushed by `/models/sse`.

use http::StatusCode;
use llamapool_dialect::{EventReader, Framing, RawEvent};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::super::{PolledLoad, Resident, ResidentModel, number, text};
use super::{MODELS, SLOTS};
use crate::providers::llm::client::{PollClient, PollError};
use crate::providers::pool::ProviderBody;

use http_body_util::BodyExt;

const PUSHES: &str = "/models/sse";
/// The most loaded models whose slots are asked for in one poll: each is a request of its own.
const MAX_ASKED: usize = 8;
/// The largest pushed event, in bytes. A loaded model's has its metadata.
const MAX_EVENT_BYTES: usize = 1 << 20;

/// The stream of changes that a router pushes.
pub(in crate::providers::llm) struct Pushes {
    body: ProviderBody,
    events: EventReader,
}

/// The slots of the loaded models.
#[derive(Debug, Default, PartialEq)]
struct Slots {
    /// Of the model that has most: the runtime does not report how they share its processors.
    most: Option<u32>,
    /// Those that compute, of all models.
    busy: Option<u32>,
}

/// Returns whether properties are those of a router.
pub(super) fn is_router(props: &Value) -> bool {
    props["role"] == "router"
}

/// Returns whether a model of a router's list can be asked for: its file is here.
pub(super) fn is_usable(model: &Value) -> bool {
    model["status"]["value"] != "downloading"
}

/// Asks a router for its load.
pub(super) async fn load(client: &PollClient) -> Result<PolledLoad, PollError> {
    let resident = resident(&client.get_json(MODELS).await?);
    let slots = slots(client, &resident).await?;
    Ok(PolledLoad {
        resident: Resident::These(resident),
        slots: slots.most,
        busy: slots.busy,
        pushes_changes: true,
        ..PolledLoad::default()
    })
}

/// Asks a router how many slots compute.
pub(super) async fn busy(client: &PollClient) -> Result<Option<u32>, PollError> {
    let resident = resident(&client.get_json(MODELS).await?);
    Ok(slots(client, &resident).await?.busy)
}

async fn slots(client: &PollClient, resident: &[ResidentModel]) -> Result<Slots, PollError> {
    let mut slots = Slots::default();
    let loaded = resident.iter().filter(|model| !model.is_loading);
    for model in loaded.take(MAX_ASKED) {
        let name = utf8_percent_encode(&model.name, NON_ALPHANUMERIC);
        let path = format!("{SLOTS}?model={name}&autoload=false");
        let answer = client.get(&path).await?;
        // It may have been unloaded since, or be without this path.
        if answer.status == StatusCode::OK {
            slots.add(&answer.json(&path)?);
        }
    }
    Ok(slots)
}

impl Slots {
    fn add(&mut self, of_model: &Value) {
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let all = of_model.as_array();
        let Some((all, busy)) = all.zip(super::busy_of(of_model)) else {
            return;
        };
        self.most = self.most.max(Some(count(all.len())));
        self.busy = Some(self.busy.unwrap_or_default().saturating_add(busy));
    }
}

/// Returns the models that a router has loaded, or is loading. One that sleeps has given its memory
/// back, and is loaded anew for the next call.
fn resident(models: &Value) -> Vec<ResidentModel> {
    let models = models["data"].as_array().map_or(&[][..], Vec::as_slice);
    let models = models.iter().filter_map(|model| {
        let status = model["status"]["value"].as_str()?;
        matches!(status, "loaded" | "loading").then(|| ResidentModel {
            name: text(model, "id"),
            context: number(&model["meta"], "n_ctx"),
            is_loading: status == "loading",
        })
    });
    models.collect()
}

impl Pushes {
    /// Asks a router to push changes.
    pub(in crate::providers::llm) async fn open(client: &PollClient) -> Result<Self, PollError> {
        Ok(Self {
            body: client.open(PUSHES).await?,
            events: EventReader::new(Framing::Sse, MAX_EVENT_BYTES),
        })
    }

    /// Waits for a change of a model or of the list. `None` once the router pushes none any more.
    /// Without loss if the future is dropped.
    pub(in crate::providers::llm) async fn changed(&mut self) -> Option<()> {
        loop {
            while let Some(event) = self.events.next() {
                if is_change(&event) {
                    return Some(());
                }
            }
            let piece = self.body.frame().await?.ok()?.into_data().ok()?;
            self.events.push(piece).ok()?;
        }
    }
}

/// Returns whether a pushed event is a change, and not the progress of one.
fn is_change(event: &RawEvent) -> bool {
    let Ok(event) = serde_json::from_slice::<Value>(&event.data) else {
        return false;
    };
    match event["event"].as_str() {
        None | Some("download_progress") => false,
        Some(_) => event["data"].get("progress").is_none(),
    }
}

#[cfg(feature = "fuzzing")]
pub(in crate::providers::llm) fn fuzz(json: &Value, stream: &[u8]) {
    use bytes::Bytes;

    let mut slots = Slots::default();
    slots.add(json);
    assert!(resident(json).len() <= json["data"].as_array().map_or(0, Vec::len));

    let mut events = EventReader::new(Framing::Sse, MAX_EVENT_BYTES);
    if events.push(Bytes::copy_from_slice(stream)).is_ok() {
        while let Some(event) = events.finish() {
            is_change(&event);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn models_of_the_router_are_loaded_loading_or_neither() {
        let list = json!({"data": [
            {"id": "a", "status": {"value": "loaded", "args": ["llama-server"]}, "meta": {"n_ctx": 4096}},
            {"id": "b", "status": {"value": "loading"}}, {"id": "c", "status": {"value": "unloaded"}},
            {"id": "d"}, {"id": "e", "status": {"value": "sleeping"}},
            {"id": "f", "status": {"value": "downloading", "progress": {}}}]});

        let found = resident(&list);

        let found: Vec<_> = found
            .iter()
            .map(|it| (it.name.as_str(), it.context, it.is_loading))
            .collect();
        assert_eq!(found, [("a", 4096, false), ("b", 0, true)]);
        let models = list["data"].as_array().unwrap();
        let usable: Vec<bool> = models.iter().map(is_usable).collect();
        assert_eq!(usable, [true, true, true, true, true, false]);
    }

    #[test]
    fn slots_of_all_loaded_models_are_counted() {
        let mut slots = Slots::default();
        let of = |busy: &[bool]| -> Value {
            let slots = busy.iter().map(|busy| json!({"is_processing": busy}));
            slots.collect()
        };

        slots.add(&of(&[true, false, true, false]));
        slots.add(&of(&[true]));
        slots.add(&json!({"error": {"code": 501}}));

        assert_eq!(
            slots,
            Slots {
                most: Some(4),
                busy: Some(3)
            }
        );
        assert_eq!(Slots::default().busy, None, "nothing is loaded");
    }

    #[test]
    fn progress_is_no_change() {
        let is_change = |data: &str| {
            let mut events = EventReader::new(Framing::Sse, 1000);
            events.push(format!("data: {data}\n\n").into()).unwrap();
            is_change(&events.next().unwrap())
        };

        assert!(is_change(
            r#"{"model":"a","event":"model_status","data":{"status":"loaded","info":{}}}"#
        ));
        assert!(is_change(r#"{"model":"*","event":"models_reload"}"#));
        assert!(is_change(r#"{"model":"a","event":"download_finished"}"#));
        assert!(!is_change(
            r#"{"model":"a","event":"model_status","data":{"status":"loading","progress":{"value":0.5}}}"#
        ));
        assert!(!is_change(
            r#"{"model":"a","event":"download_progress","data":{}}"#
        ));
        assert!(!is_change("[DONE]") && !is_change("7"));
    }
}
