//! Gateways that apply to a proxy, as one ordered list of servers.

use std::{collections::BTreeMap, sync::Arc};

use portolan_derive::{Derived, Reader};
use portolan_resources::networking::Server;

use crate::{
    host::{host_matches, hosts_intersect},
    object::ObjectKey,
    objects::Gateways,
    protocol::Protocol,
};

/// A host of a server: which VirtualServices may bind to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerHost {
    /// Namespace of the VirtualServices; `None` means any.
    pub namespace: Option<String>,
    /// Host, possibly a wildcard.
    pub host: String,
}

/// One server of one Gateway.
#[derive(Clone, Debug, PartialEq)]
pub struct GatewayServer {
    /// The Gateway.
    pub gateway: ObjectKey,
    /// Port number that clients of the gateway's Service use.
    pub port: u16,
    /// Protocol of the port.
    pub protocol: Protocol,
    /// Hosts.
    pub hosts: Vec<ServerHost>,
    /// The server as written.
    pub server: Server,
}

impl GatewayServer {
    /// The hosts of a VirtualService in `namespace` that this server serves: the narrower one of each pair.
    pub fn bound_hosts(&self, namespace: &str, hosts: &[String]) -> Vec<String> {
        let mut out = Vec::new();
        for host in hosts {
            for mine in &self.hosts {
                if mine.namespace.as_deref().is_some_and(|ns| ns != namespace)
                    || !hosts_intersect(&mine.host, host)
                {
                    continue;
                }
                let narrower = if host_matches(&mine.host, host) { host } else { &mine.host };
                if !out.contains(narrower) {
                    out.push(narrower.clone());
                }
            }
        }
        out
    }
}

/// The servers of all Gateways that select workloads with these labels, oldest Gateway first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ServersFor(pub(crate) Arc<BTreeMap<String, String>>);

impl Derived for ServersFor {
    type Value = Arc<[GatewayServer]>;
    fn derive(&self, read: &Reader<'_>) -> Self::Value {
        let gateways = read.get(&Gateways);
        let selected =
            gateways.iter().filter(|g| g.spec.selector.iter().all(|(k, v)| self.0.get(k) == Some(v)));
        selected.flat_map(|g| g.spec.servers.iter().filter_map(|s| server(&g.meta.key, s))).collect()
    }
}

fn server(gateway: &ObjectKey, server: &Server) -> Option<GatewayServer> {
    let port = server.port.as_ref()?;
    let hosts = server
        .hosts
        .iter()
        .map(|text| match text.split_once('/') {
            None | Some(("*", _)) => {
                let host = text.strip_prefix("*/").unwrap_or(text);
                ServerHost { namespace: None, host: host.to_ascii_lowercase() }
            }
            Some((".", host)) => {
                ServerHost { namespace: Some(gateway.namespace.clone()), host: host.to_ascii_lowercase() }
            }
            Some((ns, host)) => {
                ServerHost { namespace: Some(ns.to_owned()), host: host.to_ascii_lowercase() }
            }
        })
        .collect();
    Some(GatewayServer {
        gateway: gateway.clone(),
        port: u16::try_from(port.number).ok().filter(|n| *n != 0)?,
        protocol: Protocol::parse(&port.protocol)?,
        hosts,
        server: server.clone(),
    })
}
