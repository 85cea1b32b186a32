//! The documents by which clients find the authorization server, and the challenges that lead to them.

use llamapool_identity::{AccessMode, AccessRule};
use llamapool_testkit::{Answer, Provider, json_answer, soon};
use serde_json::json;

use crate::kit::{PUBLIC, Place};

const SERVER: &str = "/.well-known/oauth-authorization-server";
const RESOURCE: &str = "/.well-known/oauth-protected-resource/api/mcp/id/";

#[tokio::test]
async fn the_server_describes_itself_where_clients_look() {
    let place = Place::start().await;

    let document = place.get(&format!("{SERVER}/oauth")).await;

    assert_eq!(document.status(), 200);
    assert_eq!(document.header("access-control-allow-origin"), Some("*"));
    assert_eq!(
        document.json(),
        json!({
            "issuer": "https://pool.example/oauth",
            "authorization_endpoint": "https://pool.example/oauth/authorize",
            "token_endpoint": "https://pool.example/oauth/token",
            "registration_endpoint": "https://pool.example/oauth/register",
            "revocation_endpoint": "https://pool.example/oauth/revoke",
            "scopes_supported": ["mcp", "mcp:read"],
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": ["authorization_code", "refresh_token"],
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported":
                ["none", "client_secret_post", "client_secret_basic"],
            "revocation_endpoint_auth_methods_supported":
                ["none", "client_secret_post", "client_secret_basic"],
            "authorization_response_iss_parameter_supported": true,
            "client_id_metadata_document_supported": true,
        })
    );
    let at_root = place.get(SERVER).await;
    assert_eq!(at_root.json(), document.json());
    for none in [
        "/.well-known/openid-configuration",
        "/.well-known/openid-configuration/oauth",
        "/.well-known/oauth-authorization-server/api/mcp/id/notes",
        "/.well-known/oauth-protected-resource",
    ] {
        assert_eq!(place.get(none).await.status(), 404, "{none}");
    }
}

/// The same for an id that exists, one that does not, and any path below.
#[tokio::test]
async fn an_id_is_described_whether_it_exists_or_not() {
    let place = Place::start().await;
    let provider = Provider::answering(|_| async { json_answer("{}") }).await;
    let _relay = place.pool.relay("notes", &provider.url).await;

    for below in ["notes", "notes/", "notes/sse", "nothing"] {
        let document = place.get(&format!("{RESOURCE}{below}")).await;
        assert_eq!(document.status(), 200, "{below}");
        assert_eq!(document.header("access-control-allow-origin"), Some("*"));
        let id = below.split('/').next().unwrap();
        assert_eq!(
            document.json(),
            json!({
                "resource": format!("{PUBLIC}/api/mcp/id/{below}"),
                "authorization_servers": ["https://pool.example/oauth"],
                "scopes_supported": ["mcp"],
                "bearer_methods_supported": ["header"],
                "resource_name": id,
            })
        );
    }
    assert_eq!(place.pool.client("notes").await["calls_total"], 0);
}

#[tokio::test]
async fn what_an_id_asks_for_decides_who_describes_it() {
    let rule = |pattern: &str, mode| AccessRule::new(pattern.parse().unwrap(), mode);
    let rules = vec![
        rule("open", AccessMode::Open),
        rule("keys", AccessMode::Keys),
    ];
    let place = Place::with(|server| server.identity.declared.access = rules).await;
    let provider = Provider::answering(|_| async { json_answer("{}") }).await;
    let _open = place.pool.relay("open", &provider.url).await;

    assert_eq!(place.get(&format!("{RESOURCE}keys")).await.status(), 404);
    let of_provider = place.get(&format!("{RESOURCE}open")).await.json();
    assert_eq!(of_provider["authorization_servers"], json!(null));
    let keys = place.call("keys", None).await;
    assert_eq!(keys.headers()["www-authenticate"], "Bearer");
    assert_eq!(place.call("open", None).await.status(), 200);
}

#[tokio::test]
async fn a_challenge_names_the_metadata_of_the_id() {
    let place = Place::start().await;
    let metadata = |below: &str| format!("resource_metadata=\"{PUBLIC}{RESOURCE}{below}\"");
    let challenge = |answer: &reqwest::Response| {
        assert_eq!(answer.status(), 401);
        let challenge = answer.headers().get("www-authenticate").unwrap();
        challenge.to_str().unwrap().to_owned()
    };

    let none = place.call("notes", None).await;
    let expected = format!("Bearer {}, scope=\"mcp\"", metadata("notes"));
    assert_eq!(challenge(&none), expected);

    let expected = format!(
        "Bearer {}, error=\"invalid_token\", scope=\"mcp\"",
        metadata("notes")
    );
    for wrong in ["llp_c_wrong", "llpa_wrong", "wrong", ""] {
        let wrong = place.call("notes", Some(wrong)).await;
        assert_eq!(challenge(&wrong), expected);
    }
    let below = place.pool.http.get(place.pool.mcp("notes/"));
    let below = below.send().await.unwrap();
    assert!(challenge(&below).contains(&metadata("notes/")));
}

/// Existing or not, an id without a valid credential is answered alike.
#[tokio::test]
async fn an_unknown_id_and_a_forbidden_one_are_alike() {
    let place = Place::start().await;
    let provider = Provider::answering(|_| async { json_answer("{}") }).await;
    let _relay = place.pool.relay("noted", &provider.url).await;
    let key = place.caller_key(&["other"]).await;

    for credential in [None, Some("llpa_x"), Some(key.expose())] {
        let mut answers = Vec::new();
        for id in ["noted", "never"] {
            let answer = Answer::read(place.call(id, credential).await).await;
            let mut body = answer.json();
            body["error"]["data"]["req_id"] = json!("");
            let challenge = answer.header("www-authenticate").unwrap_or_default();
            let shown = format!("{} {challenge} {body}", answer.status());
            answers.push(shown.replace(id, "<id>"));
        }
        assert_eq!(answers[0], answers[1]);
    }
}

#[tokio::test]
async fn the_host_of_a_request_chooses_nothing() {
    let hosts = vec!["evil.example".to_owned()];
    let place = Place::with(|server| {
        server.auth.allowed_hosts = hosts;
        server.listen.trust_forwarded = true;
    })
    .await;
    let get = |path: &str| {
        let request = place.pool.http.get(format!("{}{path}", place.pool.url));
        let request = request.header("host", "evil.example");
        request.header("x-forwarded-host", "evil.example").send()
    };

    for path in [&format!("{SERVER}/oauth"), &format!("{RESOURCE}notes")] {
        let answer = Answer::read(soon("a document", get(path)).await.unwrap()).await;
        assert!(!answer.text().contains("evil"), "{}", answer.text());
    }
    let challenged = soon("a challenge", get("/api/mcp/id/notes")).await.unwrap();
    let challenge = challenged.headers()["www-authenticate"].to_str().unwrap();
    assert!(
        challenge.contains(PUBLIC) && !challenge.contains("evil"),
        "{challenge}"
    );
    let page = Answer::read(soon("a page", get("/oauth/authorize")).await.unwrap()).await;
    assert!(!page.text().contains("evil"), "{}", page.text());
}

#[tokio::test]
async fn everything_moves_below_a_public_path() {
    let below = "https://pool.example/llama";
    let place = Place::with(|server| server.listen.public_url = Some(below.parse().unwrap())).await;

    for path in ["/llama/oauth", "/llama", "/oauth", ""] {
        let document = place.get(&format!("{SERVER}{path}")).await.json();
        assert_eq!(document["issuer"], format!("{below}/oauth"), "{path}");
        assert_eq!(document["token_endpoint"], format!("{below}/oauth/token"));
    }
    let resource = "/.well-known/oauth-protected-resource/llama/api/mcp/id/notes";
    let document = place.get(resource).await.json();
    assert_eq!(document["resource"], format!("{below}/api/mcp/id/notes"));
    let challenged = place.call("notes", None).await;
    let challenge = challenged.headers()["www-authenticate"].to_str().unwrap();
    assert!(
        challenge.contains(&format!("\"{PUBLIC}{resource}\"")),
        "{challenge}"
    );
}

#[tokio::test]
async fn without_sign_in_there_is_no_authorization_server() {
    let place = Place::with(|server| server.sign_in = None).await;

    for path in [
        "/.well-known/oauth-authorization-server/oauth",
        "/.well-known/oauth-protected-resource/api/mcp/id/notes",
        "/oauth/authorize",
        "/oauth/token",
        "/authorize",
    ] {
        assert_eq!(place.get(path).await.status(), 404, "{path}");
    }
    let challenged = place.call("notes", None).await;
    assert_eq!(challenged.headers()["www-authenticate"], "Bearer");
}
