//! The embedded cluster: one process that serves the Kubernetes API from its own store, runs the built-in
//! controllers against it and starts Pods on this machine.
//!
//! The pieces come from elsewhere: the API server from `portolan-apiserver`, Pods, network and DNS from
//! `portolan-node`. This crate holds what ties them into a cluster: start and stop in order, the controllers,
//! and the installation of the mesh into a fresh cluster.
//!
//! Invariant: controllers reach the cluster through the API only, as they would any other Kubernetes.

pub mod apply;
mod bridge;
mod cluster;
pub mod controllers;
pub mod mesh;
pub mod progress;
pub mod state;

pub use cluster::{Cluster, Config, StartError};
