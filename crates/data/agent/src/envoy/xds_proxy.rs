//! The XDS proxy that Envoy talks to instead of istiod, on a unix socket.
//!
//! Every stream of Envoy gets one stream to istiod, with the token that Envoy does not have. In delta streams
//! the proxy adds subscriptions of its own: the `ROOTCA` secret, which istiod answers where a mesh trusts
//! other meshes, and the name table of the DNS proxy. Those answers stay here; roots reach Envoy through SDS.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use portolan_envoy_api::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use portolan_envoy_api::pb::google::rpc;
use portolan_xds_grpc::{ADS, BoxStream, Discovery, DiscoveryClient, Requests};
use tokio::sync::mpsc::{self, error::SendTimeoutError};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::own::{ask_for_names, ask_for_roots, keep_names, keep_roots};
use crate::upstream::{MAX_MESSAGE, Upstream};
use crate::xds_client::{NameTableSink, RootsSink, XdsStatus};
use portolan_dataplane::config::ResourceKind;

/// Messages in flight per direction and stream.
const QUEUE: usize = 64;
/// How long a message may wait for the side that it goes to. Envoy applies an update on the thread that reads the next
/// one, which takes it seconds in a large mesh.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);

/// The service.
#[derive(Clone)]
pub(super) struct XdsProxy {
    /// Where streams are forwarded to.
    pub(super) upstream: Upstream,
    /// Takes the roots of peers.
    pub(super) roots: Arc<dyn RootsSink>,
    /// Takes the name table; `None` = it is not asked for.
    pub(super) names: Option<Arc<dyn NameTableSink>>,
    /// Facts for others.
    pub(super) status: Arc<XdsStatus>,
}

impl XdsProxy {
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
        let mut request = Request::new(ReceiverStream::new(requests));
        self.upstream.authorize(request.metadata_mut()).await.map_err(|error| failed(error.to_string()))?;
        let mut client = DiscoveryClient::new(channel, MAX_MESSAGE);
        let responses = client.open(path, request).await.map_err(|status| failed(status.to_string()))?;
        self.status.set_connected(true);
        tracing::info!(address = self.upstream.address(), "forwarding Envoy's xDS stream");
        Ok(responses)
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

/// A variant of the protocol.
trait Variant: 'static {
    type Request: prost::Message + Default + 'static;
    type Response: prost::Message + Default + 'static;
    /// Path of the method.
    const PATH: &'static str;

    /// Type, nonce and rejection that a request of Envoy's carries.
    fn answer(request: &Self::Request) -> (&str, &str, Option<&rpc::Status>);

    /// What the agent asks for itself, after Envoy's first request.
    fn own_requests(proxy: &XdsProxy) -> Vec<Self::Request>;

    /// Takes out of a response what is the agent's. Returns the answer to it when nothing is left for Envoy.
    fn keep(proxy: &XdsProxy, response: &mut Self::Response) -> Option<Self::Request>;
}

enum Delta {}

impl Variant for Delta {
    type Request = DeltaDiscoveryRequest;
    type Response = DeltaDiscoveryResponse;
    const PATH: &'static str = ADS.delta;

    fn answer(request: &DeltaDiscoveryRequest) -> (&str, &str, Option<&rpc::Status>) {
        (&request.type_url, &request.response_nonce, request.error_detail.as_ref())
    }

    fn own_requests(proxy: &XdsProxy) -> Vec<DeltaDiscoveryRequest> {
        let mut own = vec![ask_for_roots(proxy.roots.name())];
        own.extend(proxy.names.is_some().then(ask_for_names));
        own
    }

    fn keep(proxy: &XdsProxy, response: &mut DeltaDiscoveryResponse) -> Option<DeltaDiscoveryRequest> {
        keep_names(proxy.names.as_deref(), response).or_else(|| keep_roots(&*proxy.roots, response))
    }
}

/// In this variant a request replaces the whole subscription, so there is nothing that could be added to Envoy's.
enum Sotw {}

impl Variant for Sotw {
    type Request = DiscoveryRequest;
    type Response = DiscoveryResponse;
    const PATH: &'static str = ADS.sotw;

    fn answer(request: &DiscoveryRequest) -> (&str, &str, Option<&rpc::Status>) {
        (&request.type_url, &request.response_nonce, request.error_detail.as_ref())
    }

    fn own_requests(_: &XdsProxy) -> Vec<DiscoveryRequest> {
        Vec::new()
    }

    fn keep(_: &XdsProxy, _: &mut DiscoveryResponse) -> Option<DiscoveryRequest> {
        None
    }
}

impl Discovery for XdsProxy {
    type DeltaRequest = DeltaDiscoveryRequest;
    type Delta = DeltaDiscoveryResponse;
    type Sotw = DiscoveryResponse;

    async fn delta(
        &self,
        request: Request<Requests<DeltaDiscoveryRequest>>,
    ) -> Result<Response<BoxStream<DeltaDiscoveryResponse>>, Status> {
        Ok(self.forward::<Delta>(request))
    }

    async fn sotw(
        &self,
        request: Request<Requests<DiscoveryRequest>>,
    ) -> Result<Response<BoxStream<DiscoveryResponse>>, Status> {
        Ok(self.forward::<Sotw>(request))
    }
}

/// Why a stream is not forwarded any longer.
enum Ended {
    /// One side is gone, or takes nothing more: the streams just end.
    Gone,
    /// The control plane said why.
    Upstream(Status),
}

impl<T> From<SendTimeoutError<T>> for Ended {
    fn from(_: SendTimeoutError<T>) -> Self {
        Ended::Gone
    }
}

impl XdsProxy {
    fn forward<V: Variant>(
        &self,
        request: Request<Requests<V::Request>>,
    ) -> Response<BoxStream<V::Response>> {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let (proxy, down) = (self.clone(), request.into_inner());
        tokio::spawn(async move {
            if let Err(Ended::Upstream(status)) = proxy.run::<V>(down, &sender).await {
                let _ = sender.send_timeout(Err(status), SEND_TIMEOUT).await;
            }
        });
        Response::new(Box::pin(ReceiverStream::new(receiver)))
    }

    async fn run<V: Variant>(
        &self,
        down: Requests<V::Request>,
        sender: &mpsc::Sender<Result<V::Response, Status>>,
    ) -> Result<Infallible, Ended> {
        let (up_sender, up_receiver) = mpsc::channel(QUEUE);
        let up = self.open(V::PATH, up_receiver).await.map_err(Ended::Upstream)?;
        let ended = self.pass::<V>(down, &up_sender, up, sender).await;
        self.status.set_connected(false);
        ended
    }

    /// Passes messages both ways. A side that takes nothing for [`SEND_TIMEOUT`] ends both streams: Envoy opens a new
    /// one, and its configuration stays in force meanwhile.
    async fn pass<V: Variant>(
        &self,
        mut down: Requests<V::Request>,
        up_sender: &mpsc::Sender<V::Request>,
        mut up: Streaming<V::Response>,
        sender: &mpsc::Sender<Result<V::Response, Status>>,
    ) -> Result<Infallible, Ended> {
        let mut asked = false;
        loop {
            tokio::select! {
                message = down.message() => {
                    let Ok(Some(request)) = message else { return Err(Ended::Gone) };
                    let (type_url, nonce, rejection) = V::answer(&request);
                    self.observe(type_url, nonce, rejection);
                    up_sender.send_timeout(request, SEND_TIMEOUT).await?;
                    // After Envoy's first request, because that one carries the node.
                    if !std::mem::replace(&mut asked, true) {
                        for request in V::own_requests(self) {
                            up_sender.send_timeout(request, SEND_TIMEOUT).await?;
                        }
                    }
                }
                message = up.message() => match message {
                    Ok(Some(mut response)) => match V::keep(self, &mut response) {
                        Some(answer) => up_sender.send_timeout(answer, SEND_TIMEOUT).await?,
                        None => sender.send_timeout(Ok(response), SEND_TIMEOUT).await?,
                    },
                    ended => return Err(Ended::Upstream(end_status(ended.err()))),
                }
            }
        }
    }
}

fn end_status(error: Option<Status>) -> Status {
    error.map_or_else(
        || Status::unavailable("the control plane closed the stream"),
        |status| Status::new(status.code(), status.message().to_owned()),
    )
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;
    use crate::certificates::SecretHub;

    fn proxy() -> XdsProxy {
        XdsProxy {
            upstream: Upstream::istiod(
                "istiod:15010",
                "".as_ref(),
                "".as_ref(),
                Arc::new(SecretHub::default()),
            ),
            roots: Arc::new(SecretHub::default()),
            names: None,
            status: Arc::default(),
        }
    }

    fn responses<M: Message + Default + 'static>(body: tonic::body::Body) -> Streaming<M> {
        Streaming::new_request(tonic_prost::ProstDecoder::<M>::default(), body, None, None)
    }

    fn requests<M: Message + Default + 'static>(body: tonic::body::Body) -> Requests<M> {
        Requests::new(body, 1024)
    }

    /// A body with one message, in gRPC's framing: no compression, length, bytes.
    fn one<M: Message + Default + 'static>(message: &M) -> tonic::body::Body {
        let bytes = message.encode_to_vec();
        let mut frame = vec![0];
        frame.extend_from_slice(&u32::try_from(bytes.len()).unwrap().to_be_bytes());
        frame.extend_from_slice(&bytes);
        tonic::body::Body::new(http_body_util::Full::new(bytes::Bytes::from(frame)))
    }

    fn silent() -> tonic::body::Body {
        let never = futures::stream::pending::<Result<hyper::body::Frame<bytes::Bytes>, Status>>();
        tonic::body::Body::new(http_body_util::StreamBody::new(never))
    }

    /// How long it takes until the streams are given up.
    async fn given_up(down: tonic::body::Body, up: tonic::body::Body) -> tokio::time::Duration {
        // Full queues that nobody empties.
        let (up_sender, _up_receiver) = mpsc::channel(1);
        up_sender.send(DiscoveryRequest::default()).await.unwrap();
        let (sender, _receiver) = mpsc::channel(1);
        sender.send(Ok(DiscoveryResponse::default())).await.unwrap();
        let started = tokio::time::Instant::now();
        let passing = proxy();
        let passing = passing.pass::<Sotw>(requests(down), &up_sender, responses(up), &sender);
        let ended = tokio::time::timeout(SEND_TIMEOUT * 2, passing).await;
        assert!(matches!(ended, Ok(Err(Ended::Gone))), "not given up");
        started.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn an_envoy_that_takes_nothing_is_given_up() {
        let response = DiscoveryResponse { nonce: "1".into(), ..DiscoveryResponse::default() };
        assert!(given_up(silent(), one(&response)).await >= SEND_TIMEOUT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_control_plane_that_takes_nothing_is_given_up() {
        let request = DiscoveryRequest { type_url: "x".into(), ..DiscoveryRequest::default() };
        assert!(given_up(one(&request), silent()).await >= SEND_TIMEOUT);
    }
}
