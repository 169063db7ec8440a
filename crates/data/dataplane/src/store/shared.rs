//! What all threads of a data plane share.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use portolan_identity::CertificateFacts;
use rustls::sign::CertifiedKey;

use crate::telemetry::istio::IstioRegistry;
use crate::telemetry::peer::LocalNode;

/// What all threads share. Written rarely, read without locks on the request path.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) workers: usize,
    pub(crate) node: LocalNode,
    pub(crate) drain_time: Duration,
    /// Workers that took over a snapshot.
    pub(crate) started: AtomicUsize,
    pub(crate) istio: IstioRegistry,
    /// URI name of our own certificate, for metric labels.
    pub(crate) principal: ArcSwapOption<String>,
}

impl Shared {
    pub(crate) fn new(workers: usize, node: LocalNode, drain_time: Duration) -> Self {
        Shared {
            workers,
            node,
            drain_time,
            started: AtomicUsize::new(0),
            istio: IstioRegistry::default(),
            principal: ArcSwapOption::empty(),
        }
    }

    pub(crate) fn set_principal(&self, key: &CertifiedKey) {
        let facts = key.cert.first().and_then(|leaf| CertificateFacts::from_der(leaf).ok());
        let uri = facts.and_then(|facts| facts.uris.first().cloned());
        self.principal.store(uri.map(Arc::new));
    }
}
