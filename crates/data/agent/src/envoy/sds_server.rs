//! The SDS server that Envoy gets its certificates from, on a unix socket.
//!
//! Both variants of the protocol are served. A name that the agent does not supply is never answered: Envoy
//! then keeps the listener or cluster warming, as with istio-agent.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::Arc;

use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Resource,
};
use envoy_types::pb::envoy::service::secret::v3::secret_discovery_service_server::{
    SecretDiscoveryService, SecretDiscoveryServiceServer,
};
use envoy_types::pb::google::protobuf::Any;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::certificates::{SecretHub, is_own};
use portolan_dataplane::config::ResourceKind;

/// Responses waiting for a slow Envoy.
const QUEUE: usize = 16;
/// Names that one stream may ask for. Envoy opens one stream per secret.
const MAX_NAMES: usize = 512;

type Output<T> = Pin<Box<dyn tokio_stream::Stream<Item = Result<T, Status>> + Send>>;

/// The service.
#[derive(Debug, Clone)]
pub(super) struct SdsServer {
    hub: SecretHub,
}

impl SdsServer {
    /// Serves the secrets of `hub`.
    pub(super) fn service(hub: SecretHub) -> SecretDiscoveryServiceServer<SdsServer> {
        SecretDiscoveryServiceServer::new(SdsServer { hub })
    }
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

#[tonic::async_trait]
impl SecretDiscoveryService for SdsServer {
    type DeltaSecretsStream = Output<DeltaDiscoveryResponse>;
    type StreamSecretsStream = Output<DiscoveryResponse>;

    async fn delta_secrets(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaSecretsStream>, Status> {
        let mut requests = request.into_inner();
        let (sender, receiver) = mpsc::channel(QUEUE);
        let mut session = Session::new(self.hub.clone());
        tokio::spawn(async move {
            let mut changes = session.hub.changes();
            loop {
                tokio::select! {
                    message = requests.message() => {
                        let Ok(Some(request)) = message else { return };
                        log_rejection(request.error_detail.as_ref());
                        for name in &request.resource_names_unsubscribe {
                            session.names.remove(name);
                            session.sent.remove(name);
                        }
                        // Asking again for a name that was answered means that Envoy wants it anew.
                        for name in &request.resource_names_subscribe {
                            session.sent.remove(name);
                        }
                        if let Err(status) = session.want(&request.resource_names_subscribe) {
                            let _ = sender.send(Err(status)).await;
                            return;
                        }
                    }
                    changed = changes.changed() => if changed.is_err() { return },
                }
                if let Some(response) = session.delta()
                    && sender.send(Ok(response)).await.is_err()
                {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn stream_secrets(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamSecretsStream>, Status> {
        let mut requests = request.into_inner();
        let (sender, receiver) = mpsc::channel(QUEUE);
        let mut session = Session::new(self.hub.clone());
        tokio::spawn(async move {
            let mut changes = session.hub.changes();
            loop {
                tokio::select! {
                    message = requests.message() => {
                        let Ok(Some(request)) = message else { return };
                        log_rejection(request.error_detail.as_ref());
                        session.names.retain(|name| request.resource_names.contains(name));
                        if let Err(status) = session.want(&request.resource_names) {
                            let _ = sender.send(Err(status)).await;
                            return;
                        }
                    }
                    changed = changes.changed() => if changed.is_err() { return },
                }
                if let Some(response) = session.world()
                    && sender.send(Ok(response)).await.is_err()
                {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn fetch_secrets(
        &self,
        request: Request<DiscoveryRequest>,
    ) -> Result<Response<DiscoveryResponse>, Status> {
        let mut session = Session::new(self.hub.clone());
        session.want(&request.into_inner().resource_names)?;
        match session.world() {
            Some(response) => Ok(Response::new(response)),
            None => Err(Status::unavailable("the secret is not there yet; ask again")),
        }
    }
}

fn log_rejection(detail: Option<&envoy_types::pb::google::rpc::Status>) {
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
