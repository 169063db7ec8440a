//! The control plane double.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use portolan_envoy_api::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Resource,
};
use portolan_envoy_api::pb::google::protobuf::Any;
use portolan_xds::istio::{IstioCertificateRequest, IstioCertificateResponse};
use portolan_xds_grpc::{AdsServer, BoxStream, CertificateServer, CertificateService, Discovery, Requests};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status};

/// Type -> name -> (version, body).
type Resources = BTreeMap<String, BTreeMap<String, (String, Any)>>;

pub const CLUSTER: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
pub const LISTENER: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";
pub const ENDPOINTS: &str = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";
pub const ROUTES: &str = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";
pub const VIRTUAL_HOST: &str = "type.googleapis.com/envoy.config.route.v3.VirtualHost";
pub const SECRET: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";

/// The token that the double accepts.
pub const TOKEN: &str = "token-of-the-test";

/// A certificate authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its root.
    pub root_pem: String,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        params.distinguished_name.push(DnType::OrganizationName, name);
        let certificate = params.self_signed(&key).unwrap();
        Authority { root_pem: certificate.pem(), issuer: Issuer::new(params, key) }
    }

    /// Certificate and key for a DNS name or SPIFFE id.
    pub fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![match name.strip_prefix("spiffe://") {
            Some(_) => SanType::URI(name.try_into().unwrap()),
            None => SanType::DnsName(name.try_into().unwrap()),
        }];
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    fn sign(&self, csr: &str, ttl: Duration) -> Result<String, rcgen::Error> {
        let mut request = CertificateSigningRequestParams::from_pem(csr)?;
        let now = std::time::SystemTime::now();
        request.params.not_before = now.into();
        request.params.not_after = (now + ttl).into();
        Ok(request.signed_by(&self.issuer)?.pem())
    }
}

/// What the double was asked.
#[derive(Debug, Clone)]
pub enum Seen {
    /// A stream was opened by this node.
    Stream { node: String, metadata: BTreeMap<String, String>, token: bool, certificate: bool },
    /// A subscription: type, names, versions that the client has already.
    Subscribe { type_url: String, names: Vec<String>, held: usize },
    /// A response was accepted.
    Ack { type_url: String },
    /// A response was rejected.
    Nack { type_url: String, reason: String },
    /// A certificate was issued.
    Csr { token: bool, certificate: bool },
}

struct Inner {
    authority: Authority,
    resources: Mutex<Resources>,
    generation: watch::Sender<u64>,
    seen: Mutex<Vec<Seen>>,
    certificate_ttl: Mutex<Duration>,
    cut: watch::Sender<u64>,
    delta: AtomicBool,
}

/// The double. Cheap to clone.
#[derive(Clone)]
pub struct Istiod {
    inner: Arc<Inner>,
    pub address: SocketAddr,
}

impl Istiod {
    pub async fn start() -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let authority = Authority::new("test mesh");
        let (certificate, key) = authority.issue("localhost");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let istiod = Istiod {
            inner: Arc::new(Inner {
                authority,
                resources: Mutex::default(),
                generation: watch::channel(0).0,
                seen: Mutex::default(),
                certificate_ttl: Mutex::new(Duration::from_secs(3600)),
                cut: watch::channel(0).0,
                delta: AtomicBool::new(true),
            }),
            address,
        };
        let tls = ServerTlsConfig::new()
            .identity(Identity::from_pem(certificate, key))
            .client_ca_root(Certificate::from_pem(istiod.root_pem()))
            .client_auth_optional(true);
        let server = Server::builder()
            .tls_config(tls)
            .unwrap()
            .add_service(AdsServer::new(Arc::new(istiod.clone()), 4 << 20))
            .add_service(CertificateServer::new(Arc::new(istiod.clone())));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        istiod
    }

    pub fn root_pem(&self) -> &str {
        &self.inner.authority.root_pem
    }

    /// Certificate and key of another workload of the mesh.
    pub fn issue(&self, name: &str) -> (String, String) {
        self.inner.authority.issue(name)
    }

    pub fn set_certificate_ttl(&self, ttl: Duration) {
        *self.inner.certificate_ttl.lock().unwrap() = ttl;
    }

    /// Sets a resource from JSON and pushes it.
    pub fn set(&self, type_url: &str, name: &str, json: Value) {
        let body = portolan_xds::json::from_json(type_url, &json).unwrap_or_else(|e| panic!("{name}: {e}"));
        self.set_bytes(type_url, name, body.to_vec());
    }

    /// Sets a resource, right or wrong, and pushes it.
    pub fn set_bytes(&self, type_url: &str, name: &str, value: Vec<u8>) {
        let mut generation = 0;
        self.inner.generation.send_modify(|g| {
            *g += 1;
            generation = *g;
        });
        let any = Any { type_url: type_url.to_owned(), value };
        let mut resources = self.inner.resources.lock().unwrap();
        resources
            .entry(type_url.to_owned())
            .or_default()
            .insert(name.to_owned(), (generation.to_string(), any));
        drop(resources);
        self.inner.generation.send_modify(|g| *g += 1);
    }

    pub fn remove(&self, type_url: &str, name: &str) {
        self.inner.resources.lock().unwrap().get_mut(type_url).unwrap().remove(name);
        self.inner.generation.send_modify(|g| *g += 1);
    }

    /// Makes it a control plane of Istio 1.9: state of the world only.
    pub fn without_delta(self) -> Self {
        self.inner.delta.store(false, Ordering::Relaxed);
        self
    }

    /// Breaks all streams.
    pub fn cut(&self) {
        self.inner.cut.send_modify(|n| *n += 1);
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.inner.seen.lock().unwrap().clone()
    }

    pub fn forget(&self) {
        self.inner.seen.lock().unwrap().clear();
    }

    fn note(&self, seen: Seen) {
        self.inner.seen.lock().unwrap().push(seen);
    }
}

fn has_token<T>(request: &Request<T>) -> bool {
    request.metadata().get("authorization").is_some_and(|value| value == format!("Bearer {TOKEN}").as_str())
}

#[derive(Default)]
struct Watch {
    wildcard: bool,
    names: BTreeSet<String>,
    sent: BTreeMap<String, String>,
    answered: bool,
}

impl Watch {
    fn wants(&self, name: &str) -> bool {
        self.wildcard || self.names.contains(name)
    }
}

struct Session {
    istiod: Istiod,
    watches: BTreeMap<String, Watch>,
    nonce: u64,
    node_seen: bool,
    token: bool,
    certificate: bool,
}

impl Session {
    fn take(&mut self, request: DeltaDiscoveryRequest) {
        if let Some(node) = request.node.filter(|_| !self.node_seen) {
            self.node_seen = true;
            let metadata = node.metadata.unwrap_or_default().fields.into_iter();
            let text = metadata.filter_map(|(key, value)| match value.kind? {
                portolan_envoy_api::pb::google::protobuf::value::Kind::StringValue(text) => Some((key, text)),
                _ => None,
            });
            self.istiod.note(Seen::Stream {
                node: node.id,
                metadata: text.collect(),
                token: self.token,
                certificate: self.certificate,
            });
        }
        let type_url = request.type_url;
        if !request.response_nonce.is_empty() {
            self.istiod.note(match request.error_detail {
                None => Seen::Ack { type_url: type_url.clone() },
                Some(detail) => Seen::Nack { type_url: type_url.clone(), reason: detail.message },
            });
        }
        let is_new = !self.watches.contains_key(&type_url);
        let watch = self.watches.entry(type_url.clone()).or_default();
        if is_new || !request.resource_names_subscribe.is_empty() {
            self.istiod.note(Seen::Subscribe {
                type_url: type_url.clone(),
                names: request.resource_names_subscribe.clone(),
                held: request.initial_resource_versions.len(),
            });
        }
        if is_new {
            watch.wildcard = request.resource_names_subscribe.is_empty();
            watch.sent.extend(request.initial_resource_versions);
        }
        for name in request.resource_names_subscribe {
            if name == "*" {
                watch.wildcard = true;
            } else {
                watch.names.insert(name);
            }
        }
        for name in request.resource_names_unsubscribe {
            watch.names.remove(&name);
            watch.sent.remove(&name);
        }
    }

    fn changed(&mut self) -> Vec<DeltaDiscoveryResponse> {
        let resources = self.istiod.inner.resources.lock().unwrap().clone();
        let mut out = Vec::new();
        for type_url in [CLUSTER, ENDPOINTS, LISTENER, ROUTES, VIRTUAL_HOST, SECRET] {
            let Some(watch) = self.watches.get_mut(type_url) else { continue };
            let empty = BTreeMap::new();
            let all = resources.get(type_url).unwrap_or(&empty);
            let mut response = DeltaDiscoveryResponse { type_url: type_url.to_owned(), ..Default::default() };
            for (name, (version, body)) in all {
                if watch.wants(name) && watch.sent.get(name) != Some(version) {
                    watch.sent.insert(name.clone(), version.clone());
                    response.resources.push(Resource {
                        name: name.clone(),
                        version: version.clone(),
                        resource: Some(body.clone()),
                        ..Default::default()
                    });
                }
            }
            let gone: Vec<String> =
                watch.sent.keys().filter(|name| !all.contains_key(*name)).cloned().collect();
            for name in &gone {
                watch.sent.remove(name);
            }
            response.removed_resources = gone;
            let first_wildcard = watch.wildcard && !watch.answered;
            if first_wildcard || !response.resources.is_empty() || !response.removed_resources.is_empty() {
                watch.answered = true;
                self.nonce += 1;
                response.nonce = self.nonce.to_string();
                out.push(response);
            }
        }
        out
    }
}

impl Discovery for Istiod {
    type DeltaRequest = DeltaDiscoveryRequest;
    type Delta = DeltaDiscoveryResponse;
    type Sotw = DiscoveryResponse;

    async fn sotw(
        &self,
        request: Request<Requests<DiscoveryRequest>>,
    ) -> Result<Response<BoxStream<DiscoveryResponse>>, Status> {
        let mut requests = request.into_inner();
        let (sender, receiver) = mpsc::channel(64);
        let istiod = self.clone();
        let mut generation = self.inner.generation.subscribe();
        tokio::spawn(async move {
            let mut watched: BTreeMap<String, Vec<String>> = BTreeMap::new();
            let mut counter = 0;
            loop {
                let types: Vec<String> = tokio::select! {
                    message = requests.message() => {
                        let Ok(Some(request)) = message else { return };
                        if !request.response_nonce.is_empty() {
                            let type_url = request.type_url.clone();
                            istiod.note(match request.error_detail {
                                None => Seen::Ack { type_url },
                                Some(detail) => Seen::Nack { type_url, reason: detail.message },
                            });
                        }
                        let before = watched.insert(request.type_url.clone(), request.resource_names.clone());
                        if before.as_ref() == Some(&request.resource_names) { continue }
                        vec![request.type_url]
                    }
                    _ = generation.changed() => watched.keys().cloned().collect(),
                };
                for type_url in types {
                    counter += 1;
                    let names = &watched[&type_url];
                    let all =
                        istiod.inner.resources.lock().unwrap().get(&type_url).cloned().unwrap_or_default();
                    let resources =
                        all.into_iter().filter(|(name, _)| names.is_empty() || names.contains(name));
                    let response = DiscoveryResponse {
                        version_info: counter.to_string(),
                        nonce: counter.to_string(),
                        resources: resources.map(|(_, (_, body))| body).collect(),
                        type_url,
                        ..Default::default()
                    };
                    if sender.send(Ok(response)).await.is_err() {
                        return;
                    }
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn delta(
        &self,
        request: Request<Requests<DeltaDiscoveryRequest>>,
    ) -> Result<Response<BoxStream<DeltaDiscoveryResponse>>, Status> {
        if !self.inner.delta.load(Ordering::Relaxed) {
            return Err(Status::unimplemented("this control plane has no delta xDS"));
        }
        let token = has_token(&request);
        let certificate = request.peer_certs().is_some();
        let mut requests = request.into_inner();
        let (sender, receiver) = mpsc::channel(64);
        let mut session = Session {
            istiod: self.clone(),
            watches: BTreeMap::new(),
            nonce: 0,
            node_seen: false,
            token,
            certificate,
        };
        let mut generation = self.inner.generation.subscribe();
        let mut cut = self.inner.cut.subscribe();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    message = requests.message() => match message {
                        Ok(Some(request)) => session.take(request),
                        _ => return,
                    },
                    _ = generation.changed() => {}
                    _ = cut.changed() => {
                        let _ = sender.send(Err(Status::unavailable("cut by the test"))).await;
                        return;
                    }
                }
                for response in session.changed() {
                    if sender.send(Ok(response)).await.is_err() {
                        return;
                    }
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

impl CertificateService for Istiod {
    async fn create_certificate(
        &self,
        request: Request<IstioCertificateRequest>,
    ) -> Result<Response<IstioCertificateResponse>, Status> {
        let token = has_token(&request);
        let certificate = request.peer_certs().is_some();
        self.note(Seen::Csr { token, certificate });
        if !token && !certificate {
            return Err(Status::unauthenticated("no valid token"));
        }
        let ttl = *self.inner.certificate_ttl.lock().unwrap();
        let leaf = self
            .inner
            .authority
            .sign(&request.into_inner().csr, ttl)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        Ok(Response::new(IstioCertificateResponse { cert_chain: vec![leaf, self.root_pem().to_owned()] }))
    }
}
