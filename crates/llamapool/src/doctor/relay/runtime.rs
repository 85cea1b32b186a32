//! The LLM runtime of a worker: what it is, and what the worker would offer.

use std::path::Path;
use std::time::Instant;

use llamapool_relay::{
    LlmConfig, RUNTIME_PORTS, find_runtime, generate_one_token, inspect_runtime,
};
use llamapool_wire::llm::ModelInfo;

use crate::doctor::check::{GENERATION, MODELS, RUNTIME};
use crate::doctor::examination::Examination;
use crate::doctor::report::counted;

/// The most models that are named.
const MAX_NAMED: usize = 5;

/// A look at a runtime.
pub(super) struct Look<'a> {
    pub(super) config: &'a LlmConfig,
    /// Whether it is looked for on this machine.
    pub(super) is_searched: bool,
    /// Whether a model is to write a token.
    pub(super) generates: bool,
    pub(super) ca_file: Option<&'a Path>,
    pub(super) label: Option<&'a str>,
}

impl Look<'_> {
    /// Looks at the runtime.
    pub(super) async fn look(self, examination: &mut Examination) {
        let begun = Instant::now();
        let mut config = self.config.clone();
        if self.is_searched {
            match find_runtime(&RUNTIME_PORTS).await {
                Ok(found) => {
                    config.url = found.url;
                    config.kind = config.kind.or(Some(found.kind));
                }
                Err(error) => {
                    let remedy = "Start it, or name it: --completion-base-url.";
                    let looked = RUNTIME.fail(error.to_string(), remedy);
                    examination.add(looked.within(begun.elapsed()));
                    return;
                }
            }
        }

        let host = config.url.authority().map(|it| it.as_str());
        let host = host
            .and_then(|it| it.rsplit('@').next())
            .unwrap_or_default();
        let report = match inspect_runtime(&config, self.ca_file).await {
            Ok(report) => report,
            Err(error) => {
                let found = format!("{host}: {error}");
                let remedy = "Does it run, is COMPLETION_BASE_URL its own, and does it want \
                              COMPLETION_API_KEY?";
                let looked = RUNTIME.fail(found, remedy).within(begun.elapsed());
                examination.add(looked.of(self.label));
                return;
            }
        };
        let kind = report.kind.word();
        let named = format!("{kind} {}", report.version);
        let found = format!("{} at {host}", named.trim_end());
        examination.add(RUNTIME.ok(found).within(begun.elapsed()).of(self.label));
        let Some(first) = report.models.first() else {
            let found = "it has no model that this worker would offer";
            let remedy = "Load or pull one, or look at MODELS.";
            examination.add(MODELS.warn(found, remedy).of(self.label));
            return;
        };
        let found = format!(
            "{}: {}; {} at once",
            counted(report.models.len(), "model"),
            shown(&report.models),
            counted(report.slots as usize, "call")
        );
        examination.add(MODELS.ok(found).of(self.label));
        if self.generates {
            let begun = Instant::now();
            let looked = match generate_one_token(&config, self.ca_file, &first.name).await {
                Ok(()) => GENERATION.ok(format!("{} writes", first.name)),
                Err(error) => GENERATION.fail(
                    format!("{}: {error}", first.name),
                    "The log of the runtime says why.",
                ),
            };
            examination.add(looked.within(begun.elapsed()).of(self.label));
        }
    }
}

/// Returns the names of some models with their contexts.
fn shown(models: &[ModelInfo]) -> String {
    let named = models.iter().take(MAX_NAMED).map(|model| {
        let context = match model.context {
            0 => String::new(),
            context => format!(" ({context} tokens)"),
        };
        format!("{}{context}", model.name)
    });
    let named = named.collect::<Vec<_>>().join(", ");
    match models.len().saturating_sub(MAX_NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}
