//! The words between server and worker about LLM runtimes: what a runtime is, its models, its load,
//! and what became of each attempt of a call.
//!
//! All of it comes from a worker, which may be wrong or hostile: texts are cut and have no control
//! characters, numbers have bounds, and lists end where they are too long.

use serde::{Deserialize, Serialize};

use crate::event::sanitize;

/// The longest line of a list of models, in bytes.
pub const MAX_MODELS_BYTES: usize = 256 * 1024;
/// The most models of one runtime.
pub const MAX_MODELS: usize = 512;
/// The longest name of a model, in characters.
pub const MAX_MODEL_NAME_CHARS: usize = 256;
/// The most words in each list of words: aliases, modalities, capabilities, APIs.
const MAX_WORDS: usize = 32;
/// The largest count of tokens, bytes of an answer aside: more is not true.
const MAX_COUNT: u64 = 1 << 31;
/// The highest speed in tokens a second: more is not true.
const MAX_SPEED: f64 = 1e7;

/// The form of an answer that a caller wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponseForm {
    /// Events, as they come.
    Stream,
    /// One answer, when it is complete.
    Whole,
}

/// An LLM runtime, as its worker reports it with its offer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeInfo {
    /// The kind: `ollama`, `llama_cpp`, `vllm`, `sglang`, `lm_studio`, `openai`.
    pub runtime: String,
    /// The version, as the runtime reports it; empty if it does not.
    #[serde(default)]
    pub version: String,
    /// The most concurrent calls.
    pub max_concurrency: u32,
    /// The most inputs of one embeddings request, 0 for any number.
    #[serde(default)]
    pub embedding_batch_size: u32,
    /// Whether the runtime keeps responses that later calls refer to.
    #[serde(default)]
    pub keeps_responses: bool,
    /// Divides the expected time of this worker: 2000 makes it look twice as fast. In thousandths.
    #[serde(default = "one")]
    pub weight: u32,
}

/// All models of a runtime.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Models {
    /// The models, at most [`MAX_MODELS`]. Other events refer to them by their index.
    pub models: Vec<ModelInfo>,
}

/// One model of a runtime.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// The runtime's own name.
    pub name: String,
    /// Other names for it on this worker.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// Digest of the weights; empty where the runtime has none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub digest: String,
    /// Size in bytes, 0 if unknown.
    #[serde(default)]
    pub size: u64,
    /// Number of parameters, 0 if unknown.
    #[serde(default)]
    pub params: u64,
    /// Quantization, such as `Q4_K_M`; empty if unknown.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub quantization: String,
    /// Family or architecture, such as `qwen3`; empty if unknown.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub family: String,
    /// Context in tokens as it is or would be loaded, 0 if unknown.
    #[serde(default)]
    pub context: u64,
    /// Context in tokens that the model was trained for, 0 if unknown.
    #[serde(default)]
    pub context_trained: u64,
    /// What goes in: `text`, `image`, `audio`.
    #[serde(default, rename = "in", skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<String>,
    /// What comes out: `text`, `embedding`, `image`, `audio`.
    #[serde(default, rename = "out", skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<String>,
    /// Capabilities in Ollama's words: `completion`, `tools`, `vision`, `thinking`, `embedding`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
    /// The APIs of the runtime that take this model: `chat`, `completions`, `responses`, `messages`,
    /// `count_tokens`, `embeddings`, `rerank`, `ollama`, `transcriptions`, `speech`, `images`; and
    /// those that the worker makes of them: `ollama_translated`, `ollama_embed_translated`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub apis: Vec<String>,
    /// When it was made, in seconds since 1970; 0 if unknown.
    #[serde(default)]
    pub created: u64,
}

/// The load of a runtime.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// Slots that others than this server use.
    #[serde(default)]
    pub elsewhere: u32,
    /// Calls whose caller has left and that the runtime still computes.
    #[serde(default)]
    pub abandoned: u32,
    /// Indices of the models that are loaded and ready.
    #[serde(default)]
    pub resident: Vec<u16>,
    /// Indices of the models that are being loaded.
    #[serde(default)]
    pub loading: Vec<u16>,
    /// The measured speed of some models.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub speed: Vec<Speed>,
}

/// The measured speed of one model on one worker, as moving averages; 0 where it is not known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Speed {
    /// Index of the model.
    pub model: u16,
    /// Tokens of a prompt that are read in a second.
    #[serde(default)]
    pub prefill: f64,
    /// Tokens that are written in a second.
    #[serde(default)]
    pub decode: f64,
    /// Time to load the model, in milliseconds.
    #[serde(default)]
    pub load_ms: u64,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallEnd {
    /// The runtime answered to the end.
    #[default]
    Complete,
    /// The runtime refused it with a status of its own.
    Refused,
    /// The runtime broke off, could not be reached, or sent what it should not.
    Failed,
    /// The server cancelled it.
    Cancelled,
}

/// Where the counts of an attempt come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CountSource {
    /// The runtime's `usage`. Trusted.
    Usage,
    /// The runtime's timings or native counts. Trusted.
    Timings,
    /// Events with content that passed.
    Events,
    /// Nothing: the server estimates.
    #[default]
    Estimate,
}

/// What became of one attempt that reached the runtime.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallReport {
    /// The number that the server gave it.
    pub attempt: u64,
    /// Its end.
    pub end: CallEnd,
    /// Tokens of the prompt, those from the cache included.
    #[serde(default)]
    pub prompt: u64,
    /// Tokens of the prompt that came from the cache.
    #[serde(default)]
    pub cached: u64,
    /// Tokens that were written.
    #[serde(default)]
    pub completion: u64,
    /// Vectors of embeddings that were made.
    #[serde(default)]
    pub embeddings: u64,
    /// Where the counts come from.
    #[serde(default)]
    pub source: CountSource,
    /// Milliseconds from the request to first content. `None` if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_ms: Option<u64>,
    /// Milliseconds from the request to its end.
    #[serde(default)]
    pub total_ms: u64,
}

/// How much of its prompt a runtime has read for an attempt that has no content yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct CallProgress {
    /// The number that the server gave the attempt.
    pub attempt: u64,
    /// The share of the prompt that is read, from 0 to 1.
    pub read: f32,
}

fn one() -> u32 {
    1000
}

impl ResponseForm {
    /// Returns the value of the header.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stream => "stream",
            Self::Whole => "whole",
        }
    }

    /// Parses the value of the header, `None` for any other.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Stream, Self::Whole]
            .into_iter()
            .find(|form| form.as_str() == text)
    }
}

impl RuntimeInfo {
    pub(crate) fn sanitize(&mut self) {
        self.runtime = sanitize(&self.runtime);
        self.version = sanitize(&self.version);
    }
}

impl Models {
    pub(crate) fn sanitize(&mut self) {
        self.models.truncate(MAX_MODELS);
        for model in &mut self.models {
            model.sanitize();
        }
    }
}

impl ModelInfo {
    fn sanitize(&mut self) {
        let texts = [
            &mut self.name,
            &mut self.digest,
            &mut self.quantization,
            &mut self.family,
        ];
        for text in texts {
            *text = word(text);
        }

        let lists = [
            &mut self.aliases,
            &mut self.inputs,
            &mut self.outputs,
            &mut self.capabilities,
            &mut self.apis,
        ];
        for list in lists {
            list.truncate(MAX_WORDS);
            list.iter_mut().for_each(|text| *text = word(text));
        }
        self.context = self.context.min(MAX_COUNT);
        self.context_trained = self.context_trained.min(MAX_COUNT);
    }
}

impl Load {
    pub(crate) fn sanitize(&mut self) {
        self.resident.truncate(MAX_MODELS);
        self.loading.truncate(MAX_MODELS);
        self.speed.truncate(MAX_MODELS);
        for speed in &mut self.speed {
            speed.prefill = plausible(speed.prefill);
            speed.decode = plausible(speed.decode);
            speed.load_ms = speed.load_ms.min(MAX_COUNT);
        }
    }
}

impl CallReport {
    pub(crate) fn sanitize(&mut self) {
        let counts = [
            &mut self.prompt,
            &mut self.completion,
            &mut self.embeddings,
            &mut self.total_ms,
        ];
        for count in counts {
            *count = (*count).min(MAX_COUNT);
        }
        self.cached = self.cached.min(self.prompt);
        self.first_ms = self.first_ms.map(|first| first.min(self.total_ms));
    }
}

impl CallProgress {
    pub(crate) fn sanitize(&mut self) {
        let is_share = self.read.is_finite();
        self.read = if is_share {
            self.read.clamp(0.0, 1.0)
        } else {
            0.0
        };
    }
}

/// Returns a short text of the peer without control characters.
fn word(text: &str) -> String {
    sanitize(text).chars().take(MAX_MODEL_NAME_CHARS).collect()
}

/// Returns a speed, 0 if it cannot be one.
fn plausible(speed: f64) -> f64 {
    if speed.is_finite() && speed > 0.0 {
        speed.min(MAX_SPEED)
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Event;

    #[test]
    fn events_of_a_worker_have_exactly_these_bytes() {
        let models = Event::Models(Models {
            models: vec![ModelInfo {
                name: "qwen3:8b".into(),
                context: 32768,
                apis: vec!["chat".into()],
                ..ModelInfo::default()
            }],
        });
        let load = Event::Load(Load {
            abandoned: 1,
            resident: vec![0],
            ..Load::default()
        });
        let report = Event::Call(CallReport {
            attempt: 771,
            prompt: 812,
            cached: 730,
            completion: 96,
            source: CountSource::Timings,
            first_ms: Some(212),
            total_ms: 2540,
            ..CallReport::default()
        });

        assert_eq!(
            models.to_line(),
            concat!(
                r#"{"event":"models","models":[{"name":"qwen3:8b","size":0,"params":0,"#,
                r#""context":32768,"context_trained":0,"apis":["chat"],"created":0}]}"#,
                "\n"
            )
        );
        assert_eq!(
            load.to_line(),
            concat!(
                r#"{"event":"load","elsewhere":0,"abandoned":1,"resident":[0],"loading":[]}"#,
                "\n"
            )
        );
        assert_eq!(
            report.to_line(),
            concat!(
                r#"{"event":"call","attempt":771,"end":"complete","prompt":812,"cached":730,"#,
                r#""completion":96,"embeddings":0,"source":"timings","first_ms":212,"total_ms":2540}"#,
                "\n"
            )
        );
        let progress = Event::Progress(CallProgress {
            attempt: 771,
            read: 0.37,
        });
        assert_eq!(
            progress.to_line(),
            "{\"event\":\"progress\",\"attempt\":771,\"read\":0.37}\n"
        );
        for event in [models, load, report, progress] {
            let parsed = Event::from_line(event.to_line().as_bytes()).unwrap();
            assert_eq!(parsed, event);
        }
    }

    #[test]
    fn what_a_worker_lies_about_is_cut_to_what_can_be() {
        let name = "\u{1b}[31m".to_owned() + &"x".repeat(1000);
        let models = (0..600).map(|_| ModelInfo {
            name: name.clone(),
            aliases: vec!["a".into(); 100],
            ..ModelInfo::default()
        });
        let mut models = Models {
            models: models.collect(),
        };
        let mut report = CallReport {
            prompt: 5,
            cached: 9,
            completion: u64::MAX,
            first_ms: Some(9),
            total_ms: 3,
            ..CallReport::default()
        };
        let speed = Speed {
            prefill: -1.0,
            decode: 1e300,
            ..Speed::default()
        };
        let mut load = Load {
            speed: vec![speed; 600],
            ..Load::default()
        };

        let shares = [-1.0, f32::NAN, 7.0, 0.37].map(|read| {
            let mut progress = CallProgress { attempt: 1, read };
            progress.sanitize();
            progress.read
        });
        models.sanitize();
        report.sanitize();
        load.sanitize();

        assert_eq!(shares, [0.0, 0.0, 1.0, 0.37]);
        assert_eq!(models.models.len(), MAX_MODELS);
        assert_eq!(models.models[0].name.chars().count(), MAX_MODEL_NAME_CHARS);
        assert!(!models.models[0].name.contains('\u{1b}'));
        assert_eq!(models.models[0].aliases.len(), MAX_WORDS);
        assert_eq!((report.cached, report.first_ms), (5, Some(3)));
        assert_eq!(report.completion, MAX_COUNT);
        assert_eq!(load.speed.len(), MAX_MODELS);
        assert_eq!(load.speed[0].prefill, 0.0);
        assert_eq!(load.speed[0].decode, MAX_SPEED);
    }

    #[test]
    fn only_a_list_of_models_may_be_a_long_line() {
        let long = "x".repeat(20_000);
        let models = format!(r#"{{"event":"models","models":[{{"name":"{long}"}}]}}"#);
        let load = format!(r#"{{"event":"load","unknown":"{long}"}}"#);

        assert!(Event::from_line(models.as_bytes()).is_ok());
        assert!(Event::from_line(load.as_bytes()).is_err());
    }
}
