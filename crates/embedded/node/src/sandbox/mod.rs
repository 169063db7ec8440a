//! How one container becomes a process: a private mount namespace over the Pod's network namespace.
//!
//! The runtime starts `portolan pod-init` with an [`InitSpec`] on its standard input. That process is single threaded, enters
//! the Pod's namespaces, builds the container's root file system, gives up privileges and becomes the container's program,
//! all under one process id.

mod init;
mod process;
mod spec;

pub use init::pod_init_main;
pub(crate) use process::{Process, exit_code, spawn};
pub(crate) use spec::{File, InitSpec, Mount, START_FAILED};
