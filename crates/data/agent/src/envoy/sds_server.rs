//! The SDS server that Envoy gets its certificates from, on a unix socket.
//!
//! Both variants of the protocol are served. A name that the agent does not supply is never answered: Envoy
//! then keeps the listener or cluster warming, as with istio-agent.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use portolan_envoy_api::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Resource,
};
use portolan_envoy_api::pb::google::protobuf::Any;
use portolan_xds_grpc::{BoxStream, Discovery, Requests};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::certificates::{SecretHub, is_own};
use portolan_dataplane::config::ResourceKind;

/// Responses waiting for a slow Envoy.
const QUEUE: usize = 16;
/// How long a response may wait for Envoy to take it: it reads its sockets at once, other than when it is stuck.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);
/// Names that one stream may ask for. Envoy opens one stream per secret.
const MAX_NAMES: usize = 512;

/// The service: serves the secrets of a hub.
#[derive(Debug)]
pub(super) struct Sds {
    /// The secrets.
    pub(super) hub: SecretHub,
}

/// What one stream asked for and has.
#[derive(Debug)]
struct Session {
    hub: SecretHub,
    names: BTreeSet<String>,
    sent: BTreeMap<String, Arc<str>>,
    counter: u64,
}

impl Session {
    fn new(hub: SecretHub) -> Self {
        Session { hub, names: BTreeSet::new(), sent: BTreeMap::new(), counter: 0 }
    }

    /// Adds names; the ones that the agent cannot supply are logged once and left out.
    fn want<'a>(&mut self, names: impl IntoIterator<Item = &'a String>) -> Result<(), Status> {
        for name in names {
            if !is_own(name) {
                tracing::warn!(
                    name,
                    "Envoy asks the agent for a secret that only the control plane can have"
                );
            } else if !self.hub.want_file(name) || self.names.len() >= MAX_NAMES {
                return Err(Status::resource_exhausted("too many secrets"));
            } else {
                self.names.insert(name.clone());
            }
        }
        self.hub.refresh_files();
        Ok(())
    }

    /// The secrets that are new or changed since they were last returned.
    fn changed(&mut self) -> Vec<(String, Arc<str>, Any)> {
        let mut out = Vec::new();
        for name in &self.names {
            if let Some(secret) = self.hub.get(name)
                && self.sent.get(name) != Some(&secret.version)
            {
                self.sent.insert(name.clone(), secret.version.clone());
                let body =
                    Any { type_url: ResourceKind::Secret.type_url().to_owned(), value: secret.body.to_vec() };
                out.push((name.clone(), secret.version, body));
            }
        }
        out
    }

    fn nonce(&mut self) -> String {
        self.counter += 1;
        self.counter.to_string()
    }

    fn delta(&mut self) -> Option<DeltaDiscoveryResponse> {
        let resources: Vec<Resource> = self
            .changed()
            .into_iter()
            .map(|(name, version, body)| Resource {
                name,
                version: version.to_string(),
                resource: Some(body),
                ..Resource::default()
            })
            .collect();
        if resources.is_empty() {
            return None;
        }
        Some(DeltaDiscoveryResponse {
            type_url: ResourceKind::Secret.type_url().to_owned(),
            nonce: self.nonce(),
            resources,
            ..DeltaDiscoveryResponse::default()
        })
    }

    /// State of the world: all secrets of the stream as soon as one of them changed.
    fn world(&mut self) -> Option<DiscoveryResponse> {
        if self.changed().is_empty() {
            return None;
        }
        self.sent.clear();
        let all = self.changed();
        Some(DiscoveryResponse {
            version_info: all.iter().map(|(_, version, _)| &**version).collect::<Vec<_>>().join("+"),
            resources: all.into_iter().map(|(_, _, body)| body).collect(),
            type_url: ResourceKind::Secret.type_url().to_owned(),
            nonce: self.nonce(),
            ..DiscoveryResponse::default()
        })
    }
}

/// A variant of the protocol.
trait Variant: 'static {
    type Request: Default + prost::Message + 'static;
    type Response: Send + 'static;

    /// Takes a request in; an error ends the stream.
    fn take(session: &mut Session, request: &Self::Request) -> Result<(), Status>;

    /// What is to be sent, if anything is.
    fn response(session: &mut Session) -> Option<Self::Response>;
}

enum Delta {}

impl Variant for Delta {
    type Request = DeltaDiscoveryRequest;
    type Response = DeltaDiscoveryResponse;

    fn take(session: &mut Session, request: &DeltaDiscoveryRequest) -> Result<(), Status> {
        log_rejection(request.error_detail.as_ref());
        for name in &request.resource_names_unsubscribe {
            session.names.remove(name);
            session.sent.remove(name);
        }
        // Asking again for a name that was answered means that Envoy wants it anew.
        for name in &request.resource_names_subscribe {
            session.sent.remove(name);
        }
        session.want(&request.resource_names_subscribe)
    }

    fn response(session: &mut Session) -> Option<DeltaDiscoveryResponse> {
        session.delta()
    }
}

enum Sotw {}

impl Variant for Sotw {
    type Request = DiscoveryRequest;
    type Response = DiscoveryResponse;

    fn take(session: &mut Session, request: &DiscoveryRequest) -> Result<(), Status> {
        log_rejection(request.error_detail.as_ref());
        session.names.retain(|name| request.resource_names.contains(name));
        session.want(&request.resource_names)
    }

    fn response(session: &mut Session) -> Option<DiscoveryResponse> {
        session.world()
    }
}

impl Discovery for Sds {
    type DeltaRequest = DeltaDiscoveryRequest;
    type Delta = DeltaDiscoveryResponse;
    type Sotw = DiscoveryResponse;

    async fn delta(
        &self,
        request: Request<Requests<DeltaDiscoveryRequest>>,
    ) -> Result<Response<BoxStream<DeltaDiscoveryResponse>>, Status> {
        Ok(self.open::<Delta>(request))
    }

    async fn sotw(
        &self,
        request: Request<Requests<DiscoveryRequest>>,
    ) -> Result<Response<BoxStream<DiscoveryResponse>>, Status> {
        Ok(self.open::<Sotw>(request))
    }
}

impl Sds {
    fn open<V: Variant>(&self, request: Request<Requests<V::Request>>) -> Response<BoxStream<V::Response>> {
        let (sender, receiver) = mpsc::channel(QUEUE);
        tokio::spawn(run::<V>(Session::new(self.hub.clone()), request.into_inner(), sender));
        Response::new(Box::pin(ReceiverStream::new(receiver)))
    }
}

/// Serves one stream until either side is gone or Envoy takes nothing more.
async fn run<V: Variant>(
    mut session: Session,
    mut requests: Requests<V::Request>,
    sender: mpsc::Sender<Result<V::Response, Status>>,
) {
    let mut changes = session.hub.changes();
    loop {
        tokio::select! {
            message = requests.message() => {
                let Ok(Some(request)) = message else { return };
                if let Err(status) = V::take(&mut session, &request) {
                    let _ = sender.send_timeout(Err(status), SEND_TIMEOUT).await;
                    return;
                }
            }
            changed = changes.changed() => if changed.is_err() { return },
        }
        if let Some(response) = V::response(&mut session)
            && sender.send_timeout(Ok(response), SEND_TIMEOUT).await.is_err()
        {
            return;
        }
    }
}

fn log_rejection(detail: Option<&portolan_envoy_api::pb::google::rpc::Status>) {
    if let Some(detail) = detail {
        tracing::warn!(reason = detail.message, "Envoy rejected a secret");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificates::{ROOT, WORKLOAD, certificate_secret, root_secret};

    #[test]
    fn a_session_sends_what_is_there_and_what_changes() {
        let hub = SecretHub::default();
        let mut session = Session::new(hub.clone());
        session.want(&[WORKLOAD.to_owned(), "kubernetes://x".to_owned()]).unwrap();
        assert!(session.delta().is_none());
        hub.set(&certificate_secret(WORKLOAD, b"c".to_vec(), b"k".to_vec()));
        hub.set(&root_secret(ROOT, b"r".to_vec()));
        let first = session.delta().unwrap();
        assert_eq!(first.resources.len(), 1);
        assert_eq!(first.resources[0].name, WORKLOAD);
        assert!(session.delta().is_none());
        hub.set(&certificate_secret(WORKLOAD, b"c2".to_vec(), b"k2".to_vec()));
        let second = session.delta().unwrap();
        assert_ne!(first.nonce, second.nonce);
        assert_ne!(first.resources[0].version, second.resources[0].version);
    }

    #[test]
    fn state_of_the_world_repeats_all() {
        let hub = SecretHub::default();
        hub.set(&certificate_secret(WORKLOAD, b"c".to_vec(), b"k".to_vec()));
        hub.set(&root_secret(ROOT, b"r".to_vec()));
        let mut session = Session::new(hub.clone());
        session.want(&[WORKLOAD.to_owned(), ROOT.to_owned()]).unwrap();
        assert_eq!(session.world().unwrap().resources.len(), 2);
        assert!(session.world().is_none());
        hub.set(&root_secret(ROOT, b"r2".to_vec()));
        assert_eq!(session.world().unwrap().resources.len(), 2);
    }
}
