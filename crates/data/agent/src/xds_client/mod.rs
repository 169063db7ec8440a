//! The proxy's xDS client: one ADS stream to the control plane, kept open for the life of the proxy.
//!
//! What to say on the stream is decided by [`portolan_xds::client::DeltaClient`], or by
//! [`portolan_xds::sotw_client::SotwClient`] when the control plane has no delta; this module carries it,
//! hands resources to the data path and subscribes to what the data path needs. Main invariant: nothing that
//! happens to the stream takes configuration away; the data path keeps what it has until the control plane
//! says otherwise.

mod machine;
mod reconnect;
mod sinks;
mod status;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use portolan_envoy_api::pb::envoy::config::core::v3::Node;
use portolan_xds::client::{DeltaClient, Rejection, ResponseError, Upsert};
use portolan_xds::sotw_client::SotwClient;
use portolan_xds::type_url::NAME_TABLE;
use portolan_xds_grpc::{ADS, DiscoveryClient, causes};
use tokio::sync::mpsc::{self, error::SendTimeoutError};
use tokio::sync::watch;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

pub use sinks::{NameTableSink, RootsSink};
pub use status::{TypeStatus, XdsStatus};

use self::machine::Machine;
use self::reconnect::Reconnect;
use crate::upstream::{MAX_MESSAGE, Upstream, UpstreamError};
use portolan_dataplane::config::{ConfigStore, ConfigUpdate, Needs, ResourceKind};

/// Requests waiting for the stream; ACKs are tiny and the server reads them at once.
const REQUEST_QUEUE: usize = 256;
/// How long a stream may wait for room in the request queue before it is given up as stuck.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);

/// Says which of the needed names somebody else supplies (the agent, a file, the bootstrap).
pub type Exclude = Arc<dyn Fn(ResourceKind, &str) -> bool + Send + Sync>;

/// What a client subscribes to and where the results go.
pub struct XdsClient {
    /// The server.
    pub upstream: Upstream,
    /// The data path.
    pub store: ConfigStore,
    /// Takes `ROOTCA` when the control plane answers it; `None` = do not subscribe to it.
    pub roots: Option<Arc<dyn RootsSink>>,
    /// Takes the name table; `None` = do not subscribe to it.
    pub names: Option<Arc<dyn NameTableSink>>,
    /// Wildcard subscriptions, in order.
    pub wildcards: Vec<ResourceKind>,
    /// Names that are not asked for.
    pub exclude: Exclude,
    /// Facts for others.
    pub status: Arc<XdsStatus>,
}

impl std::fmt::Debug for XdsClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("XdsClient")
            .field("upstream", &self.upstream)
            .field("wildcards", &self.wildcards)
            .finish_non_exhaustive()
    }
}

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
enum StreamError {
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    #[error("the control plane answered {code:?}: {message}")]
    Status { code: tonic::Code, message: String },
    #[error("the control plane closed the stream")]
    Closed,
    #[error("the control plane does not read requests")]
    Stuck,
    #[error(transparent)]
    Response(#[from] ResponseError),
}

/// Why no further stream is opened.
enum Ended {
    Stopped,
    NoDelta,
}

impl StreamError {
    /// Nobody answers at the address, or who does is not ready yet.
    fn is_away(&self) -> bool {
        match self {
            StreamError::Upstream(UpstreamError::Connect { .. }) | StreamError::Closed => true,
            StreamError::Status { code, .. } => *code == tonic::Code::Unavailable,
            StreamError::Upstream(_) | StreamError::Stuck | StreamError::Response(_) => false,
        }
    }

    fn is_unimplemented(&self) -> bool {
        matches!(self, StreamError::Status { code: tonic::Code::Unimplemented, .. })
    }
}

impl From<tonic::Status> for StreamError {
    fn from(status: tonic::Status) -> Self {
        let mut message = status.message().to_owned();
        if let Some(source) = std::error::Error::source(&status) {
            let cause = causes(source);
            if !message.contains(&cause) {
                message = format!("{message}: {cause}");
            }
        }
        StreamError::Status { code: status.code(), message }
    }
}

impl XdsClient {
    /// Runs until `stop` is cancelled, reconnecting as needed. Begins with delta; a control plane that does not
    /// implement it is asked for the state of the world from then on.
    pub async fn run(self, node: Node, stop: CancellationToken) {
        let mut delta = DeltaClient::new(node.clone());
        for kind in &self.wildcards {
            delta.subscribe_all(kind.type_url());
        }
        if self.names.is_some() {
            delta.subscribe_all(NAME_TABLE);
        }
        if let Ended::Stopped = self.keep_open(&mut delta, &stop).await {
            return;
        }
        tracing::info!(address = self.upstream.address(), "the control plane does not implement delta xDS");
        let mut sotw = SotwClient::new(node);
        for kind in &self.wildcards {
            sotw.subscribe_all(kind.type_url());
        }
        if self.names.is_some() {
            sotw.subscribe_all(NAME_TABLE);
        }
        for kind in ResourceKind::ALL {
            sotw.assume_held(kind.type_url(), Machine::held(&delta, kind.type_url()));
        }
        drop(delta);
        self.keep_open(&mut sotw, &stop).await;
    }

    /// Opens one stream after the other.
    async fn keep_open<M: Machine>(&self, machine: &mut M, stop: &CancellationToken) -> Ended {
        let mut needs = self.store.needs();
        let mut reconnect = Reconnect::new();
        loop {
            let started = tokio::time::Instant::now();
            let ended = tokio::select! {
                () = stop.cancelled() => return Ended::Stopped,
                ended = self.stream(machine, &mut needs) => ended,
            };
            machine.disconnected();
            self.status.set_connected(false);
            let Err(error) = ended;
            if M::PATH == ADS.delta && error.is_unimplemented() {
                return Ended::NoDelta;
            }
            let wait = reconnect.wait(started.elapsed(), error.is_away());
            self.status.connection_failures.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(
                address = self.upstream.address(),
                %error,
                retry_in = ?wait,
                "xDS stream ended; the present configuration stays in force"
            );
            tokio::select! {
                () = stop.cancelled() => return Ended::Stopped,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// One stream, from the connection to its end.
    async fn stream<M: Machine>(
        &self,
        machine: &mut M,
        needs: &mut watch::Receiver<Needs>,
    ) -> Result<Infallible, StreamError> {
        let channel = self.upstream.connect().await?;
        let (sender, receiver) = mpsc::channel(REQUEST_QUEUE);

        // What is needed may have changed while there was no stream; put it into the first requests.
        let _ = self.subscribe(machine, &needs.borrow_and_update().clone());
        for request in machine.connected() {
            send(&sender, request).await?;
        }
        let mut request = tonic::Request::new(ReceiverStream::new(receiver));
        self.upstream.authorize(request.metadata_mut()).await?;
        let mut client = DiscoveryClient::new(channel, MAX_MESSAGE);
        let mut responses = client.open::<M::Request, M::Response>(M::PATH, request).await?;
        self.status.set_connected(true);
        tracing::info!(address = self.upstream.address(), "xDS stream open");

        loop {
            tokio::select! {
                message = responses.message() => {
                    let Some(response) = message? else { return Err(StreamError::Closed) };
                    let update = machine.on_response(response)?;
                    let (type_url, upserts, removed) = M::changes(&update);
                    let rejected = self.apply::<M>(type_url, upserts, removed);
                    if let Some(answer) = machine.finish(&update, &rejected) {
                        send(&sender, answer).await?;
                    }
                }
                changed = needs.changed() => {
                    // The data path is gone: so is the reason to be here.
                    changed.map_err(|_| StreamError::Closed)?;
                    // Cloned: the data path announces new needs while it forgets what is gone, and would wait for
                    // this very borrow to end.
                    let wanted = needs.borrow_and_update().clone();
                    let requests = self.subscribe(machine, &wanted);
                    for request in requests {
                        send(&sender, request).await?;
                    }
                }
            }
        }
    }

    /// Makes the subscriptions match the data path's needs and forgets what is no longer needed.
    fn subscribe<M: Machine>(&self, machine: &mut M, needs: &Needs) -> Vec<M::Request> {
        let mut requests = Vec::new();
        for (kind, names) in [
            (ResourceKind::Endpoints, &needs.endpoints),
            (ResourceKind::Routes, &needs.routes),
            (ResourceKind::Secret, &needs.secrets),
        ] {
            let mut wanted: BTreeSet<String> =
                names.iter().filter(|name| !(self.exclude)(kind, name)).cloned().collect();
            if let (ResourceKind::Secret, Some(roots)) = (kind, &self.roots) {
                wanted.insert(roots.name().to_owned());
            }
            let gone: Vec<String> =
                machine.held(kind.type_url()).into_iter().filter(|name| !wanted.contains(name)).collect();
            requests.extend(machine.set_names(kind.type_url(), wanted));
            self.forget(kind, gone);
        }
        // After the route configurations: what they say decides whether a server is asked for virtual hosts, and only
        // one that knows them sends a route configuration that has some.
        let kind = ResourceKind::VirtualHost;
        let gone = if needs.virtual_hosts { Vec::new() } else { machine.held(kind.type_url()) };
        requests.extend(machine.set_virtual_hosts(needs.virtual_hosts));
        self.forget(kind, gone);
        requests
    }

    /// Takes resources from the data path that are not subscribed to any more.
    fn forget(&self, kind: ResourceKind, names: Vec<String>) {
        if !names.is_empty() {
            let mut update = ConfigUpdate::new(kind);
            update.removed = names;
            let _ = self.store.apply(update);
        }
    }

    fn apply<M: Machine>(&self, type_url: &str, upserts: &[Upsert], removed: &[String]) -> Vec<Rejection> {
        if let (NAME_TABLE, Some(names)) = (type_url, &self.names) {
            return upserts
                .iter()
                .filter_map(|upsert| Some((upsert, names.set_table(&upsert.body.value).err()?)))
                .map(|(upsert, reason)| Rejection { name: upsert.name.clone(), reason })
                .collect();
        }
        let Some(kind) = ResourceKind::from_type_url(type_url) else { return Vec::new() };
        let mut rejected = Vec::new();
        let mut config = ConfigUpdate::new(kind);
        if !M::VHDS {
            config = config.without_vhds();
        }
        for upsert in upserts {
            if let Some(roots) = self.roots_of(kind, &upsert.name) {
                if let Err(reason) = roots.set_roots(&upsert.body.value) {
                    rejected.push(Rejection { name: upsert.name.clone(), reason });
                }
                continue;
            }
            config = config.upsert(upsert.name.clone(), upsert.version.clone(), upsert.body.value.clone());
        }
        for name in removed {
            match self.roots_of(kind, name) {
                Some(roots) => roots.clear_roots(),
                None => config.removed.push(name.clone()),
            }
        }
        if (!config.upserts.is_empty() || !config.removed.is_empty())
            && let Err(reasons) = self.store.apply(config)
        {
            rejected.extend(reasons.into_iter().map(|r| Rejection { name: r.name, reason: r.reason }));
        }
        for rejection in &rejected {
            tracing::warn!(kind = ?kind, name = rejection.name, reason = rejection.reason, "resource rejected; its predecessor stays in force");
        }
        self.status.count(kind, rejected.is_empty());
        rejected
    }

    /// The sink of a secret that is the peers' roots and not the data path's.
    fn roots_of(&self, kind: ResourceKind, name: &str) -> Option<&dyn RootsSink> {
        self.roots.as_deref().filter(|roots| kind == ResourceKind::Secret && roots.name() == name)
    }
}

async fn send<Q>(sender: &mpsc::Sender<Q>, request: Q) -> Result<(), StreamError> {
    sender.send_timeout(request, SEND_TIMEOUT).await.map_err(|error| match error {
        SendTimeoutError::Closed(_) => StreamError::Closed,
        SendTimeoutError::Timeout(_) => StreamError::Stuck,
    })
}

#[cfg(test)]
mod tests;
