//! The care of a foreign Envoy: its bootstrap, the sockets that it gets configuration and secrets from, its process.

pub mod bootstrap;
mod own;
pub mod process;
mod readiness;
mod sds_server;
mod sockets;
mod xds_proxy;

pub use readiness::EnvoyStatus;
pub use sockets::{Feed, SocketError, serve};
