//! xDS for proxies: aggregated discovery, delta and state-of-the-world, over gRPC (spec/istio.md 2.3).
//!
//! One task per stream owns the stream's state machine. It wakes for requests and for new snapshots, generates what
//! the proxy watches, and sends differences in the order CDS, EDS, LDS, RDS, SDS. Nothing is shared between streams but
//! the snapshot and the generator's cache.

mod connections;
mod resources;
mod secrets;
mod session;
mod stream;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use portolan_xds::{
    server::{DeltaStream, SotwStream},
    wire::{DeltaResponse, SotwResponse},
};
use portolan_xds_grpc::{BoxStream, Discovery};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::{
    auth::{Authenticator, Caller},
    metrics::Metrics,
    push::Published,
};

pub use connections::{Connection, Connections, TypeStatus};
pub use resources::Resources;
pub use secrets::SecretSource;

/// Largest request that is read: names of all clusters of a large mesh fit in.
pub const MAX_REQUEST_BYTES: usize = 4 * 1024 * 1024;

/// How long a response may wait for a slow proxy before its stream is closed (`PILOT_XDS_SEND_TIMEOUT`).
pub const SEND_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a push waits for the answer to the one before (`PILOT_XDS_FLOW_CONTROL_TIMEOUT`).
pub const ACK_TIMEOUT: Duration = Duration::from_secs(15);

/// Responses on their way between a stream's task and its socket.
const RESPONSES: usize = 4;

/// Streams that are served at the same time over all proxies.
pub const MAX_STREAMS: usize = 20_000;

/// What all streams share.
pub struct AdsService {
    /// Snapshots.
    pub published: watch::Receiver<Published>,
    /// Streams that are open.
    pub connections: Arc<Connections>,
    /// What proxies are sent.
    pub resources: Arc<Resources>,
    /// Who is asking.
    pub authenticator: Arc<Authenticator>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Callers without identity are served too: the plaintext port. They get no secrets.
    pub anonymous: bool,
    /// Bounds the generators that run at the same time.
    pub generators: Arc<Semaphore>,
    /// Bounds the streams.
    pub streams: Arc<Semaphore>,
}

impl Discovery for AdsService {
    type Delta = DeltaResponse;
    type Sotw = SotwResponse;

    async fn delta(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<BoxStream<DeltaResponse>>, Status> {
        self.serve::<DeltaStream>(request).await
    }

    async fn sotw(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<BoxStream<SotwResponse>>, Status> {
        self.serve::<SotwStream>(request).await
    }
}

impl AdsService {
    async fn serve<S: session::Session>(
        &self,
        request: Request<Streaming<S::Request>>,
    ) -> Result<Response<BoxStream<S::Response>>, Status> {
        if self.published.borrow().snapshot.is_none() {
            return Err(Status::unavailable(
                "the control plane is still reading the cluster's state; try again",
            ));
        }
        let permit = self.streams.clone().try_acquire_owned().map_err(|_| {
            Status::resource_exhausted(format!("more than {MAX_STREAMS} proxies are connected"))
        })?;
        let caller: Option<Caller> = if self.anonymous {
            None
        } else {
            Some(self.authenticator.authenticate(request.metadata(), request.extensions()).await?)
        };
        let peer: Option<SocketAddr> =
            request.extensions().get::<crate::tls::Peer>().map(|peer| peer.address);
        let (responses, receiver) = mpsc::channel(RESPONSES);
        let task = stream::StreamTask {
            published: self.published.clone(),
            connections: self.connections.clone(),
            resources: self.resources.clone(),
            metrics: self.metrics.clone(),
            generators: self.generators.clone(),
            caller,
            peer,
            responses,
        };
        let requests = request.into_inner();
        tokio::spawn(async move {
            task.run::<S>(requests).await;
            drop(permit);
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}
