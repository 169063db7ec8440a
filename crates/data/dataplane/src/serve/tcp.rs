//! `envoy.filters.network.tcp_proxy` (spec/dataplane.md 64).

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crate::config::listener::{Compile, Direction};
use crate::config::pb::{tcp_proxy, types};
use crate::config::value::{At as _, Invalid, Valid, timeout, u32_or};
use crate::http::h1::H1Io;
use crate::net::relay::{RelayEnd, relay};
use crate::net::stream::Stream;
use crate::net::{ConnectionInfo, Worker};
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::format::Context;
use crate::telemetry::istio;
use crate::telemetry::metrics::{PerWorker, TcpStats};
use crate::telemetry::{Flags, StreamInfo};
use crate::tls::Offer;
use crate::upstream::breaker::Held;
use crate::upstream::connect::connect;
use crate::upstream::lb::LbContext;
use crate::upstream::outlier::{self, Outcome};
use crate::upstream::pool::OpenGuard;
use crate::upstream::ring::hash;

/// Envoy's TCP idle timeout.
const DEFAULT_IDLE: Duration = Duration::from_secs(3600);

/// A compiled TCP proxy.
#[derive(Debug)]
pub(crate) struct TcpProxy {
    clusters: Vec<(Arc<str>, u64)>,
    total: u64,
    idle_timeout: Option<Duration>,
    max_attempts: u32,
    hash_source: bool,
    access_log: Vec<AccessLog>,
    stats: Arc<PerWorker<TcpStats>>,
    direction: Direction,
}

impl TcpProxy {
    pub(crate) fn compile(from: &tcp_proxy::TcpProxy, context: &Compile<'_>) -> Valid<TcpProxy> {
        use tcp_proxy::tcp_proxy::ClusterSpecifier as C;
        let clusters: Vec<(Arc<str>, u64)> = match &from.cluster_specifier {
            Some(C::Cluster(name)) => vec![(name.as_str().into(), 1)],
            Some(C::WeightedClusters(weighted)) => weighted
                .clusters
                .iter()
                .map(|one| (one.name.as_str().into(), u64::from(one.weight)))
                .collect(),
            None => return Err(Invalid::new("no cluster")),
        };
        let total = clusters.iter().map(|(_, weight)| weight).sum();
        if total == 0 {
            return Err(Invalid::new("the sum of weights is 0"));
        }
        if from.tunneling_config.is_some() {
            return Err(Invalid::new("tunneling_config is not supported"));
        }
        let hash_source = from.hash_policy.iter().any(|policy| {
            matches!(policy.policy_specifier, Some(types::hash_policy::PolicySpecifier::SourceIp(_)))
        });
        Ok(TcpProxy {
            clusters,
            total,
            idle_timeout: timeout(from.idle_timeout.as_ref(), Some(DEFAULT_IDLE)).at("idle_timeout")?,
            max_attempts: u32_or(from.max_connect_attempts.as_ref(), 1).clamp(1, 16),
            hash_source,
            access_log: AccessLog::compile_all(&from.access_log)?,
            stats: context.tcp_stats(&from.stat_prefix),
            direction: context.direction,
        })
    }

    fn choose(&self) -> Option<Arc<str>> {
        let mut draw = fastrand::u64(0..self.total);
        let hit = self.clusters.iter().find(|(_, weight)| {
            let hit = draw < *weight;
            draw = draw.saturating_sub(*weight);
            hit
        })?;
        Some(hit.0.clone())
    }

    /// Logs a connection that network RBAC closed.
    pub(crate) fn deny(
        &self,
        worker: &Worker,
        connection: &Rc<ConnectionInfo>,
        start: Instant,
        details: String,
    ) {
        self.stats.of(worker.id).rbac_denied.inc();
        let mut info = StreamInfo::new(connection.clone(), start);
        info.termination_details = Some(details.into());
        self.log(worker, &info);
    }

    fn log(&self, worker: &Worker, info: &StreamInfo) {
        let context = Context { info, request: None, response: None, trailers: None, now: Instant::now() };
        self.access_log.iter().for_each(|log| log.log(&context, &worker.logs));
    }
}

/// Counts a connection as active while it lives.
struct Active<'a>(&'a TcpStats);

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.0.downstream_cx_active.dec();
    }
}

/// Serves one connection to its end.
pub(crate) async fn serve(
    worker: &Rc<Worker>,
    proxy: &Arc<TcpProxy>,
    connection: Rc<ConnectionInfo>,
    stream: Stream,
    cluster: Option<Arc<str>>,
    start: Instant,
) {
    let stats = proxy.stats.of(worker.id);
    stats.downstream_cx_total.inc();
    stats.downstream_cx_active.inc();
    let _active = Active(stats);
    let mut info = StreamInfo::new(connection.clone(), start);
    info.cluster_name = cluster.or_else(|| proxy.choose());
    let counts = connection.chain.counts_tcp();
    if let Some((host, guard)) = open(worker, proxy, &mut info).await {
        if counts {
            istio::record_tcp(worker, proxy.direction, &info, true);
        }
        let client = Rc::new(RefCell::new(H1Io::new(stream)));
        let drain = &connection.chain.drain;
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
            istio::record_tcp(worker, proxy.direction, &info, false);
        }
    }
    proxy.log(worker, &info);
}

type Opened = (Rc<RefCell<H1Io>>, (OpenGuard, Option<Held>));

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
            subset: None,
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
                outlier::report(&cluster, &host, Outcome::Status(200), Instant::now());
                // Envoy counts a TCP connection as one request of its cluster.
                upstream.upstream_rq_total.inc();
                info.upstream_local = connected.local;
                info.upstream_principal = connected.principal;
                let guard = OpenGuard::new(&cluster, &host, worker.id, Some(held), std::rc::Weak::new());
                return Some((Rc::new(RefCell::new(H1Io::new(connected.stream))), (guard, None)));
            }
            Err(error) => {
                outlier::report(&cluster, &host, Outcome::LocalFailure, Instant::now());
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
