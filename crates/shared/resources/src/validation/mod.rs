//! Validation of our kinds: what the admission webhook refuses, and what it only warns about
//! (docs/reference/istiod.md, docs/reference/federation.md).
//!
//! Every finding carries the exact path of its field (`spec.http[0].route[1].weight`), so that `kubectl apply` shows
//! the user the place. Errors are what would make the object do something else than written, or nothing.

mod common;
mod destination_rule;
mod federation;
mod gateway;
mod security;
mod service_entry;
mod sidecar;
mod virtual_service;

pub use crate::report::{Finding, Report, ValidationError};

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{
    AuthorizationPolicy, DestinationRule, ExportedServiceSet, Gateway, ImportedServiceSet,
    PeerAuthentication, RequestAuthentication, ServiceEntry, ServiceMeshPeer, Sidecar, VirtualService,
    WorkloadEntry, support,
};

/// Kinds that can be validated.
pub trait Validate {
    /// Findings of this object alone; references to other objects are the analyzers' work.
    fn validate(&self) -> Report;
}

/// Why [`validate_json`] has no report.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Not one of our kinds.
    #[error("{api_version} {kind} is not a kind of the mesh; remove it from the webhook's rules")]
    UnknownKind {
        /// API group and version.
        api_version: String,
        /// Kind.
        kind: String,
    },
    /// The JSON does not have the kind's form.
    #[error("{kind} cannot be read: {source}; compare the field with the CRD (kubectl explain)")]
    Malformed {
        /// Kind.
        kind: String,
        /// Where it broke.
        source: serde_json::Error,
    },
}

/// Validates an object as it comes in an AdmissionReview: by the rules of its kind, and by the support table.
pub fn validate_json(object: &Value) -> Result<Report, DecodeError> {
    let mut report = by_rules(object)?;
    report.extend(support::judge(object["kind"].as_str().unwrap_or_default(), object));
    report.extend(support::judge_metadata(&object["metadata"], support::On::Configuration));
    Ok(report)
}

/// What the rules of an object's kind find.
fn by_rules(object: &Value) -> Result<Report, DecodeError> {
    let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let group = api_version.split('/').next().unwrap_or_default();
    match (group, kind) {
        ("networking.istio.io", "VirtualService") => check::<VirtualService>(object, kind),
        ("networking.istio.io", "DestinationRule") => check::<DestinationRule>(object, kind),
        ("networking.istio.io", "Gateway") => check::<Gateway>(object, kind),
        ("networking.istio.io", "ServiceEntry") => check::<ServiceEntry>(object, kind),
        ("networking.istio.io", "WorkloadEntry") => check::<WorkloadEntry>(object, kind),
        ("networking.istio.io", "Sidecar") => check::<Sidecar>(object, kind),
        ("security.istio.io", "PeerAuthentication") => check::<PeerAuthentication>(object, kind),
        ("security.istio.io", "AuthorizationPolicy") => check::<AuthorizationPolicy>(object, kind),
        ("security.istio.io", "RequestAuthentication") => check::<RequestAuthentication>(object, kind),
        ("federation.maistra.io", "ServiceMeshPeer") => check::<ServiceMeshPeer>(object, kind),
        ("federation.maistra.io", "ExportedServiceSet") => check::<ExportedServiceSet>(object, kind),
        ("federation.maistra.io", "ImportedServiceSet") => check::<ImportedServiceSet>(object, kind),
        _ => Err(DecodeError::UnknownKind { api_version: api_version.to_owned(), kind: kind.to_owned() }),
    }
}

fn check<T: Validate + DeserializeOwned>(object: &Value, kind: &str) -> Result<Report, DecodeError> {
    T::deserialize(object)
        .map(|typed| typed.validate())
        .map_err(|source| DecodeError::Malformed { kind: kind.to_owned(), source })
}

#[cfg(test)]
mod tests;
