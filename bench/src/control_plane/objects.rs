//! Kubernetes objects as JSON, and where each lives in the API.

use serde_json::{Value, json};

/// An object with apiVersion, kind and metadata.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Object {
    pub(crate) value: Value,
}

impl Object {
    /// An object in `namespace`; `rest` holds what is beside the metadata.
    pub(crate) fn new(api_version: &str, kind: &str, namespace: &str, name: &str, rest: Value) -> Self {
        let mut value = json!({
            "apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": namespace},
        });
        if let (Value::Object(fields), Value::Object(rest)) = (&mut value, rest) {
            fields.extend(rest);
        }
        Object { value }
    }

    /// A namespace.
    pub(crate) fn namespace(name: &str) -> Self {
        Object { value: json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}) }
    }

    /// The same with labels.
    pub(crate) fn labelled(mut self, labels: Value) -> Self {
        self.value["metadata"]["labels"] = labels;
        self
    }

    fn text(&self, pointer: &str) -> &str {
        self.value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    /// Path of all objects of its kind in its namespace.
    pub(crate) fn collection(&self) -> String {
        let version = self.text("/apiVersion");
        let root = if version.contains('/') { "apis" } else { "api" };
        let plural = plural(self.text("/kind"));
        match self.text("/metadata/namespace") {
            "" => format!("/{root}/{version}/{plural}"),
            namespace => format!("/{root}/{version}/namespaces/{namespace}/{plural}"),
        }
    }

    /// Path of the object itself.
    pub(crate) fn path(&self) -> String {
        format!("{}/{}", self.collection(), self.text("/metadata/name"))
    }
}

/// The kind's name in paths: the kinds that are used here are all regular.
fn plural(kind: &str) -> String {
    let lower = kind.to_ascii_lowercase();
    match lower.strip_suffix('y') {
        Some(stem) if !stem.ends_with(['a', 'e', 'o']) => format!("{stem}ies"),
        _ => format!("{lower}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let path = |version: &str, kind: &str| Object::new(version, kind, "a", "x", json!({})).path();
        assert_eq!(path("v1", "Pod"), "/api/v1/namespaces/a/pods/x");
        assert_eq!(
            path("security.istio.io/v1beta1", "AuthorizationPolicy"),
            "/apis/security.istio.io/v1beta1/namespaces/a/authorizationpolicies/x"
        );
        assert_eq!(
            path("networking.istio.io/v1beta1", "Gateway"),
            "/apis/networking.istio.io/v1beta1/namespaces/a/gateways/x"
        );
        assert_eq!(Object::namespace("a").path(), "/api/v1/namespaces/a");
    }

    #[test]
    fn what_is_beside_the_metadata_is_kept() {
        let object = Object::new("v1", "Secret", "a", "x", json!({"stringData": {"k": "v"}}));
        let object = object.labelled(json!({"app": "x"}));
        assert_eq!(object.value["stringData"]["k"], "v");
        assert_eq!(object.value["metadata"], json!({"name": "x", "namespace": "a", "labels": {"app": "x"}}));
    }
}
