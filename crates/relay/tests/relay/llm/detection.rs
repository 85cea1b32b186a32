//! The search for the one runtime on this machine.

use llamapool_relay::{FindRuntimeError, RuntimeKind, find_runtime};
use llamapool_testkit::{LlmRuntime, PlayedRuntime, Provider, RuntimeReply};

/// A port of this machine that nothing listens on.
async fn free_port() -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().port()
}

/// Starts a program that answers every path with a header and a body.
async fn answering(header: (&'static str, &'static str), body: &'static str) -> (Provider, u16) {
    let provider = Provider::answering(move |_| async move {
        axum::response::Response::builder()
            .header(header.0, header.1)
            .body(body.into())
            .unwrap()
    })
    .await;
    let port = provider.url.rsplit_once(':').unwrap().1;
    let port = port.trim_end_matches("/mcp").parse().unwrap();
    (provider, port)
}

#[tokio::test]
async fn the_one_runtime_is_found_with_its_kind() {
    for (played, kind) in [
        (PlayedRuntime::Ollama, RuntimeKind::Ollama),
        (PlayedRuntime::LlamaCpp, RuntimeKind::LlamaCpp),
        (PlayedRuntime::OpenAi, RuntimeKind::OpenAi),
    ] {
        let runtime = LlmRuntime::start(played).await;
        let ports = [free_port().await, runtime.address.port()];

        let found = find_runtime(&ports).await.unwrap();

        assert_eq!(found.kind, kind);
        assert_eq!(
            found.url.authority().unwrap().as_str(),
            runtime.address.to_string()
        );
        assert!(runtime.calls().is_empty(), "a search only gets");
        assert!(runtime.polls().iter().all(|poll| poll.starts_with("GET ")));
    }
}

#[tokio::test]
async fn two_runtimes_are_both_named_and_none_is_taken() {
    let ollama = LlmRuntime::start(PlayedRuntime::Ollama).await;
    let llama = LlmRuntime::start(PlayedRuntime::LlamaCpp).await;

    let error = find_runtime(&[ollama.address.port(), llama.address.port()]).await;

    let error = error.unwrap_err();
    assert!(matches!(error, FindRuntimeError::Several(_)));
    let text = error.to_string();
    for named in ["ollama at", "llama_cpp at", &ollama.address.to_string()] {
        assert!(text.contains(named), "{text}");
    }
}

#[tokio::test]
async fn llamapool_itself_is_no_runtime() {
    let list = r#"{"object":"list","data":[]}"#;
    let (_pool, port) = answering(("via", "1.1 llamapool"), list).await;

    let error = find_runtime(&[port]).await.unwrap_err();

    assert!(matches!(error, FindRuntimeError::None(_)), "{error}");
    assert!(error.to_string().contains(&port.to_string()));
}

#[tokio::test]
async fn other_programs_are_no_runtimes() {
    let (_web, web) = answering(("content-type", "text/html"), "<html>hello</html>").await;
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = silent.local_addr().unwrap().port();

    let error = find_runtime(&[web, silent, free_port().await])
        .await
        .unwrap_err();

    assert!(matches!(error, FindRuntimeError::None(_)), "{error}");
}

#[tokio::test]
async fn vllm_sglang_and_lm_studio_are_told_apart() {
    for (paths, kind) in [
        (
            &[
                ("/metrics", "vllm:num_requests_running{} 0\n"),
                ("/version", r#"{"version":"0.11.1"}"#),
            ][..],
            RuntimeKind::Vllm,
        ),
        (
            &[("/get_model_info", r#"{"model_path":"m"}"#)],
            RuntimeKind::Sglang,
        ),
        (
            &[(
                "/api/v1/models",
                r#"{"models":[{"key":"m","loaded_instances":[]}]}"#,
            )],
            RuntimeKind::LmStudio,
        ),
        (
            &[(
                "/api/v0/models",
                r#"{"data":[{"id":"m","state":"loaded"}]}"#,
            )],
            RuntimeKind::LmStudio,
        ),
    ] {
        let provider = Provider::answering(move |request| async move {
            let path = request.uri().path().to_owned();
            let body = paths.iter().find(|(known, _)| *known == path);
            let response = axum::response::Response::builder();
            match body {
                Some((_, body)) => response.body((*body).into()).unwrap(),
                None => response.status(404).body("{}".into()).unwrap(),
            }
        })
        .await;
        let port = provider.url.rsplit_once(':').unwrap().1;
        let port = port.trim_end_matches("/mcp").parse().unwrap();

        assert_eq!(find_runtime(&[port]).await.unwrap().kind, kind);
    }
}

/// Replies are for calls: a search must not use one up.
#[tokio::test]
async fn a_search_takes_no_reply_of_a_call() {
    let runtime = LlmRuntime::start(PlayedRuntime::OpenAi).await;
    runtime.reply(RuntimeReply::json(500, "{}"));

    let found = find_runtime(&[runtime.address.port()]).await;

    assert_eq!(found.unwrap().kind, RuntimeKind::OpenAi);
}
