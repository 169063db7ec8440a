//! The state directory of one cluster: where everything lives, and who holds it.
//!
//! Invariant: exactly one process holds the lock of a state directory, and only the holder changes anything in it
//! but the lock itself.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::mesh;

/// Longest record that is read: a few options fit many times.
const MAX_RECORD: u64 = 1 << 20;

/// Why a state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another supervisor has it.
    #[error(
        "a cluster is running on {path} already (process {pid}): see `portolan status --state-dir {path}`, or stop it with `portolan down --state-dir {path}`"
    )]
    Running {
        /// The directory.
        path: PathBuf,
        /// Its process.
        pid: u32,
    },
    /// There is nothing.
    #[error("{0} is no cluster's state directory: `portolan up --state-dir {0}` makes one")]
    Missing(PathBuf),
    /// It belongs to a cluster of another name.
    #[error("{path} belongs to cluster {found}: use --name {found}, or another --state-dir for {wanted}")]
    OtherName {
        /// The directory.
        path: PathBuf,
        /// The name in it.
        found: String,
        /// The name that was asked for.
        wanted: String,
    },
    /// Another cluster of the same name runs.
    #[error(
        "a cluster named {0} runs on this machine already, from another state directory: choose another --name"
    )]
    NameTaken(String),
    /// Others may look into it, and it is not a cluster's alone.
    #[error(
        "others than its owner may look into {path} (mode {mode:o}), where the cluster's keys and Secrets would be, and other files are in it: choose a --state-dir of its own, or `chmod 700 {path}` if nobody else needs it"
    )]
    Open {
        /// The directory.
        path: PathBuf,
        /// Its rights.
        mode: u32,
    },
    /// The record is damaged.
    #[error("{path} is damaged ({reason}): restore it, or remove the whole state directory to start afresh")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A file operation failed.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> StateError {
    let path = path.to_owned();
    move |source| StateError::Io { path, source }
}

/// What a cluster remembers between two runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Name of the cluster.
    pub name: String,
    /// Slot of its addresses on this machine.
    pub slot: u8,
    /// Port of the API server on 127.0.0.1.
    pub api_port: u16,
    /// The mesh that was installed last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mesh: Option<mesh::Options>,
}

/// Rights of the directory.
const PRIVATE_DIR: u32 = 0o700;
/// Folders that a cluster makes in it.
const DIRECTORIES: &[&str] = &["pki", "pods", "logs"];
/// Files that a cluster makes in it. The lock of the store says that there was one: it goes with it.
const FILES: &[&str] = &[
    "store.db",
    "store.db-wal",
    "store.db-shm",
    "store.db.lock",
    "kubeconfig",
    "slot",
    "images.json",
    "cluster.log",
    "up.progress",
    "cluster.pid",
    "cluster.json",
];

/// A state directory.
#[derive(Debug, Clone)]
pub struct StateDir {
    root: PathBuf,
}

/// The right to change a state directory; released when dropped or when the process ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl StateDir {
    /// Names a directory; nothing is touched.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        // Messages and kubeconfigs shall not depend on where the command was typed.
        Self { root: std::path::absolute(root).unwrap_or_else(|_| root.to_owned()) }
    }

    /// Makes the directory if it is missing; only its owner may look into it: all Secrets and keys of the cluster are in it.
    /// A directory of ours that others may look into is closed; one with other things in it is refused.
    pub fn create(&self) -> Result<(), StateError> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(PRIVATE_DIR)
            .create(&self.root)
            .map_err(io_error(&self.root))?;
        self.close()?;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(self.pki()).map_err(io_error(&self.pki()))
    }

    /// Takes the rights of others away.
    fn close(&self) -> Result<(), StateError> {
        let failed = || io_error(&self.root);
        let mode = fs::metadata(&self.root).map_err(failed())?.permissions().mode() & 0o7777;
        if mode & 0o077 == 0 {
            return Ok(());
        }
        for entry in fs::read_dir(&self.root).map_err(failed())? {
            let name = entry.map_err(failed())?.file_name();
            let ours = DIRECTORIES.iter().chain(FILES).any(|ours| name.to_str() == Some(ours));
            if !ours && self.record()?.is_none() {
                return Err(StateError::Open { path: self.root.clone(), mode });
            }
        }
        fs::set_permissions(&self.root, fs::Permissions::from_mode(PRIVATE_DIR)).map_err(failed())
    }

    /// The directory itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The administrator's kubeconfig.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.root.join("kubeconfig")
    }

    /// Keys and certificates.
    #[must_use]
    pub fn pki(&self) -> PathBuf {
        self.root.join("pki")
    }

    /// Log of a detached supervisor.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.root.join("cluster.log")
    }

    /// What a detached supervisor tells the command that started it.
    #[must_use]
    pub fn progress(&self) -> PathBuf {
        self.root.join("up.progress")
    }

    fn pid_file(&self) -> PathBuf {
        self.root.join("cluster.pid")
    }

    fn record_file(&self) -> PathBuf {
        self.root.join("cluster.json")
    }

    /// Takes the directory, or says who has it. The lock is on the file with the holder's process id.
    pub fn lock(&self) -> Result<Lock, StateError> {
        let path = self.pid_file();
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(io_error(&path))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(error) if error == rustix::io::Errno::WOULDBLOCK => {
                return Err(StateError::Running { path: self.root.clone(), pid: read_pid(&mut file) });
            }
            Err(error) => return Err(io_error(&path)(error.into())),
        }
        let write = |file: &mut File| {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        write(&mut file).map_err(io_error(&path))?;
        Ok(Lock { _file: file })
    }

    /// The process that holds the directory.
    #[must_use]
    pub fn holder(&self) -> Option<u32> {
        let mut file = File::open(self.pid_file()).ok()?;
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            Err(error) if error == rustix::io::Errno::WOULDBLOCK => Some(read_pid(&mut file)),
            _ => None,
        }
    }

    /// What the directory remembers; none if no cluster ever ran in it.
    pub fn record(&self) -> Result<Option<Record>, StateError> {
        let path = self.record_file();
        let mut text = String::new();
        match File::open(&path) {
            Ok(file) => file.take(MAX_RECORD).read_to_string(&mut text).map_err(io_error(&path))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error(&path)(error)),
        };
        serde_json::from_str(&text)
            .map(Some)
            .map_err(|error| StateError::Damaged { path, reason: error.to_string() })
    }

    /// Replaces what the directory remembers, whole or not at all.
    pub fn set_record(&self, record: &Record) -> Result<(), StateError> {
        let text = serde_json::to_string_pretty(record).unwrap_or_default();
        self.write(&self.record_file(), text.as_bytes(), 0o600)?;
        self.write(&self.root.join("slot"), format!("{}\n", record.slot).as_bytes(), 0o600)
    }

    /// Writes a file in one step: readers see the old or the new content.
    pub fn write(&self, path: &Path, content: &[u8], mode: u32) -> Result<(), StateError> {
        let temporary = path.with_extension("tmp");
        let write = || {
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&temporary)?;
            file.write_all(content)?;
            file.sync_all()?;
            fs::rename(&temporary, path)
        };
        write().map_err(io_error(path))
    }

    /// Removes everything that a cluster put into the directory, and the directory if nothing else is in it.
    /// Refuses what does not look like a state directory.
    pub fn purge(&self) -> Result<(), StateError> {
        if self.record()?.is_none() {
            return Err(StateError::Missing(self.root.clone()));
        }
        for name in DIRECTORIES {
            let path = self.root.join(name);
            match fs::remove_dir_all(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_error(&path)(error)),
                _ => {}
            }
        }
        for name in FILES {
            let path = self.root.join(name);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_error(&path)(error)),
                _ => {}
            }
        }
        // Other files of the user keep the directory.
        let _ = fs::remove_dir(&self.root);
        Ok(())
    }
}

/// The right to use a cluster's name on this machine, and so its network namespaces. An abstract socket: it leaves
/// no file, and is gone when its process is, however it ends.
#[derive(Debug)]
pub struct NameLock {
    _socket: UnixListener,
}

impl NameLock {
    /// Takes the name.
    pub fn take(name: &str) -> Result<Self, StateError> {
        let bind =
            || UnixListener::bind_addr(&SocketAddr::from_abstract_name(format!("portolan/cluster/{name}"))?);
        match bind() {
            Ok(socket) => Ok(Self { _socket: socket }),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                Err(StateError::NameTaken(name.to_owned()))
            }
            Err(error) => Err(io_error(Path::new(name))(error)),
        }
    }
}

fn read_pid(file: &mut File) -> u32 {
    let mut text = String::new();
    let _ = file.take(16).read_to_string(&mut text);
    text.trim().parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> StateDir {
        let path = std::env::temp_dir().join(format!("portolan-state-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        let state = StateDir::new(&path);
        state.create().unwrap();
        state
    }

    #[test]
    fn only_one_holder() {
        let state = scratch("lock");
        assert_eq!(state.holder(), None);
        let lock = state.lock().unwrap();
        assert_eq!(state.holder(), Some(std::process::id()));
        let second = state.lock().unwrap_err();
        assert!(matches!(&second, StateError::Running { pid, .. } if *pid == std::process::id()), "{second}");
        drop(lock);
        assert_eq!(state.holder(), None);
        fs::remove_dir_all(state.root()).unwrap();
    }

    #[test]
    fn a_name_is_used_once() {
        let name = format!("test-{}", std::process::id());
        let lock = NameLock::take(&name).unwrap();
        assert!(matches!(NameLock::take(&name), Err(StateError::NameTaken(_))));
        drop(lock);
        NameLock::take(&name).unwrap();
    }

    #[test]
    fn records_survive_and_damage_is_reported() {
        let state = scratch("record");
        assert_eq!(state.record().unwrap(), None);
        let record =
            Record { name: "west".into(), slot: 1, api_port: 6443, mesh: Some(mesh::Options::default()) };
        state.set_record(&record).unwrap();
        assert_eq!(state.record().unwrap(), Some(record));
        fs::write(state.record_file(), "{\"name\": 1").unwrap();
        assert!(matches!(state.record(), Err(StateError::Damaged { .. })));
        fs::remove_dir_all(state.root()).unwrap();
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    fn open_to_all(state: &StateDir) {
        fs::set_permissions(state.root(), fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn only_the_owner_looks_into_it() {
        let state = scratch("closed");
        assert_eq!(mode(state.root()), 0o700);
        state.set_record(&Record { name: "x".into(), slot: 0, api_port: 1, mesh: None }).unwrap();
        assert_eq!(mode(&state.record_file()), 0o600);
        // As an older program left it, with something of the user's in it.
        open_to_all(&state);
        fs::write(state.root().join("mine.txt"), "keep").unwrap();
        state.create().unwrap();
        assert_eq!(mode(state.root()), 0o700);
        fs::remove_dir_all(state.root()).unwrap();
    }

    #[test]
    fn what_is_not_a_clusters_alone_is_left_open_and_not_used() {
        let state = scratch("open");
        open_to_all(&state);
        fs::write(state.root().join("mine.txt"), "keep").unwrap();
        let refused = state.create().unwrap_err();
        assert!(matches!(refused, StateError::Open { mode: 0o755, .. }), "{refused}");
        assert_eq!(mode(state.root()), 0o755);
        fs::remove_file(state.root().join("mine.txt")).unwrap();
        state.create().unwrap();
        assert_eq!(mode(state.root()), 0o700);
        fs::remove_dir_all(state.root()).unwrap();
    }

    #[test]
    fn a_purge_leaves_nothing_that_a_new_cluster_would_miss() {
        let state = scratch("purged");
        state.set_record(&Record { name: "x".into(), slot: 0, api_port: 1, mesh: None }).unwrap();
        for name in FILES {
            fs::write(state.root().join(name), "{\"name\": \"x\", \"slot\": 0, \"apiPort\": 1}").unwrap();
        }
        state.purge().unwrap();
        assert!(!state.root().exists(), "the lock of the store would say that its database is lost");
    }

    #[test]
    fn purge_takes_only_our_files() {
        let state = scratch("purge");
        assert!(matches!(state.purge(), Err(StateError::Missing(_))));
        state.set_record(&Record { name: "x".into(), slot: 0, api_port: 1, mesh: None }).unwrap();
        fs::write(state.root().join("mine.txt"), "keep").unwrap();
        state.purge().unwrap();
        assert!(state.root().join("mine.txt").exists());
        assert!(!state.pki().exists());
        fs::remove_dir_all(state.root()).unwrap();
    }
}
