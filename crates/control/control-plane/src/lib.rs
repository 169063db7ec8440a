//! The control plane (istiod's place): watches the cluster, keeps the model of the mesh, pushes xDS to proxies, signs
//! their certificates, injects sidecars, validates configuration, and shows what it does.
//!
//! It never stops serving what it has: a slow API server delays the start, a dead one freezes the configuration, a bad
//! object is left out. One replica is supported: there is no leader election yet, and two replicas would both
//! write the ConfigMaps and webhook configurations (with the same content).
//!
//! `run` in [`app`] reads top-down: what is started, in which order, and what depends on what.

pub mod ads;
pub mod app;
pub mod args;
pub mod auth;
pub mod ca;
pub mod debug;
pub mod dns;
pub mod federation;
pub mod http;
pub mod inject;
mod mesh_settings;
pub mod metrics;
pub mod publish;
pub mod push;
pub mod settings;
pub mod tls;
pub mod validate;
pub mod watch;
pub mod webhook;

pub use app::run;
pub use args::Args;
