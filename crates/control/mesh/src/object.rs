//! What all objects have: key, age, precedence, and who sees them.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::export_to::Visibility;

/// Namespace and name of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey {
    /// Namespace, empty for cluster-scoped kinds.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl ObjectKey {
    /// Key of `namespace/name`.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Age of an object: the oldest wins conflicts. Objects without creation time (in-memory ones) count as the youngest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Age(pub i64);

impl Default for Age {
    fn default() -> Self {
        Self(i64::MAX)
    }
}

impl Age {
    /// Age by creation time, in seconds.
    pub fn of(meta: &ObjectMeta) -> Self {
        meta.creation_timestamp.as_ref().map_or(Self::default(), |t| Self(t.0.as_second()))
    }
}

/// What the model keeps of an object's metadata.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigMeta {
    /// Namespace and name.
    pub key: ObjectKey,
    /// Age.
    pub age: Age,
    /// Who sees it.
    pub visibility: Visibility,
}

impl ConfigMeta {
    /// Metadata of an object without `exportTo`.
    pub fn of(meta: &ObjectMeta) -> Self {
        let key =
            ObjectKey::new(meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default());
        Self { key, age: Age::of(meta), visibility: Visibility::Public }
    }
    /// Order of precedence: oldest first, then by name and namespace.
    pub fn precedence(&self) -> (Age, &str, &str) {
        (self.age, &self.key.name, &self.key.namespace)
    }
}

/// An object with its metadata.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved<T> {
    /// Metadata.
    pub meta: ConfigMeta,
    /// The spec.
    pub spec: T,
}
