//! What stands beside the data plane: it fetches what the data plane runs on, and answers for it.
//!
//! ```text
//! environment -> settings -> node --------------------------------+
//! CA (istiod) <-CSR- certificates -> SecretHub -> own data path, or SDS socket -> Envoy
//!                                        ^ ROOTCA                 |
//! istiod <---- ADS ---- xds_client (own data path), or XDS socket <- Envoy
//! status server 15020 (probes, merged metrics), health 15021; dns 15053
//! ```
//!
//! One room per trade: [`settings`], [`certificates`], [`xds_client`], [`dns`], [`bootstrap`], [`status`] and [`envoy`]
//! know nothing of each other but what a trait at their edge says; [`Agent`] puts them together. Behaviour that
//! injectors, probes and dashboards rely on is that of Istio's `pilot-agent`, version 1.9. Invariant: nothing here
//! knows a command line or an admin API; the program that links this crate has those.

mod agent;
mod backoff;
pub mod bootstrap;
pub mod certificates;
pub mod dns;
pub mod envoy;
pub mod fetch;
pub mod serve;
pub mod settings;
pub mod status;
pub mod upstream;
pub mod xds_client;
mod yaml;

pub use agent::{Agent, AgentError, Endpoint};
