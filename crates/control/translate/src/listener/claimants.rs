//! Who claims which outbound listener.

use std::{collections::BTreeMap, sync::Arc};

use portolan_derive::{Derived, Reader, Relation};
use portolan_names::names::UNSPECIFIED_IP;

use super::{
    base::is_own_port,
    outbound::{At, Claim, Plan, claims},
};
use crate::view::View;

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

/// Who claims each listener, oldest service first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Claimants(pub(crate) View);

impl Relation for Claimants {
    type Entry = At;
    type Value = Arc<[(String, Claim)]>;
    fn derive(&self, read: &Reader<'_>) -> BTreeMap<At, Self::Value> {
        let ctx = self.0.context(read);
        let mut all: BTreeMap<At, Vec<(String, Claim)>> = BTreeMap::new();
        for host in ctx.scope.hosts_by_age().iter() {
            let claims = read.get(&ClaimsOf { view: self.0.clone(), host: host.clone() });
            for (at, claim) in claims.iter() {
                all.entry(at.clone()).or_default().push((host.clone(), claim.clone()));
            }
        }
        all.retain(|(address, port), _| address != UNSPECIFIED_IP || !is_own_port(&ctx, *port));
        all.into_iter().map(|(at, claimants)| (at, claimants.into())).collect()
    }
}

/// The route configurations that the listeners ask for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RouteNames(pub(crate) View);

impl Derived for RouteNames {
    type Value = Arc<[String]>;
    fn derive(&self, read: &Reader<'_>) -> Self::Value {
        let all = read.whole(&Claimants(self.0.clone()));
        let mut names: Vec<String> =
            all.iter().filter_map(|((_, port), claimants)| Plan::of(*port, claimants).route).collect();
        names.sort();
        names.dedup();
        names.into()
    }
}
