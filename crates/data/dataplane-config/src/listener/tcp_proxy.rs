//! `envoy.filters.network.tcp_proxy`, compiled.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use super::compile::Compile;
use crate::access_log::AccessLog;
use crate::cluster::of_criteria;
use crate::pb::{core, tcp_proxy, types};
use crate::value::{At as _, Direction, Invalid, Valid, timeout, u32_or};

/// Envoy's TCP idle timeout.
const DEFAULT_IDLE: Duration = Duration::from_secs(3600);

/// A compiled TCP proxy.
#[derive(Debug)]
pub struct TcpProxy {
    /// Clusters and their weights.
    pub clusters: Vec<(Arc<str>, u64)>,
    /// Sum of the weights; not 0.
    pub total: u64,
    /// Silence after which a connection is closed; `None` = never.
    pub idle_timeout: Option<Duration>,
    /// Hosts that are tried.
    pub max_attempts: u32,
    /// Whether the client's address chooses the host.
    pub hash_source: bool,
    /// What each cluster's hosts must have (`metadata_match`), in the order of `clusters`.
    subsets: Vec<Vec<(String, String)>>,
    /// One line per connection.
    pub access_log: Vec<AccessLog>,
    /// Name of its statistics' scope.
    pub stat_prefix: String,
    /// Of the listener's traffic.
    pub direction: Direction,
}

impl TcpProxy {
    /// Compiles the message.
    pub fn compile(from: &tcp_proxy::TcpProxy, context: Compile) -> Valid<TcpProxy> {
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
        let common = of_criteria(from.metadata_match.as_ref());
        let subsets = match &from.cluster_specifier {
            Some(C::WeightedClusters(weighted)) => {
                weighted.clusters.iter().map(|one| merged(&common, one.metadata_match.as_ref())).collect()
            }
            _ => vec![common],
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
            subsets,
            access_log: AccessLog::compile_all(&from.access_log, context.load)?,
            stat_prefix: from.stat_prefix.clone(),
            direction: context.direction,
        })
    }

    /// What the hosts of a cluster must have.
    pub fn subset(&self, cluster: &str) -> &[(String, String)] {
        let at = self.clusters.iter().position(|(name, _)| **name == *cluster);
        at.and_then(|at| self.subsets.get(at)).map(Vec::as_slice).unwrap_or_default()
    }

    /// Draws a cluster by weight.
    pub fn choose(&self) -> Option<Arc<str>> {
        let mut draw = fastrand::u64(0..self.total);
        let hit = self.clusters.iter().find(|(_, weight)| {
            let hit = draw < *weight;
            draw = draw.saturating_sub(*weight);
            hit
        })?;
        Some(hit.0.clone())
    }
}

/// The criteria of a weighted cluster come before those that all have.
fn merged(common: &[(String, String)], own: Option<&core::Metadata>) -> Vec<(String, String)> {
    let mut criteria = of_criteria(own);
    let more = common.iter().filter(|(key, _)| !criteria.iter().any(|(known, _)| known == key));
    let more: Vec<_> = more.cloned().collect();
    criteria.extend(more);
    criteria.sort();
    criteria
}
