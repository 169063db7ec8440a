//! What can go wrong in the store.

use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

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
    /// The system does not let the database be opened: a full disk, mostly. It says nothing about what is in it.
    #[error(
        "store {path} cannot be opened: {what}; its content is not in doubt. Check the disk's free space (SQLite needs some beside the file to open it) and health, and who owns the file"
    )]
    Unusable {
        /// The database file.
        path: PathBuf,
        /// What the database says.
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

impl StoreError {
    /// What an error of SQLite means while the store is opened.
    pub(super) fn of_sqlite(path: &Path, error: &rusqlite::Error) -> StoreError {
        let (path, what) = (path.to_owned(), error.to_string());
        match error.sqlite_error_code() {
            Some(
                ErrorCode::DiskFull
                | ErrorCode::SystemIoFailure
                | ErrorCode::CannotOpen
                | ErrorCode::PermissionDenied
                | ErrorCode::ReadOnly
                | ErrorCode::OutOfMemory
                | ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked,
            ) => StoreError::Unusable { path, what },
            _ => StoreError::Damaged { path, what },
        }
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    #[test]
    fn a_full_disk_is_no_damage() {
        let told = |code| {
            let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
            StoreError::of_sqlite(Path::new("/x/store.db"), &error)
        };
        for code in [ffi::SQLITE_FULL, ffi::SQLITE_IOERR, ffi::SQLITE_IOERR_SHMSIZE, ffi::SQLITE_CANTOPEN] {
            let error = told(code);
            assert!(matches!(error, StoreError::Unusable { .. }), "{error}");
            assert!(
                error.to_string().contains("free space") && !error.to_string().contains("move"),
                "{error}"
            );
        }
        for code in [ffi::SQLITE_CORRUPT, ffi::SQLITE_NOTADB] {
            assert!(matches!(told(code), StoreError::Damaged { .. }));
        }
    }
}
