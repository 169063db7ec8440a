//! Mesh federation: what is exported and imported, the discovery protocol's messages, and the in-memory objects that
//! carry the traffic of a peer through our gateways (docs/reference/federation.md).
//!
//! Invariants: nothing leaves this mesh that no export rule names, and nothing of a peer is reachable that no import
//! rule names. A peer is hostile: everything that it sends passes [`ServiceList::accept`], which bounds it and refuses
//! names that are not the peer's to use. No I/O and no clock here; the control plane does both.

mod exports;
#[cfg(test)]
mod fixture;
mod imports;
mod local_mesh;
mod message;
mod names;
mod objects;
mod rules;

pub use exports::{Export, ExportEvents, export_events, export_status, exports};
pub use imports::{Import, import_status, imports};
pub use local_mesh::{LocalMesh, Peer};
pub use message::{
    Action, MAX_LIST_BYTES, MAX_PORTS, MAX_SERVICE_ACCOUNTS, MAX_SERVICES, Refused, ServiceList,
    ServiceMessage, ServicePortMessage, WatchEvent,
};
pub use names::{object_name, peer_path};
pub use objects::{PeerState, federation_inputs};
pub use rules::{ExportRules, ImportRules, RuleProblem};
