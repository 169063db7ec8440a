//! Who claims which outbound listener.

use std::{collections::BTreeMap, sync::Arc};

use portolan_derive::{Derived, Reader, Relation};
use portolan_names::names::UNSPECIFIED_IP;

use super::{
    base::is_own_port,
    outbound::{At, Claim, Plan, claims},
};
use crate::{context::Context, view::View};

/// What one service claims.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct ClaimsOf {
    view: View,
    host: String,
}

impl Derived for ClaimsOf {
    type Value = Arc<[(At, Claim)]>;
    fn derive(&self, read: &Reader<'_>) -> Self::Value {
        claims(&self.view.context(read), &self.host).into()
    }
}

/// Those who claim a listener, oldest service first.
type Claimed = Arc<[(String, Claim)]>;

/// Who claims each listener. Of a view that shares with others, those listeners only that a service claims which not
/// everybody sees.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Claimants(View);

impl Relation for Claimants {
    type Entry = At;
    type Value = Claimed;
    fn derive(&self, read: &Reader<'_>) -> BTreeMap<At, Claimed> {
        let ctx = self.0.context(read);
        let claimed = match self.0.common() {
            None => claimed(&self.0, &ctx.scope.hosts_by_age(), read),
            Some(common) => {
                let own = ctx.scope.apart().unwrap_or_default();
                let own: Vec<String> = own.services.iter().cloned().collect();
                let among = |(at, more): (At, Vec<_>)| {
                    let all = read.entry(&Self(common.clone()), &at).unwrap_or_default();
                    (at, by_age(&ctx, all.iter().cloned().chain(more)))
                };
                claimed(&self.0, &own, read).into_iter().map(among).collect()
            }
        };
        let is_free = |(address, port): &At| address != UNSPECIFIED_IP || !is_own_port(&ctx, *port);
        claimed.into_iter().filter(|(at, _)| is_free(at)).map(|(at, all)| (at, all.into())).collect()
    }
}

/// Which of the services claim which listeners, in their order.
fn claimed(view: &View, hosts: &[String], read: &Reader<'_>) -> BTreeMap<At, Vec<(String, Claim)>> {
    let mut all: BTreeMap<At, Vec<(String, Claim)>> = BTreeMap::new();
    for host in hosts {
        let claims = read.get(&ClaimsOf { view: view.clone(), host: host.clone() });
        for (at, claim) in claims.iter() {
            all.entry(at.clone()).or_default().push((host.clone(), claim.clone()));
        }
    }
    all
}

fn by_age(ctx: &Context<'_>, all: impl Iterator<Item = (String, Claim)>) -> Vec<(String, Claim)> {
    let age = |host: &str| ctx.scope.visible_exact(host).map(|service| service.age);
    let mut aged: Vec<_> = all.map(|(host, claim)| (age(&host), host, claim)).collect();
    // Stable: what one service claims stays in its order.
    aged.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
    aged.into_iter().map(|(_, host, claim)| (host, claim)).collect()
}

/// Those who claim a listener in a view.
pub(crate) fn claimants(view: &View, at: &At, read: &Reader<'_>) -> Claimed {
    let shared = || read.entry(&Claimants(view.common()?.clone()), at);
    read.entry(&Claimants(view.clone()), at).or_else(shared).unwrap_or_default()
}

/// The listeners of a view; of one that shares with others those that may not be as theirs.
pub(crate) fn places(view: &View, read: &Reader<'_>) -> Vec<At> {
    read.whole(&Claimants(view.clone())).keys().cloned().collect()
}

/// The route configurations that the listeners ask for. Of a view that shares with others this may name one that is only
/// theirs, where an older service of its own has taken the listener that asked for it: nobody looks there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RouteNames(pub(crate) View);

impl Derived for RouteNames {
    type Value = Arc<[String]>;
    fn derive(&self, read: &Reader<'_>) -> Self::Value {
        let shared = self.0.common().map(|common| read.get(&Self(common.clone()))).unwrap_or_default();
        let all = read.whole(&Claimants(self.0.clone()));
        let own = all.iter().filter_map(|((_, port), claimants)| Plan::of(*port, claimants).route);
        let mut names: Vec<String> = shared.iter().cloned().chain(own).collect();
        if names.len() == shared.len() {
            return shared;
        }
        names.sort();
        names.dedup();
        names.into()
    }
}
