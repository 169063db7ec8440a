//! `virtualOutbound`.

use portolan_names::names::UNSPECIFIED_IP;
use portolan_xds::names;

use super::base::base;
use crate::{context::Context, pb::*, tcp};

/// Where captured outbound connections arrive; each goes to the listener of its destination, or through here.
pub(crate) fn virtual_outbound(ctx: &Context<'_>) -> listener::Listener {
    let port = ctx.mesh().proxy_listen_port;
    let fallback = if ctx.scope.allow_any() { names::PASSTHROUGH } else { names::BLACK_HOLE };
    let mut made = base(ctx, names::VIRTUAL_OUTBOUND, UNSPECIFIED_IP, port, core::TrafficDirection::Outbound);
    made.use_original_dst = boolv(true);
    made.transparent = ctx.node.metadata.tproxy.then_some(BoolValue { value: true });
    made.filter_chains = vec![
        // A connection to our own port would come back to us for ever.
        listener::FilterChain {
            name: "virtualOutbound-blackhole".to_owned(),
            filter_chain_match: Some(listener::FilterChainMatch {
                destination_port: u32v(u32::from(port)),
                ..Default::default()
            }),
            filters: tcp::to_cluster(ctx, names::BLACK_HOLE, names::BLACK_HOLE),
            ..Default::default()
        },
        listener::FilterChain {
            name: "virtualOutbound-catchall-tcp".to_owned(),
            filters: tcp::to_cluster(ctx, fallback, fallback),
            ..Default::default()
        },
    ];
    made
}
