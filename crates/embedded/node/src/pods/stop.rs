//! How containers are told to end, and how much time they have.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// `None`: run. `Some(grace)`: end within `grace`.
pub(crate) type Stop = Option<Duration>;

/// Waits until the container has to stop; a vanished owner counts.
pub(crate) async fn stopped(stop: &mut watch::Receiver<Stop>) {
    let _ = stop.wait_for(Option::is_some).await;
}

/// When a container has to have ended: its grace from the moment it was told to, or sooner if a later request
/// leaves less.
pub(crate) struct Deadline {
    at: Instant,
    stop: watch::Receiver<Stop>,
}

impl Deadline {
    pub(crate) fn new(grace: Duration, mut stop: watch::Receiver<Stop>) -> Deadline {
        let asked = *stop.borrow_and_update();
        Deadline { at: Instant::now() + asked.map_or(grace, |asked| asked.min(grace)), stop }
    }

    /// Waits for it.
    pub(crate) async fn passed(&mut self) {
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(self.at) => return,
                changed = self.stop.changed() => {
                    // Nobody waits for the container any more when the owner has vanished.
                    let grace = if changed.is_ok() { *self.stop.borrow_and_update() } else { Some(Duration::ZERO) };
                    if let Some(grace) = grace {
                        self.at = self.at.min(Instant::now() + grace);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(600);
    const SHORT: Duration = Duration::from_secs(2);

    /// How long a deadline is waited for when after ten seconds `then` happens to the stop signal.
    async fn waited(then: impl FnOnce(watch::Sender<Stop>) -> Option<watch::Sender<Stop>>) -> Duration {
        let (sender, stop) = watch::channel(Some(LONG));
        let began = Instant::now();
        let mut deadline = Deadline::new(LONG, stop);
        let change = async {
            tokio::time::sleep(Duration::from_secs(10)).await;
            let kept = then(sender);
            std::future::pending::<()>().await;
            drop(kept);
        };
        tokio::select! {
            () = deadline.passed() => began.elapsed(),
            () = change => unreachable!(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_container_has_its_grace() {
        assert_eq!(waited(Some).await, LONG);
    }

    #[tokio::test(start_paused = true)]
    async fn a_later_shorter_grace_counts_from_when_it_comes() {
        let shorter = waited(|stop| {
            stop.send_replace(Some(SHORT));
            Some(stop)
        });
        assert_eq!(shorter.await, Duration::from_secs(10) + SHORT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_later_longer_grace_changes_nothing() {
        let longer = waited(|stop| {
            stop.send_replace(Some(LONG * 2));
            Some(stop)
        });
        assert_eq!(longer.await, LONG);
    }

    #[tokio::test(start_paused = true)]
    async fn a_vanished_owner_ends_the_wait() {
        assert_eq!(waited(|_| None).await, Duration::from_secs(10));
    }
}
