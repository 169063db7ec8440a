//! The life of a connection: accepted, inspected, given to a filter chain.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use portolan_identity::CertificateFacts;
use sha2::Digest as _;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::http::connection;
use super::tcp;
use super::worker::Worker;
use crate::filters::rbac::Subject;
use crate::io::inspect::{Inspected, inspect};
use crate::io::stream::{RawStream, Socket, Stream};
use crate::io::timer::now;
use crate::listener::Listener;
use crate::listener::filter_chain::{FilterChain, NetworkFilter, Observed, Terminal};
use crate::message::{ConnectionInfo, Flags, PeerCertificate, TlsInfo};
use crate::stats::metrics::ListenerStats;
use crate::telemetry::StreamInfo;
use crate::telemetry::format::Context;
use crate::tls::HandshakeFault;

/// Pause after `accept` failed (too many open files), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Accepts until the task is aborted.
pub(crate) async fn accept_loop(worker: Rc<Worker>, name: Arc<str>, socket: TcpListener) {
    loop {
        match socket.accept().await {
            Ok((stream, remote)) => {
                let Some(listener) =
                    worker.snapshot().listeners.get(&name).map(|active| active.listener.clone())
                else {
                    continue;
                };
                tokio::task::spawn_local(handle(worker.clone(), listener, stream, remote));
            }
            Err(error) => {
                tracing::debug!(%error, listener = %name, "cannot accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Counts a connection as active while it lives.
struct Active<'a>(&'a ListenerStats);

impl<'a> Active<'a> {
    fn new(stats: &'a ListenerStats) -> Self {
        stats.downstream_cx_total.inc();
        stats.downstream_cx_active.inc();
        Active(stats)
    }
}

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.0.downstream_cx_active.dec();
        self.0.downstream_cx_destroy.inc();
    }
}

async fn handle(worker: Rc<Worker>, listener: Arc<Listener>, mut stream: TcpStream, remote: SocketAddr) {
    let start = now();
    let Ok(bound) = stream.local_addr() else { return };
    let _ = stream.set_nodelay(true);
    if let Some(keepalive) = &listener.keepalive {
        let _ = socket2::SockRef::from(&stream).set_tcp_keepalive(keepalive);
    }
    // `use_original_dst` brings the listener filter along, as in Envoy.
    let asks = listener.original_dst || listener.use_original_dst;
    let original = if asks { original_dst(&stream) } else { None };
    let restored = original.is_some_and(|original| original != bound);
    let local = original.unwrap_or(bound);
    let listener = match restored && listener.use_original_dst {
        true => hand_over(&worker, &listener, local),
        false => listener,
    };
    let stats = listener.stats.clone();
    let stats = stats.of(worker.id);

    let mut prefix = BytesMut::new();
    let mut found = Inspected::default();
    let port = local.port();
    let tls = listener.tls_inspector.as_ref().is_some_and(|inspector| inspector.applies(port));
    let http = listener.http_inspector.as_ref().is_some_and(|inspector| inspector.applies(port));
    if tls || http {
        let inspecting = inspect(&mut stream, &mut prefix, tls, http, &mut found);
        let result = match listener.inspect_timeout {
            None => inspecting.await,
            Some(limit) => match tokio::time::timeout(limit, inspecting).await {
                Ok(result) => result,
                Err(_) => {
                    stats.downstream_pre_cx_timeout.inc();
                    if !listener.continue_on_timeout {
                        return;
                    }
                    Ok(())
                }
            },
        };
        if result.is_err() {
            return;
        }
    }
    let seen = Observed {
        local,
        remote,
        sni: found.sni.as_deref(),
        is_tls: found.is_tls,
        protocols: &found.protocols,
    };
    let Some(chain) = listener.choose(&seen).cloned() else {
        stats.no_filter_chain_match.inc();
        log_unmatched(&worker, &listener, local, remote, &found, start);
        return;
    };
    // Counted from here on, as in Envoy: what no chain takes is not a connection yet.
    let _active = Active::new(stats);
    let raw = RawStream { prefix, socket: Socket::Tcp(stream) };
    let (stream, tls) = match &chain.tls {
        None => (Stream::Plain(raw), None),
        // What only a part of the connections needs, or only at their start, is no part of every connection's task.
        Some(_) => match Box::pin(accept_tls(&chain, raw, &found, stats, &listener.name)).await {
            Some((stream, info)) => (stream, Some(info)),
            None => return,
        },
    };
    let sni = found.sni.filter(|sni| !sni.is_empty());
    let info = Rc::new(ConnectionInfo {
        id: worker.next_connection_id(),
        remote,
        local,
        restored,
        sni,
        tls,
        drain: chain.drain.clone(),
        own_principal: worker.node.node.principal.load_full(),
    });
    let mut cluster_override: Option<Arc<str>> = None;
    for filter in &chain.filters {
        match filter {
            NetworkFilter::SniCluster => cluster_override = info.sni.as_deref().map(Arc::from),
            NetworkFilter::Stats => {}
            NetworkFilter::Rbac(rbac) => {
                let metadata = std::collections::HashMap::new();
                let subject =
                    Subject { connection: &info, request: None, remote: remote.ip(), metadata: &metadata };
                if let Some(decision) = rbac.decide(&subject).filter(|decision| !decision.allowed) {
                    if let Terminal::Tcp(proxy) = &chain.terminal {
                        tcp::deny(proxy, &worker, &info, start, decision.details());
                    }
                    return;
                }
            }
        }
    }
    match &chain.terminal {
        Terminal::Http(hcm) => connection::serve(worker, hcm.clone(), info, stream).await,
        Terminal::Tcp(proxy) => {
            Box::pin(tcp::serve(&worker, proxy, info, stream, cluster_override, chain.counts_tcp(), start))
                .await;
        }
        Terminal::Close => {}
    }
}

/// Where a redirected connection wanted to go. Linux answers for connections that NAT changed only.
fn original_dst(stream: &TcpStream) -> Option<SocketAddr> {
    let socket = socket2::SockRef::from(stream);
    let found = match stream.local_addr().ok()? {
        SocketAddr::V4(_) => socket.original_dst_v4(),
        SocketAddr::V6(_) => socket.original_dst_v6(),
    };
    found.ok()?.as_socket()
}

/// The listener that was configured for the original destination: its address, else the wildcard address with its
/// port, else the one that accepted (spec/dataplane.md 57).
fn hand_over(worker: &Worker, accepted: &Arc<Listener>, wanted: SocketAddr) -> Arc<Listener> {
    let snapshot = worker.snapshot();
    let mut wildcard = None;
    for active in snapshot.listeners.values() {
        let listener = &active.listener;
        if listener.bind.is_some() || listener.address.port() != wanted.port() {
            continue;
        }
        if listener.address.ip() == wanted.ip() {
            return listener.clone();
        }
        if listener.address.ip().is_unspecified() && listener.address.is_ipv4() == wanted.is_ipv4() {
            wildcard = Some(listener.clone());
        }
    }
    wildcard.unwrap_or_else(|| accepted.clone())
}

async fn accept_tls(
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

/// A connection that no chain takes is closed; the listener's own log says so.
fn log_unmatched(
    worker: &Worker,
    listener: &Arc<Listener>,
    local: SocketAddr,
    remote: SocketAddr,
    found: &Inspected,
    start: Instant,
) {
    let Some(chain) = listener.all_chains().next().filter(|_| !listener.access_log.is_empty()) else {
        return;
    };
    let info = Rc::new(ConnectionInfo {
        id: worker.next_connection_id(),
        remote,
        local,
        restored: false,
        sni: found.sni.clone(),
        tls: None,
        drain: chain.drain.clone(),
        own_principal: None,
    });
    let mut info = StreamInfo::new(info, start);
    info.flags.insert(Flags::NO_ROUTE);
    info.details = "filter_chain_not_found".into();
    let context = Context { info: &info, request: None, response: None, trailers: None, now: now() };
    listener.access_log.iter().for_each(|log| log.log(&context, &worker.logs));
}
