//! When the next stream is opened after one has ended.

use std::time::Duration;

use crate::backoff::Backoff;

/// Wait before the second attempt; doubles up to [`CAP`].
const BASE: Duration = Duration::from_millis(200);
/// Longest wait between attempts at a control plane that is there and does not want this proxy.
const CAP: Duration = Duration::from_secs(15);
/// Longest wait while nobody answers at the address, or says to come back: a restart is over in seconds, and asking costs a
/// refused connection.
const AWAY_CAP: Duration = Duration::from_secs(1);
/// The first attempt after a good stream comes at once, but for as much that a thousand proxies do not come in one moment.
const FIRST: Duration = Duration::from_millis(50);
/// A stream that lived this long was a good one.
const GOOD_STREAM: Duration = Duration::from_secs(10);

/// The waits between streams.
#[derive(Debug)]
pub(super) struct Reconnect(Backoff);

impl Reconnect {
    pub(super) fn new() -> Self {
        Self(Backoff::new(BASE, CAP))
    }

    /// The wait after a stream that lived so long; `away`: there is nobody, for now.
    pub(super) fn wait(&mut self, lived: Duration, away: bool) -> Duration {
        if lived >= GOOD_STREAM {
            self.0.reset();
            return FIRST.mul_f64(fastrand::f64());
        }
        self.0.next_wait_within(if away { AWAY_CAP } else { CAP })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(1);

    #[test]
    fn a_control_plane_that_restarts_is_asked_at_once_and_then_every_second() {
        let mut reconnect = Reconnect::new();
        assert!(reconnect.wait(GOOD_STREAM, true) <= FIRST);
        let waits: Vec<Duration> = (0..20).map(|_| reconnect.wait(SHORT, true)).collect();
        assert!(waits[0] <= BASE && waits.iter().all(|wait| *wait <= AWAY_CAP), "{waits:?}");
        assert!(waits[10] >= AWAY_CAP / 2, "not more often than needed: {waits:?}");
    }

    #[test]
    fn one_that_refuses_is_asked_ever_less_often() {
        let mut reconnect = Reconnect::new();
        let waits: Vec<Duration> = (0..20).map(|_| reconnect.wait(SHORT, false)).collect();
        assert!(waits[19] >= CAP / 2 && waits[19] <= CAP, "{waits:?}");
        assert!(reconnect.wait(GOOD_STREAM, false) <= FIRST);
        assert!(reconnect.wait(SHORT, false) <= BASE, "it starts over");
    }
}
