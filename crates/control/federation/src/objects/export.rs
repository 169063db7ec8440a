//! How a peer reaches what we export: through our ingress gateway, told apart by SNI (docs/reference/federation.md).

use std::sync::Arc;

use portolan_names::ports;
use portolan_resources::networking::{
    Destination, Gateway, GatewaySpec, Port, PortSelector, RouteDestination, Server, ServerTlsMode,
    ServerTlsSettings, TcpRoute, VirtualService, VirtualServiceSpec,
};

use super::discovery::deny_others;
use super::{Configs, PeerState, gateway_labels, metadata};
use crate::{LocalMesh, object_name};

pub(super) fn add(configs: &mut Configs, _mesh: &LocalMesh, state: &PeerState) {
    let peer = &state.peer;
    let ingress = &peer.spec.gateways.ingress.name;
    if ingress.is_empty() {
        return;
    }
    let policy = object_name(&["federation-exports", &peer.name]);
    configs.authorization_policies.push(deny_others(peer, policy, ports::FEDERATION_SERVICE));
    for export in state.exports.values() {
        let name = object_name(&["fed-exp", &export.name, &export.namespace, &peer.name]);
        let port = export.message.service_ports.first().map(|port| port.port);
        add_passage(
            configs,
            Passage { state, gateway: ingress, name, host: &export.message.hostname, to: &export.host, port },
        );
    }
}

/// A way through a gateway: what comes in for one host on 15443 leaves for another.
pub(super) struct Passage<'a> {
    pub(super) state: &'a PeerState,
    pub(super) gateway: &'a str,
    pub(super) name: String,
    pub(super) host: &'a str,
    pub(super) to: &'a str,
    pub(super) port: Option<u32>,
}

pub(super) fn add_passage(configs: &mut Configs, passage: Passage<'_>) {
    let Passage { state, gateway, name, host, to, port } = passage;
    let peer = &state.peer;
    // The SNI is `outbound_.<port>_.<subset>_.<host>`: the wildcard is what matches it.
    let hosts = vec![host.to_owned(), format!("*.{host}")];
    let server = Server {
        port: Some(Port {
            number: u32::from(ports::FEDERATION_SERVICE),
            protocol: "TLS".to_owned(),
            name: "tls".to_owned(),
            target_port: None,
        }),
        hosts: hosts.clone(),
        tls: Some(ServerTlsSettings {
            mode: Some(ServerTlsMode::IstioMutual),
            ..ServerTlsSettings::default()
        }),
        ..Server::default()
    };
    let spec = GatewaySpec { servers: vec![server], selector: gateway_labels(gateway) };
    configs.gateways.push(Arc::new(Gateway { metadata: metadata(peer, name.clone()), spec, status: None }));

    let destination =
        Destination { host: to.to_owned(), subset: None, port: port.map(|number| PortSelector { number }) };
    let route = TcpRoute {
        match_: Vec::new(),
        route: vec![RouteDestination { destination: Some(destination), ..RouteDestination::default() }],
    };
    let spec = VirtualServiceSpec {
        hosts,
        gateways: vec![format!("{}/{name}", peer.namespace)],
        tcp: vec![route],
        export_to: vec![".".to_owned()],
        ..VirtualServiceSpec::default()
    };
    configs.virtual_services.push(Arc::new(VirtualService {
        metadata: metadata(peer, name),
        spec,
        status: None,
    }));
}
