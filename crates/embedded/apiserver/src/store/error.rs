//! What can go wrong in the store.

use std::path::PathBuf;

/// What can go wrong in the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// An object of that name exists.
    #[error("object already exists")]
    Exists,
    /// No object of that name exists.
    #[error("object not found")]
    NotFound,
    /// What would hold the object is gone, or on its way out.
    #[error("{resource} {name} is gone or being deleted")]
    ParentGone {
        /// The parent's resource.
        resource: String,
        /// The parent's name.
        name: String,
    },
    /// The object has changed since the caller read it.
    #[error("object has been modified; it is at revision {current}")]
    Conflict {
        /// The revision it is at now.
        current: u64,
    },
    /// The window of events no longer reaches back to the wanted revision.
    #[error("too old resource version: {wanted} ({oldest})")]
    Expired {
        /// The revision asked for.
        wanted: u64,
        /// The oldest one that can still be continued from.
        oldest: u64,
    },
    /// Another process has the store open.
    #[error("store {path} is in use by another process; stop it first (the lock is {path}.lock)")]
    Locked {
        /// The database file.
        path: PathBuf,
    },
    /// The store does not pass its checks.
    #[error(
        "store {path} is damaged: {what}. Nothing was changed. Restore the file from a copy, or move {path}* away to start with an empty cluster"
    )]
    Damaged {
        /// The database file.
        path: PathBuf,
        /// Which check failed.
        what: String,
    },
    /// The file was written by a newer program.
    #[error("store {path} has format {found}, this program knows {known}: use a newer program")]
    Newer {
        /// The database file.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// The newest format that we know.
        known: i64,
    },
    /// The file or its directory cannot be used.
    #[error("store {path}: {source}; check that the directory exists and is writable")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The database refused a write (a full disk, for instance). The write did not happen.
    #[error("store {path} refused a write: {what}; check the disk's free space and health")]
    Write {
        /// The database file.
        path: PathBuf,
        /// What the database says.
        what: String,
    },
    /// The store has been closed.
    #[error("the store is closed: the server is shutting down")]
    Closed,
}
