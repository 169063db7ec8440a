//! The data path of the mesh: listeners, routing, filters, load balancing, mutual TLS, telemetry.
//!
//! It is configured with raw Envoy v3 resources through one handle, [`config::ConfigStore`], and knows nothing
//! about where they come from. Main invariant: a worker thread never takes a lock that another thread may hold
//! while it serves a request; configuration reaches it as an immutable [`config::Snapshot`].

#[allow(deprecated)] // Control planes of several ages still send the old fields.
pub mod config;
mod dataplane;
#[allow(deprecated)] // Control planes of several ages still send the old fields.
mod filters;
mod http;
mod net;
#[allow(deprecated)] // Control planes of several ages still send the old fields.
mod route;
#[allow(deprecated)] // Control planes of several ages still send the old fields.
pub mod telemetry;
#[allow(deprecated)] // Control planes of several ages still send the old fields.
mod tls;
mod upstream;

pub use dataplane::{DEFAULT_DRAIN_TIME, DataPlane, DataPlaneOptions, StartError};
