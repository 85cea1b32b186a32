//! An answer of any type, passed on as it comes.

use bytes::Bytes;
use futures_util::stream;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use llamapool_http::BoxError;
use llamapool_wire::llm::CallEnd;

use super::meter::CallMeter;
use super::patience::Patience;
use crate::providers::pool::ProviderBody;
use crate::response_body::ResponseBody;

/// The body of an answer of any type.
pub(super) struct PassedBody {
    body: ProviderBody,
    patience: Patience,
    meter: CallMeter,
    is_over: bool,
}

impl PassedBody {
    /// A body whose pieces are waited for, with the meter of its call.
    pub(super) fn new(body: ProviderBody, patience: Patience, meter: CallMeter) -> Self {
        Self {
            body,
            patience,
            meter,
            is_over: false,
        }
    }

    /// Returns the body of the response.
    pub(super) fn into_body(self) -> ResponseBody {
        let pieces = stream::unfold(Box::new(self), |mut body| async move {
            let piece = body.next_piece().await?;
            Some((piece.map(Frame::data), body))
        });
        StreamBody::new(pieces).boxed_unsync()
    }

    async fn next_piece(&mut self) -> Option<Result<Bytes, BoxError>> {
        if self.is_over {
            return None;
        }
        loop {
            let error = match self.patience.wait(self.body.frame()).await {
                Ok(Some(Ok(frame))) => {
                    self.patience.prolong();
                    match frame.into_data() {
                        Ok(piece) => return Some(Ok(piece)),
                        Err(_) => continue,
                    }
                }
                Ok(None) => {
                    self.meter.end(CallEnd::Complete);
                    return None;
                }
                Ok(Some(Err(error))) => error.into(),
                Err(error) => error.log_message().into(),
            };
            self.is_over = true;
            self.meter.end(CallEnd::Failed);
            return Some(Err(error));
        }
    }
}
