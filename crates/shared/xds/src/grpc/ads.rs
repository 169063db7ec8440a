//! The discovery services, aggregated and of secrets: each has a delta and a state-of-the-world stream. (Envoy has a unary
//! method too, for REST.)

use std::{
    convert::Infallible,
    future::Future,
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use tonic::{
    Request, Response, Status, Streaming,
    body::Body,
    client::GrpcService,
    codegen::{BoxFuture, Service, StdError, http, tokio_stream::Stream},
    server::{Grpc, NamedService, StreamingService},
};
use tonic_prost::ProstCodec;

use super::codec::WriteCodec;
use crate::wire::{DeltaDiscoveryResponse, WriteMessage};

/// Path of the delta method.
pub const DELTA_PATH: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";

/// Path of the state-of-the-world method.
pub const SOTW_PATH: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";

/// A stream of responses.
pub type BoxStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// What a discovery service and its methods are called.
pub trait ServiceName: Send + Sync + 'static {
    /// The service's full name.
    const NAME: &'static str;
    /// Path of the delta method.
    const DELTA: &'static str;
    /// Path of the state-of-the-world method.
    const SOTW: &'static str;
}

/// `envoy.service.discovery.v3.AggregatedDiscoveryService`.
#[derive(Debug)]
pub enum Aggregated {}

impl ServiceName for Aggregated {
    const NAME: &'static str = "envoy.service.discovery.v3.AggregatedDiscoveryService";
    const DELTA: &'static str = DELTA_PATH;
    const SOTW: &'static str = SOTW_PATH;
}

/// `envoy.service.secret.v3.SecretDiscoveryService`.
#[derive(Debug)]
pub enum Secrets {}

impl ServiceName for Secrets {
    const NAME: &'static str = "envoy.service.secret.v3.SecretDiscoveryService";
    const DELTA: &'static str = "/envoy.service.secret.v3.SecretDiscoveryService/DeltaSecrets";
    const SOTW: &'static str = "/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets";
}

/// A discovery service as a server implements it.
pub trait Discovery: Send + Sync + 'static {
    /// What a delta stream answers.
    type Delta: WriteMessage;
    /// What a state-of-the-world stream answers.
    type Sotw: WriteMessage;

    /// A delta stream opens.
    fn delta(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> impl Future<Output = Result<Response<BoxStream<Self::Delta>>, Status>> + Send;

    /// A state-of-the-world stream opens.
    fn sotw(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> impl Future<Output = Result<Response<BoxStream<Self::Sotw>>, Status>> + Send;
}

/// Serves a [`Discovery`] under the name `S`.
#[derive(Debug)]
pub struct DiscoveryServer<T, S> {
    inner: Arc<T>,
    max_decoding_message_size: usize,
    name: PhantomData<S>,
}

/// Serves all types of resources on one stream.
pub type AdsServer<T> = DiscoveryServer<T, Aggregated>;

/// Serves secrets.
pub type SdsServer<T> = DiscoveryServer<T, Secrets>;

impl<T, S> DiscoveryServer<T, S> {
    /// Requests of more than `max_decoding_message_size` bytes are refused.
    pub fn new(inner: Arc<T>, max_decoding_message_size: usize) -> Self {
        Self { inner, max_decoding_message_size, name: PhantomData }
    }
}

impl<T, S> Clone for DiscoveryServer<T, S> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            max_decoding_message_size: self.max_decoding_message_size,
            name: PhantomData,
        }
    }
}

impl<T, S: ServiceName> NamedService for DiscoveryServer<T, S> {
    const NAME: &'static str = S::NAME;
}

struct Delta<T>(Arc<T>);

impl<T: Discovery> StreamingService<DeltaDiscoveryRequest> for Delta<T> {
    type Response = T::Delta;
    type ResponseStream = BoxStream<T::Delta>;
    type Future = BoxFuture<Response<Self::ResponseStream>, Status>;

    fn call(&mut self, request: Request<Streaming<DeltaDiscoveryRequest>>) -> Self::Future {
        let inner = self.0.clone();
        Box::pin(async move { inner.delta(request).await })
    }
}

struct Sotw<T>(Arc<T>);

impl<T: Discovery> StreamingService<DiscoveryRequest> for Sotw<T> {
    type Response = T::Sotw;
    type ResponseStream = BoxStream<T::Sotw>;
    type Future = BoxFuture<Response<Self::ResponseStream>, Status>;

    fn call(&mut self, request: Request<Streaming<DiscoveryRequest>>) -> Self::Future {
        let inner = self.0.clone();
        Box::pin(async move { inner.sotw(request).await })
    }
}

impl<T, S, B> Service<http::Request<B>> for DiscoveryServer<T, S>
where
    T: Discovery,
    S: ServiceName,
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
        let limit = Some(self.max_decoding_message_size);
        match request.uri().path() {
            path if path == S::DELTA => Box::pin(async move {
                let mut grpc = Grpc::new(WriteCodec::<T::Delta, DeltaDiscoveryRequest>::default())
                    .apply_max_message_size_config(limit, None);
                Ok(grpc.streaming(Delta(inner), request).await)
            }),
            path if path == S::SOTW => Box::pin(async move {
                let mut grpc = Grpc::new(WriteCodec::<T::Sotw, DiscoveryRequest>::default())
                    .apply_max_message_size_config(limit, None);
                Ok(grpc.streaming(Sotw(inner), request).await)
            }),
            _ => Box::pin(async move { Ok(Status::unimplemented("no such method").into_http()) }),
        }
    }
}

/// Calls the aggregated service.
#[derive(Debug, Clone)]
pub struct AdsClient<C> {
    inner: tonic::client::Grpc<C>,
}

impl<C> AdsClient<C>
where
    C: GrpcService<Body>,
    C::Error: Into<StdError>,
    C::ResponseBody: tonic::codegen::Body<Data = tonic::codegen::Bytes> + Send + 'static,
    <C::ResponseBody as tonic::codegen::Body>::Error: Into<StdError> + Send,
{
    /// Responses of more than `max_decoding_message_size` bytes end the stream.
    pub fn new(channel: C, max_decoding_message_size: usize) -> Self {
        let inner = tonic::client::Grpc::new(channel).max_decoding_message_size(max_decoding_message_size);
        Self { inner }
    }

    /// Opens a delta stream; the bodies of what arrives are slices of the received messages.
    pub async fn delta(
        &mut self,
        requests: impl tonic::IntoStreamingRequest<Message = DeltaDiscoveryRequest>,
    ) -> Result<Response<Streaming<DeltaDiscoveryResponse>>, Status> {
        self.inner.ready().await.map_err(|error| Status::unavailable(describe(error.into().as_ref())))?;
        let codec = ProstCodec::<DeltaDiscoveryRequest, DeltaDiscoveryResponse>::default();
        let path = http::uri::PathAndQuery::from_static(DELTA_PATH);
        self.inner.streaming(requests.into_streaming_request(), path, codec).await
    }
}

/// An error with its causes, which is where transport errors hide what happened.
pub(super) fn describe(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
