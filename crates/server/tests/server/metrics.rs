//! The metrics: who may read them, where they are served, and the labels that they may have.

use llamapool_testkit::{Pool, Provider, Upgrade, metric, serve_metrics, tools_call};
use serde_json::json;

#[tokio::test]
async fn metrics_are_on_a_port_of_their_own_if_they_have_one() {
    let pool = Pool::with(serve_metrics).await;
    let provider = Provider::echoing().await;
    let _relay = pool.relay("mcp-1234", &provider.url).await;

    let metrics_url = pool.metrics_url();
    let get = async |url: String| {
        let answer = pool.http.get(url).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let (status, metrics) = get(format!("{metrics_url}/metrics")).await;

    assert_eq!(status, 200);
    are_well_formed(&metrics);
    assert_eq!(metric(&metrics, "llamapool_relays_connected"), Some(1.0));
    assert_eq!(get(format!("{}/metrics", pool.url)).await.0, 404);
    assert_eq!(get(format!("{metrics_url}/healthz")).await.0, 200);
    assert_eq!(get(format!("{metrics_url}/readyz")).await.0, 200);

    for path in ["/api/state", "/api/mcp/id/mcp-1234", "/api/mcp/connect"] {
        assert_eq!(get(format!("{metrics_url}{path}")).await.0, 404, "{path}");
    }
}

#[tokio::test]
async fn public_metrics_contain_ids_only_for_the_api_key() {
    let pool = Pool::start().await;
    let provider = Provider::echoing().await;
    let _relay = pool.relay("nobody-knows", &provider.url).await;

    assert_eq!(
        pool.post("nobody-knows", &tools_call(1, "echo"))
            .await
            .status(),
        200
    );

    pool.until_metric(r#"llamapool_calls_in_flight{id="nobody-knows"}"#, 0)
        .await;

    for key in ["", "wrong", "secret"] {
        let answer = pool
            .http
            .get(format!("{}/metrics", pool.url))
            .bearer_auth(key)
            .send()
            .await
            .unwrap();

        assert_eq!(answer.status(), 200);

        let metrics = answer.text().await.unwrap();
        are_well_formed(&metrics);
        assert!(!metrics.contains("nobody-knows"), "{metrics}");
        assert_eq!(metric(&metrics, "llamapool_relays_connected"), Some(1.0));
    }
}

#[tokio::test]
async fn metrics_on_a_port_of_their_own_need_no_public_name() {
    for (has_own_port, status) in [(true, 200), (false, 403)] {
        let pool = Pool::with(|server| {
            server.auth.allowed_hosts = vec!["llamapool.example".to_owned()];
            if has_own_port {
                serve_metrics(server);
            }
        })
        .await;

        let url = if has_own_port {
            pool.metrics_url()
        } else {
            pool.url.clone()
        };
        let get = |host: &'static str| {
            pool.http
                .get(format!("{url}/metrics"))
                .header("host", host)
                .send()
        };

        assert_eq!(get("localhost:9090").await.unwrap().status(), status);
        assert_eq!(
            get("llamapool.example").await.unwrap().status() == 200,
            !has_own_port
        );
    }
}

#[tokio::test]
async fn no_label_of_the_metrics_comes_from_a_caller() {
    let pool = Pool::start().await;
    let provider = Provider::echoing().await;
    let _relay = pool.relay("mcp-1234", &provider.url).await;

    for number in 0..20 {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": format!("evil/{number}\"}} 1\n") });

        assert_eq!(pool.post("mcp-1234", &body).await.status(), 200);

        let method = reqwest::Method::from_bytes(format!("EVIL{number}").as_bytes()).unwrap();
        let request = pool
            .http
            .request(method, pool.mcp("mcp-1234"))
            .header("mcp-method", format!("evil/h{number}"));

        assert_eq!(request.send().await.unwrap().status(), 200);
        assert_eq!(
            pool.post(&format!("evil-{number}"), &body).await.status(),
            503
        );
        assert_eq!(
            Upgrade::for_id(&format!("evil-{number}"))
                .without("authorization")
                .answer(&pool)
                .await
                .status,
            401
        );
    }

    let metrics = pool.metrics().await;

    are_well_formed(&metrics);
    assert!(!metrics.to_ascii_lowercase().contains("evil"), "{metrics}");

    let other = r#"llamapool_calls_total{id="mcp-1234",method="other",outcome="ok"}"#;
    assert_eq!(metric(&metrics, other), Some(40.0));
}

/// Checks a text of metrics: every line is a comment, or a name, labels and a number that is not
/// negative.
pub(crate) fn are_well_formed(metrics: &str) {
    assert!(metrics.lines().count() > 20, "{metrics}");
    for line in metrics.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            assert!(
                comment.starts_with("HELP ") || comment.starts_with("TYPE "),
                "{line}"
            );
            continue;
        }

        let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));

        assert!(
            value.parse::<f64>().is_ok_and(|value| value >= 0.0),
            "{line}"
        );

        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        assert!(
            !name.is_empty()
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'),
            "{line}"
        );

        let labels = labels.strip_suffix('}').unwrap_or_else(|| panic!("{line}"));

        for label in labels.split(',').filter(|label| !label.is_empty()) {
            let (name, value) = label.split_once('=').unwrap_or_else(|| panic!("{line}"));
            let is_quoted = value.len() >= 2 && value.starts_with('"') && value.ends_with('"');
            assert!(!name.is_empty() && is_quoted, "{line}");
        }
    }
}
