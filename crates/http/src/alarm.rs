//! A timer that is used for one wait after the other.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::time::{Instant, Sleep};

/// A timer for deadlines that are hardly ever reached, as most waits end before. It stays set from one
/// wait to the next, and is set anew when it goes off too early: a timer of its own for each wait would
/// cost more than all else that the wait does.
#[derive(Debug, Default)]
pub struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Waits until a deadline has passed.
    pub fn poll(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let sleep = self
            .0
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if deadline < sleep.deadline() {
            sleep.as_mut().reset(deadline);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if sleep.deadline() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_deadline_is_reached_in_its_time() {
        let mut alarm = Alarm::default();
        let started = Instant::now();

        for (waits, seconds) in [(10, 10), (5, 15), (60, 75), (1, 76)] {
            let deadline = Instant::now() + Duration::from_secs(waits);
            poll_fn(|cx| alarm.poll(cx, deadline)).await;
            assert_eq!(started.elapsed().as_secs(), seconds);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_that_ended_before_leaves_no_trace() {
        let mut alarm = Alarm::default();
        let started = Instant::now();
        let left = started + Duration::from_secs(10);
        let waiting = poll_fn(|cx| alarm.poll(cx, left));
        let none = tokio::time::timeout(Duration::from_secs(1), waiting).await;
        assert!(none.is_err());

        let later = started + Duration::from_secs(30);
        poll_fn(|cx| alarm.poll(cx, later)).await;

        assert_eq!(started.elapsed().as_secs(), 30);
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_before_the_one_that_is_set_is_reached() {
        let mut alarm = Alarm::default();
        let started = Instant::now();
        let later = started + Duration::from_secs(30);
        let waiting = poll_fn(|cx| alarm.poll(cx, later));
        let none = tokio::time::timeout(Duration::from_secs(1), waiting).await;
        assert!(none.is_err());

        let sooner = started + Duration::from_secs(5);
        poll_fn(|cx| alarm.poll(cx, sooner)).await;

        assert_eq!(started.elapsed().as_secs(), 5);
    }
}
