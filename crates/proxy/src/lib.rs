//! The data plane of the mesh: listeners, routing, filters, load balancing, mutual TLS, telemetry, and the
//! control half that feeds it.
//!
//! The data path (`config`, `net`, `tls`, `http`, `filters`, `route`, `upstream`, `telemetry`) is configured
//! with raw Envoy v3 resources through one handle, [`config::ConfigStore`], and knows nothing about where
//! they come from. Main invariant: a worker thread never takes a lock that another thread may hold while it
//! serves a request; configuration reaches it as an immutable [`config::Snapshot`].

pub mod admin;
pub mod agent;
mod backoff;
pub mod bootstrap;
pub mod cli;
#[allow(deprecated)] // Control planes of several ages still send the old fields.
pub mod config;
pub mod dataplane;
mod fetch;
#[allow(deprecated)] // Control planes of several ages still send the old fields.
mod filters;
mod http;
pub mod log;
mod net;
#[allow(deprecated)] // Control planes of several ages still send the old fields.
mod route;
pub mod serve;
pub mod standalone;
#[allow(deprecated)] // Control planes of several ages still send the old fields.
pub mod telemetry;
#[allow(deprecated)] // Control planes of several ages still send the old fields.
mod tls;
mod upstream;
pub mod xds_client;
mod yaml;

pub use dataplane::{DataPlane, DataPlaneOptions, StartError};
