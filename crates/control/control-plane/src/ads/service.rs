//! The service: one task for each stream.

use std::{net::SocketAddr, sync::Arc};

use portolan_envoy_api::pb::envoy::service::discovery::v3::DiscoveryRequest;
use portolan_xds::{
    server::{DeltaStream, SotwStream},
    wire::{DeltaRequest, DeltaResponse, SotwResponse},
};
use portolan_xds_grpc::{BoxStream, Discovery, Requests};
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{
    connections::Connections,
    limits::{MAX_STREAMS, RESPONSES},
    secrets::SecretSource,
    session::Session,
    task::StreamTask,
};
use crate::{
    auth::{Authenticator, Caller},
    metrics::Metrics,
    publish::Publisher,
};

/// What all streams share.
pub struct AdsService {
    /// The boards.
    pub publisher: Arc<Publisher>,
    /// Streams that are open.
    pub connections: Arc<Connections>,
    /// Secrets of gateways.
    pub secrets: Arc<SecretSource>,
    /// Who is asking.
    pub authenticator: Arc<Authenticator>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Callers without identity are served too: the plaintext port. They get no secrets.
    pub anonymous: bool,
    /// Bounds the proxies that are taken in at the same time: for the first of a kind everything is made.
    pub generators: Arc<Semaphore>,
    /// Bounds the streams.
    pub streams: Arc<Semaphore>,
}

impl Discovery for AdsService {
    type DeltaRequest = DeltaRequest;
    type Delta = DeltaResponse;
    type Sotw = SotwResponse;

    async fn delta(
        &self,
        request: Request<Requests<DeltaRequest>>,
    ) -> Result<Response<BoxStream<DeltaResponse>>, Status> {
        self.serve::<DeltaStream>(request).await
    }

    async fn sotw(
        &self,
        request: Request<Requests<DiscoveryRequest>>,
    ) -> Result<Response<BoxStream<SotwResponse>>, Status> {
        self.serve::<SotwStream>(request).await
    }
}

impl AdsService {
    async fn serve<S: Session>(
        &self,
        request: Request<Requests<S::Request>>,
    ) -> Result<Response<BoxStream<S::Response>>, Status> {
        if !self.publisher.is_ready() {
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
            publisher: self.publisher.clone(),
            connections: self.connections.clone(),
            secrets: self.secrets.clone(),
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
