//! A small mesh, and what one of its proxies gets: objects in as YAML, resources out as JSON.

use std::sync::Arc;

use portolan_mesh::{Inputs, ProxyNode};
use portolan_xds::{json, type_url};
use serde_json::Value;

use super::fixture;
use super::given::given;

/// The objects of a mesh and its settings.
#[derive(Clone)]
pub(super) struct Mesh(Inputs);

impl Mesh {
    /// A mesh of these objects, one YAML document each.
    pub(super) fn of(objects: &str) -> Self {
        let objects: Vec<Value> = serde_saphyr::from_multiple(objects).unwrap();
        let given = objects.into_iter().filter(|object| !object.is_null());
        given.fold(Self(Inputs::default()), Self::and)
    }

    /// With one more object.
    pub(super) fn and(mut self, object: Value) -> Self {
        self.0.insert(object).unwrap();
        self
    }

    /// With these settings (MeshConfig).
    pub(super) fn with(mut self, settings: Value) -> Self {
        self.0.mesh_config = Arc::new(serde_json::from_value(settings).unwrap());
        self
    }

    /// What a proxy gets.
    pub(super) fn seen_by(&self, node: ProxyNode) -> Seen {
        Seen { mesh: portolan_mesh::Mesh::from(&self.0), node }
    }

    /// What [`sidecar`] gets.
    pub(super) fn seen_by_sidecar(&self) -> Seen {
        self.seen_by(sidecar())
    }

    /// What [`gateway`] gets.
    pub(super) fn seen_by_gateway(&self) -> Seen {
        self.seen_by(gateway())
    }
}

/// Our own proxy beside the workload `web` in the namespace `shop`.
pub(super) fn sidecar() -> ProxyNode {
    fixture::node("sidecar", "shop", "web-1", "10.0.0.1", &[("app", "web")], false)
}

/// Our own proxy as the gateway `istio: edge` in the namespace `shop`.
pub(super) fn gateway() -> ProxyNode {
    fixture::node("router", "shop", "edge-1", "10.0.0.2", &[("istio", "edge")], false)
}

/// A proxy and the mesh around it.
pub(super) struct Seen {
    pub(super) mesh: portolan_mesh::Mesh,
    pub(super) node: ProxyNode,
}

impl Seen {
    /// The resource of a type and name; null when the proxy gets none.
    pub(super) fn find(&self, url: &str, name: &str) -> Value {
        let mut found = given(&self.mesh, &self.node, url);
        found.retain(|resource| &*resource.name == name);
        assert!(found.len() < 2, "{name} twice");
        found.first().map_or(Value::Null, |resource| {
            let mut value = json::message_to_json(resource.type_url, &resource.body).unwrap();
            drop_types(&mut value);
            value
        })
    }

    fn get(&self, url: &str, name: &str) -> Value {
        let found = self.find(url, name);
        assert!(!found.is_null(), "no {name}, but {:?}", self.names(url));
        found
    }

    /// A cluster that must be there.
    pub(super) fn cluster(&self, name: &str) -> Value {
        self.get(type_url::CLUSTER, name)
    }

    /// Endpoints that must be there.
    pub(super) fn endpoints(&self, name: &str) -> Value {
        self.get(type_url::ENDPOINT, name)
    }

    /// A listener that must be there.
    pub(super) fn listener(&self, name: &str) -> Value {
        self.get(type_url::LISTENER, name)
    }

    /// A route configuration that must be there.
    pub(super) fn routes(&self, name: &str) -> Value {
        self.get(type_url::ROUTE, name)
    }

    /// Names of all resources of a type, in order.
    pub(super) fn names(&self, url: &str) -> Vec<String> {
        let all = given(&self.mesh, &self.node, url);
        all.iter().map(|r| r.name.to_string()).collect()
    }
}

/// Takes the types of extensions out: their names tell them.
fn drop_types(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(drop_types),
        Value::Object(fields) => {
            fields.remove("@type");
            fields.values_mut().for_each(drop_types);
        }
        _ => {}
    }
}

/// What stands at a place (RFC 6901), null when there is nothing.
pub(super) fn at(value: &Value, pointer: &str) -> Value {
    value.pointer(pointer).cloned().unwrap_or_default()
}

/// A list, empty when it is left out.
pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// The configuration of a network or HTTP filter of a list.
pub(super) fn filter<'a>(filters: &'a Value, name: &str) -> &'a Value {
    let found = list(filters).iter().find(|f| f["name"].as_str().is_some_and(|n| n.ends_with(name)));
    &found.unwrap_or_else(|| panic!("no {name} in {filters:#}"))["typed_config"]
}
