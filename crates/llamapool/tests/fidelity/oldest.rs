//! Scenarios of HTTP with SSE (MCP 2024-11-05): the stream of the provider names the endpoint for
//! messages, and all answers arrive on the stream.

use crate::differential::{Endpoint, EventReader, Route, mcp_fields, read_answer, scenarios};
use crate::harness::{RawHttp, RawProvider};
use crate::programs::{Program, data_of, initialize, tool};
use crate::transcript::Transcript;

scenarios! {
    the_example_server_below_its_url: HttpWithSse, OLDEST;
    the_example_server_at_its_url: HttpWithSse, OLDEST;
    sampling_on_the_one_stream: ClientRequests, OLDEST;
    an_endpoint_as_an_absolute_path: HttpWithSse, OLDEST;
    an_endpoint_as_a_relative_path: HttpWithSse, OLDEST;
    an_endpoint_as_an_absolute_url: HttpWithSse, OLDEST;
    an_endpoint_that_is_a_query: HttpWithSse, OLDEST;
    an_endpoint_with_dot_segments: HttpWithSse, OLDEST;
    an_endpoint_without_spaces: HttpWithSse, OLDEST;
    an_unannounced_endpoint: HttpWithSse, OLDEST;
}

/// A client that resolves the endpoint against the URL of the stream, as the official ones do.
pub(crate) struct Client<'a> {
    server: &'a Endpoint,
    stream: RawHttp,
    events: EventReader,
    /// The path for messages.
    message_path: String,
}

impl<'a> Client<'a> {
    /// Opens the stream and waits for the `endpoint` event.
    pub(crate) async fn connect(server: &'a Endpoint, path: &str, log: &mut Transcript) -> Self {
        let request = server.request_to("GET", path, &[("accept", "text/event-stream")], b"");
        let mut stream = server.send(&request).await;
        let head = stream.head().await;
        log.answer_head(&head);

        let mut events = EventReader::of(&head);
        let event = events.until("endpoint", &mut stream, log).await;
        let data = event
            .lines()
            .find_map(|line| line.strip_prefix("data:"))
            .expect("an endpoint")
            .trim();
        let message_path = server.resolved(path, data);

        Self {
            server,
            stream,
            events,
            message_path,
        }
    }

    /// Posts a message and returns the status; the response arrives on the stream.
    pub(crate) async fn post(&self, message: &str, log: &mut Transcript) -> u16 {
        let fields = mcp_fields(&[]);
        let request =
            self.server
                .request_to("POST", &self.message_path, &fields, message.as_bytes());
        let mut caller = self.server.send(&request).await;
        let (head, _) = read_answer(&mut caller, log).await;
        head.status()
    }

    /// Reads events up to the one that contains a text, and returns that.
    pub(crate) async fn read_until(&mut self, text: &str, log: &mut Transcript) -> String {
        self.events.until(text, &mut self.stream, log).await
    }
}

/// Runs a session with the example server: a call, and one with progress.
async fn session(endpoint: &Endpoint, path: &str, log: &mut Transcript) {
    let mut client = Client::connect(endpoint, path, log).await;
    assert_eq!(client.post(&initialize("2024-11-05"), log).await, 202);

    client.read_until(r#""id":1"#, log).await;
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

    client.read_until("Echo: grüße 🦙", log).await;
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
        client.read_until("notifications/progress", log).await;
    }
    client.read_until(r#""id":3"#, log).await;
}

async fn the_example_server_below_its_url(route: Route) -> Transcript {
    let program = Program::everything("sse").await;
    let endpoint = route.endpoint(&format!("{}/", program.origin)).await;
    let mut log = endpoint.transcript_of_a_program();

    session(&endpoint, &endpoint.below("/sse"), &mut log).await;
    log
}

async fn the_example_server_at_its_url(route: Route) -> Transcript {
    let program = Program::everything("sse").await;
    let endpoint = route.endpoint(&format!("{}/sse", program.origin)).await;
    let mut log = endpoint.transcript_of_a_program();

    session(&endpoint, &endpoint.path, &mut log).await;
    // A second client has its own session, and does not disturb the first one.
    session(&endpoint, &endpoint.path, &mut log).await;
    log
}

async fn sampling_on_the_one_stream(route: Route) -> Transcript {
    let program = Program::everything("sse").await;
    let endpoint = route.endpoint(&format!("{}/sse", program.origin)).await;
    let mut log = endpoint.transcript_of_a_program();

    let mut client = Client::connect(&endpoint, &endpoint.path, &mut log).await;
    client.post(&initialize("2024-11-05"), &mut log).await;
    client.read_until(r#""id":1"#, &mut log).await;
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
    client.read_until(r#""id":9"#, &mut log).await;

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
    let question = client.read_until("sampling/createMessage", &mut log).await;

    let result =
        r#"{"role":"assistant","model":"none","content":{"type":"text","text":"something"}}"#;
    let id = &data_of(&question)["id"];
    client
        .post(
            &format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#),
            &mut log,
        )
        .await;
    client.read_until(r#""id":2"#, &mut log).await;

    log
}

/// Runs a session with a provider that announces its endpoint with this event.
async fn announced(route: Route, event: impl Fn(&str) -> String) -> Transcript {
    let provider = RawProvider::bind().await;
    let base = provider.url.strip_suffix("/mcp").unwrap();
    let endpoint = route.endpoint(&format!("{base}/base/sse")).await;
    let mut log = endpoint.transcript();

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
        tokio::join!(serve, Client::connect(&endpoint, &endpoint.path, &mut log));
    log.request(&head, b"");
    let accepted =
        "HTTP/1.1 202 Accepted\r\nconnection: close\r\ncontent-length: 8\r\n\r\nAccepted";

    for number in 0..3 {
        let message = format!(r#"{{"id":{number}}}"#);
        let mut posted = endpoint.transcript();
        let (status, (head, body)) = tokio::join!(
            client.post(&message, &mut posted),
            provider.answer(accepted)
        );

        assert_eq!(status, 202);

        log.request(&head, &body);
        log.append(posted);
        connection
            .send(chunk(&format!("event: message\ndata: answer {number}\n\n")))
            .await;
        client
            .read_until(&format!("answer {number}"), &mut log)
            .await;
    }

    connection.send("0\r\n\r\n").await;
    client.events.rest(&mut client.stream, &mut log).await;

    log
}

async fn an_endpoint_as_an_absolute_path(route: Route) -> Transcript {
    announced(route, |_| {
        "event: endpoint\ndata: /messages/?session_id=1&x=%20\n\n".to_owned()
    })
    .await
}

async fn an_endpoint_as_a_relative_path(route: Route) -> Transcript {
    announced(route, |_| {
        "event: endpoint\r\ndata: messages?sid=1\r\n\r\n".to_owned()
    })
    .await
}

async fn an_endpoint_as_an_absolute_url(route: Route) -> Transcript {
    announced(route, |base| {
        format!(": hello\n\nevent: endpoint\ndata: {base}/elsewhere/messages/1\n\n")
    })
    .await
}

async fn an_endpoint_that_is_a_query(route: Route) -> Transcript {
    announced(route, |_| "event: endpoint\ndata: ?sid=1\n\n".to_owned()).await
}

async fn an_endpoint_with_dot_segments(route: Route) -> Transcript {
    announced(route, |_| {
        "event: endpoint\ndata: ../other/./messages?sid=1\n\n".to_owned()
    })
    .await
}

async fn an_endpoint_without_spaces(route: Route) -> Transcript {
    announced(route, |_| "event:endpoint\ndata:/m\n\n".to_owned()).await
}

/// A path that was never announced is forwarded like any other path below the URL.
async fn an_unannounced_endpoint(route: Route) -> Transcript {
    let program = Program::everything("sse").await;
    let endpoint = route.endpoint(&format!("{}/", program.origin)).await;
    let mut log = endpoint.transcript_of_a_program();

    let request = endpoint.request_to(
        "POST",
        &endpoint.below("/nobody/announced/this"),
        &mcp_fields(&[]),
        b"{}",
    );
    read_answer(&mut endpoint.send(&request).await, &mut log).await;

    log
}
