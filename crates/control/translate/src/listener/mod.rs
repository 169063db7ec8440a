//! Listeners (LDS).

mod base;
mod chains;
mod gateway;
mod inbound;
mod outbound;
mod virtual_outbound;

use crate::{context::Context, pb::*};

/// All listeners of a proxy.
pub(crate) fn listeners(ctx: &Context<'_>) -> Vec<listener::Listener> {
    if ctx.node.is_router() {
        return gateway::listeners(ctx);
    }
    let mut out = vec![virtual_outbound::virtual_outbound(ctx)];
    out.extend(outbound::listeners(ctx));
    out.push(inbound::virtual_inbound(ctx));
    out
}

/// Names of the route configurations that the listeners ask for.
pub(crate) fn route_names(ctx: &Context<'_>) -> Vec<String> {
    if ctx.node.is_router() {
        return gateway::route_names(ctx);
    }
    outbound::route_names(ctx)
}
