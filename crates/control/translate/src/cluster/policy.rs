//! DestinationRule policies on a cluster (Istio 1.9 reference, Destination Rule).

use std::time::Duration as StdDuration;

use portolan_resources::networking::{
    ConnectionPoolSettings, H2UpgradePolicy, LoadBalancerSettings, OutlierDetection, SimpleLb, TcpKeepalive,
};

use super::base::{UpstreamHttp, breakers, common_http, of_type, set_http, unlimited};
use crate::{context::Context, pb::*, traffic_policy::TrafficPolicyParts};

/// Smallest hash ring unless the rule says otherwise.
const MIN_RING_SIZE: u64 = 1024;
/// Envoy's largest ring; a larger minimum would be rejected.
const MAX_RING_SIZE: u64 = 8 * 1024 * 1024;
/// Above this base ejection time, the longest ejection time is raised to it.
const DEFAULT_MAX_EJECTION: StdDuration = StdDuration::from_secs(300);

fn limit(value: Option<i32>) -> Option<UInt32Value> {
    // 0 means unset, as in protobuf.
    value.and_then(|v| u32::try_from(v).ok()).filter(|v| *v > 0).and_then(u32v)
}

/// Whether plain HTTP ports of this cluster are upgraded to HTTP/2.
pub(crate) fn upgrades_to_h2(ctx: &Context<'_>, pool: Option<&ConnectionPoolSettings>) -> bool {
    let policy = pool.and_then(|p| p.http.as_ref()).and_then(|h| h.h2_upgrade_policy).unwrap_or_default();
    match policy {
        H2UpgradePolicy::Upgrade => true,
        H2UpgradePolicy::DoNotUpgrade => false,
        H2UpgradePolicy::Default => ctx.mesh().h2_upgrade_policy == H2UpgradePolicy::Upgrade,
    }
}

/// Applies everything but TLS.
pub(crate) fn apply(
    ctx: &Context<'_>,
    cluster: &mut cluster::Cluster,
    parts: &TrafficPolicyParts<'_>,
    http: UpstreamHttp,
) {
    connection_pool(ctx, cluster, parts.connection_pool, http);
    if let Some(outlier) = parts.outlier_detection {
        outlier_detection(cluster, outlier);
    }
    load_balancer(cluster, parts.load_balancer);
}

fn connection_pool(
    ctx: &Context<'_>,
    cluster: &mut cluster::Cluster,
    pool: Option<&ConnectionPoolSettings>,
    mut kind: UpstreamHttp,
) {
    let mut thresholds = unlimited();
    let mut common = None;
    let tcp = pool.and_then(|p| p.tcp.as_ref());
    if let Some(tcp) = tcp {
        thresholds.max_connections = limit(tcp.max_connections).or(thresholds.max_connections);
        if let Some(timeout) = tcp.connect_timeout.as_ref().and_then(|t| t.get()) {
            cluster.connect_timeout = Some(duration(timeout));
        }
    }
    if let Some(http) = pool.and_then(|p| p.http.as_ref()) {
        thresholds.max_pending_requests =
            limit(http.http1_max_pending_requests).or(thresholds.max_pending_requests);
        thresholds.max_requests = limit(http.http2_max_requests).or(thresholds.max_requests);
        thresholds.max_retries = limit(http.max_retries).or(thresholds.max_retries);
        let per_connection = limit(http.max_requests_per_connection).map(|v| v.value);
        common = common_http(http.idle_timeout.as_ref().and_then(|t| t.get()), per_connection);
        if http.use_client_protocol == Some(true) && kind != UpstreamHttp::None {
            kind = UpstreamHttp::AsDownstream;
        }
    }
    let mesh = ctx.mesh();
    if let Some(keepalive) = tcp.and_then(|t| t.tcp_keepalive.as_ref()).or(mesh.tcp_keepalive.as_ref()) {
        cluster.upstream_connection_options = Some(cluster::UpstreamConnectionOptions {
            tcp_keepalive: Some(tcp_keepalive(keepalive)),
            ..Default::default()
        });
    }
    cluster.circuit_breakers = breakers(thresholds);
    set_http(cluster, kind, common);
}

fn tcp_keepalive(keepalive: &TcpKeepalive) -> core::TcpKeepalive {
    let seconds = |d: Option<&portolan_resources::ProtoDuration>| {
        d.and_then(|d| d.get())
            .and_then(|d| u32::try_from(d.as_secs()).ok())
            .filter(|s| *s > 0)
            .and_then(u32v)
    };
    core::TcpKeepalive {
        keepalive_probes: keepalive.probes.filter(|p| *p > 0).and_then(u32v),
        keepalive_time: seconds(keepalive.time.as_ref()),
        keepalive_interval: seconds(keepalive.interval.as_ref()),
    }
}

fn outlier_detection(cluster: &mut cluster::Cluster, o: &OutlierDetection) {
    let mut out = cluster::OutlierDetection { enforcing_success_rate: u32v(0), ..Default::default() };
    let enforcing = |n: u32| u32v(if n > 0 { 100 } else { 0 });
    if let Some(n) = o.consecutive_5xx_errors {
        out.consecutive_5xx = u32v(n);
        out.enforcing_consecutive_5xx = enforcing(n);
    }
    let gateway = o
        .consecutive_gateway_errors
        .or(o.consecutive_errors.and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0));
    if let Some(n) = gateway {
        out.consecutive_gateway_failure = u32v(n);
        out.enforcing_consecutive_gateway_failure = enforcing(n);
    }
    out.interval = o.interval.as_ref().and_then(|d| d.get()).map(duration);
    if let Some(base) = o.base_ejection_time.as_ref().and_then(|d| d.get()) {
        out.base_ejection_time = Some(duration(base));
        if base > DEFAULT_MAX_EJECTION {
            out.max_ejection_time = Some(duration(base));
        }
    }
    let percent = |v: Option<i32>| v.and_then(|v| u32::try_from(v).ok()).map(|v| v.min(100));
    out.max_ejection_percent = percent(o.max_ejection_percent).filter(|v| *v > 0).and_then(u32v);
    cluster.outlier_detection = Some(out);
    // 0 turns panic mode off, which is what users of outlier detection expect (Istio 1.9 reference, Destination Rule).
    let threshold = f64::from(percent(o.min_health_percent).unwrap_or_default());
    let lb = cluster.common_lb_config.get_or_insert_with(Default::default);
    lb.healthy_panic_threshold = Some(types::Percent { value: threshold });
}

fn load_balancer(cluster: &mut cluster::Cluster, lb: Option<&LoadBalancerSettings>) {
    use cluster::cluster::{DiscoveryType, LbConfig, LbPolicy, RingHashLbConfig};
    // ORIGINAL_DST clusters balance nothing.
    if cluster.cluster_discovery_type == of_type(DiscoveryType::OriginalDst) {
        cluster.lb_policy = LbPolicy::ClusterProvided as i32;
        return;
    }
    let Some(lb) = lb else { return };
    if let Some(hash) = &lb.consistent_hash {
        let minimum = hash.minimum_ring_size.filter(|n| *n > 0).unwrap_or(MIN_RING_SIZE).min(MAX_RING_SIZE);
        cluster.lb_policy = LbPolicy::RingHash as i32;
        cluster.lb_config = Some(LbConfig::RingHashLbConfig(RingHashLbConfig {
            minimum_ring_size: Some(UInt64Value { value: minimum }),
            ..Default::default()
        }));
    }
    match lb.simple.unwrap_or_default() {
        _ if lb.consistent_hash.is_some() => {}
        SimpleLb::RoundRobin | SimpleLb::Unspecified => cluster.lb_policy = LbPolicy::RoundRobin as i32,
        SimpleLb::LeastConn | SimpleLb::LeastRequest => cluster.lb_policy = LbPolicy::LeastRequest as i32,
        SimpleLb::Random => cluster.lb_policy = LbPolicy::Random as i32,
        SimpleLb::Passthrough => {
            cluster.lb_policy = LbPolicy::ClusterProvided as i32;
            cluster.cluster_discovery_type = of_type(DiscoveryType::OriginalDst);
            cluster.eds_cluster_config = None;
            cluster.load_assignment = None;
        }
    }
    let distributes = lb.locality_lb_setting.as_ref().is_some_and(|l| !l.distribute.is_empty());
    if distributes && lb.consistent_hash.is_none() {
        let config = cluster.common_lb_config.get_or_insert_with(Default::default);
        config.locality_config_specifier =
            Some(cluster::cluster::common_lb_config::LocalityConfigSpecifier::LocalityWeightedLbConfig(
                cluster::cluster::common_lb_config::LocalityWeightedLbConfig {},
            ));
    }
}
