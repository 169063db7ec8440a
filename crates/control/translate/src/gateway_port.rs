//! The servers of a gateway by the listener that they share. Listeners and routes are both made from it.

use std::collections::BTreeMap;

use portolan_mesh::GatewayServer;
use portolan_names::names::UNSPECIFIED_IP;

use crate::{context::Context, naming::is_plain_http};

/// Ports below this one need a privilege that some gateway Pods do not have.
const FIRST_UNPRIVILEGED_PORT: u16 = 1024;

/// All servers of one listener.
#[derive(Debug)]
pub(crate) struct GatewayPort {
    /// Address to bind to.
    pub(crate) bind: String,
    /// Port that the Pod listens on.
    pub(crate) target: u16,
    /// Port that clients use.
    pub(crate) number: u16,
    /// Servers, oldest Gateway first.
    pub(crate) servers: Vec<GatewayServer>,
    /// Plain HTTP or not; the oldest server decides, others are left out.
    pub(crate) plain_http: bool,
}

/// The ports of a gateway with their servers.
pub(crate) fn gateway_ports(ctx: &Context<'_>) -> Vec<GatewayPort> {
    let instances = ctx.model.instances_of(ctx.node);
    let target =
        |number: u16| instances.iter().find(|i| i.port.number == number).map_or(number, |i| i.target);
    let mut out: BTreeMap<(u16, String), GatewayPort> = BTreeMap::new();
    for server in ctx.model.gateways_of(ctx.node) {
        let bind =
            server.server.bind.clone().filter(|b| !b.is_empty()).unwrap_or_else(|| UNSPECIFIED_IP.to_owned());
        let target = target(server.port);
        if ctx.node.metadata.unprivileged && target < FIRST_UNPRIVILEGED_PORT {
            continue;
        }
        let plain_http = is_plain_http(&server);
        let port = out.entry((target, bind.clone())).or_insert_with(|| GatewayPort {
            bind,
            target,
            number: server.port,
            servers: Vec::new(),
            plain_http,
        });
        if port.plain_http == plain_http {
            port.servers.push(server);
        }
    }
    out.into_values().collect()
}
