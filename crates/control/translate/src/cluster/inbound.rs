//! Clusters of the application beside the proxy.

use std::collections::BTreeMap;

use portolan_mesh::{Protocol, Service};
use portolan_names::names::UNSPECIFIED_IP;
use portolan_xds::names::ClusterName;

use super::base::{UpstreamHttp, breakers, connect_timeout, of_type, set_http, unlimited};
use crate::{context::Context, metadata, pb::*};

/// Where applications listen unless a Sidecar says otherwise.
const LOOPBACK: &str = "127.0.0.1";

fn upstream_http(protocol: Protocol) -> UpstreamHttp {
    match protocol {
        p if p.is_http2() => UpstreamHttp::Http2,
        Protocol::Http => UpstreamHttp::Http1,
        Protocol::Auto => UpstreamHttp::AsDownstream,
        _ => UpstreamHttp::None,
    }
}

/// One cluster per workload port; none for gateways.
pub(crate) fn inbound_all(ctx: &Context<'_>) -> Vec<cluster::Cluster> {
    if ctx.node.is_router() {
        return Vec::new();
    }
    let ingress = ctx.model.sidecar_ingress(ctx.node);
    if !ingress.is_empty() {
        return ingress
            .iter()
            .map(|i| {
                let address = match i.default_endpoint.strip_prefix("unix://") {
                    Some(path) => core::Address {
                        address: Some(core::address::Address::Pipe(core::Pipe {
                            path: path.to_owned(),
                            ..Default::default()
                        })),
                    },
                    None => {
                        let (host, port) = match i.default_endpoint.rsplit_once(':') {
                            Some((host, port)) => (host, port.parse().unwrap_or(i.port.number)),
                            None => (LOOPBACK, i.port.number),
                        };
                        // 0.0.0.0 means: the application listens on the Pod's address.
                        let own = ctx.node.address().filter(|_| host == UNSPECIFIED_IP);
                        socket(own.map_or_else(|| host.to_owned(), |ip| ip.to_string()), port)
                    }
                };
                one(ctx, i.port.number, i.port.protocol, &[], address)
            })
            .collect();
    }
    let mut ports: BTreeMap<u16, (Protocol, Vec<&Service>)> = BTreeMap::new();
    let instances = ctx.model.instances_of(ctx.node);
    for instance in &instances {
        let entry = ports.entry(instance.target).or_insert_with(|| (instance.port.protocol, Vec::new()));
        entry.1.push(&instance.service);
    }
    ports
        .into_iter()
        .map(|(port, (protocol, services))| one(ctx, port, protocol, &services, socket(LOOPBACK, port)))
        .collect()
}

fn one(
    ctx: &Context<'_>,
    port: u16,
    protocol: Protocol,
    services: &[&Service],
    address: core::Address,
) -> cluster::Cluster {
    let name = ClusterName::inbound(port).to_string();
    let mut made = cluster::Cluster {
        cluster_discovery_type: of_type(cluster::cluster::DiscoveryType::Static),
        connect_timeout: connect_timeout(ctx),
        circuit_breakers: breakers(unlimited()),
        metadata: Some(metadata::cluster(services, None, "")),
        load_assignment: Some(endpoint::ClusterLoadAssignment {
            cluster_name: name.clone(),
            endpoints: vec![endpoint::LocalityLbEndpoints {
                lb_endpoints: vec![endpoint::LbEndpoint {
                    host_identifier: Some(endpoint::lb_endpoint::HostIdentifier::Endpoint(
                        endpoint::Endpoint { address: Some(address), ..Default::default() },
                    )),
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        }),
        name,
        ..Default::default()
    };
    set_http(&mut made, upstream_http(protocol), None);
    made
}
