//! End to end: the programs as they are shipped, on this machine's kernel, against stock kubectl and Envoy.
//!
//! Needs root (network namespaces), the binaries of the workspace (`cargo build --workspace --bins`) and the foreign
//! programs that `cargo xtask test` provides by environment.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test reports by panicking")]

mod book;
mod demo;
mod federation;
mod leftovers;
mod meshes;
mod programs;
mod wrong_use;
