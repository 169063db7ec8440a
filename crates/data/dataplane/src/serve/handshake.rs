//! TLS handshakes of accepted connections.

use std::sync::Arc;

use portolan_identity::CertificateFacts;
use sha2::Digest as _;
use tokio_rustls::TlsAcceptor;

use crate::io::stream::{RawStream, Stream};
use crate::listener::{FilterChain, Inspected};
use crate::message::{PeerCertificate, TlsInfo};
use crate::stats::metrics::ListenerStats;
use crate::tls::HandshakeFault;

/// The handshake of a connection whose chain wants TLS; `None` when it fails.
pub(super) async fn accept_tls(
    chain: &Arc<FilterChain>,
    raw: RawStream,
    found: &Inspected,
    stats: &ListenerStats,
    listener: &str,
) -> Option<(Stream, TlsInfo)> {
    let tls = chain.tls.as_ref()?;
    // Without the inspector the client's list is not known; then the configured one is offered.
    let config = if found.is_tls { tls.config(&found.protocols) } else { tls.config_any() }?;
    let accepting = TlsAcceptor::from(config).accept(raw);
    let stream = match tokio::time::timeout(chain.handshake_timeout, accepting).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            match HandshakeFault::of(&error) {
                HandshakeFault::NoCertificate => stats.ssl_fail_verify_no_cert.inc(),
                HandshakeFault::Chain => stats.ssl_fail_verify_error.inc(),
                HandshakeFault::Name => stats.ssl_fail_verify_san.inc(),
                HandshakeFault::Other => stats.ssl_connection_error.inc(),
            }
            tracing::debug!(listener = %listener, chain = %chain.name, %error, "TLS handshake failed");
            return None;
        }
        Err(_) => {
            stats.downstream_cx_transport_socket_connect_timeout.inc();
            return None;
        }
    };
    stats.ssl_handshake.inc();
    let session = stream.get_ref().1;
    if session.handshake_kind() == Some(rustls::HandshakeKind::Resumed) {
        stats.ssl_session_reused.inc();
    }
    let peer = session.peer_certificates().and_then(|chain| chain.first()).and_then(|leaf| {
        let facts = CertificateFacts::from_der(leaf).ok()?;
        let hash = sha2::Sha256::digest(leaf.as_ref()).iter().map(|byte| format!("{byte:02x}")).collect();
        Some(PeerCertificate { facts, hash })
    });
    if peer.is_none() {
        stats.ssl_no_certificate.inc();
    }
    let version = match session.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3",
        _ => "TLSv1.2",
    };
    let info = TlsInfo { version, alpn: session.alpn_protocol().map(<[u8]>::to_vec), peer };
    Some((Stream::Server(Box::new(stream)), info))
}
