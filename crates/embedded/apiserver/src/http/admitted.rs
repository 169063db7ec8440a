//! Which connections are open, and which one goes when there is no room: nobody locks others out by opening connections
//! and saying nothing.
//!
//! A connection has proved nothing before its handshake is done, and may have proved nothing after it: without a client
//! certificate and without a request that was let through. Of those, one source address has a limit; and when all places
//! are taken, the one that has been silent for longest gives its place up. Those with an identity are never closed for
//! others.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// The open connections of a server.
#[derive(Clone)]
pub(crate) struct Connections(Arc<Mutex<Open>>);

struct Open {
    limit: usize,
    limit_per_address: usize,
    next: u64,
    total: usize,
    /// Those that have proved nothing, by their last sign of life: the longest silent first.
    unproved: BTreeMap<u64, (IpAddr, CancellationToken)>,
}

/// One connection's place, given back when it is dropped.
pub(crate) struct Place {
    of: Connections,
    address: IpAddr,
    closed: CancellationToken,
    /// Its key in [`Open::unproved`]; `None` once it has proved an identity.
    order: Mutex<Option<u64>>,
}

impl Connections {
    pub(crate) fn new(limit: usize, limit_per_address: usize) -> Connections {
        let open = Open { limit, limit_per_address, next: 0, total: 0, unproved: BTreeMap::new() };
        Connections(Arc::new(Mutex::new(open)))
    }

    /// A place for a new connection; another one may have to go for it. `None` if all places are taken by those who have
    /// proved who they are.
    pub(crate) fn take(&self, address: IpAddr) -> Option<Arc<Place>> {
        let mut open = self.0.lock();
        let own = open.unproved.values().filter(|(other, _)| *other == address).count();
        let victim = if own >= open.limit_per_address {
            open.unproved.iter().find(|(_, (other, _))| *other == address).map(|(order, _)| *order)
        } else if open.total >= open.limit {
            Some(open.unproved.first_key_value().map(|(order, _)| *order)?)
        } else {
            None
        };
        if let Some((_, closed)) = victim.and_then(|order| open.unproved.remove(&order)) {
            // Its place is counted as free from now on.
            closed.cancel();
            open.total = open.total.saturating_sub(1);
        }
        open.total += 1;
        let closed = CancellationToken::new();
        let order = open.add(address, closed.clone());
        drop(open);
        Some(Arc::new(Place { of: self.clone(), address, closed, order: Mutex::new(Some(order)) }))
    }
}

impl Open {
    fn add(&mut self, address: IpAddr, closed: CancellationToken) -> u64 {
        let order = self.next;
        self.next += 1;
        self.unproved.insert(order, (address, closed));
        order
    }
}

impl Place {
    /// Ends when the connection has to go.
    pub(crate) async fn closed(&self) {
        self.closed.cancelled().await;
    }

    /// Whoever is at the other end has proved who it is.
    pub(crate) fn proved(&self) {
        let mut order = self.order.lock();
        let mut open = self.of.0.lock();
        if let Some(known) = *order
            && open.unproved.remove(&known).is_some()
        {
            *order = None;
        }
    }

    /// It has said something, though not who it is.
    pub(crate) fn alive(&self) {
        let mut order = self.order.lock();
        let mut open = self.of.0.lock();
        if let Some(known) = *order
            && open.unproved.remove(&known).is_some()
        {
            *order = Some(open.add(self.address, self.closed.clone()));
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.of.0.lock();
        let counted = match *self.order.lock() {
            Some(known) => open.unproved.remove(&known).is_some(),
            None => true,
        };
        if counted {
            open.total = open.total.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    fn is_closed(place: &Place) -> bool {
        place.closed.is_cancelled()
    }

    #[test]
    fn the_longest_silent_gives_its_place_up() {
        let open = Connections::new(3, 3);
        let places: Vec<_> = (1..=3).map(|last| open.take(address(last)).unwrap()).collect();
        places[0].alive();
        let _new = open.take(address(4)).unwrap();
        assert_eq!(places.iter().map(|place| is_closed(place)).collect::<Vec<_>>(), [false, true, false]);
    }

    #[test]
    fn who_has_proved_an_identity_keeps_its_place() {
        let open = Connections::new(2, 2);
        let first = open.take(address(1)).unwrap();
        first.proved();
        let second = open.take(address(1)).unwrap();
        let third = open.take(address(2)).unwrap();
        assert!(!is_closed(&first) && is_closed(&second) && !is_closed(&third));
        third.proved();
        assert!(open.take(address(3)).is_none());
        drop(third);
        assert!(open.take(address(3)).is_some());
    }

    #[test]
    fn one_address_does_not_have_all_places() {
        let open = Connections::new(100, 2);
        let other = open.take(address(2)).unwrap();
        let own: Vec<_> = (0..3).map(|_| open.take(address(1)).unwrap()).collect();
        assert_eq!(own.iter().map(|place| is_closed(place)).collect::<Vec<_>>(), [true, false, false]);
        assert!(!is_closed(&other));
    }

    #[test]
    fn places_come_back() {
        let open = Connections::new(2, 1);
        for _ in 0..10 {
            let pair = (open.take(address(1)).unwrap(), open.take(address(1)).unwrap());
            pair.1.proved();
        }
        assert_eq!(open.0.lock().total, 0);
        assert!(open.0.lock().unproved.is_empty());
    }
}
