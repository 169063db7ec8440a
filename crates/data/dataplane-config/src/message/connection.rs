//! What is known of a downstream connection.

use std::net::SocketAddr;
use std::sync::Arc;

use portolan_identity::CertificateFacts;

/// The certificate that a client showed.
#[derive(Debug)]
pub struct PeerCertificate {
    /// What it says.
    pub facts: CertificateFacts,
    /// SHA-256 of the certificate, hex.
    pub hash: String,
}

/// TLS facts of a downstream connection.
#[derive(Debug)]
pub struct TlsInfo {
    /// As access logs write it, for example `TLSv1.3`.
    pub version: &'static str,
    /// The protocol that both sides agreed on.
    pub alpn: Option<Vec<u8>>,
    /// The client's certificate, verified.
    pub peer: Option<PeerCertificate>,
}

/// Facts about a downstream connection; fixed once its filter chain is chosen.
#[derive(Debug)]
pub struct ConnectionFacts {
    /// Unique in the process.
    pub id: u64,
    /// The peer's address.
    pub remote: SocketAddr,
    /// Where the connection was meant for: the original destination if it was redirected.
    pub local: SocketAddr,
    /// Whether `local` was restored from a redirection.
    pub restored: bool,
    /// The server name of the TLS handshake.
    pub sni: Option<String>,
    /// `None`: plaintext.
    pub tls: Option<TlsInfo>,
    /// URI name of our own certificate.
    pub own_principal: Option<Arc<String>>,
}

impl ConnectionFacts {
    /// The client's certificate, verified.
    pub fn peer(&self) -> Option<&PeerCertificate> {
        self.tls.as_ref()?.peer.as_ref()
    }

    /// Whether the client proved who it is.
    pub fn is_mtls(&self) -> bool {
        self.peer().is_some()
    }
}
