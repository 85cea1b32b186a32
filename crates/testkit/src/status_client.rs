//! A client of a relay's status server.

use serde_json::Value;

use crate::soon;

/// A client of one relay's status server.
pub struct StatusClient {
    /// The address of the server, without a path.
    pub url: String,
    http: reqwest::Client,
}

impl StatusClient {
    /// A client of the status server at this URL, which has no path.
    pub fn new(url: String) -> Self {
        Self {
            url,
            http: reqwest::Client::new(),
        }
    }

    /// Begins a request.
    pub fn ask(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        self.http.request(
            method.parse().expect("a method"),
            format!("{}{path}", self.url),
        )
    }

    /// Returns the status and the JSON body of a path.
    pub async fn get(&self, path: &str) -> (u16, Value) {
        let answer = self
            .ask("GET", path)
            .send()
            .await
            .expect("a response of the status server");
        (
            answer.status().as_u16(),
            answer.json().await.expect("a JSON body"),
        )
    }

    /// Returns the metrics, in the text format of Prometheus.
    pub async fn metrics(&self) -> String {
        let answer = self
            .ask("GET", "/metrics")
            .send()
            .await
            .expect("a response of the status server");
        assert_eq!(
            answer.headers()["content-type"],
            "text/plain; version=0.0.4; charset=utf-8"
        );
        answer.text().await.expect("a text")
    }

    /// Sends a control request, such as `drain`, and returns its status and JSON body.
    pub async fn control(&self, verb: &str) -> (u16, Value) {
        let answer = self
            .ask("POST", &format!("/control/{verb}"))
            .send()
            .await
            .expect("a response of the status server");
        (
            answer.status().as_u16(),
            answer.json().await.expect("a JSON body"),
        )
    }

    /// Reads a path until its answer satisfies a condition.
    pub async fn until(
        &self,
        what: &str,
        path: &str,
        wanted: impl Fn(u16, &Value) -> bool,
    ) -> Value {
        let look = async {
            loop {
                let (status, body) = self.get(path).await;
                if wanted(status, &body) {
                    return body;
                }
                tokio::task::yield_now().await;
            }
        };
        soon(what, look).await
    }
}
