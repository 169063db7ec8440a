//! The running data plane: threads, accepted connections, and what is done with each.

pub(crate) mod accept;
mod dataplane;
mod handshake;
pub(crate) mod housekeeping;
pub(crate) mod http;
mod outliers;
mod run;
mod schedule;
mod tcp;
pub(crate) mod worker;

pub use dataplane::{
    DEFAULT_CONNECTIONS_PER_LISTENER, DEFAULT_DRAIN_TIME, DataPlane, DataPlaneOptions, StartError,
};
