//! The mesh model: which services, endpoints, workloads and policies there are, and what one proxy may see of them.
//!
//! [`Mesh`] takes facts in (objects of Kubernetes, Istio and federation, settings) and says what follows from them through
//! a [`Model`]. Everything that follows is derived on demand and remembered (crate `derive`): a change costs what it
//! changes, and whoever derives from the model further is asked again when something that it has read differs.
//!
//! Invariants: no I/O, no clock, no knowledge of xDS. What a proxy may see is decided here and nowhere else
//! ([`Scope`], [`Model::gateways_of`]): `translate` only says it in xDS.

mod addresses;
mod apart;
mod authn;
mod authz;
mod destination_rule;
mod dns;
mod export_to;
mod facts;
mod gateway;
mod host;
mod inputs;
mod instances;
mod kubernetes;
mod mesh;
mod model;
mod node;
mod object;
mod objects;
mod protocol;
mod registered;
mod registry;
mod scope;
mod service;
mod service_entry;
mod settings;
mod sidecar;
mod virtual_service;
mod visible;
mod workload;

pub use addresses::{AUTO_VIP_FEDERATION, AUTO_VIP_SERVICE_ENTRY};
pub use apart::{Apart, Asked};
pub use authn::MtlsModes;
pub use authz::WorkloadPolicies;
pub use destination_rule::ResolvedDestinationRule;
pub use dns::DnsEntry;
pub use export_to::Visibility;
pub use gateway::{GatewayServer, ServerHost};
pub use host::{host_matches, host_specificity, hosts_intersect, is_wildcard, resolve_short_name};
pub use inputs::{ClusterContext, FederationConfigs, FederationInputs, Inputs, InsertError, TrustBundles};
pub use mesh::{Kind, Mesh};
pub use model::{Model, Scope};
pub use node::{Dialect, NodeError, NodeKind, NodeMetadata, ProxyNode};
pub use object::{Age, ConfigMeta, ObjectKey, Resolved};
pub use protocol::Protocol;
pub use scope::{ScopeKey, ServiceInstance, SidecarIngress};
pub use service::{
    Endpoint, EndpointAddress, Locality, Registry, Resolution, Service, ServiceEndpoints, ServicePort,
};
pub use virtual_service::ResolvedVirtualService;
pub use workload::Workload;

#[cfg(test)]
mod tests;
