//! Container logs: written in the CRI format, rotated by size, read back for `kubectl logs`.
//!
//! `logs/<namespace>_<pod>_<uid>/<container>/<attempt>.log`, each line `TIME STREAM F|P TEXT`, the layout that
//! log collectors know from `/var/log/pods`.

mod read;
mod write;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

pub use read::{LogError, LogQuery, LogStream};
pub(crate) use write::Stream;

/// A log file is closed at this size and a new one is begun (the kubelet's default).
pub const MAX_LOG_BYTES: u64 = 10 << 20;
/// Files kept per container attempt, with the one that is written.
pub const MAX_LOG_FILES: usize = 5;

/// How far the writer of a log is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Counts rotations.
    generation: u64,
    /// Bytes in the current file.
    length: u64,
    /// The container has ended.
    closed: bool,
}

/// All logs of the cluster. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Logs {
    root: Arc<Path>,
    /// Logs that are being written, for `follow`. Written by `open` and by the writers' end.
    active: Arc<Mutex<HashMap<PathBuf, watch::Receiver<Progress>>>>,
}

impl Logs {
    /// Logs below `root`.
    pub fn new(root: impl Into<PathBuf>) -> Logs {
        Logs { root: root.into().into(), active: Arc::default() }
    }

    fn pod_dir(&self, namespace: &str, pod: &str, uid: &str) -> PathBuf {
        self.root.join(format!("{namespace}_{pod}_{uid}"))
    }

    /// Removes a Pod's logs. Blocks.
    pub(crate) fn remove(&self, namespace: &str, pod: &str, uid: &str) {
        let _ = std::fs::remove_dir_all(self.pod_dir(namespace, pod, uid));
    }
}

/// The rotated files of a log, oldest first, without the current one.
fn rotated(path: &Path) -> Vec<PathBuf> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name().and_then(|n| n.to_str())) else {
        return Vec::new();
    };
    let prefix = format!("{name}.");
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries
        .flatten()
        .filter(|e| e.file_name().to_str().is_some_and(|n| n.starts_with(&prefix)))
        .map(|e| e.path())
        .collect();
    files.sort();
    files
}
