//! Name service: what is known is answered, the rest is asked of other servers.
//!
//! One server for two places: the cluster's own name server, that clients are pointed at, and the proxy's agent, which
//! stands in the way of a workload's questions ([`Role`]). [`Zone`], [`ResolvConf`] and the making of answers are pure;
//! [`Server`] and [`Forwarder`] do the I/O around them. Messages are read and written by `hickory-proto`. Invariant: no
//! question, connection or answer waits without a limit, and nothing that arrives can make the server keep more than its
//! limits say.

mod forward;
mod framing;
pub mod limits;
mod message;
mod resolv_conf;
mod server;
mod zone;

pub use forward::Forwarder;
pub use resolv_conf::ResolvConf;
pub use server::{Role, Server, Transport};
pub use zone::{Answer, Data, Kind, Zone, ZoneBuilder};
