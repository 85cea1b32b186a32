//! The banner of a relay: each row appears as soon as there is one, and one line of progress shows what
//! is waited for.

use std::time::Duration;

use llamapool_relay::{ProviderTarget, ProviderView, RelayView};
use llamapool_wire::ProviderHealth;

use crate::terminal::{Screen, banner, middle_cut};

/// The interval at which the state is looked at while rows are missing.
const LOOK: Duration = Duration::from_millis(200);
/// The time from which on it is shown that a program loads.
const PATIENCE: Duration = Duration::from_secs(2);
/// The columns of an id where there are several.
const ID_COLUMNS: usize = 12;
/// How much of an id that cannot be guessed is shown at either end, where it is not to be copied.
const ID_ENDS: usize = 4;

/// The rows that were shown of one provider.
#[derive(Default, Clone)]
struct ShownRows {
    provider: bool,
    url: bool,
}

/// Shows the banner of a relay, row by row. Returns when all of it is shown.
pub(crate) async fn show(screen: &Screen, view: &RelayView) {
    let mut shown = vec![ShownRows::default(); view.providers().len()];
    let mut has_hint = false;
    loop {
        let providers = view.providers();
        let is_only = providers.len() == 1;
        for (provider, shown) in providers.iter().zip(&mut shown) {
            let rows = new_rows(provider, shown, is_only);
            if !rows.is_empty() {
                screen.block(&rows);
            }
        }
        if !is_only && !has_hint && shown.iter().all(|it| it.url) {
            has_hint = true;
            screen.block(&hint_for_several(&providers));
        }
        screen.progress(&progress(&providers));

        if shown.iter().all(|it| it.provider && it.url) {
            return;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Returns the rows that the configuration alone has.
pub(crate) fn first_rows(role: &str, providers: &[ProviderView]) -> Vec<String> {
    let is_only = providers.len() == 1;
    let mut lines = vec![banner::title(role)];
    for provider in providers {
        let (label, text) = match &provider.target {
            ProviderTarget::Program(words) => {
                let words = words.iter().map(|word| word.to_string_lossy());
                ("program", words.collect::<Vec<_>>().join(" "))
            }
            ProviderTarget::Url(url) => ("forwards to", without_query(url)),
        };
        lines.extend(banner::row(label, &named(provider, is_only, &text)));
    }
    lines
}

fn new_rows(provider: &ProviderView, shown: &mut ShownRows, is_only: bool) -> Vec<String> {
    let mut rows = Vec::new();
    if !shown.provider
        && let Some(text) = answers(provider)
    {
        shown.provider = true;
        let text = format!("● {text}");
        rows.extend(banner::row("provider", &named(provider, is_only, &text)));
    }
    if !shown.url
        && let Some(url) = &provider.public_url
    {
        shown.url = true;
        rows.extend(banner::row("url", &named(provider, is_only, url)));
        if is_only && provider.runtime.is_none() {
            rows.extend(banner::row("access", access(provider)));
            rows.extend(provider.id.iter().flat_map(|id| {
                let id = id.as_str();
                let id = if provider.is_assigned {
                    middle_cut(id, ID_ENDS)
                } else {
                    id.to_owned()
                };
                banner::row("add to", &format!("llamapool connect {id}"))
            }));
        }
    }
    rows
}

/// Returns the facts of a provider that answers, `None` while more is to come.
fn answers(provider: &ProviderView) -> Option<String> {
    if let Some(facts) = &provider.facts {
        return Some(facts.to_string());
    }
    let is_up = matches!(provider.health, ProviderHealth::Reachable { .. });
    (is_up && !provider.is_asked).then(|| match &provider.runtime {
        Some((runtime, _)) => format!("{} {}", runtime.runtime, runtime.version),
        None => "it can be reached".to_owned(),
    })
}

/// Returns the rows about all of several providers.
fn hint_for_several(providers: &[ProviderView]) -> Vec<String> {
    let open = providers.iter().filter(|provider| !provider.is_protected);
    let access = match open.count() {
        0 => "callers send Authorization: Bearer <AUTH_TOKEN>".to_owned(),
        open => format!(
            "{open} of {} without a token: who knows the URL can call it, unless the server asks for a key",
            providers.len()
        ),
    };
    let mut rows = banner::row("access", &access);
    rows.extend(banner::row("add to", "llamapool connect <id>"));
    rows
}

fn access(provider: &ProviderView) -> &'static str {
    if provider.is_protected {
        "callers send Authorization: Bearer <AUTH_TOKEN>"
    } else if provider.is_assigned {
        "the URL is the secret (no token)         --auth-token-file asks callers for one"
    } else {
        "no token: who knows the URL can call it, unless the server asks for a key"
    }
}

/// Returns the line of progress; empty if nothing is waited for.
fn progress(providers: &[ProviderView]) -> String {
    let starting = providers
        .iter()
        .filter_map(|provider| Some((provider, provider.starting.as_ref()?)));
    let Some((provider, longest)) = starting.max_by_key(|(_, starting)| starting.elapsed) else {
        return String::new();
    };
    if longest.elapsed < PATIENCE {
        return String::new();
    }
    let said = match longest.last_words.as_str() {
        "" => "it may be downloading; nothing said yet",
        said => said,
    };
    let text = format!("starting … {} s ({said})", longest.elapsed.as_secs());
    format!(
        "               {}",
        named(provider, providers.len() == 1, &text)
    )
}

fn named(provider: &ProviderView, is_only: bool, text: &str) -> String {
    match &provider.id {
        Some(id) if !is_only => format!("{:<ID_COLUMNS$} {text}", id.as_str()),
        _ => text.to_owned(),
    }
}

/// Returns a URL without its query, which may be secret.
fn without_query(url: &http::Uri) -> String {
    let text = url.to_string();
    text.split('?').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use llamapool_relay::{ProviderFacts, ProviderTarget};

    use super::*;

    fn provider() -> ProviderView {
        ProviderView {
            id: "dd31ae4979c9df11a6dbec28643daef9".parse().ok(),
            is_assigned: true,
            public_url: Some(
                "https://pool.example/api/mcp/id/dd31ae4979c9df11a6dbec28643daef9".to_owned(),
            ),
            target: ProviderTarget::Program(vec!["npx".into(), "-y".into(), "files".into()]),
            is_protected: false,
            health: ProviderHealth::Reachable { for_ms: 1 },
            facts: Some(ProviderFacts {
                name: "secure-filesystem-server".into(),
                version: "0.6.3".into(),
                revision: "2025-06-18".into(),
                tools: Some(11),
                has_more_tools: false,
            }),
            is_asked: false,
            starting: None,
            runtime: None,
        }
    }

    #[test]
    fn a_banner_says_what_is_reached_and_where() {
        let provider = provider();
        let version = env!("CARGO_PKG_VERSION");
        let mut lines = first_rows("relay", std::slice::from_ref(&provider));
        lines.extend(new_rows(&provider, &mut ShownRows::default(), true));

        assert_eq!(
            lines.join("\n"),
            format!(
                "  llamapool {version} relay
  program      npx -y files
  provider     ● secure-filesystem-server 0.6.3 · 11 tools · MCP 2025-06-18
  url          https://pool.example/api/mcp/id/dd31ae4979c9df11a6dbec28643daef9
  access       the URL is the secret (no token)         --auth-token-file asks callers for one
  add to       llamapool connect dd31…aef9"
            )
        );
    }

    #[test]
    fn several_providers_have_their_ids_and_one_hint() {
        let mut other = provider();
        other.id = "notes".parse().ok();
        other.is_protected = true;
        let both = [provider(), other];

        let first = first_rows("relay", &both);
        let rows = new_rows(&both[1], &mut ShownRows::default(), false);

        assert_eq!(first[2], "  program      notes        npx -y files");
        assert!(
            rows[0].starts_with("  provider     notes        ● secure-"),
            "{rows:?}"
        );
        assert_eq!(rows.len(), 2, "{rows:?}");
        assert_eq!(
            hint_for_several(&both)[0],
            "  access       1 of 2 without a token: who knows the URL can call it, unless the server asks for a key"
        );
    }

    #[test]
    fn rows_come_once_and_as_they_are_known() {
        let mut shown = ShownRows::default();
        let mut provider = provider();
        let facts = provider.facts.take();
        provider.is_asked = true;

        let first = new_rows(&provider, &mut shown, true);
        provider.facts = facts;
        let second = new_rows(&provider, &mut shown, true);
        let third = new_rows(&provider, &mut shown, true);

        assert!(first[0].starts_with("  url "), "{first:?}");
        assert!(second[0].starts_with("  provider "), "{second:?}");
        assert!(third.is_empty(), "{third:?}");
    }

    #[test]
    fn progress_has_the_last_words_after_a_moment() {
        let starting = |seconds, words: &str| {
            let mut provider = provider();
            provider.starting = Some(llamapool_bridge::StartingProgram {
                elapsed: Duration::from_secs(seconds),
                last_words: words.to_owned(),
            });
            progress(&[provider])
        };

        assert_eq!(starting(1, ""), "");
        assert_eq!(
            starting(8, "").trim(),
            "starting … 8 s (it may be downloading; nothing said yet)"
        );
        assert_eq!(
            starting(8, "added 3 packages").trim(),
            "starting … 8 s (added 3 packages)"
        );
    }
}
