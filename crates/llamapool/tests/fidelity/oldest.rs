//! HTTP with SSE (MCP 2024-11-05): the provider's stream names the endpoint for messages, and every answer comes on the
//! stream.

use crate::differential::{Events, Place, Way, mcp_fields, read_answer, scenarios};
use crate::harness::{RawHttp, RawProvider};
use crate::programs::{Program, data_of, initialize, tool};
use crate::transcript::Transcript;

scenarios! {
    the_example_server_below_its_url: HttpWithSse, OLDEST;
    the_example_server_at_its_url: HttpWithSse, OLDEST;
    sampling_on_the_one_stream: AskingTheClient, OLDEST;
    an_endpoint_from_the_root: HttpWithSse, OLDEST;
    an_endpoint_beside_the_stream: HttpWithSse, OLDEST;
    an_endpoint_with_its_origin: HttpWithSse, OLDEST;
    an_endpoint_that_is_a_query: HttpWithSse, OLDEST;
    an_endpoint_with_dots: HttpWithSse, OLDEST;
    an_endpoint_without_spaces: HttpWithSse, OLDEST;
    an_endpoint_that_was_not_announced: HttpWithSse, OLDEST;
}

/// A client as the official ones are: the endpoint is resolved against the stream's URL.
pub(crate) struct Client<'a> {
    place: &'a Place,
    stream: RawHttp,
    events: Events,
    endpoint: String,
}

impl<'a> Client<'a> {
    /// Opens the stream and waits for the endpoint.
    pub(crate) async fn connect(place: &'a Place, path: &str, log: &mut Transcript) -> Self {
        let request = place.request_to("GET", path, &[("accept", "text/event-stream")], b"");
        let mut stream = place.send(&request).await;
        let head = stream.head().await;
        log.answered(&head);
        let mut events = Events::of(&head);
        let event = events.with("endpoint", &mut stream, log).await;
        let data = event
            .lines()
            .find_map(|line| line.strip_prefix("data:"))
            .expect("an endpoint")
            .trim();
        let endpoint = place.resolved(path, data);
        Self {
            place,
            stream,
            events,
            endpoint,
        }
    }

    /// Posts a message; the answer to that alone.
    pub(crate) async fn post(&self, message: &str, log: &mut Transcript) -> u16 {
        let request =
            self.place
                .request_to("POST", &self.endpoint, &mcp_fields(&[]), message.as_bytes());
        read_answer(&mut self.place.send(&request).await, log)
            .await
            .0
            .status()
    }

    /// The next event with a text.
    pub(crate) async fn hears(&mut self, text: &str, log: &mut Transcript) -> String {
        self.events.with(text, &mut self.stream, log).await
    }
}

async fn session(place: &Place, path: &str, log: &mut Transcript) {
    let mut client = Client::connect(place, path, log).await;
    assert_eq!(client.post(&initialize("2024-11-05"), log).await, 202);
    client.hears(r#""id":1"#, log).await;
    client
        .post(
            r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
            log,
        )
        .await;
    assert_eq!(
        client
            .post(
                &tool(2, "echo", r#"{"message":"gr\u00fc\u00dfe \ud83e\udd99"}"#),
                log
            )
            .await,
        202
    );
    client.hears("Echo: grüße 🦙", log).await;
    client
        .post(
            &tool(
                3,
                "trigger-long-running-operation",
                r#"{"duration":0.2,"steps":2}"#,
            ),
            log,
        )
        .await;
    for _ in 0..2 {
        client.hears("notifications/progress", log).await;
    }
    client.hears(r#""id":3"#, log).await;
}

async fn the_example_server_below_its_url(way: Way) -> Transcript {
    let program = Program::everything("sse").await;
    let place = way.to(&format!("{}/", program.origin)).await;
    let mut log = place.transcript_of_a_program();
    session(&place, &place.below("/sse"), &mut log).await;
    log
}

async fn the_example_server_at_its_url(way: Way) -> Transcript {
    let program = Program::everything("sse").await;
    let place = way.to(&format!("{}/sse", program.origin)).await;
    let mut log = place.transcript_of_a_program();
    session(&place, &place.path, &mut log).await;
    // A second client has its own session, and the first one's is not disturbed.
    session(&place, &place.path, &mut log).await;
    log
}

async fn sampling_on_the_one_stream(way: Way) -> Transcript {
    let program = Program::everything("sse").await;
    let place = way.to(&format!("{}/sse", program.origin)).await;
    let mut log = place.transcript_of_a_program();
    let mut client = Client::connect(&place, &place.path, &mut log).await;
    client.post(&initialize("2024-11-05"), &mut log).await;
    client.hears(r#""id":1"#, &mut log).await;
    client
        .post(
            r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
            &mut log,
        )
        .await;
    client
        .post(
            r#"{"jsonrpc":"2.0","id":9,"method":"tools/list"}"#,
            &mut log,
        )
        .await;
    client.hears(r#""id":9"#, &mut log).await;
    client
        .post(
            &tool(
                2,
                "trigger-sampling-request",
                r#"{"prompt":"say something"}"#,
            ),
            &mut log,
        )
        .await;
    let question = client.hears("sampling/createMessage", &mut log).await;
    let result =
        r#"{"role":"assistant","model":"none","content":{"type":"text","text":"something"}}"#;
    let id = &data_of(&question)["id"];
    client
        .post(
            &format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#),
            &mut log,
        )
        .await;
    client.hears(r#""id":2"#, &mut log).await;
    log
}

/// A session with a provider that announces its endpoint in some way.
async fn announced(way: Way, event: impl Fn(&str) -> String) -> Transcript {
    let provider = RawProvider::bind().await;
    let base = provider.url.strip_suffix("/mcp").unwrap();
    let place = way.to(&format!("{base}/base/sse")).await;
    let mut log = place.transcript();
    let stream =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
    let serve = async {
        let (mut connection, head) = provider.call().await;
        connection
            .send(format!("{stream}{}", chunk(&event(base))))
            .await;
        (connection, head)
    };
    let ((mut connection, head), mut client) =
        tokio::join!(serve, Client::connect(&place, &place.path, &mut log));
    log.asked(&head, b"");
    let accepted =
        "HTTP/1.1 202 Accepted\r\nconnection: close\r\ncontent-length: 8\r\n\r\nAccepted";
    for number in 0..3 {
        let message = format!(r#"{{"id":{number}}}"#);
        let mut posted = place.transcript();
        let (status, (head, body)) = tokio::join!(
            client.post(&message, &mut posted),
            provider.answer(accepted)
        );
        assert_eq!(status, 202);
        log.asked(&head, &body);
        log.append(posted);
        connection
            .send(chunk(&format!("event: message\ndata: answer {number}\n\n")))
            .await;
        client.hears(&format!("answer {number}"), &mut log).await;
    }
    connection.send("0\r\n\r\n").await;
    client.events.rest(&mut client.stream, &mut log).await;
    log
}

async fn an_endpoint_from_the_root(way: Way) -> Transcript {
    announced(way, |_| {
        "event: endpoint\ndata: /messages/?session_id=1&x=%20\n\n".to_owned()
    })
    .await
}

async fn an_endpoint_beside_the_stream(way: Way) -> Transcript {
    announced(way, |_| {
        "event: endpoint\r\ndata: messages?sid=1\r\n\r\n".to_owned()
    })
    .await
}

async fn an_endpoint_with_its_origin(way: Way) -> Transcript {
    announced(way, |base| {
        format!(": hello\n\nevent: endpoint\ndata: {base}/elsewhere/messages/1\n\n")
    })
    .await
}

async fn an_endpoint_that_is_a_query(way: Way) -> Transcript {
    announced(way, |_| "event: endpoint\ndata: ?sid=1\n\n".to_owned()).await
}

async fn an_endpoint_with_dots(way: Way) -> Transcript {
    announced(way, |_| {
        "event: endpoint\ndata: ../other/./messages?sid=1\n\n".to_owned()
    })
    .await
}

async fn an_endpoint_without_spaces(way: Way) -> Transcript {
    announced(way, |_| "event:endpoint\ndata:/m\n\n".to_owned()).await
}

/// A name that is reserved is not announced by anybody: the provider answers what it likes.
async fn an_endpoint_that_was_not_announced(way: Way) -> Transcript {
    let program = Program::everything("sse").await;
    let place = way.to(&format!("{}/", program.origin)).await;
    let mut log = place.transcript_of_a_program();
    let request = place.request_to(
        "POST",
        &place.below("/nobody/announced/this"),
        &mcp_fields(&[]),
        b"{}",
    );
    read_answer(&mut place.send(&request).await, &mut log).await;
    log
}
