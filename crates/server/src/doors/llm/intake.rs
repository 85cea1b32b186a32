//! Takes the body of a request whole: `model` may stand behind megabytes of images, and a call that
//! waits must not hold a connection that is half read.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use llamapool_dialect::LlmErrorKind;
use llamapool_http::{CollectError, LimitedBody, RequestPace, UNCOUNTED_BYTES, collect, linger};
use llamapool_limits::MemoryAccount;

use super::content_coding::ContentCoding;
use super::context::LlmDoor;
use super::error::LlmError;

/// The time for a whole body, however steadily it arrives.
const TOTAL_TIMEOUT: Duration = Duration::from_secs(600);
/// Bodies above this many bytes are decoded on a thread that may block.
const BLOCKING_BYTES: usize = 1 << 20;

/// Takes the body of a request, and decodes it. Its bytes are counted as long as they live.
pub(super) async fn take(
    door: &LlmDoor,
    headers: &HeaderMap,
    body: Body,
    memory: &MemoryAccount,
) -> Result<Bytes, LlmError> {
    let max_bytes = door.bounds.max_request_bytes;
    let coding = match check_head(headers, max_bytes, memory) {
        Ok(coding) => coding,
        Err(error) => {
            // A caller that asks before it sends has sent nothing.
            if !headers.contains_key(header::EXPECT) {
                linger(body).await;
            }
            return Err(error);
        }
    };

    let body = collected(door, body, memory).await?;
    if coding == ContentCoding::Identity {
        return Ok(body);
    }
    decoded(coding, body, max_bytes, memory).await
}

/// Returns the coding of the body, or what is wrong with it before it is read.
fn check_head(
    headers: &HeaderMap,
    max_bytes: u64,
    memory: &MemoryAccount,
) -> Result<ContentCoding, LlmError> {
    let coding = ContentCoding::of(headers)?;
    let declared = declared_length(headers);
    if declared.is_some_and(|declared| declared > max_bytes) {
        return Err(LlmError::too_large(max_bytes));
    }
    check_memory(declared, memory)?;
    Ok(coding)
}

/// Fails where a body of this length would find no memory, before it is read.
fn check_memory(declared: Option<u64>, memory: &MemoryAccount) -> Result<(), LlmError> {
    let declared = declared.and_then(|declared| usize::try_from(declared).ok());
    match declared.filter(|&declared| declared > UNCOUNTED_BYTES) {
        Some(declared) => memory.take(declared).map(drop).map_err(LlmError::no_memory),
        None => Ok(()),
    }
}

async fn collected(door: &LlmDoor, body: Body, memory: &MemoryAccount) -> Result<Bytes, LlmError> {
    let max_bytes = door.bounds.max_request_bytes;
    let idle = door.config.body_timeout;
    let pace = RequestPace {
        idle: (!idle.is_zero()).then_some(idle),
        min_rate: 0,
    };
    let (body, meter) = LimitedBody::new(body, max_bytes, pace);

    let most = usize::try_from(max_bytes).unwrap_or(usize::MAX);
    let collecting = collect(body, most, memory);
    let Ok(collected) = tokio::time::timeout(TOTAL_TIMEOUT, collecting).await else {
        let message = format!("the request body did not arrive within {TOTAL_TIMEOUT:?}");
        return Err(LlmError::new(LlmErrorKind::RequestBroken, message));
    };
    collected.map_err(|error| match error {
        CollectError::OutOfMemory(error) => LlmError::no_memory(error),
        _ if meter.has_exceeded() => LlmError::too_large(max_bytes),
        CollectError::TooLarge(_) => LlmError::too_large(max_bytes),
        CollectError::Broken if meter.is_too_slow() => LlmError::new(
            LlmErrorKind::RequestBroken,
            format!("nothing of the request body arrived for {idle:?}, see LLM_BODY_TIMEOUT"),
        ),
        CollectError::Broken => LlmError::new(
            LlmErrorKind::RequestBroken,
            "the request's body broke off, or its framing is not that of HTTP",
        ),
    })
}

async fn decoded(
    coding: ContentCoding,
    body: Bytes,
    max_bytes: u64,
    memory: &MemoryAccount,
) -> Result<Bytes, LlmError> {
    let most = usize::try_from(max_bytes).unwrap_or(usize::MAX);
    if body.len() < BLOCKING_BYTES {
        return Ok(coding.decode(body, most, memory)?);
    }
    let memory = memory.clone();
    let decoding = tokio::task::spawn_blocking(move || coding.decode(body, most, &memory));
    match decoding.await {
        Ok(decoded) => Ok(decoded?),
        Err(error) => Err(LlmError::new(
            LlmErrorKind::InvalidRequest,
            "the body cannot be decoded",
        )
        .because(error)),
    }
}

fn declared_length(headers: &HeaderMap) -> Option<u64> {
    let length = headers.get(header::CONTENT_LENGTH)?;
    length.to_str().ok()?.parse().ok()
}
