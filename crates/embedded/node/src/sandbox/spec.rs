//! What `pod-init` is told.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Exit status of a container whose program could not be started (as containerd reports it).
pub(crate) const START_FAILED: i32 = 128;
/// Limit of what a container may write outside its volumes; it is kept in memory and is gone with the container.
pub(crate) const SCRATCH_BYTES: u64 = 256 << 20;
/// Limit of a spec on the wire: environment and arguments of one process have about the same in the kernel.
pub(crate) const MAX_SPEC_BYTES: u64 = 4 << 20;

/// A bind mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mount {
    /// Absolute path on the host, without symbolic links.
    pub(crate) source: PathBuf,
    /// Absolute path in the container; made if missing.
    pub(crate) target: PathBuf,
    /// Whether the container may not write.
    pub(crate) read_only: bool,
}

/// A file that is written into the container's root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct File {
    /// Absolute path in the container.
    pub(crate) path: PathBuf,
    /// Its text.
    pub(crate) content: String,
}

/// Everything about the process that is to be started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct InitSpec {
    /// Process id of the runtime: when it is gone, nothing is started.
    pub(crate) parent: i32,
    /// Join the namespaces of this running container's process, instead of making new ones (exec).
    pub(crate) join: Option<i32>,
    /// The Pod's network namespace.
    pub(crate) netns: PathBuf,
    /// Host name of the Pod.
    pub(crate) hostname: String,
    /// An empty directory of this container, on which its writable layer is mounted.
    pub(crate) scratch: PathBuf,
    /// Files of the root.
    pub(crate) files: Vec<File>,
    /// Volumes and programs, in order.
    pub(crate) mounts: Vec<Mount>,
    /// Host directories that the container must not see.
    pub(crate) hide: Vec<PathBuf>,
    /// Whether the root file system is read-only.
    pub(crate) read_only_root: bool,
    /// Working directory; made if missing.
    pub(crate) cwd: PathBuf,
    /// Program and arguments.
    pub(crate) argv: Vec<String>,
    /// The whole environment.
    pub(crate) env: Vec<(String, String)>,
    /// User.
    pub(crate) uid: u32,
    /// Group.
    pub(crate) gid: u32,
    /// Supplementary groups.
    pub(crate) groups: Vec<u32>,
    /// Capabilities that are kept, by their names without `CAP_`.
    pub(crate) capabilities: Vec<String>,
    /// Whether set-uid programs gain nothing.
    pub(crate) no_new_privileges: bool,
    /// Where the reason goes when the program cannot be started.
    pub(crate) error_file: PathBuf,
}
