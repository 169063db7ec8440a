//! What is known of a downstream connection.

use std::net::SocketAddr;
use std::sync::Arc;

use portolan_identity::CertificateFacts;
use tokio_util::sync::CancellationToken;

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
    /// Cancelled when the filter chain that took the connection is replaced or its listener drains.
    pub(crate) drain: CancellationToken,
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
