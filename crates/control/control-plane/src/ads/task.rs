//! What one stream works with.

use std::{net::SocketAddr, sync::Arc};

use tokio::sync::{Semaphore, mpsc};
use tonic::Status;

use super::{connections::Connections, secrets::SecretSource};
use crate::{auth::Caller, metrics::Metrics, publish::Publisher};

/// Everything that one stream needs.
pub(super) struct StreamTask<R> {
    pub(super) publisher: Arc<Publisher>,
    pub(super) connections: Arc<Connections>,
    pub(super) secrets: Arc<SecretSource>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) generators: Arc<Semaphore>,
    pub(super) caller: Option<Caller>,
    pub(super) peer: Option<SocketAddr>,
    pub(super) responses: mpsc::Sender<Result<R, Status>>,
}
