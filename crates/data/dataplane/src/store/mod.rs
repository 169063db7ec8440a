//! Configuration of the data path: raw Envoy resources in, an immutable compiled [`Snapshot`] out.
//!
//! ```text
//! control half --apply(ConfigUpdate)--> ConfigStore --compile, warm--> Arc<Snapshot> --watch--> workers
//!              <--needs(), status(), dump()--
//! ```
//!
//! Rules (spec/dataplane.md 85, spec/reliability.md 0):
//! - a resource is accepted or rejected whole; a rejected one leaves its predecessor in force;
//! - a listener becomes active when its route tables and secrets are there, a cluster when its endpoints and
//!   secrets are there; until then the predecessor (if any) keeps serving;
//! - what is removed drains; requests in flight finish on what they started with.

mod api;
mod bind;
pub(crate) mod cluster;
pub(crate) mod connection_manager;
pub(crate) mod filter_chain;
pub(crate) mod listener;
pub(crate) mod matchers;
pub(crate) mod pb;
mod snapshot;
mod status;
mod store;
pub(crate) mod value;

pub use api::{
    ClusterStatus, ConfigStatus, ConfigUpdate, DrainKind, DumpEntry, DumpState, HostStatus, ListenerStatus,
    Needs, Rejection, ResourceKind, ResourceState, Upsert,
};
pub(crate) use bind::Bound;
pub use snapshot::Snapshot;
pub use store::ConfigStore;
