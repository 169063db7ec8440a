//! All proxies: each keeps a stream open for as long as the fleet lives.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;

use super::client::{Client, Ended, Hub, Subscriptions};
use super::credentials::Authority;
use super::mesh::Proxy;
use super::node::node;
use crate::error::BenchError;

/// Wait before the second attempt after a stream has ended; the first is made at once. Doubles up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// Longest wait between attempts.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// The proxies.
pub(crate) struct Fleet {
    pub(crate) proxies: Vec<Proxy>,
    pub(crate) hub: Arc<Hub>,
    received: Vec<Arc<AtomicU64>>,
    /// Those that have not been started.
    waiting: Vec<Client>,
    /// Dropping it ends them.
    tasks: JoinSet<()>,
}

impl Fleet {
    /// Makes the proxies ready to connect to `address`.
    pub(crate) fn new(
        address: SocketAddr,
        proxies: Vec<Proxy>,
        authority: &Authority,
    ) -> Result<Self, BenchError> {
        let hub = Arc::new(Hub::new(proxies.len()));
        let received: Vec<Arc<AtomicU64>> = proxies.iter().map(|_| Arc::default()).collect();
        let mut clients = Vec::with_capacity(proxies.len());
        for (index, (proxy, received)) in proxies.iter().zip(&received).enumerate() {
            let credentials = authority.proxy(proxy)?;
            clients.push(Client::new(index, address, &credentials, node(proxy), received.clone())?);
        }
        Ok(Fleet { proxies, hub, received, waiting: clients, tasks: JoinSet::new() })
    }

    /// Lets all of them connect, at once.
    pub(crate) fn open(&mut self) {
        for client in self.waiting.drain(..) {
            self.tasks.spawn(keep_open(client, self.hub.clone()));
        }
    }

    /// How many they are.
    pub(crate) fn len(&self) -> usize {
        self.proxies.len()
    }

    /// Bytes that each has received so far.
    pub(crate) fn received(&self) -> Vec<u64> {
        self.received.iter().map(|bytes| bytes.load(Ordering::Relaxed)).collect()
    }
}

async fn keep_open(client: Client, hub: Arc<Hub>) {
    let mut subscriptions = Subscriptions::new();
    let mut wait = Duration::ZERO;
    loop {
        let ended = client.stream(&mut subscriptions, &hub).await;
        if matches!(ended, Ended::Closed(_)) {
            wait = Duration::ZERO;
        }
        hub.ended(client.index, ended);
        // Between half of it and all of it, so that not all come at the same moment.
        sleep(wait.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
        wait = (wait * 2).clamp(FIRST_WAIT, LONGEST_WAIT);
    }
}
