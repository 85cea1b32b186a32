//! Prefix affinity on real runtimes: sessions come back to the worker that has the beginning of their prompt in its
//! cache. The counts are llama.cpp's own.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::harness::API_KEY;
use crate::runtimes::{Runtime, SMOLLM2};
use crate::workers::{LlmPool, Streaming, send};

/// Sessions that take turns. An odd number: with an even one, round robin over two runtimes is sticky by accident.
const SESSIONS: usize = 5;
/// Sessions where times are compared, and not counts.
const FEW_SESSIONS: usize = 3;
/// Calls of each of these.
const FEW_TURNS: usize = 3;
/// Calls of each session.
const TURNS: usize = 4;
/// Tokens of each answer.
const ANSWER_TOKENS: u32 = 6;
/// A place for each session, so that no session takes the cache of another, and one more.
const OPTIONS: [&str; 2] = ["slots=6", "context=1024"];
/// The smallest share of the prompts' tokens that is to come from caches. 75 % is the most that there can be where
/// no turn adds anything: the first of four turns is in no cache.
const BAR: f64 = 0.73;

/// The longest that one call may take: a prompt is read in two seconds where the machine has nothing else to do.
const LONGEST: Duration = Duration::from_secs(240);
const PATH: &str = "/v1/chat/completions";

/// A conversation, with its own instructions of some 300 tokens.
struct Session {
    messages: Vec<Value>,
}

impl Session {
    /// Returns the conversations of one run. `topic` makes them others than those of other runs.
    fn of_run(topic: &str, sessions: usize) -> Vec<Self> {
        let session = |number: usize| {
            let rule = |at: usize| format!(" Rule {at} of {topic}: see page {}.", at * 7 + number);
            let rules: String = (1..=20).map(rule).collect();
            let system = format!("{number} is your number.{rules}");
            Self {
                messages: vec![json!({ "role": "system", "content": system })],
            }
        };
        (0..sessions).map(session).collect()
    }

    /// Asks the next question at a URL. Returns the tokens of its prompt, and those of them that a cache had.
    async fn turn(&mut self, url: &str) -> Counts {
        self.messages
            .push(json!({ "role": "user", "content": "Go on." }));
        let request = json!({
            "model": SMOLLM2,
            "messages": self.messages,
            "max_tokens": ANSWER_TOKENS,
            "temperature": 0,
        });

        let sending = reqwest::Client::new()
            .post(format!("{url}{PATH}"))
            .bearer_auth(API_KEY)
            .json(&request)
            .timeout(LONGEST)
            .send();
        let answer = sending.await.expect("an answer").error_for_status();
        let answer: Value = answer.expect("success").json().await.expect("JSON");

        self.messages.push(answer["choices"][0]["message"].clone());
        Counts::of(&answer)
    }
}

/// The tokens of prompts.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    prompt: u64,
    cached: u64,
}

impl Counts {
    /// Returns the counts of an answer of llama.cpp.
    fn of(answer: &Value) -> Self {
        let cached = &answer["usage"]["prompt_tokens_details"]["cached_tokens"];
        Self {
            prompt: answer["usage"]["prompt_tokens"].as_u64().unwrap(),
            cached: cached.as_u64().unwrap_or_else(|| panic!("{answer}")),
        }
    }

    fn add(&mut self, other: Self) {
        self.prompt += other.prompt;
        self.cached += other.cached;
    }

    fn share(self) -> f64 {
        self.cached as f64 / self.prompt as f64
    }
}

/// Lets all sessions have all turns, one call after the other. `url` chooses where a call of a number goes.
async fn take_turns<'a>(mut sessions: Vec<Session>, url: impl Fn(usize) -> &'a str) -> Counts {
    let mut all = Counts::default();
    for turn in 0..TURNS {
        for (number, session) in sessions.iter_mut().enumerate() {
            all.add(session.turn(url(turn * SESSIONS + number)).await);
        }
    }
    all
}

#[allow(
    clippy::print_stdout,
    reason = "the measurement is shown with --nocapture"
)]
#[tokio::test]
async fn sessions_find_the_beginning_of_their_prompts_in_caches() {
    let runtimes = [
        Runtime::llama_cpp(&OPTIONS).await,
        Runtime::llama_cpp(&OPTIONS).await,
    ];
    let pool = LlmPool::start().await;
    let _alpha = pool.worker("alpha", &runtimes[0]).await;
    let _beta = pool.worker("beta", &runtimes[1]).await;

    let round_robin = take_turns(Session::of_run("rounds", SESSIONS), |call| {
        &runtimes[call % 2].url
    })
    .await;
    let pooled = take_turns(Session::of_run("llamas", SESSIONS), |_| &pool.url).await;

    println!(
        "from caches: {:.1} % through the pool, {:.1} % round robin; {pooled:?}, {round_robin:?}",
        pooled.share() * 100.0,
        round_robin.share() * 100.0
    );
    assert!(pooled.share() >= BAR, "{pooled:?}");
    assert!(
        (0.4..0.55).contains(&round_robin.share()),
        "{round_robin:?}"
    );
    let state = pool.state().await;
    let processed = |at: usize| state["workers"][at]["processed_total"].as_u64().unwrap();
    assert!(processed(0).min(processed(1)) >= TURNS as u64, "{state}");
}

/// A worker that has the beginning of a prompt and is busy must not make its sessions slow.
#[allow(
    clippy::print_stdout,
    reason = "the measurement is shown with --nocapture"
)]
#[tokio::test]
async fn affinity_to_a_busy_worker_makes_no_session_slower() {
    let options = ["slots=12", "context=1024"];
    let runtimes = [
        Runtime::llama_cpp(&options).await,
        Runtime::llama_cpp(&options).await,
    ];
    let with = LlmPool::start().await;
    let without = LlmPool::with(&[("LLM_AFFINITY_ENTRIES", "0")]).await;
    let mut workers = Vec::new();
    for pool in [&with, &without] {
        workers.push(pool.worker("alpha", &runtimes[0]).await);
        workers.push(pool.worker("beta", &runtimes[1]).await);
    }
    let _busy = keep_busy(&runtimes[0]).await;

    // In turns, so that both meet the same load of the machine.
    let mut sessions = ["llamas", "alpacas"].map(|topic| Session::of_run(topic, FEW_SESSIONS));
    let mut times = [Vec::new(), Vec::new()];
    for number in 0..FEW_TURNS * FEW_SESSIONS {
        for (way, pool) in [&with, &without].into_iter().enumerate() {
            let began = Instant::now();
            sessions[way][number % FEW_SESSIONS].turn(&pool.url).await;
            times[way].push(began.elapsed());
        }
    }

    let [with, without] = times.map(median);
    println!("median of a call: {with:?} with affinity, {without:?} without");
    assert!(with <= without.mul_f64(1.25) + Duration::from_millis(100));
}

/// Lets one slot of a runtime write without a pause until the task is dropped.
async fn keep_busy(runtime: &Runtime) -> JoinSet<()> {
    let url = runtime.url.clone();
    let request = json!({
        "model": SMOLLM2,
        "messages": [{ "role": "user", "content": "Tell a long story." }],
        "max_tokens": 900,
        "ignore_eos": true,
        "stream": true,
    });
    let mut task = JoinSet::new();
    task.spawn(async move {
        loop {
            Streaming::of(send(&url, PATH, &request).await).rest().await;
        }
    });
    runtime.until_busy_slots(1).await;
    task
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
