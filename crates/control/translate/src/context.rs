//! What every builder needs to know: the model, the proxy and what it may see.

use std::{collections::BTreeMap, sync::Arc};

use portolan_mesh::{Dialect, Model, ProxyNode, Scope, ScopeKey, Service};
use portolan_resources::MeshConfig;

pub(crate) struct Context<'a> {
    pub(crate) model: Model<'a>,
    /// The proxy. What is made for a view asks for its namespace through [`Context::is_in`].
    pub(crate) node: &'a ProxyNode,
    pub(crate) scope: Scope<'a>,
    /// Labels of the proxy's workload.
    pub(crate) labels: Arc<BTreeMap<String, String>>,
}

impl<'a> Context<'a> {
    pub(crate) fn new(model: Model<'a>, node: &'a ProxyNode) -> Self {
        Self { model, node, scope: model.scope(model.scope_of(node)), labels: model.labels_of(node) }
    }
    /// What a proxy of a view gets. `node` has what the view knows of its proxies, and no more.
    pub(crate) fn of_view(model: Model<'a>, node: &'a ProxyNode, scope: ScopeKey) -> Self {
        Self { model, node, scope: model.scope(scope), labels: Arc::new(node.metadata.labels.clone()) }
    }
    /// The same, keeping account of what it is asked that other proxies would answer otherwise.
    pub(crate) fn accounting(self) -> Self {
        Self { scope: self.scope.accounting(), ..self }
    }
    pub(crate) fn mesh(&self) -> Arc<MeshConfig> {
        self.model.mesh_config()
    }
    /// The proxy is our own and knows Istio's filters.
    pub(crate) fn ours(&self) -> bool {
        self.node.metadata.dialect == Dialect::Portolan
    }
    pub(crate) fn service(&self, host: &str) -> Option<Arc<Service>> {
        self.scope.visible_service(host)
    }
    /// Whether the proxy is in a namespace.
    pub(crate) fn is_in(&self, namespace: &str) -> bool {
        self.scope.ask_more();
        self.node.namespace == namespace
    }
    /// Whether the proxy's workload carries all of `labels`.
    pub(crate) fn has_labels(&self, labels: &BTreeMap<String, String>) -> bool {
        if !labels.is_empty() {
            self.scope.ask_more();
        }
        labels.iter().all(|(k, v)| self.labels.get(k) == Some(v))
    }
}
