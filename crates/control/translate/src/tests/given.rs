//! What a proxy is given, as its streams put it together.

use std::{collections::BTreeMap, sync::Arc};

use portolan_derive::Reader;
use portolan_mesh::{Mesh, ProxyNode};
use portolan_xds::{Resource, type_url};
use prost::Message;

use crate::{Audience, AudiencesOf, Pieces, encode, is_hidden_from, pb::*};

/// All resources of a type, as they are sent.
pub(super) fn sent(mesh: &Mesh, node: &ProxyNode, url: &str) -> Vec<Arc<Resource>> {
    let read = mesh.model().reader();
    let audiences = read.get(&AudiencesOf(Arc::new(node.clone())));
    let mut own: Vec<Audience> =
        audiences.iter().filter(|audience| !audience.is_common()).map(Audience::alone).collect();
    own.sort();
    let pieces = own.into_iter().flat_map(|audience| (*read.get(&Pieces(audience))).clone());
    let mut out: Vec<Arc<Resource>> = pieces.flat_map(|piece| read.get(&piece).resources.to_vec()).collect();
    out.retain(|resource| resource.type_url == url && !is_hidden_from(node, url, &resource.name));
    let alone: BTreeMap<_, _> = out.iter().map(|r| (r.name.clone(), r.clone())).collect();
    assert_eq!(alone.len(), out.len(), "a name twice for {}", node.id);
    assert_eq!(shared(&audiences, node, url, read), alone, "sharing shows, to {}", node.id);
    out
}

/// What audiences have of a type. The first that has a name, or says that it has none, has the word.
fn shared(
    audiences: &[Audience],
    node: &ProxyNode,
    url: &str,
    read: Reader<'_>,
) -> BTreeMap<Arc<str>, Arc<Resource>> {
    let mut out: BTreeMap<Arc<str>, Option<Arc<Resource>>> = BTreeMap::new();
    for audience in audiences {
        let mut own: BTreeMap<Arc<str>, Option<Arc<Resource>>> = BTreeMap::new();
        for piece in read.get(&Pieces(audience.clone())).iter() {
            let made = read.get(piece);
            let here = made.resources.iter().filter(|r| r.type_url == url);
            let here = here.map(|r| (r.name.clone(), Some(r.clone())));
            let absent =
                made.absent.iter().filter(|(of, _)| *of == url).map(|(_, name)| (name.clone(), None));
            for (name, resource) in here.chain(absent) {
                assert!(own.insert(name.clone(), resource).is_none(), "{name} twice for {}", node.id);
            }
        }
        for (name, resource) in own {
            out.entry(name).or_insert(resource);
        }
    }
    let all = out.into_iter().filter_map(|(name, resource)| Some((name, resource?)));
    all.filter(|(name, _)| !is_hidden_from(node, url, name)).collect()
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
