//! The program beside each workload and in each gateway: the data plane, and the control half that feeds it.

pub mod admin;
pub mod agent;
mod backoff;
pub mod bootstrap;
pub mod cli;
mod fetch;
pub mod log;
pub mod serve;
pub mod standalone;
pub mod xds_client;
mod yaml;
