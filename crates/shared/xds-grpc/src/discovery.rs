//! The discovery services: aggregated (ADS) and secrets (SDS). Both have the same two streams under other names.

use std::{
    convert::Infallible,
    future::Future,
    marker::PhantomData,
    sync::Arc,
    task::{Context, Poll},
};

use portolan_envoy_api::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use portolan_xds::wire::{DeltaDiscoveryResponse, WriteMessage};
use tonic::{
    Request, Response, Status, Streaming,
    body::Body,
    client::GrpcService,
    codegen::{BoxFuture, StdError, http},
    server::NamedService,
};
use tonic_prost::ProstCodec;

use crate::{
    body::{BoxStream, ResponseBody},
    causes,
    requests::Requests,
};

/// Paths of a discovery service's methods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Methods {
    /// The delta stream.
    pub delta: &'static str,
    /// The state-of-the-world stream.
    pub sotw: &'static str,
}

/// Methods of `envoy.service.discovery.v3.AggregatedDiscoveryService`.
pub const ADS: Methods = Methods {
    delta: "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources",
    sotw: "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources",
};

/// Methods of `envoy.service.secret.v3.SecretDiscoveryService`.
pub const SDS: Methods = Methods {
    delta: "/envoy.service.secret.v3.SecretDiscoveryService/DeltaSecrets",
    sotw: "/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets",
};

/// Which discovery service it is.
pub trait Service: Send + Sync + 'static {
    /// Its full name.
    const NAME: &'static str;
    /// Its methods.
    const METHODS: Methods;
}

/// [`ADS`] as a type.
#[derive(Debug)]
pub enum Aggregated {}

impl Service for Aggregated {
    const NAME: &'static str = "envoy.service.discovery.v3.AggregatedDiscoveryService";
    const METHODS: Methods = ADS;
}

/// [`SDS`] as a type.
#[derive(Debug)]
pub enum Secrets {}

impl Service for Secrets {
    const NAME: &'static str = "envoy.service.secret.v3.SecretDiscoveryService";
    const METHODS: Methods = SDS;
}

/// A discovery service as a server implements it.
pub trait Discovery: Send + Sync + 'static {
    /// How the request of a delta stream is read: `envoy.service.discovery.v3.DeltaDiscoveryRequest` on the wire.
    type DeltaRequest: prost::Message + Default + 'static;
    /// What is sent on a delta stream.
    type Delta: WriteMessage + Unpin;
    /// What is sent on a state-of-the-world stream.
    type Sotw: WriteMessage + Unpin;

    /// A delta stream opens.
    fn delta(
        &self,
        request: Request<Requests<Self::DeltaRequest>>,
    ) -> impl Future<Output = Result<Response<BoxStream<Self::Delta>>, Status>> + Send;

    /// A state-of-the-world stream opens.
    fn sotw(
        &self,
        request: Request<Requests<DiscoveryRequest>>,
    ) -> impl Future<Output = Result<Response<BoxStream<Self::Sotw>>, Status>> + Send;
}

/// Serves a [`Discovery`] as the aggregated service.
pub type AdsServer<T> = DiscoveryServer<Aggregated, T>;

/// Serves a [`Discovery`] as the service of secrets.
pub type SdsServer<T> = DiscoveryServer<Secrets, T>;

/// Serves a [`Discovery`].
#[derive(Debug)]
pub struct DiscoveryServer<S, T> {
    inner: Arc<T>,
    max_decoding_message_size: usize,
    service: PhantomData<fn() -> S>,
}

impl<S, T> DiscoveryServer<S, T> {
    /// Requests of more than `max_decoding_message_size` bytes are refused.
    pub fn new(inner: Arc<T>, max_decoding_message_size: usize) -> Self {
        Self { inner, max_decoding_message_size, service: PhantomData }
    }
}

impl<S, T> Clone for DiscoveryServer<S, T> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), self.max_decoding_message_size)
    }
}

impl<S: Service, T> NamedService for DiscoveryServer<S, T> {
    const NAME: &'static str = S::NAME;
}

/// Serves one stream: requests are read by [`Requests`], responses written by [`ResponseBody`].
async fn stream<B, Q, R, F>(
    request: http::Request<B>,
    max_request: usize,
    serve: impl FnOnce(Request<Requests<Q>>) -> F,
) -> http::Response<Body>
where
    B: tonic::codegen::Body + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
    Q: prost::Message + Default + 'static,
    R: WriteMessage + Unpin,
    F: Future<Output = Result<Response<BoxStream<R>>, Status>>,
{
    let request = Request::from_http(request).map(|body| Requests::new(body, max_request));
    match serve(request).await {
        Ok(response) => {
            let (metadata, messages, extensions) = response.into_parts();
            let mut response = http::Response::new(Body::new(ResponseBody::new(messages)));
            *response.headers_mut() = metadata.into_headers();
            *response.extensions_mut() = extensions;
            let content_type = http::HeaderValue::from_static("application/grpc");
            response.headers_mut().insert(http::header::CONTENT_TYPE, content_type);
            response
        }
        Err(status) => status.into_http(),
    }
}

impl<S, T, B> tonic::codegen::Service<http::Request<B>> for DiscoveryServer<S, T>
where
    S: Service,
    T: Discovery,
    B: tonic::codegen::Body + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let inner = self.inner.clone();
        let limit = self.max_decoding_message_size;
        let path = request.uri().path();
        if path == S::METHODS.delta {
            Box::pin(async move { Ok(stream(request, limit, |request| inner.delta(request)).await) })
        } else if path == S::METHODS.sotw {
            Box::pin(async move { Ok(stream(request, limit, |request| inner.sotw(request)).await) })
        } else {
            Box::pin(async move { Ok(Status::unimplemented("no such method").into_http()) })
        }
    }
}

/// Calls a discovery service.
#[derive(Debug, Clone)]
pub struct DiscoveryClient<C> {
    inner: tonic::client::Grpc<C>,
}

impl<C> DiscoveryClient<C>
where
    C: GrpcService<Body>,
    C::Error: Into<StdError>,
    C::ResponseBody: tonic::codegen::Body<Data = tonic::codegen::Bytes> + Send + 'static,
    <C::ResponseBody as tonic::codegen::Body>::Error: Into<StdError> + Send,
{
    /// Messages of more than `max_message_size` bytes, in either direction, end the stream.
    pub fn new(channel: C, max_message_size: usize) -> Self {
        let inner = tonic::client::Grpc::new(channel)
            .max_decoding_message_size(max_message_size)
            .max_encoding_message_size(max_message_size);
        Self { inner }
    }

    /// Opens a delta stream of the aggregated service; the bodies of what arrives are slices of the received messages.
    pub async fn delta(
        &mut self,
        requests: impl tonic::IntoStreamingRequest<Message = DeltaDiscoveryRequest>,
    ) -> Result<Streaming<DeltaDiscoveryResponse>, Status> {
        self.open(ADS.delta, requests).await
    }

    /// Opens the stream at `path`. An error says what kept it from being opened, down to the transport's own cause.
    pub async fn open<Q, R>(
        &mut self,
        path: &'static str,
        requests: impl tonic::IntoStreamingRequest<Message = Q>,
    ) -> Result<Streaming<R>, Status>
    where
        Q: prost::Message + 'static,
        R: prost::Message + Default + 'static,
    {
        self.inner.ready().await.map_err(|error| Status::unavailable(causes(error.into().as_ref())))?;
        let path = http::uri::PathAndQuery::from_static(path);
        let response = self
            .inner
            .streaming(requests.into_streaming_request(), path, ProstCodec::<Q, R>::default())
            .await?;
        Ok(response.into_inner())
    }
}
