//! Where a namespace sees something else than everybody does. Most namespaces see nearly the same: what is made for them
//! is made once, for a namespace that nobody has ([`ScopeKey::common`]), and again only where it may come out otherwise.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use portolan_derive::{Derived, Reader, Relation};
use portolan_names::names::MESH_GATEWAY;

use crate::{
    destination_rule::{ConfinedRules, DestinationRulesIn},
    export_to::Visibility,
    host::is_wildcard,
    registry::ConfinedTo,
    scope::ScopeKey,
    virtual_service::VirtualServices,
    visible::RuleFor,
};

/// Hosts of which a scope may see something else than its common scope does; wildcards stand for all hosts that they cover.
/// For all others both give the same answers ([`crate::Scope`]).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Apart {
    /// Hosts of services that not everybody sees. The common scope has no service with such a host.
    pub services: BTreeSet<String>,
    /// Hosts for which DestinationRules hold that not everybody has.
    pub rules: BTreeSet<String>,
    /// Hosts that VirtualServices in the mesh name which not everybody sees.
    pub routes: BTreeSet<String>,
}

impl Apart {
    /// All of them, some more than once.
    pub fn hosts(&self) -> impl Iterator<Item = &str> {
        self.services.iter().chain(&self.rules).chain(&self.routes).map(String::as_str)
    }
}

/// Of which hosts was asked through a scope that keeps account ([`crate::Scope::accounting`]).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// The hosts, whether there is something for them or not.
    pub hosts: BTreeSet<String>,
    /// Something else was asked that depends on whose scope it is.
    pub more: bool,
}

/// Where a scope that has a common one differs from it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ApartOf(pub(crate) String);

impl Derived for ApartOf {
    type Value = Arc<Apart>;
    fn derive(&self, read: &Reader<'_>) -> Self::Value {
        let own = read.whole(&DestinationRulesIn(self.0.clone()));
        let confined = read.entry(&ConfinedRules, &self.0).unwrap_or_default();
        let differs =
            |host: &&String| is_wildcard(host) || self.rule(read, host) != nobodys().rule(read, host);
        Arc::new(Apart {
            services: read.whole(&ConfinedTo(self.0.clone())).keys().cloned().collect(),
            rules: own.keys().chain(confined.iter()).filter(differs).cloned().collect(),
            routes: (*read.entry(&ConfinedRoutes, &self.0).unwrap_or_default()).clone(),
        })
    }
}

fn nobodys() -> ApartOf {
    ApartOf(ScopeKey::of_nobody().namespace)
}

impl ApartOf {
    fn rule(&self, read: &Reader<'_>, host: &str) -> <RuleFor as Derived>::Value {
        read.get(&RuleFor { client: self.0.clone(), host: host.to_owned() })
    }
}

/// The hosts of VirtualServices in the mesh that some namespaces see and others do not, by those that do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct ConfinedRoutes;

impl Relation for ConfinedRoutes {
    type Entry = String;
    type Value = Arc<BTreeSet<String>>;
    fn derive(&self, read: &Reader<'_>) -> BTreeMap<String, Self::Value> {
        let mut by_namespace: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for vs in read.get(&VirtualServices).iter() {
            let Visibility::Namespaces(namespaces) = &vs.meta.visibility else { continue };
            if !vs.spec.gateways.iter().any(|gateway| gateway == MESH_GATEWAY) {
                continue;
            }
            for namespace in namespaces {
                by_namespace.entry(namespace.clone()).or_default().extend(vs.spec.hosts.iter().cloned());
            }
        }
        by_namespace.into_iter().map(|(namespace, hosts)| (namespace, Arc::new(hosts))).collect()
    }
}
