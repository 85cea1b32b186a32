//! Keys as people read them. Nothing here has a secret, or its SHA-256.

use std::time::SystemTime;

use llamapool_identity::{Key, Rights, Usage, WorkerIds, WorkerKind, shown_time};
use serde_json::json;

use crate::admin::table::table;

/// Returns the table of all keys.
pub(super) fn all(keys: &[Key], now: SystemTime) -> String {
    let rows: Vec<_> = keys
        .iter()
        .map(|key| {
            [
                key.id.to_string(),
                key.kind().to_string(),
                key.name.clone(),
                covers(&key.rights),
                key.expires_at.map_or("never".to_owned(), shown_time),
                key.last_used_at.map_or("-".to_owned(), shown_time),
                key.status(now).to_owned(),
            ]
        })
        .collect();
    let head = [
        "ID",
        "KIND",
        "NAME",
        "COVERS",
        "EXPIRES",
        "LAST USED",
        "STATUS",
    ];
    table(head, &rows)
}

/// Returns one key, a line for each of its properties.
pub(super) fn one(key: &Key, used: &[Usage; 2], now: SystemTime) -> String {
    let [today, month] = used;
    let valid = |expires_at: Option<SystemTime>| expires_at.is_none_or(|at| at > now);
    let secrets = key.secrets.iter().filter(|secret| valid(secret.expires_at));
    let rows = [
        ["id".to_owned(), key.id.to_string()],
        ["kind".to_owned(), key.kind().to_string()],
        ["name".to_owned(), key.name.clone()],
        ["status".to_owned(), key.status(now).to_owned()],
        ["covers".to_owned(), covers(&key.rights)],
        ["rights".to_owned(), json!(key.rights).to_string()],
        ["created".to_owned(), shown_time(key.created_at)],
        [
            "expires".to_owned(),
            key.expires_at.map_or("never".to_owned(), shown_time),
        ],
        [
            "revoked".to_owned(),
            key.revoked_at.map_or("-".to_owned(), shown_time),
        ],
        [
            "last used".to_owned(),
            key.last_used_at.map_or("-".to_owned(), shown_time),
        ],
        ["secrets".to_owned(), secrets.count().to_string()],
        ["used today".to_owned(), words_of(today)],
        ["used this month".to_owned(), words_of(month)],
    ];
    table(["KEY", ""], &rows)
}

/// Returns what was used as people read it.
fn words_of(used: &Usage) -> String {
    format!(
        "{} calls, {} bytes in, {} bytes out, {} tokens",
        used.calls, used.bytes_in, used.bytes_out, used.tokens
    )
}

/// Returns all keys as JSON.
pub(super) fn all_as_json(keys: &[Key], now: SystemTime) -> String {
    let keys: Vec<_> = keys.iter().map(|key| key.shown(now)).collect();
    format!("{}\n", json!(keys))
}

fn covers(rights: &Rights) -> String {
    let list = |patterns: &[llamapool_identity::Pattern]| {
        let texts: Vec<_> = patterns.iter().map(ToString::to_string).collect();
        texts.join(",")
    };
    match rights {
        Rights::Caller(rights) => {
            let only = if rights.read_only { ", read only" } else { "" };
            let ids = list(&rights.ids);
            let ids = (!rights.ids.is_empty()).then(|| format!("ids {ids}{only}"));
            let models = rights.models.join(",");
            let models = (!models.is_empty()).then(|| format!("models {models}"));
            let parts: Vec<_> = ids.into_iter().chain(models).collect();
            parts.join("; ")
        }
        Rights::Worker(rights) => {
            let ids = match &rights.ids {
                WorkerIds::Assigned => "assigned ids".to_owned(),
                WorkerIds::Of(patterns) => format!("ids {}", list(patterns)),
            };
            match rights.kinds[..] {
                [WorkerKind::Mcp] => format!("{ids}; mcp"),
                [WorkerKind::Llm] => format!("{ids}; llm"),
                _ => ids,
            }
        }
        Rights::Admin(rights) => {
            let may: Vec<_> = rights.may.iter().map(|right| right.word()).collect();
            may.join(",")
        }
    }
}
