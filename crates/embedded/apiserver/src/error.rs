//! Why a server does not start.

use std::path::{Path, PathBuf};

use crate::store::StoreError;

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A key or certificate cannot be read or made.
    #[error("{path}: {what}; remove the file to have it made anew")]
    Pki {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The clock and a certificate do not go together.
    #[error("{path} is valid from {from} to {to}, and this machine's clock says {now}: set the clock")]
    Clock {
        /// The file.
        path: PathBuf,
        /// First moment.
        from: String,
        /// Last moment.
        to: String,
        /// The clock.
        now: String,
    },
    /// A key that cannot be made anew is gone, or is another one.
    #[error(
        "{path} is missing, or is not the key of {certificate}: restore it from a copy, or remove the directory {directory} to have all keys made anew (kubeconfigs in use stop working then)"
    )]
    LostKey {
        /// The key.
        path: PathBuf,
        /// Its certificate.
        certificate: PathBuf,
        /// Where both are.
        directory: PathBuf,
    },
    /// The key that signs tokens is unusable.
    #[error("the key of ServiceAccount tokens cannot be used: {0}")]
    TokenKey(String),
    /// TLS cannot be configured.
    #[error("TLS cannot be configured: {0}")]
    Tls(String),
    /// No socket was given, or one cannot be used.
    #[error("the API server's socket cannot be used: {0}")]
    Listener(String),
    /// The objects that every cluster has cannot be written.
    #[error("the cluster's first objects cannot be written: {0}")]
    Bootstrap(String),
}

impl ServerError {
    pub(crate) fn pki(path: &Path, what: &dyn std::fmt::Display) -> ServerError {
        ServerError::Pki { path: path.to_owned(), what: what.to_string() }
    }
}
