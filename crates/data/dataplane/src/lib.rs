//! The data path of the mesh: listeners, routing, filters, load balancing, mutual TLS, telemetry.
//!
//! It is configured with raw Envoy v3 resources through one handle, [`config::ConfigStore`], and knows nothing
//! about where they come from. Main invariant: a worker thread never takes a lock that another thread may hold
//! while it serves a request; configuration reaches it as an immutable [`config::Snapshot`].
//!
//! The folders are floors, and each uses only those below it:
//!
//! ```text
//! serve      threads, connections, the life of a request
//! store      the configuration handle, snapshots, status
//! listener   listeners, filter chains, connection managers
//! route      route tables and what a route does
//! filters    HTTP filters, one file each
//! telemetry  access logs, Istio's metrics
//! upstream   clusters, hosts, connections to them
//! tls        TLS contexts
//! message    requests, responses, bodies, matchers
//! io         byte streams, timers
//! stats      counters
//! value, pb  reading Envoy's messages
//! ```

#[allow(deprecated)] // Control planes of several ages still send the old fields.
mod filters;
mod io;
#[allow(deprecated)] // Control planes of several ages still send the old fields.
mod listener;
#[allow(deprecated)] // Control planes of several ages still send the old fields.
mod message;
mod pb;
#[allow(deprecated)] // Control planes of several ages still send the old fields.
mod route;
mod serve;
pub mod stats;
mod store;
#[allow(deprecated)] // Control planes of several ages still send the old fields.
mod telemetry;
#[allow(deprecated)] // Control planes of several ages still send the old fields.
mod tls;
#[allow(deprecated)] // Control planes of several ages still send the old fields.
mod upstream;
#[allow(deprecated)] // Control planes of several ages still send the old fields.
mod value;

pub use serve::{DEFAULT_DRAIN_TIME, DataPlane, DataPlaneOptions, StartError};
pub use store::StatsHandle;

/// The configuration handle, what is applied to it, and what it says about its state.
pub mod config {
    pub use crate::store::{
        ClusterStatus, ConfigStatus, ConfigStore, ConfigUpdate, DrainKind, DumpEntry, DumpState, HostStatus,
        ListenerStatus, Needs, Rejection, ResourceKind, ResourceState, Snapshot, Upsert,
    };
}
