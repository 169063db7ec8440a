//! What a proxy is given, as its streams put it together.

use std::{collections::BTreeMap, sync::Arc};

use portolan_mesh::{Mesh, ProxyNode};
use portolan_xds::{Resource, type_url};
use prost::Message;

use crate::{AudiencesOf, Pieces, encode, is_hidden_from, pb::*};

/// All resources of a type, as they are sent.
pub(super) fn sent(mesh: &Mesh, node: &ProxyNode, url: &str) -> Vec<Arc<Resource>> {
    let model = mesh.model();
    let read = model.reader();
    let mut out: Vec<Arc<Resource>> = Vec::new();
    let mut audiences = read.get(&AudiencesOf(Arc::new(node.clone()))).to_vec();
    audiences.sort();
    for audience in audiences {
        for piece in read.get(&Pieces(audience)).iter() {
            out.extend(read.get(piece).iter().filter(|r| r.type_url == url).cloned());
        }
    }
    out.retain(|resource| !is_hidden_from(node, url, &resource.name));
    let mut names: Vec<_> = out.iter().map(|r| r.name.clone()).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), out.len(), "a name twice for {}", node.id);
    out
}

/// All resources of a type, route configurations with their virtual hosts in them, as a proxy has them in the end.
pub(super) fn given(mesh: &Mesh, node: &ProxyNode, url: &str) -> Vec<Arc<Resource>> {
    let mut all = sent(mesh, node, url);
    if url == type_url::ENDPOINT {
        all.sort_by(|a, b| a.name.cmp(&b.name));
    }
    if url != type_url::ROUTE {
        return all;
    }
    let mut hosts: BTreeMap<String, Vec<route::VirtualHost>> = BTreeMap::new();
    for host in sent(mesh, node, type_url::VIRTUAL_HOST) {
        let (routes, _) = host.name.split_once('/').unwrap();
        let decoded = route::VirtualHost::decode(host.body.clone()).unwrap();
        hosts.entry(routes.to_owned()).or_default().push(decoded);
    }
    let whole = all.iter().map(|resource| {
        let mut made = route::RouteConfiguration::decode(resource.body.clone()).unwrap();
        if made.vhds.take().is_none() {
            return resource.clone();
        }
        made.virtual_hosts = hosts.remove(&*resource.name).unwrap();
        encode::resource(&resource.name, type_url::ROUTE, &made)
    });
    let whole = whole.collect();
    assert!(hosts.is_empty(), "virtual hosts without routes");
    whole
}
