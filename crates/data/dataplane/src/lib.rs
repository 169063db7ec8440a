//! The data path of the mesh: listeners, routing, filters, load balancing, mutual TLS, telemetry.
//!
//! It is configured with raw Envoy v3 resources through one handle, [`config::ConfigStore`], and knows nothing
//! about where they come from. Main invariant: a worker thread never takes a lock that another thread may hold
//! while it serves a request; configuration reaches it as an immutable [`config::Snapshot`].
//!
//! What resources mean is compiled in `portolan-dataplane-config`; here is what runs it. The folders are floors, and each uses only those below it:
//!
//! ```text
//! serve      threads, connections, the life of a request
//! store      the configuration handle, snapshots, status
//! listener   listeners, filter chains and connection managers as they run
//! telemetry  access logs, Istio's metrics, spans
//! upstream   clusters, hosts, connections to them
//! tls        TLS contexts
//! message    bodies, connections
//! io         byte streams, timers
//! stats      counters
//! ```

mod external;
mod io;
mod listener;
mod message;
mod serve;
pub mod stats;
mod store;
mod telemetry;
#[allow(deprecated)] // Control planes of several ages still send the old fields.
mod tls;
#[allow(deprecated)] // Control planes of several ages still send the old fields.
mod upstream;

use portolan_dataplane_config::{filters, pb, route, tracers, value};
pub use serve::{
    DEFAULT_CONNECTIONS_PER_LISTENER, DEFAULT_DRAIN_TIME, DataPlane, DataPlaneOptions, StartError,
};
pub use store::StatsHandle;

/// The configuration handle, what is applied to it, and what it says about its state.
pub mod config {
    pub use crate::store::{
        ClusterStatus, ConfigStatus, ConfigStore, ConfigUpdate, DrainKind, DumpEntry, DumpState, HostStatus,
        ListenerStatus, Needs, Rejection, ResourceKind, ResourceState, Snapshot, Upsert,
    };
}
