//! `networking.istio.io` kinds (Istio 1.9 reference, Traffic Management). The types are v1beta1; their CRDs serve v1alpha3 too, whose
//! schema is the same.

mod destination_rule;
mod gateway;
mod service_entry;
mod sidecar;
mod virtual_service;
mod workload_entry;

pub use destination_rule::*;
pub use gateway::*;
pub use service_entry::*;
pub use sidecar::*;
pub(crate) use virtual_service::is_false;
pub use virtual_service::*;
pub use workload_entry::*;
