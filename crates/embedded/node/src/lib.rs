//! The node runtime of the embedded cluster: kubelet, kube-proxy, scheduler and cluster DNS of one machine.
//!
//! Pods run as plain processes, each Pod in a network namespace of its own ([`network`]), each container in a private mount namespace
//! ([`sandbox`]). The runtime talks to the API server through the Kubernetes API only, like any other node would.
//!
//! Invariants: nothing outside the state directory and names that start with `ptl-` is touched; no process outlives the runtime;
//! [`network::cleanup`] removes everything even after `kill -9`.

pub mod catalogue;
mod dns;
mod logs;
mod mirror;
pub mod network;
mod node;
pub mod plan;
mod pods;
mod sandbox;
mod services;

pub use logs::{LogError, LogQuery, LogStream, Logs, MAX_LOG_BYTES, MAX_LOG_FILES};
pub use mirror::{HOSTS_CONFIG_MAP, HOSTS_KEY};
pub use network::{NetnsHandle, Network};
pub use node::{Config, Node, NodeError};
pub use plan::Plan;
pub use sandbox::pod_init_main;
