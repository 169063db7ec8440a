//! What we send to our own proxy is what it takes: everything that is made for the fixtures goes through the data plane's
//! compiler, which must not refuse a single resource. A listener that is refused would keep its old policy in silence,
//! or, for a proxy that has just started, not exist at all.

use std::sync::Arc;

use portolan_dataplane::{
    DataPlane, DataPlaneOptions,
    config::{ConfigUpdate, ResourceKind},
};
use portolan_mesh::{Dialect, ProxyNode};
use prost::Message;

use super::fixture;
use super::given::sent;
use crate::pb::*;

/// The resources of a proxy that the data plane's compiler refuses, each with the reason.
fn refused(mesh: &portolan_mesh::Mesh, node: &ProxyNode) -> Vec<String> {
    let plane = DataPlane::start(DataPlaneOptions { concurrency: 1, ..Default::default() }).unwrap();
    let config = plane.config();
    let mut refused = Vec::new();
    for kind in ResourceKind::ALL {
        let mut update = ConfigUpdate::new(kind);
        for resource in sent(mesh, node, kind.type_url()) {
            let mut body = resource.body.to_vec();
            if kind == ResourceKind::Listener {
                // Only the compiler is asked: no port of this machine is taken.
                let mut listener = listener::Listener::decode(body.as_slice()).unwrap();
                listener.bind_to_port = boolv(false);
                body = listener.encode_to_vec();
            }
            update = update.upsert(&*resource.name, resource.version.to_string(), body);
        }
        let rejections = config.apply(update).err().unwrap_or_default();
        refused.extend(rejections.iter().map(|r| format!("{}: {kind:?} {r}", node.id)));
    }
    plane.shutdown();
    refused
}

/// The proxies of the fixture that run our own data plane, and one of each kind whose metadata asks for more.
fn proxies() -> Vec<ProxyNode> {
    let mut out: Vec<ProxyNode> =
        fixture::nodes().into_iter().filter(|n| n.metadata.dialect == Dialect::Portolan).collect();
    for node in out.clone() {
        let mut demanding = node;
        demanding.id.push_str(" with TPROXY, HTTP/1.0 and sni-dnat");
        demanding.metadata.tproxy = true;
        demanding.metadata.http10 = true;
        demanding.metadata.sni_dnat = true;
        out.push(demanding);
    }
    out
}

/// The fixture's mesh with a file of authorities that exists wherever the test runs.
fn mesh() -> portolan_mesh::Mesh {
    let mut inputs = fixture::inputs();
    let authorities = concat!(env!("CARGO_MANIFEST_DIR"), "/src/tests/root.pem");
    for rule in inputs.destination_rules.values_mut() {
        let Some(policy) = &mut Arc::make_mut(rule).spec.traffic_policy else { continue };
        let of_ports = policy.port_level_settings.iter_mut().map(|port| &mut port.tls);
        for tls in of_ports.chain([&mut policy.tls]).flatten().filter(|tls| tls.ca_certificates.is_some()) {
            tls.ca_certificates = Some(authorities.to_owned());
        }
    }
    portolan_mesh::Mesh::from(&inputs)
}

#[test]
fn our_proxy_takes_everything_that_is_made_for_it() {
    let mesh = mesh();
    let refused: Vec<String> = proxies().iter().flat_map(|node| refused(&mesh, node)).collect();
    assert!(refused.is_empty(), "{}", refused.join("\n"));
}
