//! The life of a connection: accepted, inspected, given to a filter chain.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};

use super::handshake::accept_tls;
use super::http::connection;
use super::tcp;
use super::worker::Worker;
use crate::io::stream::{RawStream, Socket, Stream};
use crate::io::timer::now;
use crate::listener::{
    ConnectionView, Denied, FilterChain, Inspected, Listener, MAX_INSPECTED, Observed, Terminal, Verdict,
};
use crate::message::{ConnectionFacts, ConnectionInfo, Flags};
use crate::stats::metrics::{ListenerStats, PerWorker};
use crate::telemetry::StreamInfo;
use crate::telemetry::access_log;
use crate::telemetry::format::Context;

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
                if let Some(waiting) = Waiting::admit(&worker, &listener) {
                    let accepted = Accepted::new(worker.clone(), listener, stream, remote, waiting);
                    tokio::task::spawn_local(handle(accepted));
                }
            }
            Err(error) => {
                tracing::debug!(%error, listener = %name, "cannot accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Counts a connection while listener filters look at it.
struct Waiting {
    stats: Arc<PerWorker<ListenerStats>>,
    worker: usize,
}

impl Waiting {
    /// `None` when the listener holds as many connections as it may, over all workers.
    fn admit(worker: &Worker, listener: &Listener) -> Option<Self> {
        let stats = listener.stats.clone();
        let open = |stats: &ListenerStats| {
            stats.downstream_pre_cx_active.get().wrapping_add(stats.downstream_cx_active.get())
        };
        let own = stats.of(worker.id);
        if stats.iter().map(open).sum::<u64>() >= worker.shared.connections_per_listener {
            own.downstream_cx_overflow.inc();
            return None;
        }
        own.downstream_pre_cx_active.inc();
        Some(Waiting { stats, worker: worker.id })
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.stats.of(self.worker).downstream_pre_cx_active.dec();
    }
}

/// Counts a connection as active while it lives.
struct Active {
    stats: Arc<PerWorker<ListenerStats>>,
    worker: usize,
}

impl Active {
    fn new(stats: &Arc<PerWorker<ListenerStats>>, worker: usize) -> Self {
        let own = stats.of(worker);
        own.downstream_cx_total.inc();
        own.downstream_cx_active.inc();
        Active { stats: stats.clone(), worker }
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        let own = self.stats.of(self.worker);
        own.downstream_cx_active.dec();
        own.downstream_cx_destroy.inc();
    }
}

/// A connection whose filter chain is not known yet.
struct Accepted {
    worker: Rc<Worker>,
    listener: Arc<Listener>,
    stream: TcpStream,
    remote: SocketAddr,
    start: Instant,
    waiting: Waiting,
    /// What was read before its protocol takes over.
    prefix: BytesMut,
    found: Inspected,
}

/// Where a connection was meant for.
#[derive(Clone, Copy)]
struct Destination {
    address: SocketAddr,
    /// It was redirected to us.
    restored: bool,
}

impl Accepted {
    fn new(
        worker: Rc<Worker>,
        listener: Arc<Listener>,
        stream: TcpStream,
        remote: SocketAddr,
        waiting: Waiting,
    ) -> Self {
        let _ = stream.set_nodelay(true);
        if let Some(keepalive) = &listener.keepalive {
            let _ = socket2::SockRef::from(&stream).set_tcp_keepalive(keepalive);
        }
        let (prefix, found) = Default::default();
        Accepted { worker, listener, stream, remote, start: now(), waiting, prefix, found }
    }

    /// Where it was meant for; hands it over to the listener of that place. `None` when it is gone, or too many there.
    fn destination(&mut self) -> Option<Destination> {
        let bound = self.stream.local_addr().ok()?;
        let original = self.listener.restores_destination().then(|| original_dst(&self.stream)).flatten();
        let restored = original.is_some_and(|original| original != bound);
        let address = original.unwrap_or(bound);
        if restored
            && self.listener.use_original_dst
            && let Some(other) = self.worker.snapshot().handed_over(address)
        {
            self.waiting = Waiting::admit(&self.worker, other)?;
            self.listener = other.clone();
        }
        Some(Destination { address, restored })
    }

    /// Shows the first bytes to the listener filters. False when the connection is to be closed.
    async fn inspect(&mut self, port: u16) -> bool {
        let Accepted { listener, stream, prefix, found, .. } = self;
        let mut filters = listener.filters.iter().filter_map(|filter| filter.of_port(port)).peekable();
        if filters.peek().is_none() {
            return true;
        }
        let reading = async {
            for filter in filters {
                while filter.inspect(prefix, found) == Verdict::More {
                    if prefix.len() > MAX_INSPECTED || stream.read_buf(prefix).await? == 0 {
                        return Ok(());
                    }
                }
            }
            Ok::<_, std::io::Error>(())
        };
        let Some(limit) = listener.inspect_timeout else { return reading.await.is_ok() };
        match tokio::time::timeout(limit, reading).await {
            Ok(result) => result.is_ok(),
            Err(_) => {
                listener.stats.of(self.worker.id).downstream_pre_cx_timeout.inc();
                listener.continue_on_timeout
            }
        }
    }
}

/// A connection that its filter chain serves.
struct Chosen {
    worker: Rc<Worker>,
    chain: Arc<FilterChain>,
    info: Rc<ConnectionInfo>,
    stream: Stream,
    start: Instant,
    active: Active,
}

fn handle(accepted: Accepted) -> impl Future<Output = ()> {
    // What is needed only at the start of a connection is no part of the task that it has while it lives.
    let choosing = Box::pin(choose(accepted));
    async move {
        if let Some(chosen) = choosing.await {
            serve(chosen).await;
        }
    }
}

/// Finds the filter chain of a connection and ends the client's TLS. Nothing when it is to be closed.
async fn choose(mut accepted: Accepted) -> Option<Chosen> {
    let destination = accepted.destination()?;
    if !accepted.inspect(destination.address.port()).await {
        return None;
    }
    let Accepted { worker, listener, stream, remote, start, waiting, prefix, found } = accepted;
    let stats = listener.stats.of(worker.id);
    let seen = Observed {
        local: destination.address,
        remote,
        sni: found.sni.as_deref(),
        is_tls: found.is_tls,
        protocols: &found.protocols,
    };
    let Some(chain) = listener.choose(&seen).cloned() else {
        stats.no_filter_chain_match.inc();
        log_unmatched(&worker, &listener, destination.address, remote, &found, start);
        return None;
    };
    // Counted from here on, as in Envoy: what no chain takes is not a connection yet.
    let active = Active::new(&listener.stats, worker.id);
    drop(waiting);
    let raw = RawStream { prefix, socket: Socket::Tcp(stream) };
    let (stream, tls) = match &chain.tls {
        None => (Stream::Plain(raw), None),
        Some(_) => {
            let (stream, info) = accept_tls(&chain, raw, &found, stats, &listener.name).await?;
            (stream, Some(info))
        }
    };
    let info = Rc::new(ConnectionInfo {
        facts: ConnectionFacts {
            id: worker.next_connection_id(),
            remote,
            local: destination.address,
            restored: destination.restored,
            sni: found.sni.filter(|sni| !sni.is_empty()),
            tls,
            own_principal: worker.node.node.principal.load_full(),
        },
        drain: chain.drain.clone(),
    });
    Some(Chosen { worker, chain, info, stream, start, active })
}

/// Gives the connection to the filters of its chain.
async fn serve(chosen: Chosen) {
    let Chosen { worker, chain, info, stream, start, active: _active } = chosen;
    let mut x = ConnectionView { connection: &info, cluster: None, counts: false };
    for filter in &chain.filters {
        if let Err(Denied(details)) = filter.on_connection(&mut x) {
            if let Terminal::Tcp(proxy) = &chain.terminal {
                tcp::deny(proxy, &worker, &info, start, details);
            }
            return;
        }
    }
    let ConnectionView { cluster, counts, .. } = x;
    match &chain.terminal {
        Terminal::Http(hcm) => connection::serve(worker, hcm.clone(), info, stream).await,
        Terminal::Tcp(proxy) => {
            Box::pin(tcp::serve(&worker, proxy, info, stream, cluster, counts, start)).await;
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
        facts: ConnectionFacts {
            id: worker.next_connection_id(),
            remote,
            local,
            restored: false,
            sni: found.sni.clone(),
            tls: None,
            own_principal: None,
        },
        drain: chain.drain.clone(),
    });
    let mut info = StreamInfo::new(info, start);
    info.flags.insert(Flags::NO_ROUTE);
    info.details = "filter_chain_not_found".into();
    let context = Context { info: &info, request: None, response: None, trailers: None, now: now() };
    access_log::log(&listener.access_log, &context, &worker.logs);
}
