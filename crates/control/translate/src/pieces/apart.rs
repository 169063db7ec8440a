//! Which pieces a view has apart from those that it has in common with others. Nobody lists what a piece looks at: what is
//! made to be shared keeps account of what it has asked, and whoever would be given another answer has a piece of its own.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use portolan_derive::{Derived, Reader, Relation};
use portolan_mesh::{Apart, Asked, Model, host_matches, is_wildcard};

use super::{Audience, Piece, Pieces};
use crate::{listener, route, view::View};

/// What a piece has asked. It differs more rarely than what the piece makes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct AskedBy(Piece);

impl Derived for AskedBy {
    type Value = Option<Arc<Asked>>;
    fn derive(&self, read: &Reader<'_>) -> Self::Value {
        read.get(&self.0).asked
    }
}

/// The pieces of an audience with which others share, by the hosts that they have asked about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct ByHost(Audience);

impl Relation for ByHost {
    type Entry = String;
    type Value = Arc<[Piece]>;
    fn derive(&self, read: &Reader<'_>) -> BTreeMap<String, Self::Value> {
        let mut by_host: BTreeMap<String, Vec<Piece>> = BTreeMap::new();
        for piece in read.get(&Pieces(self.0.clone())).iter() {
            let asked = read.get(&AskedBy(piece.clone()));
            for host in asked.iter().flat_map(|asked| &asked.hosts) {
                by_host.entry(host.clone()).or_default().push(piece.clone());
            }
        }
        by_host.into_iter().map(|(host, pieces)| (host, pieces.into())).collect()
    }
}

/// The pieces of an audience with which others share that look at who has them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Personal(Audience);

impl Derived for Personal {
    type Value = Arc<[Piece]>;
    fn derive(&self, read: &Reader<'_>) -> Self::Value {
        let all = read.get(&Pieces(self.0.clone()));
        let is_personal =
            |piece: &&Piece| read.get(&AskedBy((*piece).clone())).is_some_and(|asked| asked.more);
        all.iter().filter(is_personal).cloned().collect()
    }
}

/// The pieces of an audience with which others share that may come out otherwise for a view, as those of the view.
fn otherwise(shared: &Audience, view: &View, apart: &Apart, read: &Reader<'_>) -> BTreeSet<Piece> {
    let mut out: BTreeSet<Piece> = read.get(&Personal(shared.clone())).iter().cloned().collect();
    let by_host = ByHost(shared.clone());
    for host in apart.hosts() {
        if is_wildcard(host) {
            let all = read.whole(&by_host);
            let covered = all.iter().filter(|(asked, _)| host_matches(host, asked));
            out.extend(covered.flat_map(|(_, pieces)| pieces.iter().cloned()));
        } else {
            out.extend(
                read.entry(&by_host, &host.to_owned()).iter().flat_map(|pieces| pieces.iter().cloned()),
            );
        }
    }
    out.into_iter().filter_map(|piece| piece.of(view)).collect()
}

fn apart(view: &View, read: &Reader<'_>) -> Arc<Apart> {
    Model::new(read).scope(view.scope().clone()).apart().unwrap_or_default()
}

/// What a view has that shares the rest with `common`, in places or anywhere.
pub(super) fn of_place(view: &View, common: &View, read: &Reader<'_>) -> BTreeSet<Piece> {
    let apart = apart(view, read);
    let mut out = otherwise(&Audience::Place(common.clone()), view, &apart, read);
    out.extend(apart.services.iter().map(|host| Piece::Endpoints(view.clone(), host.clone())));
    out
}

/// What a view has that shares the rest with `common`.
pub(super) fn of_view(view: &View, common: &View, read: &Reader<'_>) -> BTreeSet<Piece> {
    let apart = apart(view, read);
    let mut out = otherwise(&Audience::View(common.clone()), view, &apart, read);
    out.extend(apart.services.iter().map(|host| Piece::Clusters(view.clone(), host.clone())));
    out.extend(listener::places(view, read).into_iter().map(|at| Piece::Listener(view.clone(), at)));
    let names = read.get(&listener::RouteNames(view.clone()));
    if !route::hosts_apart(view.node()) {
        out.extend(names.iter().map(|name| Piece::Routes(view.clone(), name.clone())));
        return out;
    }
    let shared = read.get(&listener::RouteNames(common.clone()));
    for name in names.iter().filter(|name| shared.binary_search(name).is_err()) {
        out.insert(Piece::Routes(view.clone(), name.clone()));
        out.insert(Piece::FallThrough(view.clone(), name.clone()));
    }
    let hosts = route::own_hosts(view, common, read).into_iter();
    out.extend(hosts.map(|(name, host)| Piece::VirtualHost(view.clone(), name, host)));
    out
}
