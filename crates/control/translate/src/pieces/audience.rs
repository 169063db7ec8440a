//! Who has what.

use std::{collections::BTreeSet, sync::Arc};

use portolan_derive::{Derived, Reader};
use portolan_mesh::{Model, ProxyNode};

use super::{Audience, Piece, Pieces, apart};
use crate::{
    listener, route,
    view::{Once, View},
};

/// The audiences to which a proxy belongs. Where several have a name, that of the first counts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AudiencesOf(pub Arc<ProxyNode>);

impl Derived for AudiencesOf {
    type Value = Arc<[Audience]>;
    fn derive(&self, read: &Reader<'_>) -> Self::Value {
        let model = Model::new(read);
        let view = View::of(model, &self.0);
        let place = model.workload_of(&self.0).map(|workload| workload.locality.clone());
        let place = place.unwrap_or_else(|| self.0.locality.clone());
        let (at, view) = (read.get(&Once(view.at_place(place))), read.get(&Once(view)));
        let mut out = vec![Audience::Everybody, Audience::Place(at.clone()), Audience::View(view.clone())];
        out.extend(at.common().cloned().map(Audience::Place));
        out.extend(view.common().cloned().map(Audience::View));
        out.push(Audience::Proxy(self.0.clone()));
        out.into()
    }
}

impl Derived for Pieces {
    type Value = Arc<BTreeSet<Piece>>;
    fn derive(&self, read: &Reader<'_>) -> Self::Value {
        Arc::new(match &self.0 {
            Audience::Everybody => [Piece::NameTable].into(),
            Audience::View(view) => match view.common() {
                Some(common) => apart::of_view(view, common, read),
                None => of_view(view, read),
            },
            Audience::Place(view) if let Some(common) = view.common() => apart::of_place(view, common, read),
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
    out.extend(listener::places(view, read).into_iter().map(|at| Piece::Listener(view.clone(), at)));
    let apart = route::hosts_apart(view.node());
    if view.is_common() && !apart {
        // Every namespace has whole tables of its own: its names for its services are in them.
        return out;
    }
    for name in read.get(&listener::RouteNames(view.clone())).iter() {
        out.insert(Piece::Routes(view.clone(), name.clone()));
        if apart {
            let hosts = route::hosts_of(view, name, read).into_iter();
            out.extend(hosts.map(|host| Piece::VirtualHost(view.clone(), name.clone(), host)));
            out.insert(Piece::FallThrough(view.clone(), name.clone()));
        }
    }
    out
}
