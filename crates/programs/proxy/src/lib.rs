//! The program beside each workload and in each gateway: the data plane and its agent put together, with a command
//! line and Envoy's admin endpoints.

#![warn(clippy::print_stdout)]

pub mod admin;
pub mod cli;
mod drain;
pub mod log;
pub mod sidecar;
pub mod standalone;
mod start;
