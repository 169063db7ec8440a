//! What is counted for each host.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use super::{Kind, Settings};
use crate::Moment;

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The host answered with this status.
    Status(u16),
    /// A connection came about, and that is all there is to know (not HTTP).
    Connected,
    /// Connect failure, timeout or reset: found out here, not said by the host.
    LocalFailure,
}

/// Counters of one host. Workers count; the rest belongs to the detector.
#[derive(Debug, Default)]
pub struct Monitor {
    consecutive_5xx: AtomicU32,
    consecutive_gateway_failure: AtomicU32,
    consecutive_local_origin_failure: AtomicU32,
    responses: Bucket,
    connections: Bucket,
    /// Bits of the kinds whose series is long enough, for the detector to look at.
    suspected: AtomicU32,
    /// When the ejection ends; 0 when there is none. Written by the detector alone.
    ejected_until: AtomicU64,
    /// By how much ejections are longer than the first one. Written by the detector alone.
    pub(super) backoff: AtomicU32,
    /// When it returned from its last ejection; 0 for never. Written by the detector alone.
    pub(super) returned: AtomicU64,
}

/// Results of one interval.
#[derive(Debug, Default)]
struct Bucket {
    total: AtomicU64,
    success: AtomicU64,
}

impl Bucket {
    fn add(&self, success: bool) {
        self.total.fetch_add(1, Relaxed);
        self.success.fetch_add(u64::from(success), Relaxed);
    }

    /// The results so far, and zero from now on. A result that comes in between may count half: its total here, its
    /// success in the next interval; hence the limit.
    fn take(&self) -> Results {
        let (success, total) = (self.success.swap(0, Relaxed), self.total.swap(0, Relaxed));
        Results { total, success: success.min(total) }
    }
}

/// Results of one host in one interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Results {
    pub(super) total: u64,
    pub(super) success: u64,
}

impl Monitor {
    /// Counts an outcome. True when a series of failures is long enough for the detector to look at it.
    pub fn report(&self, settings: &Settings, outcome: Outcome) -> bool {
        let split = settings.split_local_origin;
        match outcome {
            Outcome::Status(code) => {
                // Who answers was connected to.
                if split {
                    self.local(settings, true);
                }
                self.response(settings, code)
            }
            Outcome::Connected if split => self.local(settings, true),
            Outcome::LocalFailure if split => self.local(settings, false),
            Outcome::Connected => self.response(settings, 200),
            Outcome::LocalFailure => self.response(settings, 503),
        }
    }

    fn response(&self, settings: &Settings, code: u16) -> bool {
        let failed = (500..600).contains(&code);
        self.responses.add(!failed);
        let long = self.series(Kind::Consecutive5xx, failed, settings.consecutive_5xx);
        let gateway = matches!(code, 502..=504);
        self.series(Kind::ConsecutiveGatewayFailure, gateway, settings.consecutive_gateway_failure) || long
    }

    fn local(&self, settings: &Settings, success: bool) -> bool {
        self.connections.add(success);
        self.series(Kind::ConsecutiveLocalOriginFailure, !success, settings.consecutive_local_origin_failure)
    }

    /// Counts one more failure in a row, or none any more.
    fn series(&self, kind: Kind, failed: bool, limit: u32) -> bool {
        let Some(counter) = self.counter(kind) else { return false };
        if !failed {
            // The usual case: nothing to write, so that the line stays shared between the workers' caches.
            if counter.load(Relaxed) != 0 {
                counter.store(0, Relaxed);
            }
            return false;
        }
        let long = counter.fetch_add(1, Relaxed).saturating_add(1) >= limit && limit > 0;
        if long {
            self.suspected.fetch_or(1 << kind as u32, Relaxed);
        }
        long
    }

    fn counter(&self, kind: Kind) -> Option<&AtomicU32> {
        match kind {
            Kind::Consecutive5xx => Some(&self.consecutive_5xx),
            Kind::ConsecutiveGatewayFailure => Some(&self.consecutive_gateway_failure),
            Kind::ConsecutiveLocalOriginFailure => Some(&self.consecutive_local_origin_failure),
            _ => None,
        }
    }

    /// Whether the host is ejected.
    pub fn is_ejected(&self) -> bool {
        self.ejected_until.load(Relaxed) != 0
    }

    /// When the ejection ends.
    pub fn ejected_until(&self) -> Option<Moment> {
        Some(self.ejected_until.load(Relaxed)).filter(|until| *until != 0).map(Moment::from_millis)
    }

    /// One store both ejects and says until when: nobody can see the one without the other.
    pub(super) fn eject(&self, until: Moment) {
        self.ejected_until.store(until.as_millis().max(1), Relaxed);
    }

    pub(super) fn let_return(&self) {
        for kind in Kind::ALL {
            self.forget(kind);
        }
        self.suspected.store(0, Relaxed);
        self.ejected_until.store(0, Relaxed);
    }

    /// The series of a kind begins anew.
    pub(super) fn forget(&self, kind: Kind) {
        if let Some(counter) = self.counter(kind) {
            counter.store(0, Relaxed);
        }
    }

    /// The kinds whose series is long enough; they are not told again.
    pub(super) fn take_suspected(&self) -> impl Iterator<Item = Kind> + use<> {
        let bits = match self.suspected.load(Relaxed) {
            0 => 0,
            _ => self.suspected.swap(0, Relaxed),
        };
        Kind::ALL.into_iter().filter(move |kind| bits & (1 << *kind as u32) != 0)
    }

    /// Responses and connections of the interval that ends.
    pub(super) fn take_results(&self) -> (Results, Results) {
        (self.responses.take(), self.connections.take())
    }
}
