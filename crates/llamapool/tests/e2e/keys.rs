//! Keys and origins: each opens its own doors, and no key ever appears in a log, an error, the
//! state or the metrics.

use serde_json::{Value, json};

use crate::harness::{
    Pool, Process, Provider, RawProvider, Upgrade, WORKER_KEY, error_word, soon, tools_call,
};

#[tokio::test]
async fn missing_keys_are_generated_logged_once_each_and_work() {
    let environment = [
        ("PORT", "0"),
        ("BIND_ADDR", "127.0.0.1"),
        ("LOG_LEVEL", "info"),
    ];
    let mut server = Process::llamapool(&["server"], &environment);

    let listens = server.event("the server listens").await;
    let url = format!("http://{}", listens["address"].as_str().unwrap());
    let api = server
        .event("API_KEY is not set: this one was generated for this run")
        .await["api_key"]
        .clone();
    let worker = server
        .event("WORKER_KEY is not set: this one was generated for this run")
        .await["worker_key"]
        .clone();
    let api = api.as_str().unwrap();
    let worker = worker.as_str().unwrap();

    assert!(api != worker && api.len() >= 32 && worker.len() >= 32);

    let provider = Provider::echoing().await;
    let mut relay = Pool::relay_to(&url, "mcp-1234", &provider.url, &[("WORKER_KEY", worker)]);

    relay
        .line("it is connected", |line| {
            line.contains("callers reach it at")
        })
        .await;
    let http = reqwest::Client::new();
    let state = http
        .get(format!("{url}/api/state"))
        .bearer_auth(api)
        .send()
        .await
        .unwrap();

    assert_eq!(state.status(), 200);
    assert_eq!(
        http.get(format!("{url}/api/state"))
            .bearer_auth(worker)
            .send()
            .await
            .unwrap()
            .status(),
        401
    );

    for key in [api, worker] {
        assert_eq!(server.lines_with(key).len(), 1, "{}", server.log());
    }
}

#[tokio::test]
async fn a_server_without_auth_is_open_and_logs_it() {
    let environment = [("PORT", "0"), ("BIND_ADDR", "127.0.0.1")];
    let server = Process::llamapool(&["server", "--no-auth"], &environment);
    let mut pool = Pool::of_server(server).await;
    pool.server
        .event("running without keys: anyone can connect relays and read the state")
        .await;

    let provider = Provider::echoing().await;
    let _relay = pool
        .relay_with("mcp-1234", &provider.url, &[("WORKER_KEY", "")])
        .await;

    assert_eq!(
        pool.http
            .get(format!("{}/api/state", pool.url))
            .send()
            .await
            .unwrap()
            .status(),
        200
    );
    assert_eq!(
        pool.post("mcp-1234", &tools_call(1, "echo")).await.status(),
        200
    );
}

#[tokio::test]
async fn a_relay_with_a_token_serves_only_callers_who_present_it() {
    let pool = Pool::start().await;
    let provider = Provider::answering(async |request| {
        let seen = request.headers().get("authorization").is_some();
        crate::harness::json_answer(&json!({ "authorization": seen }).to_string())
    })
    .await;
    let mut relay = pool
        .relay_with("mcp-1234", &provider.url, &[("AUTH_TOKEN", "open-sesame")])
        .await;

    assert_eq!(pool.client("mcp-1234").await["protected"], true);

    let call = |authorizations: &[&str]| {
        let request = pool
            .http
            .post(pool.mcp("mcp-1234"))
            .json(&tools_call(1, "echo"));
        authorizations
            .iter()
            .fold(request, |request, value| {
                request.header("authorization", *value)
            })
            .send()
    };
    let twice = ["Bearer open-sesame", "Bearer open-sesame"];

    for wrong in [
        &[][..],
        &["Bearer open-sesami"],
        &["Basic open-sesame"],
        &["Bearer test123"],
        &["Bearer secret"],
        &twice,
    ] {
        let answer = call(wrong).await.unwrap();
        assert_eq!(answer.status(), 401, "{wrong:?}");
        assert_eq!(answer.headers()["www-authenticate"], "Bearer");
        assert_eq!(error_word(answer).await, "wrong_token");
    }

    let answer = call(&["bearer open-sesame"]).await.unwrap();

    assert_eq!(answer.status(), 200);
    assert_eq!(
        answer.json::<Value>().await.unwrap(),
        json!({ "authorization": false })
    );

    let client = pool.client("mcp-1234").await;
    assert_eq!(client["calls_total"], 7);
    assert_eq!(client["errors_total"], 6);
    assert_eq!(client["last_error"]["error"], "wrong_token");
    assert_eq!(client["inflight"], 0);

    relay
        .line("the refusals are in the log", |line| {
            line.contains("wrong_token")
        })
        .await;
}

/// The secrets that a server and its relays can be configured with.
const SECRETS: [(&str, &str); 10] = [
    ("API_KEY", "5ec-api-key"),
    ("WORKER_KEY", "5ec-worker-key"),
    ("CLIENT_SECRET", "5ec-client-secret"),
    ("AUTH_TOKEN", "5ec-auth-token"),
    ("STATUS_TOKEN", "5ec-status-token"),
    ("PROVIDER_HEADERS", "Authorization: Bearer 5ec-provider-key"),
    ("HTTP_PROXY", "http://user:5ec-proxy-password@127.0.0.1:9"),
    ("caller", "5ec-callers-own-token"),
    ("SERVER_URL", "5ec-in-the-servers-url"),
    ("PROVIDER_URL", "5ec-in-the-providers-url"),
];

fn secret(name: &str) -> &'static str {
    SECRETS.iter().find(|(other, _)| *other == name).unwrap().1
}

#[tokio::test]
async fn no_key_is_ever_in_a_log_an_error_the_state_or_the_metrics() {
    let mut pool = Pool::with(&[SECRETS[0], SECRETS[1]]).await;
    let provider = Provider::echoing().await;

    let of_relay: Vec<_> = SECRETS[1..6]
        .iter()
        .copied()
        .chain([("STATUS_ADDR", "127.0.0.1:0")])
        .collect();
    let server_url = format!("{}/api/mcp/connect?key={}", pool.url, secret("SERVER_URL"));
    let provider_url = format!("{}?key={}", provider.url, secret("PROVIDER_URL"));
    let mut relay = Pool::relay_to(&server_url, "mcp-1234", &provider_url, &of_relay);

    relay
        .line("it is connected", |line| {
            line.contains("callers reach it at")
        })
        .await;
    pool.server.event("relay connected").await;
    let status = relay.event("the status server listens").await["address"]
        .as_str()
        .unwrap()
        .to_owned();
    let mut seen = Vec::new();

    // Keys that are right, wrong, in the wrong place, or in a URL.
    for key in SECRETS.map(|(_, secret)| secret.rsplit(' ').next().unwrap()) {
        seen.extend(answers_to_key(&pool, &status, key).await);
    }

    // Relays that fail with their secrets, and one that the server admits.
    let debug = ("LOG_LEVEL", "debug");

    for settings in [
        [("WORKER_KEY", secret("caller")), debug].as_slice(),
        &[SECRETS[1], SECRETS[6], debug],
    ] {
        let mut failing = Pool::relay_once(&server_url, &provider_url, settings);
        seen.push(failing.status_and_log().await.1);
    }

    let mut sharing = Pool::relay_to(
        &pool.url,
        "mcp-1234",
        &provider.url,
        &[SECRETS[1], SECRETS[2]],
    );
    sharing
        .line("it is connected", |line| {
            line.contains("callers reach it at")
        })
        .await;
    seen.push(sharing.log());
    pool.server.signal("TERM").await;
    seen.push(pool.server.status_and_log().await.1);
    relay.kill().await;
    seen.push(relay.status_and_log().await.1);

    assert!(seen.len() > 80, "{}", seen.len());

    for (name, secret) in SECRETS {
        let secret = &secret[secret.find("5ec").unwrap()..];
        let secret = secret.split('@').next().unwrap();
        for text in &seen {
            assert!(!text.contains(secret), "{name} is seen in:\n{text}");
        }
    }
}

/// Presents a key at every door of a server and of the relay `mcp-1234`. Returns the answers.
async fn answers_to_key(pool: &Pool, status: &str, key: &str) -> Vec<String> {
    let mut answers = Vec::new();
    let server = |path: &str| format!("{}{path}", pool.url);
    let relay = |path: &str| format!("http://{status}{path}");

    let call = pool
        .http
        .post(format!("{}?token={key}", pool.mcp("mcp-1234")));
    let control = pool.http.post(relay("/control/nothing"));
    let reads = [
        server("/api/state"),
        server("/metrics"),
        server("/nowhere"),
        relay("/status"),
        relay("/metrics"),
        relay("/version"),
        relay("/readyz"),
    ];
    let reads = reads.into_iter().map(|url| pool.http.get(url));
    for request in [call.body("{}"), control].into_iter().chain(reads) {
        let answer = request.bearer_auth(key).send().await.unwrap();
        answers.push(show(answer).await);
    }

    let upgrade = Upgrade::for_id("raw")
        .with("authorization", &format!("Bearer {key} "))
        .with("llamapool-secret", key);
    answers.push(upgrade.answer(pool).await.head);
    answers
}

async fn show(answer: reqwest::Response) -> String {
    let head = format!("{:?}", answer.headers());
    format!(
        "{head}\n{}",
        soon("the answer ends", answer.text()).await.unwrap()
    )
}

#[tokio::test]
async fn a_relays_instance_id_is_known_to_its_server_alone() {
    let impostor = RawProvider::bind().await;
    let provider = Provider::echoing().await;

    let settings = [("STATUS_ADDR", "127.0.0.1:0"), ("WORKER_KEY", WORKER_KEY)];
    let mut relay = Pool::relay_to(&impostor.url, "mcp-1234", &provider.url, &settings);

    let (_, head) = impostor.request().await;
    let (connection, second_head) = impostor.request().await;
    let instance = |head: &str| {
        let line = head
            .lines()
            .find_map(|line| line.strip_prefix("llamapool-instance: "))
            .unwrap();
        line.to_owned()
    };
    let id = instance(&head);

    assert!(
        id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{id}"
    );
    assert_eq!(id, instance(&second_head), "it is the same relay");

    drop(connection);
    relay
        .nth_line(2, "it tries again", |line| {
            line.contains("not connected; trying again")
        })
        .await;
    let status = relay.event("the status server listens").await["address"]
        .as_str()
        .unwrap()
        .to_owned();
    let status = reqwest::get(format!("http://{status}/status"))
        .await
        .unwrap()
        .text()
        .await
        .unwrap();

    assert!(!status.contains(&id) && relay.lines_with(&id).is_empty());

    let mut other = Pool::relay_to(&impostor.url, "mcp-1234", &provider.url, &[]);
    let (_, other_head) = loop {
        let (connection, head) = impostor.request().await;
        if instance(&head) != id {
            break (connection, head);
        }
    };

    assert_ne!(instance(&other_head), id);
    assert!(other.is_running());
}
