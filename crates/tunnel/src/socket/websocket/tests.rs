//! What a WebSocket sends, holds and refuses. That it receives what others receive is compared with
//! tungstenite.

use std::future::poll_fn;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use proptest::prelude::*;
use tokio::io::DuplexStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{CloseFrame, Frame, FrameHeader};
use tokio_tungstenite::tungstenite::protocol::{Role as PeerRole, WebSocketConfig};

use super::fuzzing::websocket_messages;
use super::header::Opcode;
use super::*;
use crate::config::READ_BYTES;
use crate::socket::CloseReason;

/// Bytes that the wire between both ends holds.
const WIRE_BYTES: usize = 1024 * 1024;

/// A WebSocket in each role, with tungstenite as its peer.
async fn ends() -> [(WebSocket, WebSocketStream<DuplexStream>); 2] {
    let roles = [
        (Role::Server, PeerRole::Client),
        (Role::Client, PeerRole::Server),
    ];
    let ends = roles.map(|(role, peer_role)| async move {
        let (io, peer) = tokio::io::duplex(WIRE_BYTES);
        let config = WebSocketConfig::default()
            .max_message_size(None)
            .max_frame_size(None);
        let peer = WebSocketStream::from_raw_socket(peer, peer_role, Some(config)).await;
        (WebSocket::new(io, role), peer)
    });
    futures_util::future::join_all(ends)
        .await
        .try_into()
        .ok()
        .unwrap()
}

async fn receive(websocket: &mut WebSocket) -> Result<Received, WebSocketError> {
    poll_fn(|cx| websocket.poll_receive(cx)).await
}

async fn flush(websocket: &mut WebSocket) {
    poll_fn(|cx| websocket.poll_ready(cx)).await.unwrap();
    poll_fn(|cx| Poll::Ready(websocket.flush(cx)))
        .await
        .unwrap();
}

fn patterned(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index % 251) as u8).collect()
}

#[tokio::test]
async fn messages_of_every_length_arrive() {
    for (mut websocket, mut peer) in ends().await {
        for length in [0, 1, 125, 126, 127, 8191, 65_535, 65_536, MAX_MESSAGE_BYTES] {
            let bytes = patterned(length);

            websocket.send(Outgoing::copy(&bytes));
            flush(&mut websocket).await;
            let arrived = peer.next().await.unwrap().unwrap();
            peer.send(arrived.clone()).await.unwrap();

            assert_eq!(arrived, Message::binary(bytes.clone()));
            let Ok(Received::Binary(echoed)) = receive(&mut websocket).await else {
                panic!("no message of {length} bytes")
            };
            assert!(echoed == bytes, "{length} bytes");
        }
    }
}

#[tokio::test]
async fn a_client_masks_and_a_server_does_not() {
    for role in [Role::Server, Role::Client] {
        let content = patterned(1000);

        let frames = [(); 2].map(|()| Outgoing::copy(&content).into_frame(Opcode::Binary, role));

        let is_plain = frames[0].ends_with(&content);
        assert_eq!(is_plain, role == Role::Server);
        assert_eq!(frames[0] == frames[1], is_plain, "each mask is another");
    }
}

#[tokio::test]
async fn the_newest_ping_is_answered() {
    for (mut websocket, mut peer) in ends().await {
        for number in 0..3_u8 {
            peer.feed(Message::Ping(vec![number].into())).await.unwrap();
        }
        SinkExt::<Message>::flush(&mut peer).await.unwrap();
        for _ in 0..3 {
            assert_eq!(receive(&mut websocket).await.unwrap(), Received::Control);
        }

        websocket.send_ping();
        flush(&mut websocket).await;

        assert_eq!(
            peer.next().await.unwrap().unwrap(),
            Message::Pong(vec![2].into())
        );
        assert_eq!(
            peer.next().await.unwrap().unwrap(),
            Message::Ping(Bytes::new())
        );
    }
}

/// A control frame waits for the frame that is being written, of which a slow peer has taken a part.
#[tokio::test]
async fn a_pong_does_not_cut_a_message() {
    let (io, peer) = tokio::io::duplex(100);
    let mut websocket = WebSocket::new(io, Role::Server);
    let mut peer = WebSocketStream::from_raw_socket(peer, PeerRole::Client, None).await;
    websocket.send(Outgoing::copy(&patterned(1000)));
    poll_fn(|cx| Poll::Ready(websocket.flush(cx)))
        .await
        .unwrap();

    peer.send(Message::Ping(Bytes::from_static(b"now?")))
        .await
        .unwrap();
    assert_eq!(receive(&mut websocket).await.unwrap(), Received::Control);

    let read = async { [peer.next().await, peer.next().await].map(|m| m.unwrap().unwrap()) };
    let (messages, ()) = tokio::join!(read, flush(&mut websocket));
    assert_eq!(
        messages,
        [
            Message::binary(patterned(1000)),
            Message::Pong(Bytes::from_static(b"now?"))
        ]
    );
}

#[tokio::test]
async fn the_reply_to_a_close_has_its_code() {
    for sent in [Some(1000), Some(4001), None] {
        for (mut websocket, mut peer) in ends().await {
            let payload = sent.map_or(Vec::new(), |code: u16| code.to_be_bytes().to_vec());
            let close = Frame::from_payload(FrameHeader::default(), payload.into());
            peer.send(Message::Frame(close)).await.unwrap();

            let code = sent.unwrap_or(NO_CODE);
            assert_eq!(
                receive(&mut websocket).await.unwrap(),
                Received::Close(code)
            );
            assert_eq!(receive(&mut websocket).await.unwrap(), Received::End);

            let reply = async {
                let reply = peer.next().await;
                drop(peer);
                reply
            };
            let (reply, ()) = tokio::join!(reply, websocket.close(CloseReason::Protocol));
            let Some(Ok(Message::Close(frame))) = reply else {
                panic!("{reply:?}")
            };
            assert_eq!(frame.map(|frame| frame.code.into()), sent);
        }
    }
}

#[test]
fn codes_that_must_not_be_sent_are_not_returned() {
    let cases = [
        (999, 1002),
        (1003, 1003),
        (1004, 1002),
        (1006, 1002),
        (1011, 1011),
        (1015, 1002),
        (3000, 3000),
        (5000, 1002),
    ];
    for (sent, replied) in cases {
        assert_eq!(
            reply_to_close(sent),
            u16::to_be_bytes(replied)[..],
            "{sent}"
        );
    }
    assert!(reply_to_close(NO_CODE).is_empty());
}

#[tokio::test]
async fn fragments_are_bounded_together() {
    for (mut websocket, mut peer) in ends().await {
        let half = patterned(MAX_MESSAGE_BYTES / 2 + 1);
        let first = Frame::message(half.clone(), OpCode::Data(Data::Binary), false);
        let second = Frame::message(half, OpCode::Data(Data::Continue), true);
        peer.feed(Message::Frame(first)).await.unwrap();
        peer.feed(Message::Frame(second)).await.unwrap();
        let send = async { drop(SinkExt::<Message>::flush(&mut peer).await) };

        let (received, ()) = tokio::join!(receive(&mut websocket), send);

        let error = received.unwrap_err().to_string();
        assert!(
            error.contains("524290 bytes, expected at most 524288"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn an_end_without_a_close_is_an_error() {
    for (mut websocket, peer) in ends().await {
        drop(peer);

        let error = receive(&mut websocket).await.unwrap_err();

        assert!(error.to_string().contains("closing handshake"), "{error}");
    }
}

#[tokio::test]
async fn a_closing_end_reads_until_the_peer_has_closed() {
    for (websocket, mut peer) in ends().await {
        let speak = async {
            peer.send(Message::binary(patterned(100_000)))
                .await
                .unwrap();
            let frame = CloseFrame {
                code: CloseCode::Normal,
                reason: "".into(),
            };
            let close = peer.next().await.unwrap().unwrap();
            assert_eq!(
                close,
                Message::Close(Some(CloseFrame {
                    code: 4001.into(),
                    ..frame
                }))
            );
            while let Some(Ok(_)) = peer.next().await {}
        };

        tokio::join!(websocket.close(CloseReason::Replaced), speak);
    }
}

/// An idle tunnel is one of thousands.
#[tokio::test]
async fn nothing_is_held_between_messages() {
    for (mut websocket, mut peer) in ends().await {
        for length in [10, 10_000, 100_000] {
            peer.send(Message::binary(patterned(length))).await.unwrap();
            receive(&mut websocket).await.unwrap();
            websocket.send(Outgoing::copy(&patterned(length)));
            flush(&mut websocket).await;

            assert!(!websocket.reader.holds_memory());
            assert!(!websocket.writer.holds_memory());
        }
    }
}

/// What was received together stays in memory together.
#[tokio::test]
async fn small_messages_are_read_in_small_pieces() {
    for (mut websocket, mut peer) in ends().await {
        for _ in 0..1000 {
            peer.feed(Message::binary(patterned(100))).await.unwrap();
        }
        SinkExt::<Message>::flush(&mut peer).await.unwrap();

        receive(&mut websocket).await.unwrap();

        assert!(websocket.reader.capacity() <= READ_BYTES);
    }
}

/// A frame of any kind: its first byte, its payload, and whether it is masked as it should be.
fn frame() -> impl Strategy<Value = (u8, Vec<u8>, bool)> {
    let usual = prop::sample::select(vec![0x82, 0x02, 0x00, 0x80, 0x81, 0x88, 0x89, 0x8a]);
    let payload = prop_oneof![
        3 => prop::collection::vec(any::<u8>(), 0..4),
        1 => prop::collection::vec(any::<u8>(), 0..300),
        1 => (8000..70_000_usize).prop_map(patterned),
    ];
    let first = prop_oneof![20 => usual, 1 => any::<u8>()];
    (first, payload, prop::bool::weighted(0.97))
}

/// Encodes the frames as a peer sends them to an end of this role.
fn encoded(frames: &[(u8, Vec<u8>, bool)], role: Role) -> Vec<u8> {
    let mut bytes = vec![u8::from(role == Role::Client)];
    for (first, payload, is_masked_well) in frames {
        let is_masked = (role == Role::Server) == *is_masked_well;
        let sender = if is_masked {
            Role::Client
        } else {
            Role::Server
        };
        let start = bytes.len();
        bytes.extend_from_slice(&Outgoing::copy(payload).into_frame(Opcode::Binary, sender));
        bytes[start] = *first;
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn messages_are_those_that_tungstenite_receives(
        frames in prop::collection::vec(frame(), 0..12),
        is_server in any::<bool>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let role = if is_server { Role::Server } else { Role::Client };
        let bytes = encoded(&frames, role);

        websocket_messages(&bytes);
        websocket_messages(&bytes[..=cut.index(bytes.len())]);
    }

    #[test]
    fn any_bytes_are_what_tungstenite_takes_them_for(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        websocket_messages(&bytes);
    }
}
