//! The two variants of the protocol behind one interface.

use std::sync::Arc;

use portolan_envoy_api::pb::envoy::{config::core::v3::Node, service::discovery::v3::DiscoveryRequest};
use portolan_xds::{
    server::{DeltaStream, Received, RequestError, SotwStream, Source, Status, Watch},
    wire::{DeltaRequest, DeltaResponse, SotwResponse},
};

/// State of one stream.
pub(super) trait Session: Send + Sync + 'static {
    type Request: prost::Message + Default;
    type Response: Send + 'static;
    fn open(nonce_prefix: String) -> Self;
    fn node(request: &Self::Request) -> Option<&Node>;
    fn type_url(request: &Self::Request) -> &str;
    fn on_request(&mut self, request: Self::Request) -> Result<Received, RequestError>;
    fn watch(&self, type_url: &str) -> Option<&Watch>;
    fn types(&self) -> Vec<Arc<str>>;
    fn blocked(&self, type_url: &str) -> bool;
    fn full(&self, type_url: &str) -> bool;
    fn resend(&mut self, type_url: &str, names: &[Arc<str>]) -> bool;
    /// What is owed after a request: the response and the names of the resources in it.
    fn respond(
        &mut self,
        type_url: &str,
        source: &dyn Source,
        version: &str,
    ) -> Option<(Self::Response, Vec<Arc<str>>)>;
    /// What a change of these names means to the proxy: the response and the names of the resources in it.
    fn update(
        &mut self,
        type_url: &str,
        changed: &[Arc<str>],
        source: &dyn Source,
        version: &str,
    ) -> Option<(Self::Response, Vec<Arc<str>>)>;
    /// What the proxy lacks, whatever has changed: the response and the names of the resources in it.
    fn resync(
        &mut self,
        type_url: &str,
        source: &dyn Source,
        version: &str,
    ) -> Option<(Self::Response, Vec<Arc<str>>)>;
    fn status(&self, type_url: &str) -> Option<Status>;
}

macro_rules! session {
    ($stream:ty, $request:ty, $response:ty) => {
        impl Session for $stream {
            type Request = $request;
            type Response = $response;

            fn open(nonce_prefix: String) -> Self {
                Self::new(nonce_prefix)
            }

            fn node(request: &Self::Request) -> Option<&Node> {
                request.node.as_ref()
            }

            fn type_url(request: &Self::Request) -> &str {
                &request.type_url
            }

            fn on_request(&mut self, request: Self::Request) -> Result<Received, RequestError> {
                Self::on_request(self, request)
            }

            fn watch(&self, type_url: &str) -> Option<&Watch> {
                Self::watch(self, type_url)
            }

            fn types(&self) -> Vec<Arc<str>> {
                Self::types(self)
            }

            fn blocked(&self, type_url: &str) -> bool {
                Self::blocked(self, type_url)
            }

            fn full(&self, type_url: &str) -> bool {
                Self::full(self, type_url)
            }

            fn resend(&mut self, type_url: &str, names: &[Arc<str>]) -> bool {
                Self::resend(self, type_url, names.iter().map(|name| &**name))
            }

            fn respond(
                &mut self,
                type_url: &str,
                source: &dyn Source,
                version: &str,
            ) -> Option<(Self::Response, Vec<Arc<str>>)> {
                let response = Self::respond(self, type_url, source, version)?;
                let names = response.resources.iter().map(|resource| resource.name.clone()).collect();
                Some((response, names))
            }

            fn update(
                &mut self,
                type_url: &str,
                changed: &[Arc<str>],
                source: &dyn Source,
                version: &str,
            ) -> Option<(Self::Response, Vec<Arc<str>>)> {
                let response = Self::update(self, type_url, changed, source, version)?;
                let names = response.resources.iter().map(|resource| resource.name.clone()).collect();
                Some((response, names))
            }

            fn resync(
                &mut self,
                type_url: &str,
                source: &dyn Source,
                version: &str,
            ) -> Option<(Self::Response, Vec<Arc<str>>)> {
                let response = Self::resync(self, type_url, source, version)?;
                let names = response.resources.iter().map(|resource| resource.name.clone()).collect();
                Some((response, names))
            }

            fn status(&self, type_url: &str) -> Option<Status> {
                Self::status(self, type_url)
            }
        }
    };
}

session!(DeltaStream, DeltaRequest, DeltaResponse);
session!(SotwStream, DiscoveryRequest, SotwResponse);
