//! How discovery requests travel through the gateways (docs/reference/federation.md).

use std::collections::BTreeMap;
use std::hash::Hasher;
use std::sync::Arc;

use portolan_names::{names, ports};
use portolan_resources::networking::{
    ClientTlsMode, ClientTlsSettings, Destination, DestinationRule, DestinationRuleSpec, Gateway,
    GatewaySpec, HttpMatchRequest, HttpRewrite, HttpRoute, HttpRouteDestination, Location, Port,
    PortSelector, PortTrafficPolicy, Resolution, Server, ServerTlsMode, ServerTlsSettings, ServiceEntry,
    ServiceEntrySpec, StringMatch, Subset, TrafficPolicy, VirtualService, VirtualServiceSpec,
    WorkloadEntrySpec,
};
use portolan_resources::security::{
    AuthorizationAction, AuthorizationPolicy, AuthorizationPolicySpec, AuthorizationRule, Operation,
    RuleFrom, RuleTo, Source,
};

use super::{Configs, gateway_labels, gateway_selector, metadata};
use crate::{LocalMesh, Peer, object_name, peer_path};

/// Header that names the discovery host of the peer that a request is for.
pub(crate) const DISCOVERY_HEADER: &str = "discovery-service";
/// Header that carries [`Peer::remote_checksum`].
pub(crate) const REMOTE_HEADER: &str = "remote";

impl Peer {
    /// Changes whenever `spec.remote` does. A request with an outdated value matches no route, so that it never
    /// travels over a connection to an address that is no longer the peer's.
    pub fn remote_checksum(&self) -> String {
        let mut hash = twox_hash::XxHash64::with_seed(0);
        for address in &self.spec.remote.addresses {
            hash.write(address.as_bytes());
            hash.write_u8(0);
        }
        hash.write_u16(self.spec.remote.discovery_port());
        hash.write_u16(self.spec.remote.service_port());
        hash.finish().to_string()
    }

    /// Headers of a discovery request, for the egress gateway to route it by.
    pub fn discovery_headers(&self) -> [(&'static str, String); 2] {
        [(DISCOVERY_HEADER, self.discovery_host()), (REMOTE_HEADER, self.remote_checksum())]
    }
}

pub(super) fn add(configs: &mut Configs, mesh: &LocalMesh, peer: &Peer) {
    if !peer.spec.gateways.egress.name.is_empty() && !peer.spec.remote.addresses.is_empty() {
        add_egress(configs, mesh, peer);
    }
    if !peer.spec.gateways.ingress.name.is_empty() {
        add_ingress(configs, mesh, peer);
    }
}

fn discovery_port(protocol: &str, name: &str) -> Option<Port> {
    let number = u32::from(ports::FEDERATION_DISCOVERY);
    Some(Port { number, protocol: protocol.to_owned(), name: name.to_owned(), target_port: None })
}

fn route_to(host: &str, port: u16, subset: Option<String>) -> Vec<HttpRouteDestination> {
    let destination =
        Destination { host: host.to_owned(), subset, port: Some(PortSelector { number: u32::from(port) }) };
    vec![HttpRouteDestination { destination: Some(destination), ..HttpRouteDestination::default() }]
}

fn istio_mutual(sni: Option<String>, subject_alt_names: Vec<String>) -> ClientTlsSettings {
    ClientTlsSettings {
        mode: ClientTlsMode::IstioMutual,
        sni,
        subject_alt_names,
        ..ClientTlsSettings::default()
    }
}

/// Our control plane -> our egress gateway -> the peer.
fn add_egress(configs: &mut Configs, mesh: &LocalMesh, peer: &Peer) {
    let name = object_name(&["federation-discovery", &peer.name, "egress"]);
    let meta = || metadata(peer, name.clone());
    let (egress, remote) = (peer.egress_host(mesh), peer.discovery_host());
    let port = peer.spec.remote.discovery_port();

    let server = Server {
        port: discovery_port("HTTP", "http-discovery"),
        hosts: vec![egress.clone()],
        ..Server::default()
    };
    let selector = gateway_labels(&peer.spec.gateways.egress.name);
    let gateway = GatewaySpec { servers: vec![server], selector };
    configs.gateways.push(Arc::new(Gateway { metadata: meta(), spec: gateway, status: None }));

    let headers = peer.discovery_headers().into_iter();
    let matched = HttpMatchRequest {
        port: Some(u32::from(ports::FEDERATION_DISCOVERY)),
        headers: headers.map(|(header, value)| (header.to_owned(), StringMatch::exact(value))).collect(),
        ..HttpMatchRequest::default()
    };
    let route = HttpRoute {
        match_: vec![matched],
        rewrite: Some(HttpRewrite { authority: Some(remote.clone()), uri: None }),
        route: route_to(&remote, port, Some(name.clone())),
        ..HttpRoute::default()
    };
    let virtual_service = VirtualServiceSpec {
        hosts: vec![egress],
        gateways: vec![format!("{}/{name}", peer.namespace)],
        http: vec![route],
        export_to: vec![".".to_owned()],
        ..VirtualServiceSpec::default()
    };
    configs.virtual_services.push(Arc::new(VirtualService {
        metadata: meta(),
        spec: virtual_service,
        status: None,
    }));

    let tls = istio_mutual(Some(remote.clone()), Vec::new());
    let per_port = PortTrafficPolicy {
        port: Some(PortSelector { number: u32::from(port) }),
        tls: Some(tls),
        ..PortTrafficPolicy::default()
    };
    let policy = TrafficPolicy { port_level_settings: vec![per_port], ..TrafficPolicy::default() };
    let subset = Subset { name: name.clone(), labels: BTreeMap::new(), traffic_policy: Some(policy) };
    let rule = DestinationRuleSpec {
        host: remote.clone(),
        subsets: vec![subset],
        export_to: vec![".".to_owned()],
        ..DestinationRuleSpec::default()
    };
    configs.destination_rules.push(Arc::new(DestinationRule { metadata: meta(), spec: rule, status: None }));

    let endpoint = |address: &String| WorkloadEntrySpec {
        address: address.clone(),
        network: Some(names::peer_network(&peer.name)),
        ..WorkloadEntrySpec::default()
    };
    let entry = ServiceEntrySpec {
        hosts: vec![remote],
        ports: vec![Port {
            number: u32::from(port),
            protocol: "HTTPS".to_owned(),
            name: "https-discovery".to_owned(),
            target_port: None,
        }],
        location: Some(Location::MeshExternal),
        resolution: Some(Resolution::Dns),
        endpoints: peer.spec.remote.addresses.iter().map(endpoint).collect(),
        export_to: vec![".".to_owned()],
        ..ServiceEntrySpec::default()
    };
    let entry_name = object_name(&["federation-discovery", &peer.name]);
    let entry = ServiceEntry { metadata: metadata(peer, entry_name), spec: entry, status: None };
    configs.service_entries.push(Arc::new(entry));
}

/// The peer -> our ingress gateway -> our control plane.
fn add_ingress(configs: &mut Configs, mesh: &LocalMesh, peer: &Peer) {
    let name = object_name(&["federation-discovery", &peer.name, "ingress"]);
    let meta = || metadata(peer, name.clone());
    let ingress = &peer.spec.gateways.ingress.name;

    let server = Server {
        port: discovery_port("HTTPS", "https-discovery"),
        hosts: vec!["*".to_owned()],
        tls: Some(ServerTlsSettings {
            mode: Some(ServerTlsMode::IstioMutual),
            ..ServerTlsSettings::default()
        }),
        ..Server::default()
    };
    let gateway = GatewaySpec { servers: vec![server], selector: gateway_labels(ingress) };
    configs.gateways.push(Arc::new(Gateway { metadata: meta(), spec: gateway, status: None }));

    // The asker does not say who it is: which gateway it comes through does (docs/reference/federation.md).
    let route = |asked: &str, what: &str| HttpRoute {
        match_: vec![HttpMatchRequest {
            uri: Some(StringMatch::exact(asked)),
            ..HttpMatchRequest::default()
        }],
        rewrite: Some(HttpRewrite {
            uri: Some(peer_path(what, &peer.name)),
            authority: Some(mesh.discovery_host.clone()),
        }),
        route: route_to(&mesh.discovery_host, ports::FEDERATION_DISCOVERY, None),
        ..HttpRoute::default()
    };
    let virtual_service = VirtualServiceSpec {
        hosts: vec!["*".to_owned()],
        gateways: vec![format!("{}/{name}", peer.namespace)],
        http: vec![route("/v1/services/", "services"), route("/v1/watch", "watch")],
        export_to: vec![".".to_owned()],
        ..VirtualServiceSpec::default()
    };
    configs.virtual_services.push(Arc::new(VirtualService {
        metadata: meta(),
        spec: virtual_service,
        status: None,
    }));

    // Mutual TLS on this hop too, so that the control plane knows that it is the gateway that asks
    // (docs/reference/federation.md).
    let control_plane =
        format!("spiffe://{}/ns/{}/sa/{}", mesh.trust_domain, mesh.namespace, mesh.service_account);
    let per_port = PortTrafficPolicy {
        port: Some(PortSelector { number: u32::from(ports::FEDERATION_DISCOVERY) }),
        tls: Some(istio_mutual(None, vec![control_plane])),
        ..PortTrafficPolicy::default()
    };
    let rule = DestinationRuleSpec {
        host: mesh.discovery_host.clone(),
        traffic_policy: Some(TrafficPolicy {
            port_level_settings: vec![per_port],
            ..TrafficPolicy::default()
        }),
        export_to: vec![".".to_owned()],
        ..DestinationRuleSpec::default()
    };
    let rule_name = "federation-discovery".to_owned();
    let present =
        configs.destination_rules.iter().any(|rule| rule.metadata.name.as_ref() == Some(&rule_name));
    if !present {
        let metadata = metadata(peer, rule_name);
        configs.destination_rules.push(Arc::new(DestinationRule { metadata, spec: rule, status: None }));
    }

    let policy_name = object_name(&["federation-discovery", &peer.name]);
    configs.authorization_policies.push(deny_others(peer, policy_name, ports::FEDERATION_DISCOVERY));
}

/// Denies everybody but the peer's egress gateway on a port of our ingress gateway. A peer without `clientID` is
/// nobody: then all are denied.
pub(super) fn deny_others(peer: &Peer, name: String, port: u16) -> Arc<AuthorizationPolicy> {
    let client = &peer.spec.security.client_id;
    let source = Source { not_principals: vec![client.clone()], ..Source::default() };
    let from = if client.is_empty() { Vec::new() } else { vec![RuleFrom { source: Some(source) }] };
    let operation = Operation { ports: vec![port.to_string()], ..Operation::default() };
    let spec = AuthorizationPolicySpec {
        selector: Some(gateway_selector(&peer.spec.gateways.ingress.name)),
        action: Some(AuthorizationAction::Deny),
        rules: vec![AuthorizationRule {
            from,
            to: vec![RuleTo { operation: Some(operation) }],
            when: Vec::new(),
        }],
        provider: None,
    };
    Arc::new(AuthorizationPolicy { metadata: metadata(peer, name), spec, status: None })
}
