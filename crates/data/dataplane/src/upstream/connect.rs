//! Opens one upstream connection: socket, TLS, protocol.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls_pki_types::ServerName;
use tokio::net::{TcpSocket, UnixStream};
use tokio_rustls::TlsConnector;

use super::cluster::Cluster;
use super::host::Host;
use crate::io::stream::{RawStream, Socket, Stream};
use crate::stats::metrics::ClusterStats;
use crate::tls::{ALPN_OWN, HandshakeFault, Offer};
use crate::value::NetAddress;

/// A connection that was just opened.
pub(crate) struct Connected {
    pub(crate) stream: Stream,
    pub(crate) local: Option<SocketAddr>,
    /// ALPN says HTTP/2.
    pub(crate) is_h2: bool,
    pub(crate) tls: bool,
    /// URI name of the peer's certificate.
    pub(crate) principal: Option<Arc<str>>,
}

/// Why no connection could be opened.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum ConnectFailure {
    #[error("connection timeout")]
    Timeout,
    #[error("delayed connect error: {0}")]
    Io(String),
    #[error("TLS error: {0}")]
    Tls(String),
    #[error("TLS secrets are not ready")]
    NotReady,
}

/// Connects within the cluster's connect timeout.
pub(crate) async fn connect(
    cluster: &Cluster,
    host: &Host,
    offer: Offer,
    stats: &ClusterStats,
) -> Result<Connected, ConnectFailure> {
    use std::sync::atomic::Ordering::Relaxed;
    stats.upstream_cx_total.inc();
    host.state.cx_total.fetch_add(1, Relaxed);
    let limit = cluster.config.connect_timeout;
    let result = match tokio::time::timeout(limit, attempt(cluster, host, offer, stats)).await {
        Ok(result) => result,
        Err(_) => Err(ConnectFailure::Timeout),
    };
    if let Err(error) = &result {
        host.state.cx_connect_fail.fetch_add(1, Relaxed);
        stats.upstream_cx_connect_fail.inc();
        if matches!(error, ConnectFailure::Timeout) {
            stats.upstream_cx_connect_timeout.inc();
        }
    }
    result
}

async fn attempt(
    cluster: &Cluster,
    host: &Host,
    offer: Offer,
    stats: &ClusterStats,
) -> Result<Connected, ConnectFailure> {
    let io = |error: std::io::Error| ConnectFailure::Io(error.to_string());
    let (socket, local) = match &host.address {
        NetAddress::Socket(address) => {
            let socket =
                if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.map_err(io)?;
            if let Some(source) =
                cluster.config.bind_source.filter(|source| source.is_ipv4() == address.is_ipv4())
            {
                socket.bind(source).map_err(|error| {
                    stats.bind_errors.inc();
                    io(error)
                })?;
            }
            let stream = socket.connect(*address).await.map_err(io)?;
            let _ = stream.set_nodelay(true);
            if let Some(keepalive) = &cluster.config.keepalive {
                let _ = socket2::SockRef::from(&stream).set_tcp_keepalive(keepalive);
            }
            let local = stream.local_addr().ok();
            (Socket::Tcp(stream), local)
        }
        NetAddress::Unix(path) => (Socket::Unix(UnixStream::connect(path).await.map_err(io)?), None),
        NetAddress::Name(name, _) => return Err(ConnectFailure::Io(format!("{name} is not resolved"))),
    };
    let raw = RawStream::new(socket);
    let Some(tls) = cluster.config.transport(host.transport) else {
        return Ok(Connected {
            stream: Stream::Plain(raw),
            local,
            is_h2: false,
            tls: false,
            principal: None,
        });
    };
    let config = tls.config(offer).ok_or(ConnectFailure::NotReady)?;
    let name = match (&tls.sni, &host.address) {
        (Some(name), _) => name.clone(),
        (None, NetAddress::Socket(address)) => ServerName::from(address.ip()),
        (None, _) => ServerName::try_from("localhost").map_err(|_| ConnectFailure::NotReady)?,
    };
    let stream = TlsConnector::from(Arc::clone(&config)).connect(name, raw).await.map_err(|error| {
        match HandshakeFault::of(&error) {
            HandshakeFault::Name => stats.ssl_fail_verify_san.inc(),
            HandshakeFault::Chain => stats.ssl_fail_verify_error.inc(),
            HandshakeFault::NoCertificate | HandshakeFault::Other => {
                stats.ssl_connection_error.inc();
                return ConnectFailure::Tls(error.to_string());
            }
        }
        // By this name people search their logs.
        ConnectFailure::Tls(format!("CERTIFICATE_VERIFY_FAILED: {error}"))
    })?;
    stats.ssl_handshake.inc();
    let session = stream.get_ref().1;
    if session.handshake_kind() == Some(rustls::HandshakeKind::Resumed) {
        stats.ssl_session_reused.inc();
    }
    let is_h2 = match session.alpn_protocol() {
        Some(alpn) if alpn == b"h2" || alpn == ALPN_OWN => true,
        Some(alpn) if alpn.starts_with(b"http/1") => false,
        // The server has no opinion on HTTP versions: it gets what the cluster is configured for.
        _ => offer == Offer::Http2,
    };
    let leaf = session.peer_certificates().and_then(|chain| chain.first());
    let principal = leaf
        .and_then(|leaf| portolan_identity::CertificateFacts::from_der(leaf).ok())
        .and_then(|facts| facts.uris.first().map(|uri| uri.as_str().into()));
    Ok(Connected { stream: Stream::Client(Box::new(stream)), local, is_h2, tls: true, principal })
}
