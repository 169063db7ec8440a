//! One proxy's connection and its stream.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use portolan_envoy_api::pb::envoy::config::core::v3::Node;
use portolan_envoy_api::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use portolan_xds_grpc::{ADS, DiscoveryClient, causes};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use super::connection::Counted;
use super::hub::Hub;
use super::subscriptions::Subscriptions;
use super::wire::Response;
use crate::control_plane::credentials::Credentials;
use crate::error::BenchError;

/// As our proxy has them: connecting, pings, the largest message, requests that wait.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_MESSAGE: usize = 128 * 1024 * 1024;
const REQUEST_QUEUE: usize = 256;
/// A name in the control plane's own certificate.
const SERVER_NAME: &str = "localhost";

/// Why a stream ended, or was none.
#[derive(Debug)]
pub(crate) enum Ended {
    /// Nobody listens.
    Refused,
    /// Somebody listens, but there is no stream.
    Failed(String),
    /// It was open.
    Closed(String),
}

/// One proxy.
pub(crate) struct Client {
    /// Its place in the fleet.
    pub(crate) index: usize,
    address: SocketAddr,
    endpoint: Endpoint,
    node: Node,
    /// Bytes that it has received.
    received: Arc<AtomicU64>,
}

impl Client {
    pub(crate) fn new(
        index: usize,
        address: SocketAddr,
        credentials: &Credentials,
        node: Node,
        received: Arc<AtomicU64>,
    ) -> Result<Self, BenchError> {
        let tls = ClientTlsConfig::new()
            .domain_name(SERVER_NAME)
            .ca_certificate(Certificate::from_pem(&credentials.roots))
            .identity(Identity::from_pem(&credentials.chain, &credentials.key));
        let failed = |error: tonic::transport::Error| BenchError::Client(causes(&error));
        let endpoint = Endpoint::from_shared(format!("https://{address}"))
            .map_err(failed)?
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .tls_config(tls)
            .map_err(failed)?;
        Ok(Client { index, address, endpoint, node, received })
    }

    /// Has a stream for as long as it lasts.
    pub(crate) async fn stream(&self, subscriptions: &mut Subscriptions, hub: &Hub) -> Ended {
        let channel = match self.connect().await {
            Ok(channel) => channel,
            Err(ended) => return ended,
        };
        let (sender, receiver) = mpsc::channel::<DeltaDiscoveryRequest>(REQUEST_QUEUE);
        for request in hub.opening(subscriptions, &self.node) {
            // The queue is longer than the number of types.
            let _ = sender.try_send(request);
        }
        let mut client = DiscoveryClient::new(channel, MAX_MESSAGE);
        let opened = client.open::<_, Response>(ADS.delta, ReceiverStream::new(receiver)).await;
        let mut responses = match opened {
            Ok(responses) => responses,
            Err(status) => return Ended::Failed(status.to_string()),
        };
        let ended: Result<Infallible, String> = async {
            loop {
                let received = responses.message().await.map_err(|status| status.to_string())?;
                let response = received.ok_or("the control plane closed the stream")?;
                let answers = hub.take(self.index, subscriptions, response)?;
                for answer in answers {
                    sender.send(answer).await.map_err(|error| error.to_string())?;
                }
            }
        }
        .await;
        let Err(why) = ended;
        Ended::Closed(why)
    }

    async fn connect(&self) -> Result<Channel, Ended> {
        let socket = TcpStream::connect(self.address).await.map_err(|error| match error.kind() {
            std::io::ErrorKind::ConnectionRefused => Ended::Refused,
            _ => Ended::Failed(error.to_string()),
        })?;
        let failed = |error: &(dyn std::error::Error + 'static)| Ended::Failed(causes(error));
        socket.set_nodelay(true).map_err(|error| failed(&error))?;
        let mut socket = Some(TokioIo::new(Counted::new(socket, self.received.clone())));
        let connector = tower::service_fn(move |_| {
            let socket = socket.take().ok_or_else(|| std::io::Error::other("the connection is gone"));
            std::future::ready(socket)
        });
        self.endpoint.connect_with_connector(connector).await.map_err(|error| failed(&error))
    }
}
