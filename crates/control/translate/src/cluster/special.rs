//! Clusters that do not stand for a service.

use portolan_xds::names;

use super::base::{UpstreamHttp, breakers, connect_timeout, of_type, set_http, unlimited};
use crate::{context::Context, pb::*};

/// Clusters that every sidecar has, whatever the mesh: black hole and pass-through both ways.
pub(crate) fn special(ctx: &Context<'_>) -> Vec<cluster::Cluster> {
    let black_hole = cluster::Cluster {
        name: names::BLACK_HOLE.to_owned(),
        cluster_discovery_type: of_type(cluster::cluster::DiscoveryType::Static),
        connect_timeout: connect_timeout(ctx),
        ..Default::default()
    };
    if ctx.node.is_router() {
        return vec![black_hole];
    }
    let original = |name: &str| {
        let mut made = cluster::Cluster {
            name: name.to_owned(),
            cluster_discovery_type: of_type(cluster::cluster::DiscoveryType::OriginalDst),
            lb_policy: cluster::cluster::LbPolicy::ClusterProvided as i32,
            connect_timeout: connect_timeout(ctx),
            circuit_breakers: breakers(unlimited()),
            ..Default::default()
        };
        set_http(&mut made, UpstreamHttp::AsDownstream, None);
        made
    };
    let mut inbound = original(names::INBOUND_PASSTHROUGH);
    // Capture leaves this source address alone, so the connection reaches the application instead of us again.
    inbound.upstream_bind_config = Some(core::BindConfig {
        source_address: Some(core::SocketAddress {
            address: names::INBOUND_PASSTHROUGH_SOURCE.to_owned(),
            port_specifier: Some(core::socket_address::PortSpecifier::PortValue(0)),
            ..Default::default()
        }),
        ..Default::default()
    });
    vec![black_hole, original(names::PASSTHROUGH), inbound]
}
