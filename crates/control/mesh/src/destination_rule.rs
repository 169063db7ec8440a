//! DestinationRules with full names, merged where several are for one host (Istio: DestinationRule).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use portolan_derive::{Derived, Reader, Relation};
use portolan_resources::{DestinationRule, networking::DestinationRuleSpec};

use crate::{
    export_to::Visibility,
    facts::{DestinationRuleFact, Tag},
    host::{host_matches, host_specificity, is_wildcard, resolve_short_name},
    object::ConfigMeta,
    service::Service,
    settings,
};

/// A DestinationRule, or several for the same host and namespace merged.
#[derive(Clone, Debug, PartialEq)]
pub struct ResolvedDestinationRule {
    /// Metadata of the oldest object.
    pub meta: ConfigMeta,
    /// Full host name.
    pub host: String,
    /// The (merged) spec.
    pub spec: DestinationRuleSpec,
}

fn resolve(object: &DestinationRule, domain: &str, default_export: &[String]) -> ResolvedDestinationRule {
    let mut meta = ConfigMeta::of(&object.metadata);
    meta.visibility = Visibility::parse(&object.spec.export_to, &meta.key.namespace, default_export);
    let host = resolve_short_name(&object.spec.host, &meta.key.namespace, domain);
    ResolvedDestinationRule { meta, host, spec: object.spec.clone() }
}

/// A DestinationRule with full names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Named(DestinationRuleFact);

impl Derived for Named {
    type Value = Option<Arc<ResolvedDestinationRule>>;
    fn derive(&self, read: &Reader<'_>) -> Self::Value {
        let object = read.fact(&self.0)?;
        let cluster = settings::cluster(read);
        Some(Arc::new(resolve(&object, &cluster.domain, &settings::destination_rule_export(read))))
    }
}

/// The DestinationRules of a namespace by their host; those for one host that the same namespaces see are one, the others
/// stand oldest first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct DestinationRulesIn(pub(crate) String);

impl Relation for DestinationRulesIn {
    type Entry = String;
    type Value = Arc<[Arc<ResolvedDestinationRule>]>;
    fn derive(&self, read: &Reader<'_>) -> BTreeMap<String, Self::Value> {
        let keys = read.tagged::<DestinationRuleFact>(&Tag::Namespace(self.0.clone()));
        let mut all: Vec<_> = keys.iter().filter_map(|key| read.get(&Named(key.clone()))).collect();
        all.sort_by(|a, b| a.meta.precedence().cmp(&b.meta.precedence()));
        let mut by_host: BTreeMap<String, Vec<Arc<ResolvedDestinationRule>>> = BTreeMap::new();
        for rule in all {
            let merged = by_host.entry(rule.host.clone()).or_default();
            match merged.iter_mut().find(|m| m.meta.visibility == rule.meta.visibility) {
                None => merged.push(rule),
                Some(first) => merge(Arc::make_mut(first), &rule),
            }
        }
        by_host.into_iter().map(|(host, rules)| (host, rules.into())).collect()
    }
}

/// The hosts of DestinationRules that some namespaces see and others do not, by those that do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ConfinedRules;

impl Relation for ConfinedRules {
    type Entry = String;
    type Value = Arc<BTreeSet<String>>;
    fn derive(&self, read: &Reader<'_>) -> BTreeMap<String, Self::Value> {
        let mut by_namespace: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for key in read.keys::<DestinationRuleFact>().iter() {
            let Some(rule) = read.get(&Named(key.clone())) else { continue };
            let Visibility::Namespaces(namespaces) = &rule.meta.visibility else { continue };
            for namespace in namespaces {
                by_namespace.entry(namespace.clone()).or_default().insert(rule.host.clone());
            }
        }
        by_namespace.into_iter().map(|(namespace, hosts)| (namespace, Arc::new(hosts))).collect()
    }
}

fn merge(first: &mut ResolvedDestinationRule, later: &ResolvedDestinationRule) {
    if first.spec.traffic_policy.is_none() {
        first.spec.traffic_policy.clone_from(&later.spec.traffic_policy);
    }
    for subset in &later.spec.subsets {
        if first.spec.subsets.iter().all(|s| s.name != subset.name) {
            first.spec.subsets.push(subset.clone());
        }
    }
}

/// The hosts with a wildcard that DestinationRules of a namespace name, most specific first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct WildcardsIn(String);

impl Derived for WildcardsIn {
    type Value = Arc<[String]>;
    fn derive(&self, read: &Reader<'_>) -> Self::Value {
        let all = read.whole(&DestinationRulesIn(self.0.clone()));
        let mut hosts: Vec<String> = all.keys().filter(|host| is_wildcard(host)).cloned().collect();
        hosts.sort_by(|a, b| host_specificity(a, b));
        hosts.into()
    }
}

/// The DestinationRule that proxies of a namespace use for a service: of their own namespace, else of the service's, else
/// of the root namespace; in each the most specific host, then the oldest.
pub(crate) fn for_service(
    read: &Reader<'_>,
    client: &str,
    service: &Service,
) -> Option<Arc<ResolvedDestinationRule>> {
    let root = settings::root_namespace(read);
    [client, service.namespace.as_str(), &root].into_iter().find_map(|ns| {
        let rules = DestinationRulesIn(ns.to_owned());
        let seen = |host: &String| {
            let all = read.entry(&rules, host)?;
            all.iter().find(|d| ns == client || d.meta.visibility.includes(client)).cloned()
        };
        seen(&service.host).or_else(|| {
            let wildcards = read.get(&WildcardsIn(ns.to_owned()));
            wildcards.iter().filter(|host| host_matches(host, &service.host)).find_map(seen)
        })
    })
}

/// All DestinationRules, for people to look at.
pub(crate) fn all(read: &Reader<'_>) -> Vec<Arc<ResolvedDestinationRule>> {
    let keys = read.keys::<DestinationRuleFact>();
    let namespaces: BTreeSet<&String> = keys.iter().map(|key| &key.key.namespace).collect();
    let in_namespace = |ns: &String| read.whole(&DestinationRulesIn(ns.clone()));
    let mut out: Vec<_> = namespaces
        .into_iter()
        .flat_map(|ns| in_namespace(ns).values().flat_map(|rules| rules.to_vec()).collect::<Vec<_>>())
        .collect();
    out.sort_by(|a, b| a.meta.precedence().cmp(&b.meta.precedence()));
    out
}
