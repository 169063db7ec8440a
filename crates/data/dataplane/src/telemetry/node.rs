//! What telemetry knows of this node, and what one worker remembers of the others.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use portolan_identity::CertificateFacts;
use rustls::sign::CertifiedKey;

use super::peer::{LocalNode, Peers};

/// This node, as all workers see it.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) local: LocalNode,
    /// URI name of our own certificate, for metric labels.
    pub(crate) principal: ArcSwapOption<String>,
}

impl Node {
    pub(crate) fn new(local: LocalNode) -> Self {
        Node { local, principal: ArcSwapOption::empty() }
    }

    pub(crate) fn set_principal(&self, key: &CertifiedKey) {
        let facts = key.cert.first().and_then(|leaf| CertificateFacts::from_der(leaf).ok());
        let uri = facts.and_then(|facts| facts.uris.first().cloned());
        self.principal.store(uri.map(Arc::new));
    }
}

/// The node as one worker sees it, with the peers that it met.
#[derive(Debug)]
pub(crate) struct WorkerNode {
    pub(crate) node: Arc<Node>,
    pub(crate) peers: Peers,
}

impl WorkerNode {
    pub(crate) fn new(node: Arc<Node>) -> Self {
        WorkerNode { node, peers: Peers::default() }
    }
}
