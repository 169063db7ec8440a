//! From Envoy's resources to what the data plane runs on: checked, bounded and compiled.
//!
//! The proxy runs what is compiled here, and a control plane can ask the same code whether a resource would be taken
//! before it is sent: [`check`]. Main invariant: everything is a function of the message: no clock, no socket, no file, no thread.

#[allow(deprecated)] // Control planes of several ages still send the old fields.
pub mod access_log;
#[allow(deprecated)] // Control planes of several ages still send the old fields.
pub mod check;
#[allow(deprecated)] // Control planes of several ages still send the old fields.
pub mod cluster;
#[allow(deprecated)] // Control planes of several ages still send the old fields.
pub mod filters;
pub mod format;
#[allow(deprecated)] // Control planes of several ages still send the old fields.
pub mod ignored;
#[allow(deprecated)] // Control planes of several ages still send the old fields.
pub mod listener;
#[allow(deprecated)] // Control planes of several ages still send the old fields.
pub mod message;
pub mod pb;
pub mod peer;
#[allow(deprecated)] // Control planes of several ages still send the old fields.
pub mod route;
pub mod stats;
#[allow(deprecated)] // Control planes of several ages still send the old fields.
pub mod tls;
#[allow(deprecated)] // Control planes of several ages still send the old fields.
pub mod tracers;
#[allow(deprecated)] // Control planes of several ages still send the old fields.
pub mod value;

#[cfg(test)]
mod testing;

pub use check::{Compiled, Kind, Resource, check, compile};
pub use ignored::Ignored;
