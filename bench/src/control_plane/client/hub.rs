//! What the proxies of the fleet have in common: the table of names, the count of what each was sent, and the changes
//! whose arrival is watched.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use memchr::memmem::Finder;
use parking_lot::Mutex;
use portolan_envoy_api::pb::envoy::config::core::v3::Node;
use portolan_envoy_api::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use tokio::time::Instant;

use super::interner::Interner;
use super::kind::{Kind, KindSet};
use super::stream::Ended;
use super::subscriptions::{Subscriptions, Update};
use super::wire::Response;

/// What one proxy must be sent for a change to be there: one of each set's kinds with the change's marker in it. Nothing
/// when the change is none of its business.
pub(crate) type Wanted = &'static [KindSet];

/// What is counted of one proxy.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tally {
    pub(crate) responses: u64,
    pub(crate) synchronous: bool,
}

/// What is counted of all of them.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Attempts {
    /// Nobody listened.
    pub(crate) refused: u64,
    /// Somebody listened and there was no stream.
    pub(crate) failed: u64,
}

/// A change on its way.
#[derive(Debug)]
struct Watched {
    marker: Finder<'static>,
    since: Instant,
    wanted: Vec<Wanted>,
    seen: Vec<KindSet>,
    arrived: Vec<Option<Duration>>,
    missing: usize,
}

#[derive(Debug)]
struct State {
    interner: Interner,
    tallies: Vec<Tally>,
    attempts: Attempts,
    last_failure: Option<String>,
    last_response: Instant,
    watched: BTreeMap<usize, Watched>,
    changes: usize,
}

/// The state that is shared. Its lock is never held across a wait.
#[derive(Debug)]
pub(crate) struct Hub(Mutex<State>);

impl Hub {
    /// For so many proxies.
    pub(crate) fn new(proxies: usize) -> Self {
        Hub(Mutex::new(State {
            interner: Interner::default(),
            tallies: vec![Tally::default(); proxies],
            attempts: Attempts::default(),
            last_failure: None,
            last_response: Instant::now(),
            watched: BTreeMap::new(),
            changes: 0,
        }))
    }

    /// Begins to watch for a change that is about to be made; returns its number.
    pub(crate) fn watch(&self, marker: &str, wanted: Vec<Wanted>) -> usize {
        let mut state = self.0.lock();
        let number = state.changes;
        state.changes += 1;
        let watched = Watched {
            marker: Finder::new(marker.as_bytes()).into_owned(),
            since: Instant::now(),
            seen: vec![KindSet::default(); wanted.len()],
            arrived: vec![None; wanted.len()],
            missing: wanted.iter().filter(|wanted| !wanted.is_empty()).count(),
            wanted,
        };
        state.watched.insert(number, watched);
        number
    }

    /// Proxies that a change has not reached yet.
    pub(crate) fn missing(&self, number: usize) -> usize {
        self.0.lock().watched.get(&number).map_or(0, |watched| watched.missing)
    }

    /// Ends the watch: when the change was at each proxy.
    pub(crate) fn unwatch(&self, number: usize) -> Vec<Option<Duration>> {
        self.0.lock().watched.remove(&number).map(|watched| watched.arrived).unwrap_or_default()
    }

    /// What is counted, by proxy.
    pub(crate) fn tallies(&self) -> Vec<Tally> {
        self.0.lock().tallies.clone()
    }

    /// What is counted of all.
    pub(crate) fn attempts(&self) -> Attempts {
        self.0.lock().attempts
    }

    /// Why the last stream that failed did.
    pub(crate) fn last_failure(&self) -> Option<String> {
        self.0.lock().last_failure.clone()
    }

    /// Proxies that have everything that they asked for.
    pub(crate) fn synchronous(&self) -> usize {
        self.0.lock().tallies.iter().filter(|tally| tally.synchronous).count()
    }

    /// When the last response arrived.
    pub(crate) fn last_response(&self) -> Instant {
        self.0.lock().last_response
    }

    /// The requests that open a stream.
    pub(super) fn opening(
        &self,
        subscriptions: &mut Subscriptions,
        node: &Node,
    ) -> Vec<DeltaDiscoveryRequest> {
        subscriptions.connected(node, &self.0.lock().interner)
    }

    /// A stream has ended, or was none.
    pub(crate) fn ended(&self, index: usize, ended: Ended) {
        let mut state = self.0.lock();
        state.tallies[index].synchronous = false;
        match ended {
            Ended::Refused => state.attempts.refused += 1,
            Ended::Failed(why) => {
                state.attempts.failed += 1;
                state.last_failure = Some(why);
            }
            Ended::Closed(why) => state.last_failure = Some(why),
        }
    }

    /// Takes a response of a proxy in; returns what it answers.
    pub(super) fn take(
        &self,
        index: usize,
        subscriptions: &mut Subscriptions,
        response: Response,
    ) -> Result<Vec<DeltaDiscoveryRequest>, String> {
        let now = Instant::now();
        let mut state = self.0.lock();
        let State { interner, tallies, watched, last_response, .. } = &mut *state;
        let kind = Kind::of(&response.type_url).ok_or("a type that was not asked for")?;
        let mut upserts = Vec::with_capacity(response.resources.len());
        for resource in &response.resources {
            let numbers = interner.version(kind, resource, |body| find(watched, body));
            let (resource, version) = numbers.map_err(|error| error.to_string())?;
            for change in &interner.get(version).changes {
                if let Some(watched) = watched.get_mut(change) {
                    watched.sighted(index, kind, now);
                }
            }
            upserts.push((resource, version));
        }
        let update = Update {
            kind,
            nonce: String::from_utf8_lossy(&response.nonce).into_owned(),
            upserts,
            removed: response.removed.iter().map(|name| interner.resource(kind, name)).collect(),
        };
        let answers = subscriptions.take(&update, interner);
        tallies[index].responses += 1;
        tallies[index].synchronous = subscriptions.is_synchronous();
        *last_response = now;
        Ok(answers)
    }
}

/// The changes whose marker is in a body.
fn find(watched: &BTreeMap<usize, Watched>, body: &Bytes) -> Vec<usize> {
    let marked = watched.iter().filter(|(_, watched)| watched.marker.find(body).is_some());
    marked.map(|(number, _)| *number).collect()
}

impl Watched {
    fn sighted(&mut self, index: usize, kind: Kind, now: Instant) {
        let wanted = self.wanted[index];
        self.seen[index].insert(kind);
        let seen = self.seen[index];
        if !wanted.is_empty() && self.arrived[index].is_none() && wanted.iter().all(|set| seen.meets(*set)) {
            self.arrived[index] = Some(now - self.since);
            self.missing -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control_plane::client::wire::{Any, Resource};

    const ENDPOINTS: Wanted = &[KindSet::of(&[Kind::Cluster]), KindSet::of(&[Kind::Endpoint])];

    fn response(kind: Kind, version: &'static str, body: &'static [u8]) -> Response {
        let body = Any { type_url: Bytes::new(), value: Bytes::from_static(body) };
        let resource = Resource {
            version: Bytes::from_static(version.as_bytes()),
            body: Some(body),
            name: Bytes::from_static(b"x"),
        };
        Response {
            resources: vec![resource],
            type_url: Bytes::from_static(kind.type_url().as_bytes()),
            ..Default::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_is_there_when_all_that_it_must_change_has_its_marker() {
        let hub = Hub::new(3);
        let number = hub.watch("10.1.2.3", vec![ENDPOINTS, ENDPOINTS, &[]]);
        let mut proxies = [Subscriptions::new(), Subscriptions::new(), Subscriptions::new()];
        let mut take =
            |index: usize, response: Response| hub.take(index, &mut proxies[index], response).unwrap();
        // A field of a cluster that this client passes over: number 5, five bytes too few for the marker, then with it.
        take(0, response(Kind::Endpoint, "1", b"10.1.2"));
        take(0, response(Kind::Cluster, "1", b"\x2a\x0810.1.2.3"));
        assert_eq!(hub.missing(number), 2, "endpoints without the marker");
        tokio::time::advance(Duration::from_millis(30)).await;
        take(0, response(Kind::Endpoint, "2", b"(10.1.2.3)"));
        assert_eq!(hub.missing(number), 1);
        // The version is known by now: nothing is read, and still it counts.
        take(1, response(Kind::Cluster, "1", b""));
        take(1, response(Kind::Endpoint, "2", b""));
        take(2, response(Kind::Endpoint, "2", b""));
        assert_eq!(hub.missing(number), 0);
        let arrived = hub.unwatch(number);
        assert_eq!(arrived, [Some(Duration::from_millis(30)), Some(Duration::from_millis(30)), None]);
        assert_eq!(hub.tallies().iter().map(|tally| tally.responses).collect::<Vec<_>>(), [3, 2, 1]);
    }

    #[test]
    fn what_was_not_asked_for_ends_the_stream() {
        let mut response = response(Kind::Cluster, "1", b"");
        response.type_url = Bytes::from_static(b"what");
        assert!(Hub::new(1).take(0, &mut Subscriptions::new(), response).is_err());
    }
}
