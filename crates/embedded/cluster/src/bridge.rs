//! What joins the parts that do not know each other: the API server reaches Pods and their logs through the node.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use futures::StreamExt;
use futures::future::BoxFuture;
use jiff::Timestamp;
use portolan_apiserver::{Dialer, LogError, LogRequest, LogStream, PodDialer, PodLogs};
use portolan_node as node;
use portolan_node::network::{NetnsHandle, Network};
use portolan_node::plan::Plan;

use crate::state::{StateDir, StateError};

/// Connects from inside the node's network namespace: webhooks and Services are reachable only there.
pub(crate) fn dialer(network: &Network) -> Dialer {
    let handle = network.handle().clone();
    Arc::new(move |address: SocketAddr| {
        let handle = handle.clone();
        Box::pin(async move { handle.connect(address).await.map_err(io::Error::other) })
    })
}

/// Connects to a port on the loopback address inside a Pod's network namespace, as a port-forward does: so admin
/// interfaces that listen there only can be reached by whoever the API server lets through.
pub(crate) fn pod_dialer(plan: &Plan) -> PodDialer {
    let plan = plan.clone();
    Arc::new(move |uid: String, port: u16| {
        let netns = plan.pod_netns(&uid);
        Box::pin(async move {
            let handle = tokio::task::spawn_blocking(move || NetnsHandle::enter(&netns))
                .await
                .map_err(io::Error::other)?
                .map_err(io::Error::other)?;
            handle.connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await.map_err(io::Error::other)
        })
    })
}

/// The node's container logs, for the API server; empty until the node runs.
#[derive(Clone, Default)]
pub(crate) struct NodeLogs(Arc<OnceLock<node::Logs>>);

impl NodeLogs {
    /// The node has started.
    pub(crate) fn set(&self, logs: node::Logs) {
        let _ = self.0.set(logs);
    }
}

impl PodLogs for NodeLogs {
    fn open(&self, request: LogRequest) -> BoxFuture<'static, Result<LogStream, LogError>> {
        let query = node::LogQuery {
            namespace: request.namespace,
            pod: request.pod,
            uid: Some(request.uid),
            container: Some(request.container.clone()),
            previous: request.previous,
            follow: request.follow,
            tail_lines: request.tail_lines.map(|lines| usize::try_from(lines).unwrap_or(usize::MAX)),
            since: request.since.and_then(|seconds| Timestamp::from_second(seconds).ok()),
            timestamps: request.timestamps,
            limit_bytes: request.limit_bytes,
        };
        let container = request.container;
        let logs = self.0.get().cloned();
        Box::pin(async move {
            let Some(logs) = logs else { return Err(LogError::NotStarted(container)) };
            match logs.read(query) {
                Ok(stream) => Ok(stream.boxed()),
                Err(node::LogError::NoPrevious { .. }) => Err(LogError::NoPrevious(container)),
                Err(_) => Err(LogError::NotStarted(container)),
            }
        })
    }
}

/// Adds an image to the file layer of the catalogue; what the user put there stays.
pub(crate) fn add_image(state_dir: &Path, name: &str, program: &Path) -> Result<(), StateError> {
    let path = state_dir.join(node::catalogue::FILE);
    let damaged = |reason: String| StateError::Damaged { path: path.clone(), reason };
    let mut images: BTreeMap<String, node::catalogue::Image> =
        node::catalogue::read_file(state_dir).map_err(|error| damaged(error.to_string()))?;
    let image =
        node::catalogue::Image { command: vec![program.display().to_string()], args: Vec::new(), user: None };
    images.insert(name.to_owned(), image);
    let text = serde_json::to_string_pretty(&images).map_err(|error| damaged(error.to_string()))?;
    StateDir::new(state_dir).write(&path, text.as_bytes(), 0o644)
}
