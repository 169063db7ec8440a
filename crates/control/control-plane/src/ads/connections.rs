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
use portolan_xds::server::{Status, Watch};

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
    /// Generation of the model that was sent last.
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
