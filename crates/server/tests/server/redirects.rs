//! Redirects within the provider: one caller's decide nothing about others' calls, and a redirect
//! that is gone costs no session.

use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, Method, Response, StatusCode, header};
use llamapool_testkit::{Pool, Provider, tools_call};
use parking_lot::Mutex;

fn redirect(location: &str) -> Response<Body> {
    let moved = Response::builder()
        .status(StatusCode::TEMPORARY_REDIRECT)
        .header(header::LOCATION, location);
    moved.body(Body::empty()).unwrap()
}

fn answer(status: StatusCode, text: &str) -> Response<Body> {
    let answer = Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "text/plain");
    answer.body(Body::from(text.to_owned())).unwrap()
}

fn token(headers: &HeaderMap) -> String {
    let token = headers[header::AUTHORIZATION].to_str().unwrap();
    token.trim_start_matches("Bearer ").to_owned()
}

#[tokio::test]
async fn a_redirect_that_depends_on_its_caller_leads_no_other() {
    let pool = Pool::start().await;
    let provider = Provider::answering(async |request: Request| {
        let who = token(request.headers());
        match request.uri().path() {
            "/mcp" => redirect(&format!("/t/{who}/mcp")),
            path => answer(StatusCode::OK, &format!("{who} at {path}")),
        }
    })
    .await;
    let _relay = pool.relay("tenants", &provider.url).await;

    for who in ["alice", "bob", "alice"] {
        let call = pool.http.post(pool.mcp("tenants")).bearer_auth(who);
        let text = call.body("{}").send().await.unwrap().text().await.unwrap();
        assert_eq!(text, format!("{who} at /t/{who}/mcp"));
    }
}

#[tokio::test]
async fn a_redirect_of_one_method_leads_no_other() {
    for docs in ["/docs", "/mcp/"] {
        let pool = Pool::start().await;
        let provider = Provider::answering(async move |request: Request| {
            match (request.method(), request.uri().path()) {
                (&Method::GET, "/mcp") => redirect(docs),
                (&Method::GET, _) | (&Method::POST, "/mcp") => answer(StatusCode::OK, "fine"),
                _ => answer(StatusCode::METHOD_NOT_ALLOWED, "no"),
            }
        })
        .await;
        let _relay = pool.relay("docs", &provider.url).await;

        for _ in 0..2 {
            let page = pool.http.get(pool.mcp("docs")).send().await.unwrap();
            assert_eq!(page.status().as_u16(), 200, "{docs}");
            let call = pool.post("docs", &tools_call(1, "echo")).await;
            assert_eq!(call.status().as_u16(), 200, "{docs}");
        }
    }
}

/// A provider that is restarted with the other form of its path.
#[tokio::test]
async fn a_remembered_redirect_that_is_gone_is_asked_anew() {
    for gone in [StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED] {
        let place = Arc::new(Mutex::new("/mcp/"));
        let executed = Arc::new(AtomicUsize::new(0));
        let pool = Pool::start().await;
        let provider = Provider::answering({
            let place = place.clone();
            let executed = executed.clone();
            move |request: Request| {
                let place = *place.lock();
                ready(if request.uri().path() == place {
                    executed.fetch_add(1, Ordering::Relaxed);
                    answer(StatusCode::OK, "fine")
                } else if place == "/mcp/" {
                    redirect("/mcp/")
                } else {
                    answer(gone, "gone")
                })
            }
        })
        .await;
        let _relay = pool.relay("moved", &provider.url).await;

        for now in ["/mcp/", "/mcp", "/mcp"] {
            *place.lock() = now;
            let call = pool.post("moved", &tools_call(1, "echo")).await;
            assert_eq!(call.status().as_u16(), 200, "{gone} {now}");
        }
        assert_eq!(executed.load(Ordering::Relaxed), 3, "{gone}");
    }
}

/// A 404 of the provider's own, such as one for a session that it does not know.
#[tokio::test]
async fn a_404_of_the_same_place_stands_and_is_sent_there_once() {
    let seen = Arc::new(AtomicUsize::new(0));
    let pool = Pool::start().await;
    let provider = Provider::answering({
        let seen = seen.clone();
        move |request: Request| {
            if request.uri().path() == "/mcp" {
                return ready(redirect("/mcp/"));
            }
            let number = seen.fetch_add(1, Ordering::Relaxed);
            ready(match number {
                0 => answer(StatusCode::OK, "fine"),
                _ => answer(StatusCode::NOT_FOUND, &format!("no session {number}")),
            })
        }
    })
    .await;
    let _relay = pool.relay("session", &provider.url).await;

    assert_eq!(
        pool.post("session", &tools_call(1, "a")).await.status(),
        200
    );
    for number in 1..3 {
        let call = pool.post("session", &tools_call(1, "b")).await;
        assert_eq!(call.status().as_u16(), 404);
        assert_eq!(call.text().await.unwrap(), format!("no session {number}"));
    }
    assert_eq!(seen.load(Ordering::Relaxed), 3, "each call came once");
}
