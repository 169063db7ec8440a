//! The resource types of the mesh: Istio's networking and security kinds, the federation kinds of Service Mesh 2.1
//! and MeshConfig, with their CRDs and validation.
//!
//! The types follow the protobuf JSON form that users write in YAML: every field is optional, one-ofs are structs of
//! options (validation says when two are set), durations stay text until they are used. So an object that some older
//! or newer release wrote survives a round trip, and a bad field costs an error message instead of the whole object.
//!
//! Invariants: no I/O; nothing here knows which cluster or which proxy it works for.

pub mod crds;
pub mod duration;
pub mod federation;
pub mod mesh_config;
pub mod networking;
pub mod report;
#[cfg(test)]
mod round_trip;
pub mod security;
pub mod status;
pub mod support;
pub mod validation;
mod wire_enum;

pub use crds::crds;
pub use duration::ProtoDuration;
pub use federation::{ExportedServiceSet, ImportedServiceSet, ServiceMeshPeer};
pub use mesh_config::MeshConfig;
pub use networking::{DestinationRule, Gateway, ServiceEntry, Sidecar, VirtualService, WorkloadEntry};
pub use security::{AuthorizationPolicy, PeerAuthentication, RequestAuthentication};
