//! The banner of a worker: the runtimes, their models, and where callers reach them.

use std::time::Duration;

use llamapool_relay::{ProviderView, RelayView};
use llamapool_wire::llm::{ModelInfo, Models, RuntimeInfo};

use crate::terminal::{Screen, banner};

/// The interval at which the state is looked at while rows are missing.
const LOOK: Duration = Duration::from_millis(200);
/// The most models of one runtime that are named.
const MAX_NAMED: usize = 8;

/// Shows the banner of a worker, part by part. Returns when all of it is shown.
pub(super) async fn show(screen: &Screen, view: &RelayView) {
    let mut has_backend = vec![false; view.providers().len()];
    let mut has_url = false;
    loop {
        let providers = view.providers();
        for (provider, is_shown) in providers.iter().zip(&mut has_backend) {
            if !*is_shown && let Some(rows) = backend_rows(provider) {
                *is_shown = true;
                screen.block(&rows);
            }
        }
        let url = providers
            .iter()
            .find_map(|provider| provider.public_url.clone());
        if let Some(url) = url.filter(|_| !has_url) {
            has_url = true;
            screen.block(&url_rows(&url));
        }
        if has_url && has_backend.iter().all(|is_shown| *is_shown) {
            screen.block(&banner::row("", "waiting for work"));
            return;
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn url_rows(url: &str) -> Vec<String> {
    let base = url.strip_suffix("/v1").unwrap_or(url);
    let mut rows = banner::row("url", &format!("{url}   OpenAI's API"));
    rows.extend(banner::row(
        "",
        &format!("{base}   the APIs of Anthropic and Ollama"),
    ));
    rows
}

/// Returns the rows of a runtime, `None` before its first list of models.
fn backend_rows(provider: &ProviderView) -> Option<Vec<String>> {
    let (runtime, models) = provider.runtime.as_ref()?;
    let models = models.as_ref().filter(|_| !runtime.runtime.is_empty())?;

    let mut rows = banner::row("backend", &format!("● {}", shown_runtime(runtime)));
    rows.extend(banner::row("models", &shown_models(models)));
    rows.extend(banner::row("slots", &slots(runtime)));
    Some(rows)
}

fn shown_runtime(runtime: &RuntimeInfo) -> String {
    format!("{} {}", runtime.runtime, runtime.version)
        .trim_end()
        .to_owned()
}

fn slots(runtime: &RuntimeInfo) -> String {
    match runtime.max_concurrency {
        1 => "1 call at once".to_owned(),
        calls => format!("{calls} calls at once"),
    }
}

fn shown_models(models: &Models) -> String {
    let models = &models.models;
    let named: Vec<String> = models.iter().take(MAX_NAMED).map(shown_model).collect();
    let more = models.len().saturating_sub(MAX_NAMED);
    match (models.len(), more) {
        (0, _) => "none yet".to_owned(),
        (_, 0) => named.join(", "),
        (_, more) => format!("{} and {more} more", named.join(", ")),
    }
}

/// Such as `llama3:8b (4.7 GB, context 8192)`.
fn shown_model(model: &ModelInfo) -> String {
    let mut known = Vec::new();
    if model.size > 0 {
        known.push(format!("{:.1} GB", model.size as f64 / 1e9));
    }
    if model.context > 0 {
        known.push(format!("context {}", model.context));
    }
    if known.is_empty() {
        model.name.clone()
    } else {
        format!("{} ({})", model.name, known.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_have_their_size_and_context() {
        let model = |name: &str, size, context| ModelInfo {
            name: name.to_owned(),
            size,
            context,
            ..ModelInfo::default()
        };
        let mut models = Models {
            models: vec![model("llama3:8b", 4_700_000_000, 8192), model("echo", 0, 0)],
        };

        assert_eq!(
            shown_models(&models),
            "llama3:8b (4.7 GB, context 8192), echo"
        );
        models.models = (0..10).map(|n| model(&format!("m{n}"), 0, 0)).collect();
        assert!(shown_models(&models).ends_with("m7 and 2 more"));
        assert_eq!(shown_models(&Models::default()), "none yet");
    }
}
