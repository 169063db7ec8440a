//! Where the logs of containers come from: the node runtime, behind a trait.

use std::io;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;

/// What `GET /api/v1/namespaces/N/pods/P/log` asks for, checked and with the container chosen.
#[derive(Debug, Clone)]
pub struct LogRequest {
    /// Namespace of the Pod.
    pub namespace: String,
    /// Name of the Pod.
    pub pod: String,
    /// UID of the Pod.
    pub uid: String,
    /// Name of the container (init containers included).
    pub container: String,
    /// The container's instance before the last restart.
    pub previous: bool,
    /// Go on with new lines until the container ends.
    pub follow: bool,
    /// Only the last lines.
    pub tail_lines: Option<u64>,
    /// Only lines written at or after this time (seconds since the epoch).
    pub since: Option<i64>,
    /// Put the time before each line.
    pub timestamps: bool,
    /// Stop after so many bytes.
    pub limit_bytes: Option<u64>,
}

/// Pieces of a log as they come.
pub type LogStream = BoxStream<'static, io::Result<Bytes>>;

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The container has not started.
    #[error("container {0:?} is waiting to start")]
    NotStarted(String),
    /// There is no instance before the last restart.
    #[error("previous terminated container {0:?} not found")]
    NoPrevious(String),
    /// Reading failed.
    #[error("reading the log: {0}")]
    Io(#[from] io::Error),
}

/// Reads logs of containers.
pub trait PodLogs: Send + Sync {
    /// Opens a log.
    fn open(&self, request: LogRequest) -> BoxFuture<'static, Result<LogStream, LogError>>;
}

/// For a server without a node runtime.
pub struct NoLogs;

impl PodLogs for NoLogs {
    fn open(&self, request: LogRequest) -> BoxFuture<'static, Result<LogStream, LogError>> {
        Box::pin(async move { Err(LogError::NotStarted(request.container)) })
    }
}
