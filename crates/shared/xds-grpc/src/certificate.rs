//! `istio.v1.auth.IstioCertificateService`: the service that istiod signs certificate requests with.

use std::{
    convert::Infallible,
    future::Future,
    sync::Arc,
    task::{Context, Poll},
};

use portolan_xds::istio::{IstioCertificateRequest, IstioCertificateResponse};
use tonic::{
    Request, Response, Status,
    body::Body,
    client::GrpcService,
    codegen::{BoxFuture, Service, StdError, http},
    server::{Grpc, NamedService, UnaryService},
};
use tonic_prost::ProstCodec;

use crate::causes;

/// Path of the only method.
pub const CREATE_CERTIFICATE_PATH: &str = "/istio.v1.auth.IstioCertificateService/CreateCertificate";

/// A request holds one CSR.
const MAX_REQUEST_BYTES: usize = 64 * 1024;

/// An answer holds a chain of certificates.
const MAX_RESPONSE_BYTES: usize = 1024 * 1024;

/// The service as a server implements it.
pub trait CertificateService: Send + Sync + 'static {
    /// Signs for the identity that the caller has proven.
    fn create_certificate(
        &self,
        request: Request<IstioCertificateRequest>,
    ) -> impl Future<Output = Result<Response<IstioCertificateResponse>, Status>> + Send;
}

/// Serves a [`CertificateService`].
#[derive(Debug)]
pub struct CertificateServer<T> {
    inner: Arc<T>,
}

impl<T> CertificateServer<T> {
    /// A server for `inner`.
    pub fn new(inner: Arc<T>) -> Self {
        Self { inner }
    }
}

impl<T> Clone for CertificateServer<T> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

impl<T> NamedService for CertificateServer<T> {
    const NAME: &'static str = "istio.v1.auth.IstioCertificateService";
}

struct CreateCertificate<T>(Arc<T>);

impl<T: CertificateService> UnaryService<IstioCertificateRequest> for CreateCertificate<T> {
    type Response = IstioCertificateResponse;
    type Future = BoxFuture<Response<Self::Response>, Status>;

    fn call(&mut self, request: Request<IstioCertificateRequest>) -> Self::Future {
        let inner = self.0.clone();
        Box::pin(async move { inner.create_certificate(request).await })
    }
}

impl<T, B> Service<http::Request<B>> for CertificateServer<T>
where
    T: CertificateService,
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
        if request.uri().path() != CREATE_CERTIFICATE_PATH {
            return Box::pin(async move { Ok(Status::unimplemented("no such method").into_http()) });
        }
        Box::pin(async move {
            let codec = ProstCodec::<IstioCertificateResponse, IstioCertificateRequest>::default();
            let mut grpc = Grpc::new(codec).apply_max_message_size_config(Some(MAX_REQUEST_BYTES), None);
            Ok(grpc.unary(CreateCertificate(inner), request).await)
        })
    }
}

/// Calls the service.
#[derive(Debug, Clone)]
pub struct CertificateClient<C> {
    inner: tonic::client::Grpc<C>,
}

impl<C> CertificateClient<C>
where
    C: GrpcService<Body>,
    C::Error: Into<StdError>,
    C::ResponseBody: tonic::codegen::Body<Data = tonic::codegen::Bytes> + Send + 'static,
    <C::ResponseBody as tonic::codegen::Body>::Error: Into<StdError> + Send,
{
    /// A client on the channel.
    pub fn new(channel: C) -> Self {
        Self { inner: tonic::client::Grpc::new(channel).max_decoding_message_size(MAX_RESPONSE_BYTES) }
    }

    /// Asks for a certificate; the token goes into the request's metadata (`authorization: Bearer`).
    pub async fn create_certificate(
        &mut self,
        request: impl tonic::IntoRequest<IstioCertificateRequest>,
    ) -> Result<Response<IstioCertificateResponse>, Status> {
        self.inner.ready().await.map_err(|error| Status::unavailable(causes(error.into().as_ref())))?;
        let codec = ProstCodec::<IstioCertificateRequest, IstioCertificateResponse>::default();
        let path = http::uri::PathAndQuery::from_static(CREATE_CERTIFICATE_PATH);
        self.inner.unary(request.into_request(), path, codec).await
    }
}
