//! Connections of one worker to one host: idle HTTP/1 connections, last used first, and shared HTTP/2 ones.
//!
//! Nothing here is shared between workers but the circuit breakers' counters.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::SendRequest;
use tokio::io::{AsyncRead as _, ReadBuf};
use tokio::sync::Notify;

use super::breaker::Held;
use super::cluster::Cluster;
use super::connect::{ConnectFailure, connect};
use super::h2_handshake::handshake;
use super::host::Host;
use crate::io::buffered::BufferedIo;
use crate::io::timer::now;
use crate::stats::metrics::ClusterStats;
use crate::tls::Offer;
use crate::value::NetAddress;

/// Idle HTTP/1 connections kept per pool; more than this many at once means a burst is over.
const MAX_IDLE: usize = 1024;

/// What must be equal for a connection to be shared.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct PoolKey {
    pub(crate) address: NetAddress,
    pub(crate) transport: usize,
    pub(crate) offer: Offer,
}

/// Connections to one host.
#[derive(Debug, Default)]
pub(crate) struct HostPool {
    idle: RefCell<Vec<(H1Connection, Instant)>>,
    h2: RefCell<Vec<Rc<H2Connection>>>,
    open: Cell<usize>,
    connecting: Cell<usize>,
    /// The last connection negotiated HTTP/2, or the first one is to: do not race to open a second one.
    speaks_h2: Cell<bool>,
    closed: Cell<bool>,
    changed: Notify,
}

/// Accounts for one open connection.
#[derive(Debug)]
pub(crate) struct OpenGuard {
    _held: Option<Held>,
    cluster: Arc<Cluster>,
    host: Arc<Host>,
    worker: usize,
    pool: Weak<HostPool>,
    /// The peer ended it while a request was under way.
    cut: Cell<bool>,
}

impl OpenGuard {
    pub(crate) fn new(
        cluster: &Arc<Cluster>,
        host: &Arc<Host>,
        worker: usize,
        held: Option<Held>,
        pool: Weak<HostPool>,
    ) -> Self {
        cluster.shared.stats.of(worker).upstream_cx_active.inc();
        host.state.cx_active.fetch_add(1, Relaxed);
        if let Some(pool) = pool.upgrade() {
            pool.open.set(pool.open.get() + 1);
        }
        OpenGuard {
            _held: held,
            cluster: cluster.clone(),
            host: host.clone(),
            worker,
            pool,
            cut: Cell::new(false),
        }
    }

    fn stats(&self) -> &ClusterStats {
        self.cluster.shared.stats.of(self.worker)
    }

    /// Counts the bytes of a connection as they come and go.
    pub(crate) fn meter(&self) -> impl Fn(u64, u64) + Unpin + use<> {
        let (cluster, worker) = (self.cluster.clone(), self.worker);
        move |read, written| {
            let stats = cluster.shared.stats.of(worker);
            stats.upstream_cx_rx_bytes_total.add(read);
            stats.upstream_cx_tx_bytes_total.add(written);
        }
    }

    /// Takes note that the peer ended the connection while a request was under way.
    pub(crate) fn cut_by_peer(&self) {
        self.cut.set(true);
    }
}

impl Drop for OpenGuard {
    fn drop(&mut self) {
        let stats = self.stats();
        stats.upstream_cx_active.dec();
        stats.upstream_cx_destroy.inc();
        if self.cut.get() {
            stats.upstream_cx_destroy_remote_with_active_rq.inc();
        }
        self.host.state.cx_active.fetch_sub(1, Relaxed);
        if let Some(pool) = self.pool.upgrade() {
            pool.open.set(pool.open.get().saturating_sub(1));
            pool.changed.notify_one();
        }
    }
}

/// An HTTP/1 connection, lent to one request at a time.
#[derive(Debug)]
pub(crate) struct H1Connection {
    pub(crate) io: Rc<RefCell<BufferedIo>>,
    pub(crate) local: Option<SocketAddr>,
    pub(crate) principal: Option<Arc<str>>,
    pub(crate) requests: u32,
    open: OpenGuard,
}

impl H1Connection {
    /// Takes note that the peer ended the connection while a request was under way.
    pub(crate) fn cut_by_peer(&self) {
        self.open.cut_by_peer();
    }
}

impl H1Connection {
    /// Counts the bytes since the last time.
    fn count_bytes(&self) {
        let Ok(mut io) = self.io.try_borrow_mut() else { return };
        let stats = self.open.stats();
        stats.upstream_cx_rx_bytes_total.add(std::mem::take(&mut io.rx_bytes));
        stats.upstream_cx_tx_bytes_total.add(std::mem::take(&mut io.tx_bytes));
    }
}

impl Drop for H1Connection {
    fn drop(&mut self) {
        self.count_bytes();
    }
}

/// An HTTP/2 connection, shared by many requests.
#[derive(Debug)]
pub(crate) struct H2Connection {
    pub(crate) send: RefCell<SendRequest<Bytes>>,
    pub(crate) local: Option<SocketAddr>,
    pub(crate) principal: Option<Arc<str>>,
    /// Requests under way.
    pub(crate) active: Rc<Cell<usize>>,
    requests: Cell<u32>,
    idle_since: Cell<Instant>,
    pub(crate) closed: Rc<Cell<bool>>,
}

impl H2Connection {
    /// Whether it takes no further request: it has ended, or the host said GOAWAY, be it for what comes later only.
    fn is_leaving(&self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        self.closed.get() || matches!(self.send.borrow_mut().poll_ready(&mut cx), Poll::Ready(Err(_)))
    }
}

/// One stream's share of an HTTP/2 connection.
#[derive(Debug)]
pub(crate) struct H2Lease {
    pub(crate) connection: Rc<H2Connection>,
    pool: Rc<HostPool>,
}

impl Drop for H2Lease {
    fn drop(&mut self) {
        let connection = &self.connection;
        connection.active.set(connection.active.get().saturating_sub(1));
        connection.idle_since.set(now());
        self.pool.changed.notify_one();
    }
}

/// A connection for one request.
pub(crate) enum Acquired {
    H1(H1Connection, Rc<HostPool>),
    H2(H2Lease),
}

/// Why there is none.
#[derive(Debug)]
pub(crate) enum AcquireError {
    /// A circuit breaker is open.
    Overflow,
    Connect(ConnectFailure),
}

/// Counts a connect that is going on, also when its request is cancelled.
struct Connecting<'a>(&'a HostPool);

impl<'a> Connecting<'a> {
    fn new(pool: &'a HostPool) -> Self {
        pool.connecting.set(pool.connecting.get() + 1);
        Connecting(pool)
    }
}

impl Drop for Connecting<'_> {
    fn drop(&mut self) {
        self.0.connecting.set(self.0.connecting.get().saturating_sub(1));
        self.0.changed.notify_waiters();
    }
}

/// Counts a request that waits for a connection.
struct Pending<'a> {
    _held: Held,
    stats: &'a ClusterStats,
}

impl<'a> Pending<'a> {
    /// `None` when the circuit breaker is open.
    fn new(cluster: &Cluster, high: bool, stats: &'a ClusterStats) -> Option<Self> {
        let Some(held) = Held::take(&cluster.usage(high).pending, cluster.limits(high).pending) else {
            stats.upstream_rq_pending_overflow.inc();
            return None;
        };
        stats.upstream_rq_pending_total.inc();
        stats.upstream_rq_pending_active.inc();
        Some(Pending { _held: held, stats })
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.stats.upstream_rq_pending_active.dec();
    }
}

/// Gets a connection: an idle one, a share of one, or a new one within the circuit breakers' limits.
pub(super) async fn acquire(
    pool: Rc<HostPool>,
    worker: usize,
    cluster: &Arc<Cluster>,
    host: &Arc<Host>,
    offer: Offer,
    high: bool,
) -> Result<Acquired, AcquireError> {
    let stats = cluster.shared.stats.of(worker);
    let mut pending = None;
    loop {
        if let Some(lease) = pool.take_h2(cluster, stats) {
            return Ok(Acquired::H2(lease));
        }
        if let Some(connection) = pool.take_idle() {
            return Ok(Acquired::H1(connection, pool));
        }
        if pending.is_none() {
            pending = Some(Pending::new(cluster, high, stats).ok_or(AcquireError::Overflow)?);
        }
        if pool.speaks_h2.get() && pool.connecting.get() > 0 {
            pool.changed.notified().await;
            continue;
        }
        let limits = cluster.limits(high);
        let held = Held::take(&cluster.usage(high).connections, limits.connections)
            .filter(|_| host.state.cx_active.load(Relaxed) < limits.connections_per_host);
        if held.is_none() {
            stats.upstream_cx_overflow.inc();
            // Every pool may have one connection, or a busy host could starve the others for ever.
            if pool.open.get() > 0 || pool.connecting.get() > 0 {
                pool.changed.notified().await;
                continue;
            }
        }
        let connecting = Connecting::new(&pool);
        // In plaintext it is known what will be spoken: counted like Envoy before it is known whether anybody listens.
        let plain = cluster.config.transport(host.transport).is_none();
        match offer {
            Offer::Http2 if plain => stats.upstream_cx_http2_total.inc(),
            _ if plain => stats.upstream_cx_http1_total.inc(),
            _ => {}
        }
        let connected = connect(cluster, host, offer, stats).await.map_err(AcquireError::Connect)?;
        let open = OpenGuard::new(cluster, host, worker, held, Rc::downgrade(&pool));
        let plain_h2 = offer == Offer::Http2 && !connected.tls;
        if connected.is_h2 || plain_h2 {
            stats.upstream_cx_http2_total.add(u64::from(!plain));
            let (local, principal) = (connected.local, connected.principal.clone());
            let (closed, active) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(0)));
            let meter = open.meter();
            let ended = {
                let (closed, active) = (closed.clone(), active.clone());
                move || {
                    if active.get() > 0 {
                        open.cut_by_peer();
                    }
                    closed.set(true);
                }
            };
            let send = handshake(connected.stream, cluster.config.connect_timeout, meter, ended)
                .await
                .map_err(|error| AcquireError::Connect(ConnectFailure::Io(format!("HTTP/2: {error}"))))?;
            pool.speaks_h2.set(true);
            pool.h2.borrow_mut().push(Rc::new(H2Connection {
                send: RefCell::new(send),
                local,
                principal,
                active,
                requests: Cell::new(0),
                idle_since: Cell::new(now()),
                closed,
            }));
            drop(connecting);
            continue;
        }
        stats.upstream_cx_http1_total.add(u64::from(!plain));
        pool.speaks_h2.set(false);
        let io = Rc::new(RefCell::new(BufferedIo::new(connected.stream)));
        let connection =
            H1Connection { io, local: connected.local, principal: connected.principal, requests: 0, open };
        drop(connecting);
        return Ok(Acquired::H1(connection, pool));
    }
}

impl HostPool {
    pub(crate) fn new(offer: Offer) -> Self {
        HostPool { speaks_h2: Cell::new(offer == Offer::Http2), ..HostPool::default() }
    }

    fn take_idle(&self) -> Option<H1Connection> {
        loop {
            let (connection, _) = self.idle.borrow_mut().pop()?;
            if is_alive(&connection) {
                return Some(connection);
            }
        }
    }

    fn take_h2(self: &Rc<Self>, cluster: &Cluster, stats: &ClusterStats) -> Option<H2Lease> {
        let mut connections = self.h2.borrow_mut();
        let limit = cluster.config.max_requests_per_connection;
        connections.retain(|connection| !connection.is_leaving());
        let found = connections.iter().find(|connection| {
            let streams = connection.send.borrow().current_max_send_streams().min(cluster.config.max_streams);
            connection.active.get() < streams.max(1)
        })?;
        let found = found.clone();
        found.active.set(found.active.get() + 1);
        found.requests.set(found.requests.get() + 1);
        if limit > 0 && found.requests.get() >= limit {
            stats.upstream_cx_max_requests.inc();
            connections.retain(|connection| !Rc::ptr_eq(connection, &found));
        }
        Some(H2Lease { connection: found, pool: self.clone() })
    }

    /// Takes a connection back whose exchange is over.
    pub(crate) fn give_back(&self, mut connection: H1Connection, max_requests: u32) {
        connection.requests += 1;
        connection.count_bytes();
        let spent = max_requests > 0 && connection.requests >= max_requests;
        if spent {
            connection.open.stats().upstream_cx_max_requests.inc();
        }
        let mut idle = self.idle.borrow_mut();
        if self.closed.get() || spent || idle.len() >= MAX_IDLE {
            return;
        }
        connection.io.borrow_mut().park();
        idle.push((connection, now()));
        drop(idle);
        self.changed.notify_one();
    }

    /// The host or its configuration is gone: no connection is reused from now on.
    pub(crate) fn close(&self) {
        self.closed.set(true);
        self.idle.borrow_mut().clear();
        self.h2.borrow_mut().clear();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.open.get() == 0 && self.connecting.get() == 0
    }

    pub(crate) fn sweep(&self, now: Instant, idle_timeout: Option<Duration>, stats: &ClusterStats) {
        let expired =
            |since: Instant| idle_timeout.is_some_and(|limit| now.saturating_duration_since(since) >= limit);
        let old = {
            let mut idle = self.idle.borrow_mut();
            let (keep, old): (Vec<_>, Vec<_>) =
                idle.drain(..).partition(|(connection, since)| !expired(*since) && is_alive(connection));
            *idle = keep;
            old
        };
        stats.upstream_cx_idle_timeout.add(old.iter().filter(|(_, since)| expired(*since)).count() as u64);
        drop(old);
        let old: Vec<_> = {
            let mut h2 = self.h2.borrow_mut();
            let (old, keep) = h2
                .drain(..)
                .partition(|c| c.is_leaving() || (c.active.get() == 0 && expired(c.idle_since.get())));
            *h2 = keep;
            old
        };
        drop(old);
    }
}

/// Whether an idle connection is still open and silent: a server that closes or talks out of turn is not to be
/// sent a request. Costs no system call as long as nothing happened.
fn is_alive(connection: &H1Connection) -> bool {
    let mut io = connection.io.borrow_mut();
    if !io.input.is_empty() || io.eof {
        return false;
    }
    let mut byte = [0u8; 1];
    let mut buf = ReadBuf::new(&mut byte);
    let mut cx = Context::from_waker(Waker::noop());
    matches!(Pin::new(&mut io.stream).poll_read(&mut cx, &mut buf), Poll::Pending)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::net::UnixStream;

    use portolan_envoy_api::pb::google::protobuf::UInt32Value;

    use super::*;
    use crate::upstream::testing::{Backend, breakers};

    const LIMIT: Duration = Duration::from_secs(7);

    async fn http1(backend: &Backend) -> (H1Connection, Rc<HostPool>) {
        match backend.own.acquire(&backend.cluster, &backend.host, Offer::Http1, false).await {
            Ok(Acquired::H1(connection, pool)) => (connection, pool),
            Ok(Acquired::H2(_)) => panic!("HTTP/2"),
            Err(error) => panic!("{error:?}"),
        }
    }

    fn stats(backend: &Backend) -> &ClusterStats {
        backend.own.stats_of(&backend.cluster)
    }

    /// An idle connection, the host's end of it, and the pool that it waits in.
    async fn idle(backend: &Backend) -> (UnixStream, Rc<HostPool>) {
        let (connection, pool) = http1(backend).await;
        let (host, _) = backend.socket.accept().unwrap();
        pool.give_back(connection, 0);
        (host, pool)
    }

    fn one_connection() -> Backend {
        Backend::new(|cluster| {
            cluster.circuit_breakers = Some(breakers(|limits| {
                limits.max_connections = Some(UInt32Value { value: 1 });
            }));
        })
    }

    #[tokio::test(start_paused = true)]
    async fn the_connection_that_was_used_last_is_used_again() {
        let backend = Backend::new(|_| {});
        let ((first, pool), (second, _)) = (http1(&backend).await, http1(&backend).await);
        let io = second.io.clone();
        pool.give_back(first, 0);
        pool.give_back(second, 0);
        assert!(Rc::ptr_eq(&http1(&backend).await.0.io, &io));
        assert_eq!(stats(&backend).upstream_cx_total.get(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_the_host_closed_is_not_used_again() {
        let backend = Backend::new(|_| {});
        let (host, _) = idle(&backend).await;
        drop(host);
        // The runtime learns of it when it looks at its sockets.
        tokio::time::sleep(Duration::from_millis(1)).await;
        http1(&backend).await;
        assert_eq!(stats(&backend).upstream_cx_total.get(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_on_which_the_host_talks_out_of_turn_is_not_used_again() {
        let backend = Backend::new(|_| {});
        let (mut host, _) = idle(&backend).await;
        host.write_all(b"HTTP/1.1 200 OK\r\n").unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
        http1(&backend).await;
        assert_eq!(stats(&backend).upstream_cx_total.get(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_spent_after_its_requests() {
        let backend = Backend::new(|_| {});
        for _ in 0..2 {
            let (connection, pool) = http1(&backend).await;
            pool.give_back(connection, 2);
        }
        assert_eq!(stats(&backend).upstream_cx_total.get(), 1);
        assert_eq!(stats(&backend).upstream_cx_max_requests.get(), 1);
        assert_eq!(stats(&backend).upstream_cx_active.get(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_was_idle_for_too_long_is_closed() {
        let backend = Backend::new(|_| {});
        let (_host, pool) = idle(&backend).await;
        tokio::time::advance(LIMIT - Duration::from_secs(1)).await;
        pool.sweep(now(), Some(LIMIT), stats(&backend));
        assert_eq!(stats(&backend).upstream_cx_active.get(), 1);
        tokio::time::advance(Duration::from_secs(1)).await;
        pool.sweep(now(), Some(LIMIT), stats(&backend));
        assert_eq!(stats(&backend).upstream_cx_active.get(), 0);
        assert_eq!(stats(&backend).upstream_cx_idle_timeout.get(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_pool_keeps_nothing() {
        let backend = Backend::new(|_| {});
        let (connection, pool) = http1(&backend).await;
        pool.close();
        pool.give_back(connection, 0);
        assert_eq!(stats(&backend).upstream_cx_active.get(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_over_the_limit_of_connections_waits_for_one() {
        let backend = one_connection();
        let (connection, pool) = http1(&backend).await;
        let io = connection.io.clone();
        let release = async {
            tokio::time::sleep(LIMIT).await;
            assert_eq!(stats(&backend).upstream_rq_pending_active.get(), 1);
            pool.give_back(connection, 0);
        };
        let start = tokio::time::Instant::now();
        let ((second, _), ()) = tokio::join!(http1(&backend), release);
        assert!(Rc::ptr_eq(&second.io, &io));
        assert_eq!(start.elapsed(), LIMIT);
        assert_eq!(stats(&backend).upstream_cx_overflow.get(), 1);
        assert_eq!(stats(&backend).upstream_rq_pending_active.get(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_gives_up_waits_no_longer() {
        let backend = one_connection();
        let _held = http1(&backend).await;
        let waiting = tokio::time::timeout(LIMIT, http1(&backend)).await;
        assert!(waiting.is_err());
        assert_eq!(stats(&backend).upstream_rq_pending_active.get(), 0);
        assert_eq!(backend.cluster.usage(false).pending.load(Relaxed), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_when_the_queue_is_full() {
        let backend = Backend::new(|cluster| {
            cluster.circuit_breakers = Some(breakers(|limits| {
                limits.max_pending_requests = Some(UInt32Value { value: 0 });
            }));
        });
        let refused = backend.own.acquire(&backend.cluster, &backend.host, Offer::Http1, false).await;
        assert!(matches!(refused, Err(AcquireError::Overflow)));
        assert_eq!(stats(&backend).upstream_rq_pending_overflow.get(), 1);
    }
}
