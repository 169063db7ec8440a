//! The service: one task for each stream.

use std::{net::SocketAddr, sync::Arc};

use portolan_envoy_api::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use portolan_xds::{
    server::{DeltaStream, SotwStream},
    wire::{DeltaResponse, SotwResponse},
};
use portolan_xds_grpc::{BoxStream, Discovery};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{
    connections::Connections,
    limits::{MAX_STREAMS, RESPONSES},
    resources::Resources,
    session::Session,
    stream::StreamTask,
};
use crate::{
    auth::{Authenticator, Caller},
    metrics::Metrics,
    push::Published,
};

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
    async fn serve<S: Session>(
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
        let task = StreamTask {
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
