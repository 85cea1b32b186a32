//! The connections of a played runtime: HTTP/1.1 by hand, so that it can also be broken by hand, and
//! so that the end of a connection is seen while an answer is written.

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::task::JoinSet;

use super::answers::{self, Step};
use super::{ReplyEnd, RuntimeCall, RuntimeCallEnd, RuntimeReply, Shared};

/// A request that has arrived.
pub(super) struct Arrived {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Serves connections.
pub(super) async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let shared = shared.clone();
        connections.spawn(async move {
            // Each word is a packet, as with a runtime.
            let _ = stream.set_nodelay(true);
            let (reads, writes) = stream.into_split();
            serve(BufReader::new(reads), writes, shared).await;
        });
    }
}

async fn serve(
    mut reads: BufReader<OwnedReadHalf>,
    mut writes: OwnedWriteHalf,
    shared: Arc<Shared>,
) {
    while let Some(request) = read_request(&mut reads).await {
        if !answers::is_call(&request) {
            let poll = format!("{} {}", request.method, request.path);
            shared.polls.lock().push(poll);
            let answer = answers::poll(&shared, &request);
            if writes.write_all(&answer).await.is_err() {
                return;
            }
            continue;
        }

        let number = begin(&shared, &request);
        let end = {
            let answered = answer(&mut writes, &request, &shared);
            let left = async {
                // Nothing follows a request before its answer but the end of the connection.
                let _ = reads.read_u8().await;
            };
            tokio::select! {
                end = answered => end,
                () = left => RuntimeCallEnd::Closed,
            }
        };
        finish(&shared, number, end);
        if end != RuntimeCallEnd::Answered {
            return;
        }
    }
}

fn begin(shared: &Shared, request: &Arrived) -> usize {
    let mut calls = shared.calls.lock();
    calls.push(RuntimeCall {
        method: request.method.clone(),
        path: request.path.clone(),
        headers: request.headers.clone(),
        body: request.body.clone(),
        end: None,
    });
    let number = calls.len() - 1;
    drop(calls);
    shared.changed();
    number
}

fn finish(shared: &Shared, number: usize, end: RuntimeCallEnd) {
    if end == RuntimeCallEnd::Closed && shared.behaviour.lock().keeps_slots {
        *shared.kept_slots.lock() += 1;
    }
    shared.calls.lock()[number].end = Some(end);
    shared.changed();
}

async fn answer(writes: &mut OwnedWriteHalf, request: &Arrived, shared: &Shared) -> RuntimeCallEnd {
    let reply = shared.behaviour.lock().replies.pop_front();
    let sent = match reply {
        Some(RuntimeReply::Raw(bytes)) => {
            let _ = writes.write_all(&bytes).await;
            return RuntimeCallEnd::Broken;
        }
        Some(RuntimeReply::Whole(status, content_type, body)) => {
            let answer = answers::whole(status, &content_type, &body);
            writes.write_all(&answer).await
        }
        Some(RuntimeReply::Pieces(content_type, pieces, end)) => {
            let mut sent = writes
                .write_all(answers::chunked_head(&content_type).as_bytes())
                .await;
            for piece in pieces {
                if sent.is_ok() {
                    sent = writes.write_all(&answers::chunk(&piece)).await;
                }
            }
            match end {
                ReplyEnd::Orderly => writes.write_all(b"0\r\n\r\n").await,
                ReplyEnd::Broken => return RuntimeCallEnd::Broken,
                ReplyEnd::Silent => return std::future::pending().await,
                ReplyEnd::Endless(piece) => {
                    let chunk = answers::chunk(&piece);
                    while writes.write_all(&chunk).await.is_ok() {}
                    return RuntimeCallEnd::Closed;
                }
            }
        }
        None => own_answer(writes, request, shared).await,
    };
    match sent {
        Ok(()) => RuntimeCallEnd::Answered,
        Err(_) => RuntimeCallEnd::Closed,
    }
}

/// Answers as a runtime does.
async fn own_answer(
    writes: &mut OwnedWriteHalf,
    request: &Arrived,
    shared: &Shared,
) -> std::io::Result<()> {
    for step in answers::steps(shared, request) {
        match step {
            Step::Write(bytes) => writes.write_all(&bytes).await?,
            Step::Wait(time) => tokio::time::sleep(time).await,
            Step::UntilReleased => shared.until(|behaviour| !behaviour.is_held).await,
            Step::UntilReleasedAfter(words) => {
                let is_free = |after: Option<usize>| after.is_none_or(|after| after > words);
                shared
                    .until(|behaviour| is_free(behaviour.held_after))
                    .await;
            }
        }
    }
    Ok(())
}

/// Reads a request, `None` at the end of the connection.
async fn read_request(reads: &mut BufReader<OwnedReadHalf>) -> Option<Arrived> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(reads.read_u8().await.ok()?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let mut lines = head.lines();
    let mut words = lines.next()?.split(' ');
    let method = words.next()?.to_owned();
    let path = words.next()?.to_owned();

    let mut headers = HeaderMap::new();
    for line in lines {
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        let name: HeaderName = name.parse().ok()?;
        headers.append(name, HeaderValue::from_str(value.trim()).ok()?);
    }
    let length = headers
        .get("content-length")
        .and_then(|length| length.to_str().ok());
    let length = length.and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reads.read_exact(&mut body).await.ok()?;
    Some(Arrived {
        method,
        path,
        headers,
        body: body.into(),
    })
}
