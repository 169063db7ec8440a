//! The clock, and timers that are moved instead of made anew.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::time::Sleep;

/// The time by the clock of the runtime, which tests can stop and step; outside of a runtime the system's.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// One timer that is moved instead of made anew: it is armed for the earliest deadline that was ever asked for and
/// re-armed when it fires early.
#[derive(Debug, Default)]
pub(crate) struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Ready when `deadline` has passed.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, deadline: Option<Instant>) -> Poll<()> {
        let Some(deadline) = deadline else { return Poll::Pending };
        let deadline = tokio::time::Instant::from_std(deadline);
        let sleep = self.0.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if sleep.is_elapsed() || sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if tokio::time::Instant::now() >= deadline {
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

    const SECOND: Duration = Duration::from_secs(1);

    /// Waits for the alarm and says how long that took.
    async fn rings(alarm: &mut Alarm, deadline: Instant) -> Duration {
        let start = now();
        poll_fn(|cx| alarm.poll(cx, Some(deadline))).await;
        now() - start
    }

    /// Polls once.
    async fn look(alarm: &mut Alarm, deadline: Option<Instant>) -> bool {
        poll_fn(|cx| Poll::Ready(alarm.poll(cx, deadline).is_ready())).await
    }

    #[tokio::test(start_paused = true)]
    async fn rings_at_its_deadline() {
        let mut alarm = Alarm::default();
        assert_eq!(rings(&mut alarm, now() + 3 * SECOND).await.as_secs(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn never_rings_without_a_deadline() {
        let mut alarm = Alarm::default();
        assert!(!look(&mut alarm, None).await);
        tokio::time::advance(1000 * SECOND).await;
        assert!(!look(&mut alarm, None).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_later_deadline_rings_later() {
        let mut alarm = Alarm::default();
        assert!(!look(&mut alarm, Some(now() + SECOND)).await);
        assert_eq!(rings(&mut alarm, now() + 5 * SECOND).await.as_secs(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn an_earlier_deadline_rings_earlier() {
        let mut alarm = Alarm::default();
        assert!(!look(&mut alarm, Some(now() + 5 * SECOND)).await);
        assert_eq!(rings(&mut alarm, now() + SECOND).await.as_secs(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn can_be_used_again() {
        let mut alarm = Alarm::default();
        for _ in 0..3 {
            assert_eq!(rings(&mut alarm, now() + 2 * SECOND).await.as_secs(), 2);
        }
    }
}
