//! The mesh model: which services, endpoints, workloads and policies there are, and what one proxy may see of them.
//!
//! [`Inputs`] are the raw objects of Kubernetes, Istio and federation; [`Snapshot`] is the immutable value made from
//! them, and [`Model`] is how everybody reads it, by entry where one is enough. A snapshot shares everything unchanged with the one before it, so that whoever caches by pointer pays only for
//! what changed.
//!
//! Invariants: no I/O, no clock, no knowledge of xDS. What a proxy may see is decided here and nowhere else
//! ([`Scope`], [`Model::gateways_of`]): `translate` only says it in xDS.

mod authn;
mod authz;
mod build;
mod destination_rule;
mod dns;
mod export_to;
mod gateway;
mod host;
mod inputs;
mod instances;
mod kubernetes;
mod model;
mod node;
mod object;
mod policies;
mod protocol;
mod registry;
mod scope;
mod service;
mod service_entry;
mod sidecar;
mod snapshot;
mod virtual_service;
mod visibility;
mod workload;

pub use authn::MtlsModes;
pub use authz::WorkloadPolicies;
pub use destination_rule::ResolvedDestinationRule;
pub use dns::{AUTO_VIP_FEDERATION, AUTO_VIP_SERVICE_ENTRY, DnsEntry};
pub use export_to::Visibility;
pub use gateway::{GatewayServer, ServerHost};
pub use host::{host_matches, host_specificity, hosts_intersect, is_wildcard, resolve_short_name};
pub use inputs::{ClusterContext, FederationConfigs, FederationInputs, Inputs, InsertError, TrustBundles};
pub use model::{Model, Scope};
pub use node::{Dialect, NodeError, NodeKind, NodeMetadata, ProxyNode};
pub use object::{Age, ConfigMeta, ObjectKey, Resolved};
pub use protocol::Protocol;
pub use scope::{ScopeKey, ServiceInstance, SidecarIngress};
pub use service::{
    Endpoint, EndpointAddress, Locality, Registry, Resolution, Service, ServiceEndpoints, ServicePort,
};
pub use snapshot::Snapshot;
pub use virtual_service::ResolvedVirtualService;
pub use workload::Workload;

#[cfg(test)]
mod tests;
