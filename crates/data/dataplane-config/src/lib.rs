//! From Envoy's resources to what the data plane runs on: checked, bounded and compiled.
//!
//! The proxy runs what is compiled here, and a control plane can ask the same code whether a resource would be taken
//! before it is sent. Main invariant: everything is a function of the message: no clock, no socket, no file, no thread.

#[allow(deprecated)] // Control planes of several ages still send the old fields.
pub mod filters;
#[allow(deprecated)] // Control planes of several ages still send the old fields.
pub mod message;
pub mod pb;
pub mod peer;
pub mod stats;
#[allow(deprecated)] // Control planes of several ages still send the old fields.
pub mod value;
