//! What can go wrong with the machine's network.

use portolan_command::CommandError;

use crate::plan::MAX_SLOTS;

/// Why the network could not be set up or changed.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// Not root.
    #[error(
        "network namespaces need root (or CAP_NET_ADMIN and CAP_SYS_ADMIN): run the command as root, for example with sudo"
    )]
    Privilege,
    /// A program failed.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// All slots are taken.
    #[error("{MAX_SLOTS} clusters are running on this machine already: take one down with `portolan down`")]
    NoSlot,
    /// Somebody else has the slot.
    #[error("slot {0} is used by another cluster: choose another one, or take that cluster down")]
    SlotTaken(u8),
    /// System call or file.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// The reason.
        source: std::io::Error,
    },
    /// The thread in the namespace is gone.
    #[error("the thread in the node's network namespace has ended: the cluster is shutting down")]
    Closed,
}

impl NetworkError {
    pub(crate) fn io(what: impl Into<String>, source: impl Into<std::io::Error>) -> NetworkError {
        NetworkError::Io { what: what.into(), source: source.into() }
    }
}

/// Whether this process may make network namespaces; every entry point of this module asks first.
pub fn check_privilege() -> Result<(), NetworkError> {
    if rustix::process::geteuid().is_root() { Ok(()) } else { Err(NetworkError::Privilege) }
}
