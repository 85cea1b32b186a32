//! What a process that ends waits for, counted down in one line.

use std::time::Duration;

use tokio::time::Instant;

use super::Screen;

/// The time before it is shown: most calls are over by then.
const MOMENT: Duration = Duration::from_millis(300);
/// The interval at which the line is rewritten.
const SECOND: Duration = Duration::from_secs(1);

/// Shows what is waited for, until this is dropped. `running` returns the number of running calls, and
/// for how many of them a client only listens. `patience` is the longest wait.
pub(crate) async fn show(
    screen: &Screen,
    running: impl Fn() -> (usize, usize),
    patience: Duration,
) {
    let end = Instant::now() + patience;
    tokio::time::sleep(MOMENT).await;
    loop {
        let (calls, listening) = running();
        let left = end.saturating_duration_since(Instant::now());
        screen.progress(&line(calls, listening, left));
        tokio::time::sleep(SECOND).await;
    }
}

/// Returns the line; empty if nothing is waited for.
fn line(calls: usize, listening: usize, left: Duration) -> String {
    let word = if calls == 1 { "call" } else { "calls" };
    let streams = match listening {
        0 => String::new(),
        _ if listening >= calls => ", on which clients only listen: ended after 2 s".to_owned(),
        listening => format!(", {listening} of them on which clients only listen"),
    };
    match calls {
        0 => String::new(),
        calls => format!(
            "finishing {calls} {word}{streams}; {} s left; Ctrl-C again ends now",
            left.as_secs()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_what_is_waited_for_and_how_long() {
        let seconds = Duration::from_secs(58);

        assert_eq!(line(0, 0, seconds), "");
        assert_eq!(
            line(1, 0, seconds),
            "finishing 1 call; 58 s left; Ctrl-C again ends now"
        );
        assert_eq!(
            line(2, 2, seconds),
            "finishing 2 calls, on which clients only listen: ended after 2 s; 58 s left; \
             Ctrl-C again ends now"
        );
        assert!(line(3, 1, seconds).contains("3 calls, 1 of them on which"));
    }
}
