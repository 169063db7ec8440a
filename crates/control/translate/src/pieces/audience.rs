//! Who has what.

use std::{collections::BTreeSet, sync::Arc};

use portolan_derive::{Derived, Reader};
use portolan_mesh::{Model, ProxyNode};

use super::Piece;
use crate::{listener, route, view::View};

/// Proxies that have the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Audience {
    /// All proxies.
    Everybody,
    /// Those with the same view.
    View(View),
    /// Those with the same view from the same place.
    Place(View),
    /// One proxy.
    Proxy(Arc<ProxyNode>),
}

/// The audiences to which a proxy belongs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AudiencesOf(pub Arc<ProxyNode>);

impl Derived for AudiencesOf {
    type Value = Arc<[Audience]>;
    fn derive(&self, read: &Reader<'_>) -> Self::Value {
        let model = Model::new(read);
        let view = View::of(model, &self.0);
        let place = model.workload_of(&self.0).map(|workload| workload.locality.clone());
        let place = place.unwrap_or_else(|| self.0.locality.clone());
        Arc::new([
            Audience::Everybody,
            Audience::Place(view.at_place(place)),
            Audience::View(view),
            Audience::Proxy(self.0.clone()),
        ])
    }
}

/// The pieces that an audience has.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pieces(pub Audience);

impl Derived for Pieces {
    type Value = Arc<BTreeSet<Piece>>;
    fn derive(&self, read: &Reader<'_>) -> Self::Value {
        Arc::new(match &self.0 {
            Audience::Everybody => [Piece::NameTable].into(),
            Audience::View(view) => of_view(view, read),
            Audience::Place(view) => {
                let hosts = Model::new(read).scope(view.scope().clone()).hosts();
                hosts.iter().map(|host| Piece::Endpoints(view.clone(), host.clone())).collect()
            }
            Audience::Proxy(node) if node.is_router() => {
                [Piece::Gateway(node.clone()), Piece::Roots(node.clone())].into()
            }
            Audience::Proxy(node) => [
                Piece::InboundClusters(node.clone()),
                Piece::InboundListener(node.clone()),
                Piece::Roots(node.clone()),
            ]
            .into(),
        })
    }
}

fn of_view(view: &View, read: &Reader<'_>) -> BTreeSet<Piece> {
    let hosts = Model::new(read).scope(view.scope().clone()).hosts();
    let mut out: BTreeSet<Piece> =
        hosts.iter().map(|host| Piece::Clusters(view.clone(), host.clone())).collect();
    out.insert(Piece::SpecialClusters(view.clone()));
    if view.node().is_router() {
        return out;
    }
    out.insert(Piece::OutboundListener(view.clone()));
    let claimed = read.whole(&listener::Claimants(view.clone()));
    out.extend(claimed.keys().map(|at| Piece::Listener(view.clone(), at.clone())));
    for name in read.get(&listener::RouteNames(view.clone())).iter() {
        out.insert(Piece::Routes(view.clone(), name.clone()));
        if route::hosts_apart(view.node()) {
            let hosts = read.get(&route::HostNames { view: view.clone(), name: name.clone() });
            let host = |host: &String| Piece::VirtualHost(view.clone(), name.clone(), host.clone());
            out.extend(hosts.iter().map(host));
            out.insert(Piece::FallThrough(view.clone(), name.clone()));
        }
    }
    out
}
