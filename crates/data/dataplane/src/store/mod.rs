//! Configuration of the data path: raw Envoy resources in, an immutable compiled [`Snapshot`] out.
//!
//! ```text
//! control half --apply(ConfigUpdate)--> ConfigStore --compile, warm--> Arc<Snapshot> --watch--> workers
//!              <--needs(), status(), dump()--
//! ```
//!
//! Rules:
//! - a resource is accepted or rejected whole; a rejected one leaves its predecessor in force;
//! - a listener becomes active when its route tables and secrets are there, a cluster when its endpoints and
//!   secrets are there; until then the predecessor (if any) keeps serving;
//! - a route configuration with `vhds` is there when its first virtual host is;
//! - what is removed drains; requests in flight finish on what they started with.

mod api;
mod export;
mod handle;
mod raw;
mod routes;
mod shared;
mod snapshot;
mod stats;
mod status;
mod virtual_hosts;

pub use api::{
    ClusterStatus, ConfigStatus, ConfigUpdate, DrainKind, DumpEntry, DumpState, HostStatus, ListenerStatus,
    Needs, Rejection, ResourceKind, ResourceState, Upsert,
};
pub use export::StatsHandle;
pub use handle::ConfigStore;
pub(crate) use shared::Shared;
pub use snapshot::Snapshot;
