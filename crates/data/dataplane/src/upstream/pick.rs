//! Choosing a host for a request.

use std::sync::Arc;

use portolan_balance::{Picker, Request};

use super::config::{ClusterConfig, Discovery};
use super::environment::Here;
use super::host::{Endpoint, Host};
use crate::stats::metrics::ClusterStats;
use crate::value::NetAddress;

/// What a pick may depend on.
#[derive(Debug, Default)]
pub(crate) struct LbContext<'a> {
    pub(crate) hash: Option<u64>,
    /// Hosts to avoid if possible (earlier attempts).
    pub(crate) avoid: &'a [NetAddress],
    /// How often a pick of an avoided host is repeated.
    pub(crate) attempts: u32,
    /// Where the downstream connection wanted to go.
    pub(crate) original_dst: Option<std::net::SocketAddr>,
    /// Labels that a host must have (subset load balancing).
    pub(crate) subset: Option<&'a [(String, String)]>,
}

/// Chooses a host with the turns that `picker` keeps. `active` are the active requests of the cluster.
pub(crate) fn pick(
    config: &ClusterConfig,
    picker: &mut Picker<Endpoint>,
    context: &LbContext<'_>,
    active: u64,
    stats: &ClusterStats,
) -> Option<Arc<Host>> {
    if config.discovery == Discovery::OriginalDst {
        return context.original_dst.map(|address| config.original_dst_host(address));
    }
    let request = Request {
        hash: context.hash,
        criteria: context.subset.unwrap_or_default(),
        avoid: &|host: &Host| context.avoid.contains(&host.endpoint.address),
        attempts: context.attempts,
        active,
    };
    let picked = picker.pick(&request, &mut Here);
    stats.lb_healthy_panic.add(u64::from(picked.panic));
    picked.host
}
