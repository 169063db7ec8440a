//! `envoy.filters.network.tcp_proxy`, compiled.

use std::sync::Arc;
use std::time::Duration;

use super::compile::Compile;
use crate::pb::{tcp_proxy, types};
use crate::stats::metrics::{PerWorker, TcpStats};
use crate::telemetry::access_log::AccessLog;
use crate::value::{At as _, Direction, Invalid, Valid, timeout, u32_or};

/// Envoy's TCP idle timeout.
const DEFAULT_IDLE: Duration = Duration::from_secs(3600);

/// A compiled TCP proxy.
#[derive(Debug)]
pub(crate) struct TcpProxy {
    pub(crate) clusters: Vec<(Arc<str>, u64)>,
    pub(crate) total: u64,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) max_attempts: u32,
    pub(crate) hash_source: bool,
    pub(crate) access_log: Vec<AccessLog>,
    pub(crate) stats: Arc<PerWorker<TcpStats>>,
    pub(crate) direction: Direction,
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

    /// Draws a cluster by weight.
    pub(crate) fn choose(&self) -> Option<Arc<str>> {
        let mut draw = fastrand::u64(0..self.total);
        let hit = self.clusters.iter().find(|(_, weight)| {
            let hit = draw < *weight;
            draw = draw.saturating_sub(*weight);
            hit
        })?;
        Some(hit.0.clone())
    }
}
