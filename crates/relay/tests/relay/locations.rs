//! Locations in a provider's answers: a caller that follows them through the public URL gets where
//! a direct one would.

use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use llamapool_testkit::{
    Pool, Provider, RawProvider, RelayConfig, error_word, http_request, tools_call,
};
use llamapool_wire::Secret;
use serde_json::Value;

/// The names that a provider may use for itself.
fn own_origins(headers: &HeaderMap) -> [String; 3] {
    let of = |name: &str| headers[name].to_str().unwrap().to_owned();
    let own = of("host");
    [
        String::new(),
        format!("http://{own}"),
        format!("{}://{}", of("x-forwarded-proto"), of("x-forwarded-host")),
    ]
}

async fn led_to(location: String, status: StatusCode) -> Response {
    (status, [(header::LOCATION, location)]).into_response()
}

/// Starts a provider whose locations are below its URL and elsewhere on its host, in each form that
/// an address can have.
async fn leading(status: StatusCode) -> Provider {
    let lead = move |form: usize, path: &'static str| {
        any(move |headers: HeaderMap| {
            led_to(format!("{}{path}", own_origins(&headers)[form]), status)
        })
    };
    let mut router = Router::new()
        .route("/mcp/jobs/1", any(async || "below"))
        .route("/jobs/1", any(async || "beside"))
        .route("/admin", any(async || "not for callers"))
        .route(
            "/mcp/relative",
            any(move || led_to("jobs/1?a=1".to_owned(), status)),
        );

    for form in 0..3 {
        router = router.route(&format!("/mcp/below/{form}"), lead(form, "/mcp/jobs/1?a=1"));
        router = router.route(&format!("/mcp/beside/{form}"), lead(form, "/jobs/1?a=1"));
    }

    Provider::serving(router).await
}

/// Wherever on its host they are.
#[tokio::test]
async fn locations_on_the_providers_host_are_reachable() {
    for status in [
        StatusCode::CREATED,
        StatusCode::ACCEPTED,
        StatusCode::SEE_OTHER,
        StatusCode::MULTIPLE_CHOICES,
    ] {
        let pool = Pool::start().await;
        let provider = leading(status).await;
        let _relay = pool.relay("jobs", &provider.url).await;

        let mut cases = vec![(
            "/relative".to_owned(),
            "/api/mcp/id/jobs/jobs/1?a=1",
            "below",
        )];

        for form in 0..3 {
            cases.push((
                format!("/below/{form}"),
                "/api/mcp/id/jobs/jobs/1?a=1",
                "below",
            ));
            cases.push((
                format!("/beside/{form}"),
                "/api/mcp/id/jobs/~announced/jobs/1?a=1",
                "beside",
            ));
        }

        for (path, public, there) in cases {
            let url = format!("{}{path}", pool.mcp("jobs"));
            let answer = pool
                .http
                .post(url)
                .json(&tools_call(1, "make"))
                .send()
                .await
                .unwrap();

            assert_eq!(answer.status(), status, "{path}");
            assert_eq!(answer.headers()["location"], public, "{path}");

            let followed = pool
                .http
                .get(format!("{}{public}", pool.url))
                .send()
                .await
                .unwrap();

            assert_eq!(followed.text().await.unwrap(), there, "{path}");
        }

        let admin = pool
            .http
            .get(format!("{}/~announced/admin", pool.mcp("jobs")))
            .send()
            .await
            .unwrap();

        assert_eq!(error_word(admin).await, "path_refused");
    }
}

/// Every value of the header does.
#[tokio::test]
async fn locations_elsewhere_go_through_unchanged() {
    let pool = Pool::start().await;
    let provider = RawProvider::bind().await;
    let _relay = pool.relay("away", &provider.url).await;

    let elsewhere = [
        "https://login.example/a?b=%2f#c",
        "cursor://x/y",
        "//other.example/m",
        "",
        "http://127.0.0.1:1/mcp",
    ];
    let lines: String = elsewhere
        .iter()
        .map(|location| format!("location: {location}\r\n"))
        .collect();

    for status in ["201 Created", "303 See Other"] {
        let answer =
            format!("HTTP/1.1 {status}\r\n{lines}content-length: 0\r\nconnection: close\r\n\r\n");
        let request = http_request("POST", "/api/mcp/id/away", "", b"{}");
        let (_, (answer, _)) = tokio::join!(provider.answer(answer), pool.raw_call(request));

        assert_eq!(answer.values("location"), elsewhere, "{status}");
    }
}

#[tokio::test]
async fn a_key_in_the_providers_url_does_not_reach_the_caller() {
    let made =
        get(async || led_to("/mcp/jobs/1?key=secret&a=1".to_owned(), StatusCode::CREATED).await);
    let job = get(async |uri: axum::http::Uri| uri.query().unwrap_or_default().to_owned());
    let provider =
        Provider::serving(Router::new().route("/mcp", made).route("/mcp/jobs/1", job)).await;
    let pool = Pool::start().await;
    let _relay = pool
        .relay("keyed", &format!("{}?key=secret", provider.url))
        .await;

    let answer = pool.http.get(pool.mcp("keyed")).send().await.unwrap();

    assert_eq!(answer.headers()["location"], "/api/mcp/id/keyed/jobs/1?a=1");

    let followed = pool
        .http
        .get(format!("{}/jobs/1?a=1", pool.mcp("keyed")))
        .send()
        .await
        .unwrap();

    assert_eq!(followed.text().await.unwrap(), "key=secret&a=1");
}

#[tokio::test]
async fn a_redirect_to_the_public_origin_stays_within_the_provider() {
    let slash = any(async |headers: HeaderMap| {
        led_to(
            format!("{}/mcp/", own_origins(&headers)[2]),
            StatusCode::TEMPORARY_REDIRECT,
        )
        .await
    });
    let here = any(async |body: axum::body::Bytes| body);
    let provider = Provider::serving(Router::new().route("/mcp", slash).route("/mcp/", here)).await;
    let pool = Pool::start().await;
    let _relay = pool.relay("slash", &provider.url).await;

    let answer = pool.post("slash", &tools_call(1, "echo")).await;

    assert_eq!(answer.status(), 200);
    assert_eq!(answer.json::<Value>().await.unwrap(), tools_call(1, "echo"));
}

/// A stream of HTTP with SSE may be behind a redirect; the endpoint that it announces is relative
/// to that place.
/// Not against the URL that was requested first.
#[tokio::test]
async fn an_endpoint_is_resolved_against_the_url_of_its_stream() {
    let stream = get(async || {
        (
            [(header::CONTENT_TYPE, "text/event-stream")],
            "event: endpoint\ndata: messages\n\n",
        )
    });
    let moved = get(async || led_to("/other/sse".to_owned(), StatusCode::TEMPORARY_REDIRECT).await);
    let posts = any(async || "posted");
    let router = Router::new()
        .route("/mcp", moved)
        .route("/other/sse", stream)
        .route("/other/messages", posts);
    let pool = Pool::start().await;
    let provider = Provider::serving(router).await;
    let _relay = pool.relay("moved", &provider.url).await;

    let event = pool
        .http
        .get(pool.mcp("moved"))
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    let public = "/api/mcp/id/moved/~announced/other/messages";

    assert_eq!(event, format!("event: endpoint\ndata: {public}\n\n"));

    let posted = pool
        .http
        .post(format!("{}{public}", pool.url))
        .send()
        .await
        .unwrap();

    assert_eq!(posted.text().await.unwrap(), "posted");
}

#[tokio::test]
async fn on_a_shared_id_a_job_is_found_at_the_relay_that_made_it() {
    let pool = Pool::start().await;

    let make = async |name: &'static str| {
        let made = any(async || led_to("/mcp/jobs/1".to_owned(), StatusCode::CREATED).await);
        Provider::serving(
            Router::new()
                .route("/mcp", made)
                .route("/mcp/jobs/1", any(async move || name)),
        )
        .await
    };
    let share = |relay: &mut RelayConfig| {
        relay.identity.client_secret = Some(Secret::new("together"));
    };
    let one = make("one").await;
    let _first = pool.relay_with("shared", &one.url, share).await;

    let job = pool.post("shared", &tools_call(1, "make")).await.headers()["location"]
        .to_str()
        .unwrap()
        .to_owned();
    let two = make("two").await;
    let _second = pool.relay_with("shared", &two.url, share).await;

    pool.until_client("shared", "both are there", |client| {
        client["relays"]
            .as_array()
            .is_some_and(|all| all.len() == 2)
    })
    .await;

    for _ in 0..5 {
        let found = pool
            .http
            .get(format!("{}{job}", pool.url))
            .send()
            .await
            .unwrap();
        assert_eq!(found.text().await.unwrap(), "one");
    }
}
