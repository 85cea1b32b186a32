//! The programs that people use, by the requests that they really send.

use llamapool_testkit::Answer;
use serde_json::{Value, json};

use crate::document_fetch::Web;
use crate::kit::{
    App, PUBLIC, Place, VERIFIER, authorize, challenge, encoded, location, parameter, text,
};

/// A program: what it registers, and where its answer goes.
struct Program {
    name: &'static str,
    /// The URL of its document; `None`: it registers.
    document: Option<&'static str>,
    /// How it would authenticate at best.
    auth_method: &'static str,
    /// The redirects that it registers, or that are in its document.
    registers: &'static [&'static str],
    /// What else it says of itself.
    application_type: Option<&'static str>,
    /// The redirect that it asks for, which may have another port than the one that it registered.
    redirect: &'static str,
    /// What the page says of where the answer goes.
    shown: &'static str,
    /// What it adds to the authorization request.
    asks: &'static [(&'static str, &'static str)],
    finds: Finds,
}

/// How a program finds the endpoints.
#[derive(Debug, PartialEq, Eq)]
enum Finds {
    /// By the metadata of the resource, which it names in its requests.
    ByResource,
    /// It knows no resources, and looks at the root of the host (MCP 2025-03-26).
    AtRoot,
}

const HERE: &str = "a program on this computer";
const DEFAULTS: Program = Program {
    name: "",
    document: None,
    auth_method: "none",
    registers: &[],
    application_type: None,
    redirect: "",
    shown: HERE,
    asks: &[],
    finds: Finds::ByResource,
};

static PROGRAMS: &[Program] = &[
    Program {
        name: "Claude",
        document: Some("https://claude.ai/oauth/mcp-oauth-client-metadata"),
        registers: &[
            "https://claude.ai/api/mcp/auth_callback",
            "https://claude.com/api/mcp/auth_callback",
        ],
        redirect: "https://claude.ai/api/mcp/auth_callback",
        shown: "<strong>claude.ai</strong>",
        asks: &[("scope", "mcp")],
        ..DEFAULTS
    },
    Program {
        name: "Claude Code",
        document: Some("https://claude.ai/oauth/claude-code-client-metadata"),
        registers: &["http://localhost/callback", "http://127.0.0.1/callback"],
        redirect: "http://localhost:54545/callback",
        ..DEFAULTS
    },
    Program {
        name: "ChatGPT",
        document: Some("https://chatgpt.com/oauth/abc123/client.json"),
        auth_method: "private_key_jwt",
        registers: &[
            "https://chatgpt.com/connector/oauth/abc123",
            "https://chatgpt.com/connector_platform_oauth_redirect",
        ],
        redirect: "https://chatgpt.com/connector/oauth/abc123",
        shown: "<strong>chatgpt.com</strong>",
        asks: &[("scope", "mcp")],
        ..DEFAULTS
    },
    Program {
        name: "VS Code",
        document: Some("https://vscode.dev/oauth/client-metadata.json"),
        registers: &[
            "http://127.0.0.1/",
            "http://127.0.0.1:33418/",
            "https://vscode.dev/redirect",
        ],
        application_type: Some("native"),
        redirect: "http://127.0.0.1:33418/",
        asks: &[("prompt", "consent")],
        ..DEFAULTS
    },
    Program {
        name: "Claude",
        registers: &["https://claude.ai/api/mcp/auth_callback"],
        redirect: "https://claude.ai/api/mcp/auth_callback",
        shown: "<strong>claude.ai</strong>",
        asks: &[("scope", "mcp")],
        ..DEFAULTS
    },
    Program {
        name: "Claude without metadata",
        registers: &["https://claude.com/api/mcp/auth_callback"],
        redirect: "https://claude.com/api/mcp/auth_callback",
        shown: "<strong>claude.com</strong>",
        finds: Finds::AtRoot,
        ..DEFAULTS
    },
    Program {
        name: "Claude Code",
        registers: &["http://localhost/callback", "http://127.0.0.1/callback"],
        redirect: "http://localhost:54545/callback",
        ..DEFAULTS
    },
    Program {
        name: "ChatGPT",
        registers: &["https://chatgpt.com/connector/oauth/abc123"],
        redirect: "https://chatgpt.com/connector/oauth/abc123",
        shown: "<strong>chatgpt.com</strong>",
        asks: &[("scope", "mcp offline_access")],
        ..DEFAULTS
    },
    Program {
        name: "Cursor",
        registers: &[
            "cursor://anysphere.cursor-mcp/oauth/callback",
            "https://www.cursor.com/agents/mcp/oauth/callback",
            "http://localhost:8787/callback",
        ],
        application_type: Some("web"),
        redirect: "cursor://anysphere.cursor-mcp/oauth/callback",
        shown: "registered for cursor:",
        ..DEFAULTS
    },
    Program {
        name: "VS Code",
        registers: &[
            "http://127.0.0.1/",
            "http://127.0.0.1:33418/",
            "https://vscode.dev/redirect",
        ],
        application_type: Some("native"),
        redirect: "http://127.0.0.1:33418/",
        asks: &[("prompt", "consent")],
        ..DEFAULTS
    },
    Program {
        name: "Codex",
        registers: &["http://127.0.0.1:1455/callback/x7"],
        application_type: Some("native"),
        redirect: "http://127.0.0.1:40123/callback/x7",
        ..DEFAULTS
    },
    Program {
        name: "opencode",
        registers: &["http://127.0.0.1:19876/mcp/oauth/callback"],
        redirect: "http://127.0.0.1:19876/mcp/oauth/callback",
        ..DEFAULTS
    },
    Program {
        name: "mcp-remote",
        registers: &["http://localhost:3334/oauth/callback"],
        redirect: "http://localhost:51999/oauth/callback",
        asks: &[("scope", "openid email profile")],
        ..DEFAULTS
    },
    Program {
        name: "Inspector",
        registers: &[
            "http://localhost:6274/oauth/callback",
            "http://localhost:6274/oauth/callback/debug",
        ],
        redirect: "http://localhost:6274/oauth/callback/debug",
        ..DEFAULTS
    },
];

#[tokio::test]
async fn each_program_signs_in_calls_and_refreshes() {
    let web = Web::start().await;
    let place = &web.place;
    let provider = crate::kit::showing_headers().await;
    let _relay = place.pool.relay("notes", &provider.url).await;
    let key = place.caller_key(&["notes"]).await;

    for program in PROGRAMS {
        let tokens = signed_in(&web, program, key.expose()).await;
        let access = text(&tokens, "access_token");
        let name = program.name;
        assert_eq!(
            place.call("notes", Some(access)).await.status(),
            200,
            "{name}"
        );
    }
    // Neither logos nor key sets are got.
    let documents = PROGRAMS.iter().filter(|program| program.document.is_some());
    assert_eq!(web.host.requests().len(), documents.count());
}

/// Follows the steps of a program from the first refusal on. Returns its last tokens.
async fn signed_in(web: &Web, program: &Program, key: &str) -> Value {
    let place = &web.place;
    let name = program.name;
    let server = discovered(place, program).await;
    let app = match program.document {
        Some(url) => documented(web, program, &server, url),
        None => registered(place, program, &server).await,
    };
    let code = code_of(place, program, &server, &app, key).await;

    let resource = format!("{PUBLIC}/api/mcp/id/notes");
    let mut form = vec![
        ("grant_type", "authorization_code"),
        ("code", &code),
        ("code_verifier", VERIFIER),
        ("redirect_uri", program.redirect),
        ("client_id", &app.id),
    ];
    if program.finds == Finds::ByResource {
        form.push(("resource", &resource));
    }
    let tokens = place.form(text(&server, "token_endpoint"), &form).await;
    assert_eq!(tokens.status(), 200, "{name}: {}", tokens.text());
    let tokens = tokens.json();

    let refreshed = app.refresh(place, text(&tokens, "refresh_token")).await;
    assert_eq!(refreshed.status(), 200, "{name}: {}", refreshed.text());
    refreshed.json()
}

/// Publishes the document of a program, with the members that they have.
fn documented(web: &Web, program: &Program, server: &Value, url: &str) -> App {
    let name = program.name;
    let supported = &server["client_id_metadata_document_supported"];
    assert_eq!(*supported, true, "{name} would register");
    web.host.publish(&json!({
        "client_id": url,
        "client_name": name,
        "client_uri": url.rsplit_once("/oauth").unwrap().0,
        "logo_uri": "https://app.example/logo.png",
        "redirect_uris": program.registers,
        "application_type": program.application_type.unwrap_or("web"),
        "token_endpoint_auth_method": program.auth_method,
        "jwks_uri": "https://app.example/jwks.json",
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
    }));
    App {
        id: url.to_owned(),
        redirect: program.redirect.to_owned(),
    }
}

async fn registered(place: &Place, program: &Program, server: &Value) -> App {
    let name = program.name;
    let metadata = json!({
        "client_name": name,
        "redirect_uris": program.registers,
        "application_type": program.application_type.unwrap_or("native"),
        "token_endpoint_auth_method": "none",
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
    });
    let endpoint = place.reached(text(server, "registration_endpoint"));
    let request = place.pool.http.post(endpoint).json(&metadata);
    let registered = Answer::read(request.send().await.unwrap()).await;
    assert_eq!(registered.status(), 201, "{name}: {}", registered.text());
    assert_eq!(
        registered.json()["redirect_uris"],
        json!(program.registers),
        "{name}"
    );
    App {
        id: text(&registered.json(), "client_id").to_owned(),
        redirect: program.redirect.to_owned(),
    }
}

/// Opens the page of a program, and allows it with a key. Returns the code.
async fn code_of(place: &Place, program: &Program, server: &Value, app: &App, key: &str) -> String {
    let name = program.name;
    let resource = format!("{PUBLIC}/api/mcp/id/notes");
    let challenge = challenge(VERIFIER);
    let mut parameters = vec![
        ("response_type", "code"),
        ("client_id", app.id.as_str()),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
        ("redirect_uri", program.redirect),
        ("state", "s+/=&"),
    ];
    parameters.extend(program.asks);
    let mut chosen = vec![("id", "notes")];
    if program.finds == Finds::ByResource {
        parameters.push(("resource", &resource));
        chosen.clear();
    }
    let endpoint = text(server, "authorization_endpoint");
    let page = place
        .get(&format!("{endpoint}?{}", encoded(&parameters)))
        .await;
    assert_eq!(page.status(), 200, "{name}: {}", page.text());
    assert!(
        page.text().contains(program.shown),
        "{name}: {}",
        page.text()
    );

    let location = location(&place.allow(page.text(), key, &chosen).await);
    assert!(
        location.starts_with(&format!("{}?", program.redirect)),
        "{name}: {location}"
    );
    assert_eq!(
        parameter(&location, "state").as_deref(),
        Some("s+/=&"),
        "{name}"
    );
    let issuer = parameter(&location, "iss");
    assert_eq!(issuer.as_deref(), Some(text(server, "issuer")), "{name}");
    parameter(&location, "code").expect("a code")
}

/// Finds the authorization server as a program does: by the refusal of a call, or at the root.
async fn discovered(place: &Place, program: &Program) -> Value {
    let refused = place.call("notes", None).await;
    let challenge = refused.headers()["www-authenticate"].to_str().unwrap();
    let metadata = challenge
        .split_once("resource_metadata=\"")
        .and_then(|(_, rest)| rest.split_once('"'))
        .expect("metadata")
        .0;
    if program.finds == Finds::AtRoot {
        return json!({
            "issuer": format!("{PUBLIC}/oauth"),
            "authorization_endpoint": format!("{PUBLIC}/authorize"),
            "token_endpoint": format!("{PUBLIC}/token"),
            "registration_endpoint": format!("{PUBLIC}/register"),
        });
    }

    let resource = place.get(metadata).await.json();
    assert_eq!(resource["resource"], format!("{PUBLIC}/api/mcp/id/notes"));
    let issuer = resource["authorization_servers"][0].as_str().unwrap();
    let path = issuer.strip_prefix(PUBLIC).unwrap();
    let server = place
        .get(&format!(
            "{PUBLIC}/.well-known/oauth-authorization-server{path}"
        ))
        .await
        .json();
    assert_eq!(server["issuer"], issuer, "clients compare it byte by byte");
    let methods = server["token_endpoint_auth_methods_supported"].as_array();
    assert!(methods.unwrap().contains(&json!("none")));
    server
}

/// A registration of mcp-remote that is on its disk, and not here any more.
#[tokio::test]
async fn a_forgotten_registration_is_an_invalid_client() {
    let place = Place::start().await;
    let app = App {
        id: format!("client_{}", "c".repeat(26)),
        redirect: "http://localhost:3334/oauth/callback".to_owned(),
    };

    let page = authorize(&place, &app.parameters("notes")).await;
    let refreshed = app.refresh(&place, "llpr_x").await;

    assert!(page.text().contains(".mcp-auth"), "{}", page.text());
    assert_eq!(refreshed.status(), 401);
    assert_eq!(refreshed.json()["error"], "invalid_client");
}
