//! An end survives any bytes of a peer: it ends, and neither panics nor hangs nor harms other ends.

use std::sync::{Arc, LazyLock};

use futures_util::future::join_all;
use llamapool_tunnel::{TunnelConfig, TunnelEnd, serve_relay_end};
use parking_lot::Mutex;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};
use tokio::task::JoinSet;

use crate::harness::*;

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn random_bytes_end_both_ends(
        bytes in proptest::collection::vec(any::<u8>(), 0..2000),
    ) {
        both_ends_end(&bytes, &bytes);
    }

    #[test]
    fn random_bytes_in_a_valid_message_end_both_ends(
        bytes in proptest::collection::vec(any::<u8>(), 0..2000),
    ) {
        both_ends_end(&message_of_relay(&bytes), &message_of_server(&bytes));
    }

    #[test]
    fn random_bytes_after_a_valid_start_end_both_ends(
        bytes in proptest::collection::vec(any::<u8>(), 0..2000),
    ) {
        let (to_server, to_relay) = &*RECORDED;
        let to_server = [to_server, &message_of_relay(&bytes)[..]].concat();
        both_ends_end(&to_server, &[to_relay, &message_of_server(&bytes)[..]].concat());
    }

    #[test]
    fn websocket_frames_in_any_order_end_both_ends(
        frames in proptest::collection::vec(websocket_frame(), 0..20),
    ) {
        let masked: Vec<u8> = frames.iter().flat_map(|frame| frame.of_relay()).collect();
        let plain: Vec<u8> = frames.iter().flat_map(|frame| frame.of_server()).collect();
        both_ends_end(&masked, &plain);
    }

    #[test]
    fn frames_in_any_order_end_both_ends(
        frames in proptest::collection::vec(frame(), 0..20),
    ) {
        let (to_server, to_relay) = &*RECORDED;
        let to_server = [to_server, &message_of_relay(&frames.concat())[..]].concat();
        both_ends_end(&to_server, &[to_relay, &message_of_server(&frames.concat())[..]].concat());
        let frames = [HELLO, &frames.concat()].concat();
        both_ends_end(&message_of_relay(&frames), &message_of_server(&frames));
    }

    #[test]
    fn a_changed_recording_ends_both_ends(
        changes in proptest::collection::vec(change(), 1..8),
    ) {
        let (to_server, to_relay) = &*RECORDED;
        both_ends_end(&changed(to_server, &changes), &changed(to_relay, &changes));
    }
}

#[test]
fn the_recording_itself_is_a_good_exchange() {
    let (to_server, to_relay) = &*RECORDED;
    let (server, relay) = both_ends_end(to_server, to_relay);
    assert_eq!(server.1, 3, "the recorded answers arrive");
    // Nothing is wrong with it but its sudden end.
    assert!(
        matches!(&server.0, TunnelEnd::Broken(reason) if reason.contains("closing handshake")),
        "{:?}",
        server.0
    );
    assert!(
        matches!(&relay, TunnelEnd::Broken(reason) if reason.contains("closing handshake")),
        "{relay:?}"
    );
}

/// A mutation of recorded bytes.
#[derive(Debug, Clone)]
enum Change {
    Flip(u8),
    Insert(u8),
    Remove(usize),
    Repeat(usize),
    CutOff,
}

fn change() -> impl Strategy<Value = (prop::sample::Index, Change)> {
    let change = prop_oneof![
        8 => (1..=255_u8).prop_map(Change::Flip),
        2 => any::<u8>().prop_map(Change::Insert),
        2 => (1..100_usize).prop_map(Change::Remove),
        2 => (1..100_usize).prop_map(Change::Repeat),
        1 => Just(Change::CutOff),
    ];
    (any::<prop::sample::Index>(), change)
}

fn changed(recording: &[u8], changes: &[(prop::sample::Index, Change)]) -> Vec<u8> {
    let mut bytes = recording.to_vec();
    for (index, change) in changes {
        if bytes.is_empty() {
            break;
        }
        let at = index.index(bytes.len());
        let until = |length: &usize| (at + length).min(bytes.len());
        match change {
            Change::Flip(mask) => bytes[at] ^= mask,
            Change::Insert(byte) => bytes.insert(at, *byte),
            Change::Remove(length) => drop(bytes.drain(at..until(length))),
            Change::Repeat(length) => {
                let again = bytes[at..until(length)].to_vec();
                bytes.splice(at..at, again);
            }
            Change::CutOff => bytes.truncate(at),
        }
    }
    bytes
}

/// A WebSocket frame of any kind: its first byte (RFC 6455, 5.2) and its payload.
#[derive(Debug, Clone)]
struct WebSocketFrame {
    first: u8,
    payload: Vec<u8>,
}

impl WebSocketFrame {
    fn of_server(&self) -> Vec<u8> {
        let length = u16::try_from(self.payload.len()).expect("a short frame");
        let header = match u8::try_from(length) {
            Ok(length @ 0..=125) => vec![self.first, length],
            _ => [&[self.first, 126], &length.to_be_bytes()[..]].concat(),
        };
        [header, self.payload.clone()].concat()
    }

    /// The same, masked with zeros.
    fn of_relay(&self) -> Vec<u8> {
        let mut frame = self.of_server();
        frame[1] |= 0x80;
        let header = frame.len() - self.payload.len();
        frame.splice(header..header, [0; 4]);
        frame
    }
}

fn websocket_frame() -> impl Strategy<Value = WebSocketFrame> {
    let usual = prop::sample::select(vec![0x82, 0x02, 0x00, 0x80, 0x88, 0x89, 0x8a]);
    let first = prop_oneof![9 => usual, 1 => any::<u8>()];
    let payload = prop_oneof![
        3 => proptest::collection::vec(any::<u8>(), 0..4),
        1 => proptest::collection::vec(any::<u8>(), 0..300),
    ];
    (first, payload).prop_map(|(first, payload)| WebSocketFrame { first, payload })
}

/// Encodes a binary message of the server.
fn message_of_server(bytes: &[u8]) -> Vec<u8> {
    WebSocketFrame {
        first: 0x82,
        payload: bytes.to_vec(),
    }
    .of_server()
}

/// Encodes a binary message of the relay.
fn message_of_relay(bytes: &[u8]) -> Vec<u8> {
    WebSocketFrame {
        first: 0x82,
        payload: bytes.to_vec(),
    }
    .of_relay()
}

/// The hello of an end that takes 256 bytes of each body, 9 streams, and heads below 64 KiB.
const HELLO: &[u8] = b"\x01\0\0\0\0\0\0\0\x0d\x01\0\0\x01\0\0\0\0\x09\0\x01\0\0";

/// How many bytes it has in a message of the relay's.
const HELLO_OF_RELAY: usize = 2 + 4 + HELLO.len();

/// A frame: one that could stand in a call, or any other.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    const ENDS: u8 = 0x80;
    const USUAL: [(u8, &[u8]); 15] = [
        // Heads: a response with 200, and a request for `/` with a field, both with and without an
        // end.
        (2, b"\0\xc8"),
        (2 | ENDS, b"\0\xc8"),
        (2, b"\0\x04POST\0\0\0\x01/\0\x01\0\0\0\x01xy"),
        (2 | ENDS, b"\0\x04POST\0\0\0\x01/\0\x01\0\0\0\x01xy"),
        (2, b"nonsense"),
        // Data, empty and not, with and without an end.
        (3, b"data"),
        (3 | ENDS, b"data"),
        (3, b""),
        (3 | ENDS, b""),
        // The ends of a body and of a stream, room for more, and a drain.
        (4, b""),
        (5, b""),
        (6, b"\x01"),
        (7, b"\0\0\x01\0"),
        (7, b"\xff\xff\xff\xff"),
        (8, b""),
    ];
    let usual = (prop::sample::select(USUAL.to_vec()), 1..6_u8);
    let any_other = (
        any::<u8>(),
        0..12_u8,
        proptest::collection::vec(any::<u8>(), 0..100),
    );
    prop_oneof![
        9 => usual.prop_map(|((kind, content), stream)| framed(kind, stream, content)),
        1 => any_other.prop_map(|(kind, stream, content)| framed(kind, stream, &content)),
    ]
}

fn framed(kind: u8, stream: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).expect("a short frame");
    [&[kind, 0, 0, 0, stream, 0, 0, 0, length], content].concat()
}

/// Plays the bytes to a server's end with open calls, and to a relay's end that echoes. Both must
/// come to their end.
fn both_ends_end(to_server: &[u8], to_relay: &[u8]) -> ((TunnelEnd, usize), TunnelEnd) {
    let ends = Arc::new(Mutex::new(None));
    let result = ends.clone();
    paused(async {
        let server = async {
            let (server_side, peer) = tokio::io::duplex(WIRE_BYTES);
            let (server, mut driver) = open(server_side, TunnelConfig::default()).await;
            let play = async {
                // The calls are on the wire before their recorded responses come, and they wait for
                // the hello.
                let (hello, responses) = to_server.split_at(to_server.len().min(HELLO_OF_RELAY));
                let mut peer = peer;
                peer.write_all(hello).await.unwrap();
                until_idle().await;
                write_and_hang_up(peer, responses).await;
            };
            let (answered, ()) = tokio::join!(exchange(&server), play);
            (
                driver
                    .join_next()
                    .await
                    .unwrap()
                    .expect("the server's end does not panic"),
                answered,
            )
        };
        let relay = async {
            let (relay_side, peer) = tokio::io::duplex(WIRE_BYTES);
            let relay = serve_relay_end(
                relay_side,
                TunnelConfig::default(),
                echo,
                std::future::pending(),
            );
            tokio::join!(relay, write_and_hang_up(peer, to_relay)).0
        };
        *ends.lock() = Some(tokio::join!(server, relay));
    });
    result.lock().take().expect("both have ended")
}

/// Sends the recorded calls all at once, and returns how many of them are answered.
async fn exchange(server: &llamapool_tunnel::ServerEnd) -> usize {
    let calls = [get(), post("hello"), upload(patterned(3000))].map(|request| async {
        let response = server.send(request).await.ok()?;

        read(response.into_body()).await.ok()
    });
    join_all(calls).await.into_iter().flatten().count()
}

/// The bytes of a real exchange, to the server's end and to the relay's end.
static RECORDED: LazyLock<(Vec<u8>, Vec<u8>)> = LazyLock::new(|| {
    let recorded = Arc::new((Mutex::new(Vec::new()), Mutex::new(Vec::new())));
    let tape = recorded.clone();
    paused(async move {
        let (server_side, near_server) = tokio::io::duplex(WIRE_BYTES);
        let (relay_side, near_relay) = tokio::io::duplex(WIRE_BYTES);
        let (from_server, to_server) = tokio::io::split(near_server);
        let (from_relay, to_relay) = tokio::io::split(near_relay);
        let mut recorder = JoinSet::new();
        recorder.spawn(async move {
            tokio::join!(
                copy(from_relay, to_server, &tape.0),
                copy(from_server, to_relay, &tape.1)
            );
        });

        let tunnel =
            TestTunnel::over((server_side, relay_side), TunnelConfig::default(), echo).await;

        assert_eq!(exchange(&tunnel.server).await, 3);
    });
    let (to_server, to_relay) = &*recorded;
    (to_server.lock().clone(), to_relay.lock().clone())
});

async fn copy(
    mut from: ReadHalf<DuplexStream>,
    mut to: WriteHalf<DuplexStream>,
    tape: &Mutex<Vec<u8>>,
) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        tape.lock().extend_from_slice(&buffer[..length]);
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
