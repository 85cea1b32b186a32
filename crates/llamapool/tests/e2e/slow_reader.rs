//! A caller that stops reading, measured with processes of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::StreamExt;

use crate::harness::{Pool, Provider, RawHttp, http_request, soon};

/// The provider produces little for it.
#[tokio::test]
async fn a_caller_who_stops_reading_slows_no_other() {
    const PIECE: usize = 64 << 10;
    const READ: usize = 64 << 20;
    // Far from any noise, and far less than a stall.
    const SLOWER: u32 = 5;
    // The most that fits into the kernel's buffers of three connections, and into the tunnel's.
    const BOUND: usize = 48 << 20;

    let pool = Pool::start().await;

    let made = Arc::new(AtomicUsize::new(0));
    let of_stalled = made.clone();
    let provider = Provider::answering(move |request: axum::extract::Request| {
        let counter = if request.uri().query() == Some("stalled") {
            of_stalled.clone()
        } else {
            Arc::default()
        };
        let piece = Bytes::from(vec![7; PIECE]);
        let pieces = futures_util::stream::repeat_with(move || {
            counter.fetch_add(PIECE, Ordering::Relaxed);
            Ok::<_, std::io::Error>(piece.clone())
        });
        async { Response::new(Body::from_stream(pieces)) }
    })
    .await;
    let _relay = pool.relay("slow", &provider.url).await;

    let alone = time_to_read(&pool, "slow", READ).await;
    let mut stalled = RawHttp::connect(&pool.url).await;
    stalled
        .send(http_request("POST", "/api/mcp/id/slow?stalled", "", b"{}"))
        .await;

    assert_eq!(stalled.head().await.status(), 200);

    let beside = time_to_read(&pool, "slow", READ).await;
    let made = made.load(Ordering::Relaxed);
    println!(
        "{} MiB for nobody; {} MiB read in {beside:?}, and alone in {alone:?}",
        made >> 20,
        READ >> 20
    );

    assert!(
        beside < SLOWER * alone,
        "beside a caller who reads nothing it took {beside:?}, alone {alone:?}"
    );
    assert!(
        made < BOUND,
        "{made} bytes were made for a caller who reads nothing"
    );
}

/// Measures the time to read so many bytes of an endless answer.
async fn time_to_read(pool: &Pool, id: &str, bytes: usize) -> Duration {
    let started = Instant::now();
    let answer = pool
        .http
        .post(pool.mcp(id))
        .body("{}")
        .send()
        .await
        .unwrap();
    let mut read = 0;
    let mut pieces = answer.bytes_stream();

    while read < bytes {
        read += soon("the stream goes on", pieces.next())
            .await
            .unwrap()
            .unwrap()
            .len();
    }

    started.elapsed()
}
