//! Workers, sockets, connections.

pub(crate) mod accept;
pub(crate) mod hello;
pub(crate) mod housekeeping;
pub(crate) mod inspect;
pub(crate) mod relay;
pub(crate) mod stream;
pub(crate) mod worker;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use portolan_identity::CertificateFacts;
use rustls::sign::CertifiedKey;

use crate::config::filter_chain::FilterChain;
use crate::dataplane::DataPlaneOptions;
use crate::telemetry::istio::IstioRegistry;
use crate::telemetry::peer::LocalNode;

pub(crate) use worker::Worker;

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
    pub(crate) fn new(workers: usize, options: &DataPlaneOptions) -> Self {
        Shared {
            workers,
            node: LocalNode::new(&options.node_id, &options.node_metadata),
            drain_time: options.drain_time,
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

/// The certificate that a client showed.
#[derive(Debug)]
pub(crate) struct PeerCertificate {
    pub(crate) facts: CertificateFacts,
    /// SHA-256 of the certificate, hex.
    pub(crate) hash: String,
}

/// TLS facts of a downstream connection.
#[derive(Debug)]
pub(crate) struct TlsInfo {
    pub(crate) version: &'static str,
    pub(crate) alpn: Option<Vec<u8>>,
    pub(crate) peer: Option<PeerCertificate>,
}

/// Facts about a downstream connection; fixed once its filter chain is chosen.
#[derive(Debug)]
pub(crate) struct ConnectionInfo {
    pub(crate) id: u64,
    pub(crate) remote: SocketAddr,
    /// Where the connection was meant for: the original destination if it was redirected.
    pub(crate) local: SocketAddr,
    /// Whether `local` was restored from a redirection.
    pub(crate) restored: bool,
    pub(crate) sni: Option<String>,
    pub(crate) tls: Option<TlsInfo>,
    pub(crate) chain: Arc<FilterChain>,
    /// URI name of our own certificate.
    pub(crate) own_principal: Option<Arc<String>>,
}

impl ConnectionInfo {
    /// The client's certificate, verified.
    pub(crate) fn peer(&self) -> Option<&PeerCertificate> {
        self.tls.as_ref()?.peer.as_ref()
    }

    pub(crate) fn is_mtls(&self) -> bool {
        self.peer().is_some()
    }
}
