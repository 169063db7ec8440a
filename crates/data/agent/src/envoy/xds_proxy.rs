//! The XDS proxy that Envoy talks to instead of istiod, on a unix socket.
//!
//! Every stream of Envoy gets one stream to istiod, with the token that Envoy does not have. In delta streams
//! the proxy adds subscriptions of its own: the `ROOTCA` secret, which istiod answers where a mesh trusts
//! other meshes, and the name table of the DNS proxy. Those answers stay here; roots reach Envoy through SDS.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use envoy_types::pb::google::rpc;
use portolan_xds::type_url::NAME_TABLE;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

use crate::upstream::{MAX_MESSAGE, Upstream, chain};
use crate::xds_client::{NameTableSink, RootsSink, XdsStatus};
use portolan_dataplane::config::ResourceKind;

/// Messages in flight per direction and stream.
const QUEUE: usize = 64;
/// gRPC code INVALID_ARGUMENT, which a rejection carries.
const INVALID_ARGUMENT: i32 = 3;

const SOTW: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";
const DELTA: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";

type Output<T> = Pin<Box<dyn tokio_stream::Stream<Item = Result<T, Status>> + Send>>;

/// The service.
#[derive(Clone)]
pub(super) struct XdsProxy {
    upstream: Upstream,
    roots: Arc<dyn RootsSink>,
    names: Option<Arc<dyn NameTableSink>>,
    status: Arc<XdsStatus>,
}

impl XdsProxy {
    /// Forwards to `upstream`; roots go to `roots`, the name table to `names`, facts to `status`.
    pub(super) fn service(
        upstream: Upstream,
        roots: Arc<dyn RootsSink>,
        names: Option<Arc<dyn NameTableSink>>,
        status: Arc<XdsStatus>,
    ) -> AggregatedDiscoveryServiceServer<XdsProxy> {
        AggregatedDiscoveryServiceServer::new(XdsProxy { upstream, roots, names, status })
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE)
    }

    /// Opens the stream to istiod.
    async fn open<Q, R>(
        &self,
        path: &'static str,
        requests: mpsc::Receiver<Q>,
    ) -> Result<Streaming<R>, Status>
    where
        Q: prost::Message + 'static,
        R: prost::Message + Default + 'static,
    {
        let failed = |reason: String| {
            self.status.connection_failures.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(
                address = self.upstream.address(),
                reason,
                "cannot forward an xDS stream to the control plane"
            );
            Status::unavailable(reason)
        };
        let channel = self.upstream.connect().await.map_err(|error| failed(error.to_string()))?;
        let mut grpc =
            Grpc::new(channel).max_decoding_message_size(MAX_MESSAGE).max_encoding_message_size(MAX_MESSAGE);
        let mut request = Request::new(ReceiverStream::new(requests));
        self.upstream.authorize(request.metadata_mut()).await.map_err(|error| failed(error.to_string()))?;
        grpc.ready().await.map_err(|error| failed(chain(&error)))?;
        let path = http::uri::PathAndQuery::from_static(path);
        let response = grpc
            .streaming(request, path, ProstCodec::<Q, R>::default())
            .await
            .map_err(|status| failed(status.to_string()))?;
        self.status.set_connected(true);
        tracing::info!(address = self.upstream.address(), "forwarding Envoy's xDS stream");
        Ok(response.into_inner())
    }

    fn observe(&self, type_url: &str, nonce: &str, rejection: Option<&rpc::Status>) {
        let Some(kind) = ResourceKind::from_type_url(type_url) else { return };
        if let Some(detail) = rejection {
            tracing::warn!(kind = ?kind, reason = detail.message, "Envoy rejected configuration");
            self.status.count(kind, false);
        } else if !nonce.is_empty() {
            self.status.count(kind, true);
        }
    }
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for XdsProxy {
    type StreamAggregatedResourcesStream = Output<DiscoveryResponse>;
    type DeltaAggregatedResourcesStream = Output<DeltaDiscoveryResponse>;

    async fn stream_aggregated_resources(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        let mut down = request.into_inner();
        let (up_sender, up_receiver) = mpsc::channel::<DiscoveryRequest>(QUEUE);
        let (sender, receiver) = mpsc::channel(QUEUE);
        let proxy = self.clone();
        tokio::spawn(async move {
            let mut up: Streaming<DiscoveryResponse> = match proxy.open(SOTW, up_receiver).await {
                Ok(up) => up,
                Err(status) => {
                    let _ = sender.send(Err(status)).await;
                    return;
                }
            };
            loop {
                tokio::select! {
                    message = down.message() => {
                        let Ok(Some(request)) = message else { break };
                        proxy.observe(&request.type_url, &request.response_nonce, request.error_detail.as_ref());
                        if up_sender.send(request).await.is_err() { break }
                    }
                    message = up.message() => match message {
                        Ok(Some(response)) => if sender.send(Ok(response)).await.is_err() { break },
                        ended => {
                            let _ = sender.send(Err(end_status(ended.err()))).await;
                            break;
                        }
                    }
                }
            }
            proxy.status.set_connected(false);
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let mut down = request.into_inner();
        let (up_sender, up_receiver) = mpsc::channel::<DeltaDiscoveryRequest>(QUEUE);
        let (sender, receiver) = mpsc::channel(QUEUE);
        let proxy = self.clone();
        tokio::spawn(async move {
            let mut up: Streaming<DeltaDiscoveryResponse> = match proxy.open(DELTA, up_receiver).await {
                Ok(up) => up,
                Err(status) => {
                    let _ = sender.send(Err(status)).await;
                    return;
                }
            };
            let mut asked = false;
            loop {
                tokio::select! {
                    message = down.message() => {
                        let Ok(Some(request)) = message else { break };
                        proxy.observe(&request.type_url, &request.response_nonce, request.error_detail.as_ref());
                        if up_sender.send(request).await.is_err() { break }
                        // After Envoy's first request, because that one carries the node.
                        if !std::mem::replace(&mut asked, true) {
                            let mut own = vec![ask_for_roots(proxy.roots.name())];
                            own.extend(proxy.names.is_some().then(ask_for_names));
                            let mut closed = false;
                            for request in own {
                                closed |= up_sender.send(request).await.is_err();
                            }
                            if closed { break }
                        }
                    }
                    message = up.message() => match message {
                        Ok(Some(mut response)) => {
                            let answer = match keep_names(proxy.names.as_deref(), &response) {
                                Some(answer) => Some(answer),
                                None => keep_roots(&*proxy.roots, &mut response),
                            };
                            if let Some(answer) = answer {
                                if up_sender.send(answer).await.is_err() { break }
                            } else if sender.send(Ok(response)).await.is_err() {
                                break;
                            }
                        }
                        ended => {
                            let _ = sender.send(Err(end_status(ended.err()))).await;
                            break;
                        }
                    }
                }
            }
            proxy.status.set_connected(false);
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

fn end_status(error: Option<Status>) -> Status {
    error.map_or_else(
        || Status::unavailable("the control plane closed the stream"),
        |status| Status::new(status.code(), status.message().to_owned()),
    )
}

fn ask_for_roots(name: &str) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: ResourceKind::Secret.type_url().to_owned(),
        resource_names_subscribe: vec![name.to_owned()],
        ..DeltaDiscoveryRequest::default()
    }
}

fn ask_for_names() -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest { type_url: NAME_TABLE.to_owned(), ..DeltaDiscoveryRequest::default() }
}

/// Takes a response with the name table, and returns the answer to it.
fn keep_names(
    names: Option<&dyn NameTableSink>,
    response: &DeltaDiscoveryResponse,
) -> Option<DeltaDiscoveryRequest> {
    let names = names.filter(|_| response.type_url == NAME_TABLE)?;
    let mut bodies = response.resources.iter().filter_map(|resource| resource.resource.as_ref());
    let reason = bodies.find_map(|body| names.set_table(&body.value).err());
    Some(DeltaDiscoveryRequest {
        type_url: response.type_url.clone(),
        response_nonce: response.nonce.clone(),
        error_detail: reason.map(|message| rpc::Status {
            code: INVALID_ARGUMENT,
            message,
            ..rpc::Status::default()
        }),
        ..DeltaDiscoveryRequest::default()
    })
}

/// Takes the peers' roots out of a response. Returns the answer to it when nothing is left that Envoy should see.
fn keep_roots(roots: &dyn RootsSink, response: &mut DeltaDiscoveryResponse) -> Option<DeltaDiscoveryRequest> {
    if response.type_url != ResourceKind::Secret.type_url() {
        return None;
    }
    let mut ours = false;
    let mut rejection = None;
    response.resources.retain(|resource| {
        if resource.name != roots.name() {
            return true;
        }
        ours = true;
        let body = resource.resource.as_ref().map(|any| any.value.as_slice()).unwrap_or_default();
        if let Err(reason) = roots.set_roots(body) {
            rejection = Some(rpc::Status {
                code: INVALID_ARGUMENT,
                message: format!("{}: {reason}", resource.name),
                ..rpc::Status::default()
            });
        }
        false
    });
    response.removed_resources.retain(|name| {
        let gone = name == roots.name();
        if gone {
            ours = true;
            roots.clear_roots();
        }
        !gone
    });
    if !ours || !response.resources.is_empty() || !response.removed_resources.is_empty() {
        return None;
    }
    Some(DeltaDiscoveryRequest {
        type_url: response.type_url.clone(),
        response_nonce: response.nonce.clone(),
        error_detail: rejection,
        ..DeltaDiscoveryRequest::default()
    })
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::service::discovery::v3::Resource;
    use envoy_types::pb::google::protobuf::Any;
    use prost::Message;

    use super::*;
    use crate::certificates::{ROOT, SecretHub, root_secret};

    fn secret(name: &str) -> Resource {
        Resource {
            name: name.to_owned(),
            resource: Some(Any {
                type_url: ResourceKind::Secret.type_url().to_owned(),
                value: root_secret(name, b"pem".to_vec()).encode_to_vec(),
            }),
            ..Resource::default()
        }
    }

    fn response(names: &[&str]) -> DeltaDiscoveryResponse {
        DeltaDiscoveryResponse {
            type_url: ResourceKind::Secret.type_url().to_owned(),
            nonce: "7".into(),
            resources: names.iter().map(|name| secret(name)).collect(),
            ..DeltaDiscoveryResponse::default()
        }
    }

    #[test]
    fn roots_stay_with_the_agent() {
        let hub = SecretHub::default();
        let mut only_roots = response(&[ROOT]);
        let answer = keep_roots(&hub, &mut only_roots).unwrap();
        assert_eq!((answer.response_nonce.as_str(), answer.error_detail), ("7", None));
        assert!(hub.get(ROOT).is_some());

        let mut both = response(&[ROOT, "kubernetes://cert"]);
        assert!(keep_roots(&hub, &mut both).is_none());
        assert_eq!(both.resources.len(), 1);

        let mut removed = response(&[]);
        removed.removed_resources.push(ROOT.into());
        assert!(keep_roots(&hub, &mut removed).is_some());
    }

    #[test]
    fn bad_roots_are_rejected() {
        let hub = SecretHub::default();
        let mut bad = response(&[ROOT]);
        bad.resources[0].resource.as_mut().unwrap().value = b"\xff\xff".to_vec();
        assert!(keep_roots(&hub, &mut bad).unwrap().error_detail.is_some());
        assert!(hub.get(ROOT).is_none());
    }
}
