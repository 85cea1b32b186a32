//! Callers over HTTP/2: the effect of a lost tunnel.

use reqwest::{Client, Response, Version};

use crate::harness::{Link, Pool, Process, RawHttp, RawProvider, error_word, soon};

const STREAM: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
const FIRST: &str = "9\r\ndata: 1\n\n\r\n";

/// A provider, and a relay whose tunnel can be cut.
struct CuttableRelay {
    provider: RawProvider,
    link: Link,
    _relay: Process,
}

impl CuttableRelay {
    async fn connect(pool: &Pool, id: &str) -> Self {
        let provider = RawProvider::bind().await;
        let link = Link::to(&pool.url).await;
        let relay = Pool::relay_to(&link.url, id, &provider.url, &[]);
        pool.connected(id).await;
        Self {
            provider,
            link,
            _relay: relay,
        }
    }

    /// Opens a stream and reads its first event; returns the provider's and the caller's end.
    async fn listen(&self, http: &Client, url: String) -> (RawHttp, Response) {
        let serve = async {
            let (mut connection, _) = self.provider.call().await;
            connection.send(format!("{STREAM}{FIRST}")).await;
            connection
        };
        let call = http.get(url).header("accept", "text/event-stream").send();
        let (connection, answer) = tokio::join!(serve, soon("the answer begins", call));
        let mut answer = answer.unwrap();

        assert_eq!(answer.version(), Version::HTTP_2);
        assert_eq!(
            soon("the first event", answer.chunk())
                .await
                .unwrap()
                .unwrap(),
            "data: 1\n\n"
        );

        (connection, answer)
    }
}

fn client() -> Client {
    Client::builder().http2_prior_knowledge().build().unwrap()
}

/// A clean end would look like the end of the answer.
#[tokio::test]
async fn over_http_2_a_lost_tunnel_resets_its_streams_and_no_others() {
    let pool = Pool::as_shipped(&[]).await;
    let lost = CuttableRelay::connect(&pool, "lost").await;
    let lasting = CuttableRelay::connect(&pool, "lasting").await;
    let http = client();

    let (_connection, mut broken) = lost.listen(&http, pool.mcp("lost")).await;
    let (mut lasting_connection, whole) = lasting.listen(&http, pool.mcp("lasting")).await;

    lost.link.cut();
    let end = loop {
        match soon("the end", broken.chunk()).await {
            Ok(Some(piece)) if piece.is_empty() || piece == ":\n\n" => {}
            end => break end,
        }
    };
    let error = end.expect_err("a reset, not an end");
    assert!(format!("{error:?}").contains("Reset("), "{error:?}");

    lasting_connection
        .send("9\r\ndata: 2\n\n\r\n0\r\n\r\n")
        .await;
    let rest = soon("the rest", whole.text()).await.unwrap();
    assert_eq!(rest.replace(":\n\n", ""), "data: 2\n\n");
}

#[tokio::test]
async fn over_http_2_a_tunnel_lost_before_the_head_is_a_named_error() {
    let pool = Pool::as_shipped(&[]).await;
    let relay = CuttableRelay::connect(&pool, "lost").await;
    let call = client()
        .post(pool.mcp("lost"))
        .header("accept", "application/json, text/event-stream")
        .body("{}")
        .send();
    let serve = async {
        let (connection, _) = relay.provider.call().await;
        relay.link.cut();
        connection
    };
    let (answer, _connection) = tokio::join!(soon("an answer", call), serve);
    let answer = answer.unwrap();

    assert_eq!(
        (answer.version(), answer.status().as_u16()),
        (Version::HTTP_2, 502)
    );
    assert_eq!(error_word(answer).await, "tunnel_lost");
}
