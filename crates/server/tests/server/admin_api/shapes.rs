//! The shapes of the answers, which are a contract with programs.

use llamapool_testkit::json_snapshot;

use super::*;

/// Compares an answer with the snapshot of this name.
fn check(name: &str, answer: &Answer) {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.set_snapshot_path("../snapshots");
    let head = ["cache-control", "etag", "location"];
    let head = head.into_iter().filter_map(|name| {
        let value = answer.header(name)?;
        let value = match name {
            "etag" => "[etag]".to_owned(),
            // What is behind the last slash is the id.
            "location" => format!("{}/[id]", value.rsplit_once('/')?.0),
            _ => value.to_owned(),
        };
        Some(format!("{name}: {value}\n"))
    });
    let head: String = head.collect();
    let body = json_snapshot(&redacted(&answer.json()));
    let text = format!("{}\n{head}\n{body}\n", answer.status());
    settings.bind(|| insta::assert_snapshot!(name, text));
}

/// Replaces what differs from run to run: ids, secrets and times of this run.
fn redacted(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(redacted).collect(),
        Value::Object(members) => {
            let members = members.iter().map(|(name, value)| {
                let is_variable = match name.as_str() {
                    "id" | "client_secret" | "created_at" | "revoked_at" | "blocked_at"
                    | "old_ends_at" => true,
                    "key" => value.as_str().is_some_and(|key| key.starts_with("llp_")),
                    "expires_at" => value.as_str().is_some_and(|at| !at.starts_with("2100")),
                    _ => false,
                };
                let value = match value {
                    Value::String(_) if is_variable => format!("[{name}]").into(),
                    value => redacted(value),
                };
                (name.clone(), value)
            });
            Value::Object(members.collect())
        }
        other => other.clone(),
    }
}

#[tokio::test]
async fn keys_have_these_shapes() {
    let place = Place::start().await;
    let rights = json!({"caller": {
        "ids": ["notes", "team-*"],
        "limits": {"rate": "120/min", "quotas": {"calls_per_day": 5000}},
        "networks": ["10.0.0.0/8"],
    }});
    let body = json!({"name": "laptop", "rights": rights, "expires_at": "2100-01-31T00:00:00Z"});

    let created = place.ask(ask("POST", "keys").body(body)).await;
    check("admin_key_created", &created);
    let path = format!("keys/{}", text(&created.json(), "id"));
    check("admin_key", &place.ask(ask("GET", &path)).await);
    let rotated = place.ask(ask("POST", &format!("{path}/rotate"))).await;
    check("admin_key_rotated", &rotated);
    let change = json!({"expires_at": null});
    let changed = place.ask(ask("PATCH", &path).body(change)).await;
    check("admin_key_changed", &changed);
    check("admin_key_revoked", &place.ask(ask("DELETE", &path)).await);
    place
        .key("home", json!({"worker": {"ids": {"of": ["notes"]}}}))
        .await;
    place
        .key("ops", json!({"admin": {"may": ["state", "keys"]}}))
        .await;
    for kind in ["worker", "admin"] {
        let keys = place.ask(ask("GET", &format!("keys?kind={kind}"))).await;
        check(&format!("admin_keys_{kind}"), &keys);
    }
}

#[tokio::test]
async fn rules_clients_and_usage_have_these_shapes() {
    let place = Place::start().await;
    let rule = json!({
        "access": "keys",
        "limits": {"rate": "600/min", "concurrency": 32},
        "messages": {"methods": ["read"], "tools": {"deny": ["*delete*"]}},
    });

    check(
        "admin_rule_set",
        &place.ask(ask("PUT", "access/team-*").body(rule)).await,
    );
    check("admin_rules", &place.ask(ask("GET", "access")).await);
    check(
        "admin_rule_removed",
        &place.ask(ask("DELETE", "access/team-*")).await,
    );
    let wiki = json!({
        "name": "Wiki",
        "redirect_uris": ["https://wiki.example/oauth/callback"],
        "secret": true,
    });
    let added = place.ask(ask("POST", "clients").body(wiki)).await;
    check("admin_client_added", &added);
    let path = format!("clients/{}", text(&added.json(), "id"));
    let blocked = place.ask(ask("PUT", &format!("{path}/block"))).await;
    check("admin_client_blocked", &blocked);
    check("admin_clients", &place.ask(ask("GET", "clients")).await);
    check(
        "admin_client_removed",
        &place.ask(ask("DELETE", &path)).await,
    );
    check("admin_grants", &place.ask(ask("GET", "grants")).await);
    check("admin_usage", &place.ask(ask("GET", "usage")).await);
}

#[tokio::test]
async fn errors_have_this_shape() {
    let place = Place::start().await;

    check("admin_error", &place.ask(ask("GET", "keys/unknown")).await);
}
