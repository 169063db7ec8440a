//! The streams that are open, for the debug endpoints.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use jiff::Timestamp;
use parking_lot::Mutex;
use portolan_mesh::ProxyNode;
use portolan_xds::{
    Resource,
    server::{Source, Status, Watch},
    type_url,
};
use tokio::sync::Notify;

use crate::publish::{Boards, Subscription};

/// One stream.
#[derive(Debug)]
pub struct Connection {
    /// `<node id>-<number>`.
    pub id: String,
    /// The proxy.
    pub node: Arc<ProxyNode>,
    /// What runs it: the user agent and version that it states.
    pub proxy_version: String,
    /// Where it comes from.
    pub address: Option<SocketAddr>,
    /// SPIFFE id that it has proven; nothing on the plaintext port.
    pub identity: Option<String>,
    /// Since when.
    pub connected_at: Timestamp,
    /// State by type.
    pub types: Mutex<BTreeMap<Arc<str>, TypeStatus>>,
    /// What the configuration asks of the proxy and it cannot do, for people.
    pub limitations: Mutex<Vec<String>>,
    /// What it is sent, secrets excepted.
    pub subscription: Subscription,
    /// Asked for to compare everything, whether something has changed or not.
    pub(super) compare: Notify,
}

impl Connection {
    /// What the proxy watches of a type and may have, by name. Secrets are left out.
    pub fn resources(&self, type_url: &str) -> Vec<Arc<Resource>> {
        let watch = self.types.lock().get(type_url).map(|state| state.watch.clone());
        let Some(watch) = watch.filter(|_| type_url != type_url::SECRET) else { return Vec::new() };
        let boards = self.subscription.boards();
        let hidden = Hidden::of(&self.node);
        let hidden = |name: &str| hidden.hides(type_url, name);
        let source = Boards { boards: &boards, type_url, own: &[], hidden: &hidden };
        let mut found = BTreeMap::new();
        if watch.wildcard {
            source.all(&mut |resource| {
                found.entry(resource.name.clone()).or_insert_with(|| resource.clone());
            });
        }
        found.extend(watch.names.iter().filter_map(|name| Some((name.clone(), source.get(name)?))));
        found.into_values().collect()
    }
}

/// What a proxy may not have of what its audience has: listeners at its own addresses, where it would catch what is meant
/// for its own application. Headless services have a listener for each Pod.
#[derive(Debug)]
pub(super) struct Hidden(Vec<String>);

impl Hidden {
    pub(super) fn of(node: &ProxyNode) -> Self {
        // A gateway has the listeners of its Gateways, wherever these are bound.
        let own = node.addresses.iter().filter(|_| !node.is_router());
        Self(own.map(ToString::to_string).collect())
    }

    pub(super) fn hides(&self, type_url: &str, name: &str) -> bool {
        let address = || name.rsplit_once('_').map(|(address, _)| address);
        type_url == type_url::LISTENER
            && address().is_some_and(|address| self.0.iter().any(|own| own == address))
    }
}

/// State of one type on one stream.
#[derive(Clone, Debug, Default)]
pub struct TypeStatus {
    /// Nonces and errors.
    pub status: Status,
    /// What is asked for; the stream's own names, not a copy.
    pub watch: Watch,
    /// When something was sent last.
    pub sent_at: Option<Timestamp>,
    /// Publication that was sent last.
    pub generation: u64,
}

/// All open streams.
#[derive(Debug, Default)]
pub struct Connections {
    next: AtomicU64,
    open: Mutex<BTreeMap<u64, Arc<Connection>>>,
}

impl Connections {
    /// The number of the next stream, unique in this process.
    pub fn next_number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Registers a stream until the guard is dropped.
    pub fn register(self: &Arc<Self>, number: u64, connection: Arc<Connection>) -> Registered {
        self.open.lock().insert(number, connection);
        Registered { connections: self.clone(), number }
    }

    /// All open streams, oldest first.
    pub fn all(&self) -> Vec<Arc<Connection>> {
        self.open.lock().values().cloned().collect()
    }

    /// The newest stream of a proxy, by `pod.namespace` or node id.
    pub fn find(&self, proxy: &str) -> Option<Arc<Connection>> {
        self.open
            .lock()
            .values()
            .rev()
            .find(|connection| {
                connection.node.id == proxy
                    || format!("{}.{}", connection.node.name, connection.node.namespace) == proxy
            })
            .cloned()
    }

    /// Has all streams compare everything with what they have sent.
    pub fn compare_all(&self) {
        self.open.lock().values().for_each(|connection| connection.compare.notify_one());
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.open.lock().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Takes a stream out of the list when it ends.
#[derive(Debug)]
pub struct Registered {
    connections: Arc<Connections>,
    number: u64,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.connections.open.lock().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use portolan_mesh::NodeKind;

    use super::*;

    #[test]
    fn a_proxy_gets_no_listener_at_its_own_address() {
        let node = ProxyNode {
            addresses: vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()],
            ..Default::default()
        };
        let hidden = Hidden::of(&node);
        assert!(
            hidden.hides(type_url::LISTENER, "10.0.0.1_80") && hidden.hides(type_url::LISTENER, "fd00::1_80")
        );
        for other in ["10.0.0.11_80", "0.0.0.0_80", "virtualInbound", "10.0.0.1"] {
            assert!(!hidden.hides(type_url::LISTENER, other), "{other}");
        }
        assert!(!hidden.hides(type_url::CLUSTER, "10.0.0.1_80"));
        let gateway = ProxyNode { kind: NodeKind::Router, ..node };
        assert!(!Hidden::of(&gateway).hides(type_url::LISTENER, "10.0.0.1_80"));
    }
}
