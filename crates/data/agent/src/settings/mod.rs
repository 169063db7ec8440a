//! The agent's settings, from the environment, the Pod's downward API files and the command line, and the xDS node
//! that they make.

mod config;
mod duration;
mod env;
mod node;
mod pod_info;
mod proxy_config;
mod resolve;

pub use config::{AgentConfig, DataPlaneChoice, Flags, Role};
pub use env::EnvError;
pub use node::{metadata, node, to_struct};
pub use pod_info::{PodInfo, parse_downward_map};
pub use proxy_config::{ProxyConfig, ProxyConfigError, StatsMatcher};
#[cfg(test)]
pub(crate) use resolve::tests::sidecar;
