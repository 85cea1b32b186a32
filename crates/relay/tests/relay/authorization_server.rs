//! An authorization server on the provider's own, private origin: if the relay's operator opted in,
//! a client finds it and signs in through the public URL, and reaches nothing else there.

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{any, get, post};
use llamapool_testkit::{
    Pool, Provider, RelayConfig, error_word, http_provider, json_answer, tools_call,
};
use serde_json::{Value, json};

const CALLBACK: &str = "http://127.0.0.1:1/callback";

/// Makes the provider's authorization server reachable for callers.
fn opt_in(relay: &mut RelayConfig) {
    http_provider(relay).publishes_oauth = true;
}

/// Returns the origin that a request addresses: a provider without configuration names itself by
/// it.
fn own_origin(headers: &HeaderMap) -> String {
    format!("http://{}", headers[header::HOST].to_str().unwrap())
}

async fn call(request: Request) -> Response {
    if request
        .headers()
        .get(header::AUTHORIZATION)
        .is_some_and(|token| token == "Bearer good")
    {
        return json_answer(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
    }

    let origin = own_origin(request.headers());
    let challenge =
        format!(r#"Bearer resource_metadata="{origin}/.well-known/oauth-protected-resource/mcp""#);
    (
        StatusCode::UNAUTHORIZED,
        [(header::WWW_AUTHENTICATE, challenge)],
    )
        .into_response()
}

async fn resource(headers: HeaderMap) -> axum::Json<Value> {
    let origin = own_origin(&headers);
    axum::Json(
        json!({ "resource": format!("{origin}/mcp"), "authorization_servers": [format!("{origin}/")] }),
    )
}

async fn metadata(headers: HeaderMap) -> axum::Json<Value> {
    let origin = own_origin(&headers);
    axum::Json(json!({
        "issuer": format!("{origin}/"),
        "authorization_endpoint": format!("{origin}/authorize"),
        "token_endpoint": format!("{origin}/token"),
        "code_challenge_methods_supported": ["S256"],
    }))
}

/// Redirects to the consent page, as most servers do, and keeps the request in a cookie.
async fn authorize(uri: Uri) -> Response {
    let state = uri
        .query()
        .unwrap()
        .split('&')
        .find(|parameter| parameter.starts_with("state="))
        .unwrap();
    let cookie = format!("{state}; Path=/");
    (
        StatusCode::FOUND,
        [
            (header::LOCATION, "/consent?page=1"),
            (header::SET_COOKIE, &*cookie),
        ],
    )
        .into_response()
}

/// Accepts the form and redirects back to the client.
async fn consented(headers: HeaderMap, form: String) -> Response {
    assert_eq!(form, "consent=yes");

    let state = headers[header::COOKIE]
        .to_str()
        .unwrap()
        .strip_prefix("state=")
        .unwrap();
    let issuer = own_origin(&headers).replace(':', "%3A").replace('/', "%2F");
    let back = format!("{CALLBACK}?code=c&state={state}&iss={issuer}%2F");
    (StatusCode::FOUND, [(header::LOCATION, back)]).into_response()
}

async fn token(form: String) -> Response {
    assert_eq!(form, "code=c");
    json_answer(r#"{"access_token":"good","token_type":"Bearer"}"#)
}

/// Starts a provider with everything on one origin, as FastMCP and the TypeScript SDK have it.
async fn provider() -> Provider {
    let router = Router::new()
        .route("/mcp", post(call))
        .route("/.well-known/oauth-protected-resource/mcp", get(resource))
        .route("/.well-known/oauth-authorization-server", get(metadata))
        .route("/.well-known/openid-configuration", get(metadata))
        .route("/authorize", get(authorize))
        .route(
            "/consent",
            get(async || Html("<form method=post>")).post(consented),
        )
        .route("/token", post(token))
        .route("/admin", any(async || "not for callers"));
    Provider::serving(router).await
}

async fn json_at(pool: &Pool, url: &str) -> Value {
    let answer = pool
        .http
        .get(url)
        .header("origin", "https://anywhere.example")
        .send()
        .await
        .unwrap();

    assert_eq!(answer.status(), 200, "{url}");
    assert_eq!(
        answer.headers()["access-control-allow-origin"],
        "*",
        "{url}"
    );

    answer.json().await.unwrap()
}

/// Returns the location of an answer, which must be on the public origin or the client's own
/// callback.
fn led_to(pool: &Pool, answer: &reqwest::Response) -> String {
    let location = answer.headers()["location"].to_str().unwrap();
    if location.starts_with('/') {
        format!("{}{location}", pool.url)
    } else {
        location.to_owned()
    }
}

/// The authorization server is the provider's own, on a private origin.
#[tokio::test]
async fn a_client_signs_in_at_the_provider_through_public_urls_alone() {
    let pool = Pool::start().await;
    let provider = provider().await;
    let _relay = pool.relay_with("own", &provider.url, opt_in).await;

    let issuer = pool.mcp("own");
    let well_known = format!("{}/.well-known", pool.url);
    let resource = format!("{well_known}/oauth-protected-resource/api/mcp/id/own");
    let resource = json_at(&pool, &resource).await;

    assert_eq!(
        resource,
        json!({ "resource": issuer, "authorization_servers": [issuer] })
    );

    let server = format!("{well_known}/oauth-authorization-server/api/mcp/id/own");
    let server = json_at(&pool, &server).await;

    let expected = json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/~announced/authorize"),
        "token_endpoint": format!("{issuer}/~announced/token"),
        "code_challenge_methods_supported": ["S256"],
    });
    assert_eq!(server, expected);

    // As a browser does it: it follows each redirect itself, with its cookies, and the form goes to
    // the page's address.
    let authorize = format!(
        "{}?state=s&redirect_uri={CALLBACK}",
        server["authorization_endpoint"].as_str().unwrap()
    );
    let first = pool.http.get(authorize).send().await.unwrap();

    assert_eq!(first.status().as_u16(), 302);
    assert_eq!(
        first.headers()["set-cookie"],
        "llamapool-own!state=s; Path=/api/mcp/id/own"
    );

    let page = led_to(&pool, &first);
    assert_eq!(page, format!("{issuer}/~announced/consent?page=1"));

    let form = pool.http.get(&page).send().await.unwrap();
    assert_eq!(form.text().await.unwrap(), "<form method=post>");

    // A page's form has its origin.
    let form = pool
        .http
        .post(&page)
        .header("cookie", "llamapool-own!state=s")
        .header("origin", &pool.url)
        .body("consent=yes");
    let back = led_to(&pool, &form.send().await.unwrap());
    let public_issuer = issuer.replace(':', "%3A").replace('/', "%2F");

    assert_eq!(
        back,
        format!("{CALLBACK}?code=c&state=s&iss={public_issuer}")
    );

    let token_endpoint = server["token_endpoint"].as_str().unwrap();
    let token = pool.http.post(token_endpoint).body("code=c").send().await;
    let token: Value = token.unwrap().json().await.unwrap();
    let token = token["access_token"].as_str().unwrap();
    let call = pool.http.post(pool.mcp("own")).bearer_auth(token);
    let answer = call.json(&tools_call(1, "echo")).send().await.unwrap();

    assert_eq!(answer.status(), 200);
}

/// Nothing else of the provider's origin is reachable.
#[tokio::test]
async fn all_three_places_have_the_metadata_and_nothing_else_leaks() {
    let pool = Pool::start().await;
    let provider = provider().await;
    let _relay = pool.relay_with("own", &provider.url, opt_in).await;

    let openid = format!(
        "{}/.well-known/openid-configuration/api/mcp/id/own",
        pool.url
    );
    let metadata = json_at(&pool, &openid).await;

    assert_eq!(metadata["issuer"], pool.mcp("own"));

    let below = pool
        .http
        .get(format!(
            "{}/.well-known/openid-configuration",
            pool.mcp("own")
        ))
        .send()
        .await
        .unwrap();

    assert_eq!(below.json::<Value>().await.unwrap(), metadata);

    for path in [
        "/admin",
        "/consent",
        "/token/",
        "/authorize/x",
        "/.well-known/openid-configuration",
        "/mcp",
        "",
    ] {
        let answer = pool
            .http
            .get(format!("{}/~announced{path}", pool.mcp("own")))
            .send()
            .await
            .unwrap();
        assert_eq!(error_word(answer).await, "path_refused", "{path}");
    }
}

#[tokio::test]
async fn a_restarted_relay_serves_clients_that_kept_the_metadata() {
    let pool = Pool::start().await;
    let provider = provider().await;
    let _relay = pool.relay_with("own", &provider.url, opt_in).await;

    let token = pool
        .http
        .post(format!("{}/~announced/token", pool.mcp("own")))
        .body("code=c")
        .send()
        .await
        .unwrap();

    assert_eq!(token.json::<Value>().await.unwrap()["access_token"], "good");
}

#[tokio::test]
async fn without_opting_in_nothing_of_the_origin_is_published() {
    let pool = Pool::start().await;
    let provider = provider().await;
    let _relay = pool.relay("own", &provider.url).await;

    let own = provider.url.strip_suffix("mcp").unwrap();
    let resource = json_at(
        &pool,
        &format!(
            "{}/.well-known/oauth-protected-resource/api/mcp/id/own",
            pool.url
        ),
    )
    .await;

    assert_eq!(
        resource,
        json!({ "resource": pool.mcp("own"), "authorization_servers": [own] })
    );

    for name in ["oauth-authorization-server", "openid-configuration"] {
        let answer = pool
            .http
            .get(format!("{}/.well-known/{name}/api/mcp/id/own", pool.url))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 404, "{name}");
    }

    let below = pool
        .http
        .get(format!(
            "{}/.well-known/openid-configuration",
            pool.mcp("own")
        ))
        .send()
        .await
        .unwrap();

    assert_eq!(
        below.status(),
        404,
        "the provider's own answer below its URL"
    );

    let token = pool
        .http
        .post(format!("{}/~announced/token", pool.mcp("own")))
        .body("code=c")
        .send()
        .await
        .unwrap();

    assert_eq!(error_word(token).await, "path_refused");
}

#[tokio::test]
async fn a_server_with_a_public_address_admits_its_own_pages() {
    let provider = provider().await;
    let pool = Pool::with(|server| {
        server.listen.public_url = Some(Uri::from_static("https://pool.example"));
    })
    .await;
    let _relay = pool.relay_with("own", &provider.url, opt_in).await;

    for (origin, status) in [
        ("https://pool.example", 200),
        ("https://other.example", 403),
        ("http://pool.example", 403),
    ] {
        let form = pool
            .http
            .post(format!("{}/~announced/token", pool.mcp("own")))
            .header("origin", origin);
        assert_eq!(
            form.body("code=c").send().await.unwrap().status(),
            status,
            "{origin}"
        );
    }
}
