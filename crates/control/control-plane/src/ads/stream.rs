//! How a stream begins and ends.

use std::sync::Arc;

use jiff::Timestamp;
use portolan_envoy_api::pb::envoy::config::core::v3::{Node, node};
use portolan_mesh::ProxyNode;
use portolan_xds::json;
use portolan_xds_grpc::Requests;
use tokio::time::timeout;
use tonic::Status;

use super::{
    connections::Connection, limits::SEND_TIMEOUT, running::Running, session::Session, task::StreamTask,
};
use crate::{metrics::Metric, publish::Subscription};

/// Longest wait for the first request.
const FIRST_REQUEST_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(30);

impl<R: Send + 'static> StreamTask<R> {
    /// Serves the stream until either side ends it.
    pub(super) async fn run<S: Session<Response = R>>(self, mut requests: Requests<S::Request>) {
        let outcome = self.open::<S>(&mut requests).await;
        let (first, connection, number) = match outcome {
            Ok(Some(opened)) => opened,
            Ok(None) => return,
            Err(status) => {
                self.end(status).await;
                return;
            }
        };
        let _registered = self.connections.register(number, connection.clone());
        self.count_streams();
        tracing::info!(proxy = connection.id, address = ?self.peer, "proxy connected");
        let (connections, metrics) = (self.connections.clone(), self.metrics.clone());
        let responses = self.responses.clone();
        let session = S::open(format!("{number:x}-"));
        let mut running = Running::new(self, session, connection.clone());
        let ended = running.serve(first, &mut requests).await;
        drop(_registered);
        metrics.set(Metric::Xds, &[("version", env!("CARGO_PKG_VERSION"))], connections.len() as u64);
        match ended {
            Ok(()) => tracing::info!(proxy = connection.id, "proxy disconnected"),
            Err(status) => {
                tracing::warn!(proxy = connection.id, reason = status.message(), "stream closed");
                let _ = timeout(SEND_TIMEOUT, responses.send(Err(status))).await;
            }
        }
    }

    fn count_streams(&self) {
        let open = self.connections.len() as u64;
        self.metrics.set(Metric::Xds, &[("version", env!("CARGO_PKG_VERSION"))], open);
    }

    async fn end(&self, status: Status) {
        tracing::warn!(address = ?self.peer, reason = status.message(), "stream refused");
        let _ = timeout(SEND_TIMEOUT, self.responses.send(Err(status))).await;
    }

    /// Reads the first request, which says who the proxy is, and checks that it is.
    async fn open<S: Session<Response = R>>(
        &self,
        requests: &mut Requests<S::Request>,
    ) -> Result<Option<(S::Request, Arc<Connection>, u64)>, Status> {
        let first = timeout(FIRST_REQUEST_TIMEOUT, requests.message())
            .await
            .map_err(|_| Status::deadline_exceeded("no request within 30 s of opening the stream"))??;
        let Some(first) = first else { return Ok(None) };
        let stated = S::node(&first)
            .filter(|node| !node.id.is_empty())
            .ok_or_else(|| Status::invalid_argument("the first request must state node.id"))?;
        let metadata = stated.metadata.as_ref().map(json::to_json).transpose();
        let metadata =
            metadata.map_err(|error| Status::invalid_argument(format!("node.metadata: {error}")))?;
        let node = ProxyNode::parse(&stated.id, &metadata.unwrap_or_default())
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        if let Some(caller) = &self.caller {
            caller.may_be(&node)?;
        }
        let node = Arc::new(node);
        let subscription = self.subscribe(node.clone()).await?;
        let number = self.connections.next_number();
        let connection = Arc::new(Connection {
            id: format!("{}-{number}", node.id),
            proxy_version: version(stated),
            node,
            address: self.peer,
            identity: self.caller.as_ref().map(|caller| caller.id().to_string()),
            connected_at: Timestamp::now(),
            types: Default::default(),
            limitations: Default::default(),
            subscription,
            compare: Default::default(),
        });
        Ok(Some((first, connection, number)))
    }

    /// Takes the proxy in. When many come at once they take turns.
    async fn subscribe(&self, node: Arc<ProxyNode>) -> Result<Subscription, Status> {
        let _permit = self.generators.acquire().await;
        let subscribed = self.publisher.blocking(move |publisher| publisher.subscribe(node)).await;
        subscribed
            .flatten()
            .ok_or_else(|| Status::internal("configuration could not be made; see the control plane's log"))
    }
}

/// `build_version` in the form that people know, else the user agent's.
fn version(node: &Node) -> String {
    match &node.user_agent_version_type {
        Some(node::UserAgentVersionType::UserAgentVersion(text)) => text.clone(),
        Some(node::UserAgentVersionType::UserAgentBuildVersion(build)) => {
            build.version.as_ref().map_or_else(String::new, |version| {
                format!("{}.{}.{}", version.major_number, version.minor_number, version.patch)
            })
        }
        None => String::new(),
    }
}
