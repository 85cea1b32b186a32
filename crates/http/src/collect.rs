//! Collects a whole body, within a bound and within the memory of the process.

use std::pin::pin;

use bytes::Bytes;
use http_body::Body;
use llamapool_limits::{MemoryAccount, ShareError};

use crate::counted_memory::CountedMemory;

/// A body was not collected.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// It has more bytes than the bound.
    #[error("the body has more than {0} bytes")]
    TooLarge(usize),
    /// There is no memory for it.
    #[error("there is no memory for the body: {0}")]
    OutOfMemory(#[from] ShareError),
    /// It broke off.
    #[error("the body broke off")]
    Broken,
}

/// Collects a body of at most `max_bytes`. Each byte is counted in `memory` before it is kept, and
/// until the last part of the result is dropped.
pub async fn collect<B>(
    body: B,
    max_bytes: usize,
    memory: &MemoryAccount,
) -> Result<Bytes, CollectError>
where
    B: Body<Data = Bytes>,
{
    let mut body = pin!(body);
    let mut memory = CountedMemory::new(memory);
    let mut first = Bytes::new();
    let mut data = Vec::new();

    while let Some(frame) = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        let frame = frame.map_err(|_| CollectError::Broken)?;
        let Ok(piece) = frame.into_data() else {
            continue;
        };
        let length = first.len() + data.len() + piece.len();
        if length > max_bytes {
            return Err(CollectError::TooLarge(max_bytes));
        }

        // Most bodies are one piece, which needs no copy.
        if length == piece.len() {
            memory.cover(length)?;
            first = piece;
            continue;
        }
        if data.capacity() < length {
            // Doubled, so that a long body is not copied again and again.
            let capacity = length.max((2 * data.capacity()).min(max_bytes));
            memory.cover(capacity)?;
            data.reserve_exact(capacity - data.len());
        }
        data.extend_from_slice(&std::mem::take(&mut first));
        data.extend_from_slice(&piece);
    }

    if first.is_empty() {
        let held = data.capacity();
        Ok(memory.seal(data.into(), held))
    } else {
        let held = first.len();
        Ok(memory.seal(first, held))
    }
}

#[cfg(test)]
mod tests {
    use http_body::Frame;
    use http_body_util::StreamBody;
    use llamapool_limits::{Claim, MemoryBudget, Owner};

    use super::*;

    fn account(bytes: usize) -> MemoryAccount {
        let claims = ["caller", "address", "id"].map(|name| Claim {
            owner: Owner::of(&name),
            factor: usize::MAX,
        });
        MemoryBudget::new(bytes).account(claims)
    }

    fn body_of(pieces: usize, bytes: usize) -> impl Body<Data = Bytes, Error = std::io::Error> {
        let pieces = (0..pieces).map(move |_| Ok(Frame::data(Bytes::from(vec![7; bytes]))));
        StreamBody::new(futures_util::stream::iter(pieces))
    }

    #[tokio::test]
    async fn a_body_is_counted_until_its_last_part_is_dropped() {
        let account = account(1 << 20);

        let whole = collect(body_of(10, 10_000), 100_000, &account)
            .await
            .unwrap();
        let part = whole.slice(..10);

        assert_eq!(whole, vec![7; 100_000]);
        assert!((100_000..200_000).contains(&account.budget().used()));

        drop(whole);

        assert!(account.budget().used() > 0, "a part holds all of it");

        drop(part);

        assert_eq!(account.budget().used(), 0);
    }

    #[tokio::test]
    async fn a_body_without_memory_is_refused_before_it_is_held() {
        let account = account(100_000);

        let refused = collect(body_of(1000, 10_000), usize::MAX, &account).await;

        assert!(matches!(
            refused,
            Err(CollectError::OutOfMemory(ShareError::Full))
        ));
        assert_eq!(account.budget().used(), 0);
    }

    #[tokio::test]
    async fn small_bodies_cost_no_count_and_large_ones_are_refused() {
        let account = account(0);

        assert_eq!(
            collect(body_of(1, 100), 100, &account).await.unwrap().len(),
            100
        );
        assert_eq!(
            collect(body_of(2, 50), 100, &account).await.unwrap().len(),
            100
        );
        assert!(
            collect(body_of(0, 50), 100, &account)
                .await
                .unwrap()
                .is_empty()
        );
        assert!(matches!(
            collect(body_of(3, 50), 100, &account).await,
            Err(CollectError::TooLarge(100))
        ));
    }
}
