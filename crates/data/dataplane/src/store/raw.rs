//! Resources as they came, with their history.

use std::collections::BTreeMap;
use std::time::SystemTime;

use bytes::Bytes;

use super::api::{ConfigUpdate, ResourceKind, Upsert};

/// A resource as it came, and its history.
#[derive(Debug, Clone)]
pub(super) struct Raw {
    pub(super) version: String,
    pub(super) body: Bytes,
    pub(super) updated: SystemTime,
    pub(super) is_static: bool,
    /// The last version that was refused: when, which, why.
    pub(super) error: Option<(SystemTime, String, String)>,
}

/// The resources that are in force or warm.
#[derive(Debug, Default)]
pub(super) struct RawResources(BTreeMap<(ResourceKind, String), Raw>);

impl RawResources {
    /// All of them, by kind and name.
    pub(super) fn iter(&self) -> impl Iterator<Item = (ResourceKind, &str, &Raw)> {
        self.0.iter().map(|((kind, name), raw)| (*kind, name.as_str(), raw))
    }

    /// Those of a kind whose names begin with `prefix`, with the rest of the name.
    pub(super) fn below(&self, kind: ResourceKind, prefix: String) -> impl Iterator<Item = (&str, &Raw)> {
        self.0.range((kind, prefix.clone())..).map_while(move |((other, name), raw)| {
            Some((name.strip_prefix(&prefix).filter(|_| *other == kind)?, raw))
        })
    }

    pub(super) fn get(&self, kind: ResourceKind, name: &str) -> Option<&Raw> {
        self.0.get(&(kind, name.to_owned()))
    }

    /// Whether these bytes are what is there; then only their version is new.
    pub(super) fn holds(&mut self, kind: ResourceKind, upsert: &Upsert) -> bool {
        let known = self.0.get_mut(&(kind, upsert.name.clone()));
        let Some(raw) = known.filter(|raw| raw.body == upsert.body && raw.error.is_none()) else {
            return false;
        };
        raw.version.clone_from(&upsert.version);
        true
    }

    /// Notes a resource that was taken over.
    pub(super) fn accept(&mut self, update: &ConfigUpdate, upsert: &Upsert) {
        let raw = Raw {
            version: upsert.version.clone(),
            body: upsert.body.clone(),
            updated: SystemTime::now(),
            is_static: update.is_static,
            error: None,
        };
        self.0.insert((update.kind, upsert.name.clone()), raw);
    }

    /// Notes a version that was refused beside the one that stays, if there is one.
    pub(super) fn refuse(&mut self, kind: ResourceKind, upsert: &Upsert, reason: &str) {
        if let Some(raw) = self.0.get_mut(&(kind, upsert.name.clone())) {
            raw.error = Some((SystemTime::now(), upsert.version.clone(), reason.to_owned()));
        }
    }

    pub(super) fn remove(&mut self, kind: ResourceKind, name: &str) {
        self.0.remove(&(kind, name.to_owned()));
    }
}
