//! Views: what decides how a proxy sees the mesh.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{Hash, Hasher},
    sync::Arc,
};

use portolan_derive::{Derived, Reader};
use portolan_mesh::{Locality, Model, NodeMetadata, ProxyNode, ScopeKey};
use portolan_names::names::MESH_GATEWAY;

use crate::context::Context;

/// How some proxies see the mesh: their kind and dialect, what their scope shows them, and the few facts about themselves
/// that routes and endpoints look at. A mesh has about as many views as it has namespaces and gateways.
#[derive(Clone, Debug)]
pub struct View {
    seen: Arc<Seen>,
    /// Hash of `seen`: views are looked up for everything that is made for them.
    hash: u64,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Seen {
    /// A proxy with nothing but what matters.
    node: ProxyNode,
    scope: ScopeKey,
    /// What this view shares with those of other namespaces.
    common: Option<View>,
}

impl PartialEq for View {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && self.seen == other.seen
    }
}

impl Eq for View {}

impl PartialOrd for View {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for View {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        if Arc::ptr_eq(&self.seen, &other.seen) {
            return std::cmp::Ordering::Equal;
        }
        self.seen.cmp(&other.seen)
    }
}

impl Hash for View {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.hash.hash(state);
    }
}

impl View {
    fn new(node: ProxyNode, scope: ScopeKey) -> Self {
        let common = scope.common().map(|scope| Self::with(common_node(&node, &scope), scope, None));
        Self::with(node, scope, common)
    }

    fn with(node: ProxyNode, scope: ScopeKey, common: Option<Self>) -> Self {
        let seen = Seen { node, scope, common };
        let mut hasher = std::collections::hash_map::DefaultHasher::new();
        seen.hash(&mut hasher);
        Self { hash: hasher.finish(), seen: Arc::new(seen) }
    }

    /// How a proxy sees the mesh but for where it runs.
    pub(crate) fn of(model: Model<'_>, node: &ProxyNode) -> Self {
        let scope = model.scope_of(node);
        let mut labels = (*model.labels_of(node)).clone();
        if !node.is_router() {
            let asked = model.reader().get(&AskedLabels(scope.clone()));
            labels.retain(|key, _| asked.contains(key));
        }
        let metadata = &node.metadata;
        let seen = ProxyNode {
            kind: node.kind,
            namespace: node.namespace.clone(),
            dns_domain: node.dns_domain.clone(),
            metadata: NodeMetadata {
                labels,
                requested_network_view: metadata.requested_network_view.clone(),
                sni_dnat: metadata.sni_dnat,
                tproxy: metadata.tproxy,
                no_capture: metadata.no_capture,
                http10: metadata.http10,
                unprivileged: metadata.unprivileged,
                dialect: metadata.dialect,
                ..NodeMetadata::default()
            },
            ..ProxyNode::default()
        };
        Self::new(seen, scope)
    }

    /// The same at some place.
    pub(crate) fn at_place(&self, locality: Locality) -> Self {
        let node = ProxyNode { locality: locality.clone(), ..self.seen.node.clone() };
        let common = self.common().map(|common| common.at_place(locality));
        Self::with(node, self.seen.scope.clone(), common)
    }

    /// The same wherever the proxies run.
    pub(crate) fn at_no_place(&self) -> Self {
        self.at_place(Locality::default())
    }

    /// Where the proxies run.
    pub(crate) fn place(&self) -> &Locality {
        &self.seen.node.locality
    }

    /// The view of proxies like these in a namespace that nobody has: what it sees everybody sees. Nothing for views that
    /// see little of that, and for gateways.
    pub(crate) fn common(&self) -> Option<&Self> {
        self.seen.common.as_ref()
    }

    /// Whether others share what is made for it.
    pub(crate) fn is_common(&self) -> bool {
        self.seen.scope.namespace.is_empty()
    }

    /// The same, sharing nothing.
    pub(crate) fn alone(&self) -> Self {
        Self::with(self.seen.node.clone(), self.seen.scope.clone(), None)
    }

    pub(crate) fn node(&self) -> &ProxyNode {
        &self.seen.node
    }

    pub(crate) fn scope(&self) -> &ScopeKey {
        &self.seen.scope
    }

    pub(crate) fn context<'a>(&'a self, read: &Reader<'a>) -> Context<'a> {
        let context = Context::of_view(Model::new(read), &self.seen.node, self.seen.scope.clone());
        if self.is_common() { context.accounting() } else { context }
    }
}

/// A view as everybody has it who has an equal one: it exists once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Once(pub(crate) View);

impl Derived for Once {
    type Value = View;
    fn derive(&self, _: &Reader<'_>) -> View {
        self.0.clone()
    }
}

/// What the proxies of all namespaces have in common that are otherwise like this one.
fn common_node(node: &ProxyNode, scope: &ScopeKey) -> ProxyNode {
    let dns_domain = match node.dns_domain.split_once('.') {
        // The names that services have in all namespaces.
        Some((_, cluster)) => format!(".{cluster}"),
        None => node.dns_domain.clone(),
    };
    let metadata = NodeMetadata { labels: BTreeMap::new(), ..node.metadata.clone() };
    ProxyNode { namespace: scope.namespace.clone(), dns_domain, metadata, ..node.clone() }
}

/// The keys of labels that visible VirtualServices ask of clients (`sourceLabels`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct AskedLabels(ScopeKey);

impl Derived for AskedLabels {
    type Value = Arc<BTreeSet<String>>;
    fn derive(&self, read: &Reader<'_>) -> Self::Value {
        let mut asked = BTreeSet::new();
        let mut ask = |labels: &BTreeMap<String, String>| asked.extend(labels.keys().cloned());
        for vs in Model::new(read).scope(self.0.clone()).virtual_services_of(MESH_GATEWAY) {
            vs.spec.http.iter().flat_map(|r| &r.match_).for_each(|m| ask(&m.source_labels));
            vs.spec.tls.iter().flat_map(|r| &r.match_).for_each(|m| ask(&m.source_labels));
            vs.spec.tcp.iter().flat_map(|r| &r.match_).for_each(|m| ask(&m.source_labels));
        }
        Arc::new(asked)
    }
}
