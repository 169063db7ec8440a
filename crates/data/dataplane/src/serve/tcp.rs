//! `envoy.filters.network.tcp_proxy` (Envoy: "TCP proxy").

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use portolan_balance::hash::xx_hash as hash;

use super::worker::Worker;
use crate::io::buffered::BufferedIo;
use crate::io::relay::{RelayEnd, relay};
use crate::io::stream::Stream;
use crate::io::timer::now;
use crate::listener::TcpProxy;
use crate::message::{ConnectionInfo, Flags};
use crate::stats::metrics::TcpStats;
use crate::telemetry::access_log;
use crate::telemetry::format::Context;
use crate::telemetry::{StreamInfo, istio};
use crate::tls::Offer;
use crate::upstream::breaker::Held;
use crate::upstream::connect::connect;
use crate::upstream::outlier::{self, Outcome};
use crate::upstream::pick::LbContext;
use crate::upstream::pool::OpenGuard;

/// Logs a connection that network RBAC closed.
pub(crate) fn deny(
    proxy: &TcpProxy,
    worker: &Worker,
    connection: &Rc<ConnectionInfo>,
    start: Instant,
    details: String,
) {
    proxy.stats.of(worker.id).rbac_denied.inc();
    let mut info = StreamInfo::new(connection.clone(), start);
    info.termination_details = Some(details.into());
    log(proxy, worker, &info);
}

fn log(proxy: &TcpProxy, worker: &Worker, info: &StreamInfo) {
    let context = Context { info, request: None, response: None, trailers: None, now: now() };
    access_log::log(&proxy.access_log, &context, &worker.logs);
}

/// Counts a connection as active while it lives.
struct Active<'a>(&'a TcpStats);

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.0.downstream_cx_active.dec();
    }
}

/// Serves one connection to its end. `counts`: whether it is counted in Istio's TCP metrics.
pub(crate) async fn serve(
    worker: &Rc<Worker>,
    proxy: &Arc<TcpProxy>,
    connection: Rc<ConnectionInfo>,
    stream: Stream,
    cluster: Option<Arc<str>>,
    counts: bool,
    start: Instant,
) {
    let stats = proxy.stats.of(worker.id);
    stats.downstream_cx_total.inc();
    stats.downstream_cx_active.inc();
    let _active = Active(stats);
    let mut info = StreamInfo::new(connection.clone(), start);
    info.cluster_name = cluster.or_else(|| proxy.choose());
    if let Some((host, guard)) = open(worker, proxy, &mut info).await {
        if counts {
            istio::record_tcp(&worker.istio, &worker.node, proxy.direction, &info, true);
        }
        let client = Rc::new(RefCell::new(BufferedIo::new(stream)));
        let drain = &connection.drain;
        let (relayed, end) = relay(&client, &host, proxy.idle_timeout, drain, worker.shared.drain_time).await;
        info.bytes_received = relayed.received;
        info.bytes_sent = relayed.sent;
        stats.downstream_cx_rx_bytes_total.add(relayed.received);
        stats.downstream_cx_tx_bytes_total.add(relayed.sent);
        if let Some(cluster) = &info.cluster {
            let upstream = cluster.shared.stats.of(worker.id);
            upstream.upstream_cx_tx_bytes_total.add(relayed.received);
            upstream.upstream_cx_rx_bytes_total.add(relayed.sent);
        }
        match end {
            RelayEnd::Idle => {
                stats.idle_timeout.inc();
                info.flags.insert(Flags::STREAM_IDLE_TIMEOUT);
            }
            RelayEnd::Upstream => info.flags.insert(Flags::UPSTREAM_CONNECTION_TERMINATION),
            RelayEnd::Downstream => info.flags.insert(Flags::DOWNSTREAM_CONNECTION_TERMINATION),
            RelayEnd::Finished | RelayEnd::Drained => {}
        }
        drop(guard);
        if counts {
            istio::record_tcp(&worker.istio, &worker.node, proxy.direction, &info, false);
        }
    }
    log(proxy, worker, &info);
}

type Opened = (Rc<RefCell<BufferedIo>>, (OpenGuard, Option<Held>));

async fn open(worker: &Rc<Worker>, proxy: &TcpProxy, info: &mut StreamInfo) -> Option<Opened> {
    let stats = proxy.stats.of(worker.id);
    let name = info.cluster_name.clone()?;
    let Some((cluster, own)) = worker.cluster(&name) else {
        stats.downstream_cx_no_route.inc();
        info.flags.insert(Flags::NO_CLUSTER);
        return None;
    };
    info.cluster = Some(cluster.clone());
    let upstream = own.stats_of(&cluster);
    let mut avoid = Vec::new();
    for attempt in 1..=proxy.max_attempts {
        info.attempts = attempt;
        let connection = &info.connection;
        let context = LbContext {
            hash: proxy.hash_source.then(|| hash(connection.remote.ip().to_string().as_bytes())),
            avoid: &avoid,
            attempts: u32::from(!avoid.is_empty()),
            original_dst: connection.restored.then_some(connection.local),
            subset: Some(proxy.subset(&name)),
        };
        let Some(host) = own.pick(&context) else {
            upstream.upstream_cx_none_healthy.inc();
            info.flags.insert(Flags::NO_HEALTHY_UPSTREAM);
            return None;
        };
        info.host = Some(host.clone());
        let Some(held) = Held::take(&cluster.usage(false).connections, cluster.limits(false).connections)
        else {
            upstream.upstream_cx_overflow.inc();
            info.flags.insert(Flags::UPSTREAM_OVERFLOW);
            return None;
        };
        host.state.rq_total.fetch_add(1, Relaxed);
        upstream.upstream_rq_pending_total.inc();
        match connect(&cluster, &host, Offer::Tcp, upstream).await {
            Ok(connected) => {
                outlier::report(&cluster, &host, Outcome::Connected);
                // Envoy counts a TCP connection as one request of its cluster.
                upstream.upstream_rq_total.inc();
                info.upstream_local = connected.local;
                info.upstream_principal = connected.principal;
                let guard = OpenGuard::new(&cluster, &host, worker.id, Some(held), std::rc::Weak::new());
                return Some((Rc::new(RefCell::new(BufferedIo::new(connected.stream))), (guard, None)));
            }
            Err(error) => {
                outlier::report(&cluster, &host, Outcome::LocalFailure);
                info.upstream_failure = Some(error.to_string().replace(char::is_whitespace, "_"));
                avoid.push(host.address.clone());
            }
        }
    }
    upstream.upstream_cx_connect_attempts_exceeded.inc();
    info.flags.insert(Flags::UPSTREAM_CONNECTION_FAILURE);
    info.flags.insert(Flags::UPSTREAM_RETRY_LIMIT);
    None
}
