//! What Codex makes of failures and of silence. It reads no `x-should-retry`: the code of a failed response decides whether
//! it sends the call again.

use crate::agents::{Agent, Report, scripted};
use crate::harness::{metric, soon};
use crate::runtimes::{Runtime, with_end};
use crate::workers::LlmPool;

const TASK: &str = "Go on.";
/// Asks again once, so that a test sees that it does.
const ONCE: &str = "stream_max_retries = 1";

/// Lets Codex work with a model of the runtime itself. Returns its report, and the calls that the runtime received.
async fn at_runtime(model: &str, options: &[&str], settings: &str) -> (Report, usize) {
    let runtime = scripted(None, options).await;
    let report = Agent::codex_alone(&runtime.url, model, settings, false)
        .work(TASK)
        .await;
    (report, runtime.calls().await.len())
}

async fn pool_with(
    runtime: &Runtime,
    settings: &[(&str, &str)],
) -> (LlmPool, crate::harness::Process) {
    let pool = LlmPool::with(settings).await;
    let style = [("API_STYLE", "openai")];
    let worker = pool.worker_with("alpha", runtime, &style).await;
    (pool, worker)
}

/// Waits until the first content of an answer of a model has come: from then on llamapool sends the call nowhere else.
async fn until_answered(pool: &LlmPool, model: &str) {
    let series = format!("llamapool_first_token_seconds_count{{model=\"{model}\"}}");
    soon("content arrives", async {
        while metric(&pool.metrics().await, &series) != Some(1.0) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// The codes are chosen by what this test sees. It goes to the runtime itself.
#[tokio::test]
async fn codex_asks_again_after_some_codes_and_not_others() {
    for (code, calls) in [
        ("server_error", 2),
        ("rate_limit_exceeded", 2),
        ("worker_lost", 2),
        ("invalid_prompt", 1),
        ("context_length_exceeded", 1),
        ("insufficient_quota", 1),
    ] {
        let (report, made) = at_runtime(&format!("failed:{code}"), &[], ONCE).await;

        assert_eq!(made, calls, "{code}: {report:?}");
        // Of these two it makes messages of its own.
        let is_own = ["context_length_exceeded", "insufficient_quota"].contains(&code);
        let shown = report.failure().contains("the scripted failure");
        assert_eq!(shown, !is_own, "{code}: {report:?}");
    }
}

#[tokio::test]
async fn codex_asks_again_when_a_worker_was_lost() {
    let runtime = scripted(None, &["silence=600"]).await;
    let (pool, mut worker) = pool_with(&runtime, &[]).await;
    let codex = Agent::codex_alone(&pool.url, "once-silent", "", false);

    let (report, _beta) = tokio::join!(codex.work(TASK), async {
        until_answered(&pool, "once-silent").await;
        worker.kill().await;
        let style = [("API_STYLE", "openai")];
        pool.worker_with("beta", &runtime, &style).await
    });

    assert_eq!(report.text(), "Done.");
    let calls = runtime.calls().await;
    assert_eq!(with_end(&calls, "complete"), 1, "{calls:?}");
    assert_eq!(calls.len(), 2, "{calls:?}");
}

/// Codex does not see the failure before a broken connection: the stream ends in order.
#[tokio::test]
async fn codex_shows_why_an_answer_broke_off() {
    let runtime = scripted(None, &[]).await;
    let (pool, _worker) = pool_with(&runtime, &[]).await;

    let codex = Agent::codex_alone(&pool.url, "breaks", ONCE, false);
    let report = codex.work(TASK).await;

    let failure = report.failure();
    assert!(failure.contains("(runtime_closed)"), "{failure}");
    assert_eq!(runtime.calls().await.len(), 2);
}

/// A tool that runs behind the runtime may have had an effect.
#[tokio::test]
async fn codex_does_not_repeat_what_must_not_run_twice() {
    let runtime = scripted(None, &[]).await;
    let (pool, _worker) = pool_with(&runtime, &[]).await;

    let codex = Agent::codex_alone(&pool.url, "breaks", "", true);
    let report = codex.work(TASK).await;

    let failure = report.failure();
    assert!(failure.contains("(runtime_closed)"), "{failure}");
    assert_eq!(runtime.calls().await.len(), 1);
}

/// Comments do not keep Codex waiting, and events do.
#[tokio::test]
async fn codex_waits_while_it_gets_signs_of_life() {
    const IMPATIENT: &str = "stream_idle_timeout_ms = 3000\nstream_max_retries = 1";
    let (report, made) = at_runtime("silent", &["silence=20"], IMPATIENT).await;
    assert_eq!(made, 2, "it leaves a silent runtime: {report:?}");

    let runtime = scripted(None, &["silence=24"]).await;
    let (pool, _worker) = pool_with(&runtime, &[("STREAM_KEEPALIVE", "1s")]).await;
    let settings = "stream_idle_timeout_ms = 14000\nstream_max_retries = 1";
    let codex = Agent::codex_alone(&pool.url, "silent", settings, false);
    let report = codex.work(TASK).await;

    assert_eq!(report.text(), "Done.");
    let calls = runtime.calls().await;
    assert_eq!(calls.len(), 1, "{calls:?}");
}
