//! Middleboxes may cut and join messages and send pings: the bytes inside stay the same.

use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt, StreamExt};
use llamapool_tunnel::TunnelConfig;
use tokio::io::DuplexStream;
use tokio::task::JoinSet;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::harness::*;

#[test]
fn short_messages_between_pings_and_pongs_do_no_harm() {
    assert_no_harm(64 << 10, |bytes| {
        let cut = bytes.chunks(7).flat_map(|piece| {
            [
                Message::Ping(Bytes::from_static(b"are you there?")),
                Message::binary(piece.to_vec()),
                Message::Pong(Bytes::from_static(b"unasked")),
            ]
        });
        cut.collect()
    });
}

#[test]
fn pings_between_the_fragments_of_a_message_do_no_harm() {
    assert_no_harm(1 << 20, |bytes| {
        let mut messages = Vec::new();
        let pieces = bytes.chunks(1000).count();
        for (i, piece) in bytes.chunks(1000).enumerate() {
            let kind = OpCode::Data(if i == 0 { Data::Binary } else { Data::Continue });
            messages.push(Message::Frame(Frame::message(
                piece.to_vec(),
                kind,
                i + 1 == pieces,
            )));
            messages.push(Message::Ping(Bytes::new()));
        }
        messages
    });
}

#[test]
fn joined_messages_do_no_harm() {
    // The box sends at once all that it reads at once. Empty messages are allowed, too.
    assert_no_harm(4 << 20, |bytes| {
        vec![
            Message::binary(Bytes::new()),
            Message::binary(bytes.to_vec()),
        ]
    });
}

fn assert_no_harm(length: usize, reframe: fn(&[u8]) -> Vec<Message>) {
    paused(async move {
        let (server_side, near_server) = tokio::io::duplex(WIRE_BYTES);
        let (relay_side, near_relay) = tokio::io::duplex(WIRE_BYTES);
        let mut middlebox = JoinSet::new();
        middlebox.spawn(stand_between(near_server, near_relay, reframe));
        let tunnel =
            TestTunnel::over((server_side, relay_side), TunnelConfig::default(), echo).await;

        let response = tunnel.send(upload(patterned(length))).await.unwrap();

        assert_eq!(read_patterned(response.into_body()).await, length);
    });
}

async fn stand_between(
    near_server: DuplexStream,
    near_relay: DuplexStream,
    reframe: fn(&[u8]) -> Vec<Message>,
) {
    let (to_server, from_server) =
        WebSocketStream::from_raw_socket(near_server, Role::Client, None)
            .await
            .split();
    let (to_relay, from_relay) = WebSocketStream::from_raw_socket(near_relay, Role::Server, None)
        .await
        .split();
    tokio::join!(
        carry(from_server, to_relay, reframe),
        carry(from_relay, to_server, reframe)
    );
}

async fn carry(
    from: impl StreamExt<Item = Result<Message, tokio_tungstenite::tungstenite::Error>> + Unpin,
    mut to: impl SinkExt<Message> + Unpin,
    reframe: fn(&[u8]) -> Vec<Message>,
) {
    // All that is there already is taken together, up to a quarter of a mebibyte.
    let mut from = from.ready_chunks(2);
    while let Some(messages) = from.next().await {
        let mut bytes = BytesMut::new();
        for message in messages {
            if let Ok(Message::Binary(piece)) = message {
                bytes.extend_from_slice(&piece);
            }
        }
        for message in reframe(&bytes) {
            if to.send(message).await.is_err() {
                return;
            }
        }
    }
}
