//! Transitions of a stream, without a tunnel.

use std::task::{Context, Waker};

use super::super::error::ProtocolError;
use super::*;

const WINDOW: u32 = 100;

/// Returns the state of a received request whose body goes on.
fn request() -> StreamState {
    let windows = Windows {
        send: WINDOW,
        receive: WINDOW,
        receive_max: WINDOW,
    };
    StreamState::received_request(7, false, windows)
}

fn receive(state: &mut StreamState, length: usize, is_last: bool) -> Result<(), ProtocolError> {
    let refusal = state.receive_data(Bytes::from(vec![7; length]), is_last)?;
    assert_eq!(refusal, None);
    Ok(())
}

fn read(state: &mut StreamState) -> Poll<BodyEvent> {
    state.poll_body(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn half_of_the_window_is_given_back_at_once() {
    let mut state = request();
    receive(&mut state, 49, false).unwrap();
    receive(&mut state, 1, false).unwrap();

    let _ = read(&mut state);
    let after_49 = state.release_window();
    let _ = read(&mut state);
    let after_50 = state.release_window();

    assert_eq!(after_49, None);
    let update = Frame::WindowUpdate {
        stream: 7,
        bytes: 50,
    };
    assert_eq!(after_50, Some(update));
    assert_eq!(state.release_window(), None);
}

#[test]
fn a_body_that_has_ended_gives_no_window_back() {
    let mut state = request();
    receive(&mut state, 100, true).unwrap();

    let _ = read(&mut state);

    assert_eq!(state.release_window(), None);
    assert!(state.has_read_all());
}

#[test]
fn unread_bytes_count_against_the_window() {
    let mut state = request();
    receive(&mut state, 60, false).unwrap();

    assert_eq!(
        receive(&mut state, 41, false),
        Err(ProtocolError::WindowExceeded(7))
    );
}

#[test]
fn a_stopped_body_is_discarded_until_its_end() {
    let mut state = request();

    assert_eq!(
        state.stop_receiving(),
        Some(Frame::StopSending { stream: 7 })
    );
    assert_eq!(state.stop_receiving(), None, "it is announced once");
    for _ in 0..3 {
        receive(&mut state, 60, false).unwrap();
    }
    receive(&mut state, 60, true).unwrap();

    assert!(matches!(read(&mut state), Poll::Ready(BodyEvent::End)));
    assert_eq!(
        receive(&mut state, 1, false),
        Err(ProtocolError::BodyBehindEnd(7))
    );
}

#[test]
fn received_bytes_are_read_before_the_error() {
    let mut state = request();
    receive(&mut state, 5, false).unwrap();
    state.fail(StreamError::TunnelLost("gone".into()));

    let first = read(&mut state);
    let second = read(&mut state);

    assert!(matches!(first, Poll::Ready(BodyEvent::Data(data)) if data.len() == 5));
    assert!(matches!(
        second,
        Poll::Ready(BodyEvent::Failed(StreamError::TunnelLost(_)))
    ));
}

#[test]
fn a_stream_is_finished_once_when_both_bodies_are_over() {
    let mut state = request();
    receive(&mut state, 0, true).unwrap();
    assert!(state.take_finished().is_none(), "the response is missing");

    state.encode_start(&mut BytesMut::new(), |_| {}, None, true);

    assert!(matches!(state.take_finished(), Some((7, _))));
    assert!(state.take_finished().is_none());
}

#[test]
fn a_cancel_is_sent_once_and_the_first_reason_counts() {
    let mut state = request();

    let first = state.cancel(CancelReason::GivenUp);
    let second = state.cancel(CancelReason::CallerLeft);

    let frame = Frame::Cancel {
        stream: 7,
        reason: CancelReason::GivenUp,
    };
    assert_eq!(first, Some(frame));
    assert_eq!(second, None);
    assert!(matches!(
        state.error(),
        Some(StreamError::Cancelled(CancelReason::GivenUp))
    ));
}

#[test]
fn nothing_is_sent_for_a_stream_that_is_over() {
    let mut state = request();
    receive(&mut state, 0, true).unwrap();
    state.encode_start(&mut BytesMut::new(), |_| {}, None, true);

    assert_eq!(state.cancel(CancelReason::CallerLeft), None);
    assert_eq!(state.stop_receiving(), None);
    assert_eq!(state.abort(), None);
}

#[test]
fn a_body_that_the_peer_has_stopped_is_not_aborted() {
    let mut state = request();

    state.receive_stop_sending();

    assert!(!state.is_sending());
    assert_eq!(state.abort(), None);
}

#[test]
fn a_reader_that_takes_nothing_is_given_up_after_some_looks() {
    let mut state = request();
    receive(&mut state, 5, false).unwrap();
    receive(&mut state, 5, false).unwrap();
    assert_eq!(state.look_at_reader(2), None);
    assert_eq!(state.look_at_reader(2), None);
    let _ = read(&mut state);
    receive(&mut state, 5, true).unwrap();

    let looks = [(); 4].map(|()| state.look_at_reader(2));

    let frame = Frame::Cancel {
        stream: 7,
        reason: CancelReason::GivenUp,
    };
    assert_eq!(looks, [None, None, Some(frame), None]);
    assert!(matches!(
        read(&mut state),
        Poll::Ready(BodyEvent::Failed(StreamError::ReaderStalled))
    ));
    assert!(!state.has_read_all(), "an end would be invented");
}

#[test]
fn a_reader_with_nothing_to_take_is_waited_for() {
    let mut state = request();
    receive(&mut state, 5, false).unwrap();
    let _ = read(&mut state);

    let looks = [(); 9].map(|()| state.look_at_reader(2));

    assert!(looks.iter().all(Option::is_none));
    assert!(state.error().is_none());
}
