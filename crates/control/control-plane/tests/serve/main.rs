//! The whole control plane in one process, against a small stand-in for the Kubernetes API, with real gRPC and HTTPS
//! clients.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test reports by panicking")]

mod by_change;
mod fake;

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use clap::Parser;
use fake::Running;
use portolan_control_plane::Args;
use portolan_envoy_api::pb::{
    envoy::{
        config::{core::v3::Node, endpoint::v3::ClusterLoadAssignment},
        service::discovery::v3::DeltaDiscoveryRequest,
    },
    google::protobuf::{Struct, Value as ProtoValue, value::Kind},
};
use portolan_xds::{
    client::{DeltaClient, Update},
    istio::{IstioCertificateRequest, NameTable},
    type_url,
    wire::DeltaDiscoveryResponse,
};
use portolan_xds_grpc::{CertificateClient, DiscoveryClient};
use prost::Message;
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Code, Request, Status, Streaming,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};

const WAIT: Duration = Duration::from_secs(20);

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    args: Args,
}

struct Plane {
    api: Running,
    args: Args,
    _files: tempfile::TempDir,
}

async fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap().port()
}

/// Starts everything and waits until it is ready.
async fn start() -> Plane {
    let api = Running::start().await;
    for name in ["default", "istio-system", "bookinfo"] {
        api.fake.apply("/api/v1/namespaces", json!({"metadata": {"name": name}}));
    }
    api.fake.apply(
        "/api/v1/configmaps",
        json!({"metadata": {"name": "istio", "namespace": "istio-system"}, "data": {"mesh": "trustDomain: west.local\n"}}),
    );
    reviews(&api);
    let files = tempfile::tempdir().unwrap();
    let kubeconfig = files.path().join("kubeconfig");
    std::fs::write(&kubeconfig, api.kubeconfig()).unwrap();
    let mut args = Flags::parse_from(["test", "--bind", "127.0.0.1"]).args;
    args.kubeconfig = Some(kubeconfig);
    args.grpc_port = free_port().await;
    args.webhook_port = free_port().await;
    args.monitoring_port = free_port().await;
    args.http_port = free_port().await;
    args.federation_port = free_port().await;
    tokio::spawn({
        let args = args.clone();
        async move { portolan_control_plane::run(args).await.unwrap() }
    });
    let plane = Plane { api, args, _files: files };
    for _ in 0..200 {
        if plane.http(plane.args.http_port, "/ready").await.is_some_and(|(code, _)| code == 200) {
            return plane;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("not ready");
}

/// A Service with one endpoint.
fn reviews(api: &Running) {
    let fake = &api.fake;
    fake.apply(
        "/api/v1/services",
        json!({"metadata": {"name": "reviews", "namespace": "bookinfo"},
            "spec": {"clusterIP": "10.96.0.7", "selector": {"app": "reviews"},
                "ports": [{"name": "http", "port": 9080, "targetPort": 9080}]}}),
    );
    fake.apply(
        "/api/v1/pods",
        json!({"metadata": {"name": "reviews-1", "namespace": "bookinfo",
                "labels": {"app": "reviews", "security.istio.io/tlsMode": "istio"}},
            "spec": {"serviceAccountName": "reviews", "containers": [{"name": "reviews"}]},
            "status": {"phase": "Running", "podIP": "10.64.0.5", "podIPs": [{"ip": "10.64.0.5"}]}}),
    );
    endpoints(api, &["10.64.0.5"]);
}

fn endpoints(api: &Running, ips: &[&str]) {
    let endpoints: Vec<Value> =
        ips.iter().map(|ip| json!({"addresses": [ip], "conditions": {"ready": true}})).collect();
    api.fake.apply(
        "/apis/discovery.k8s.io/v1/endpointslices",
        json!({"metadata": {"name": "reviews-x", "namespace": "bookinfo",
                "labels": {"kubernetes.io/service-name": "reviews"}},
            "addressType": "IPv4", "ports": [{"name": "http", "port": 9080, "protocol": "TCP"}],
            "endpoints": endpoints}),
    );
}

impl Plane {
    async fn http(&self, port: u16, path: &str) -> Option<(u16, String)> {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await.ok()?;
        let code = text.split(' ').nth(1)?.parse().ok()?;
        let (head, body) = text.split_once("\r\n\r\n")?;
        let body = if head.to_ascii_lowercase().contains("chunked") {
            body.split("\r\n").skip(1).step_by(2).collect()
        } else {
            body.to_owned()
        };
        Some((code, body))
    }

    async fn debug(&self, path: &str) -> Value {
        let (code, body) = self.http(self.args.monitoring_port, path).await.unwrap();
        assert_eq!(code, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}"))
    }

    async fn root(&self) -> String {
        for _ in 0..100 {
            let map = self.api.fake.get("/api/v1/configmaps", "bookinfo/istio-ca-root-cert");
            if let Some(root) = map.as_ref().and_then(|map| map["data"]["root-cert.pem"].as_str()) {
                return root.to_owned();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the root was not published");
    }

    async fn channel(&self, identity: Option<Identity>) -> Channel {
        let mut tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(self.root().await))
            .domain_name("istiod.istio-system.svc");
        if let Some(identity) = identity {
            tls = tls.identity(identity);
        }
        Endpoint::from_shared(format!("https://127.0.0.1:{}", self.args.grpc_port))
            .unwrap()
            .tls_config(tls)
            .unwrap()
            .connect()
            .await
            .unwrap()
    }
}

fn with_token<T>(message: T, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    if !token.is_empty() {
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    request
}

fn node(namespace: &str, account: &str) -> Node {
    named("sidecar~10.64.0.5~reviews-1", namespace, account, "10.64.0.5")
}

/// `who` is type, address and name.
fn named(who: &str, namespace: &str, account: &str, ip: &str) -> Node {
    let text = |text: &str| ProtoValue { kind: Some(Kind::StringValue(text.into())) };
    let fields = [("NAMESPACE", namespace), ("SERVICE_ACCOUNT", account), ("INSTANCE_IPS", ip)]
        .map(|(key, value)| (key.to_owned(), text(value)));
    Node {
        id: format!("{who}.{namespace}~{namespace}.svc.cluster.local"),
        metadata: Some(Struct { fields: fields.into() }),
        ..Default::default()
    }
}

/// A proxy that accepts everything.
struct Proxy {
    client: DeltaClient,
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
    responses: Streaming<DeltaDiscoveryResponse>,
}

impl Proxy {
    async fn connect(channel: Channel, token: &str, node: Node, types: &[&str]) -> Result<Self, Status> {
        let mut client = DeltaClient::new(node);
        for type_url in types {
            client.subscribe_all(type_url);
        }
        let (requests, receiver) = mpsc::channel(100);
        for request in client.connected() {
            requests.send(request).await.unwrap();
        }
        let stream = with_token(ReceiverStream::new(receiver), token);
        let responses = DiscoveryClient::new(channel, 64 << 20).delta(stream).await?;
        Ok(Self { client, requests, responses })
    }

    /// The next response, acknowledged.
    async fn next(&mut self) -> Result<Update, Status> {
        let response = timeout(WAIT, self.responses.message()).await.expect("no response in time")?;
        let update = self.client.on_response(response.expect("the stream ended")).unwrap();
        let ack = self.client.finish(&update, &[]).unwrap();
        self.requests.send(ack).await.unwrap();
        Ok(update)
    }

    /// Asks for resources by name.
    async fn ask<'a>(&mut self, type_url: &str, names: impl IntoIterator<Item = &'a str>) {
        let request = self.client.subscribe(type_url, names.into_iter().map(str::to_owned)).unwrap();
        self.requests.send(request).await.unwrap();
    }

    /// The next response of a type.
    async fn next_of(&mut self, type_url: &str) -> Update {
        loop {
            let update = self.next().await.unwrap();
            if update.type_url == type_url {
                return update;
            }
        }
    }
}

/// A key and a certificate for it, signed by the control plane.
async fn certificate(plane: &Plane, token: &str) -> Result<(String, Vec<String>), Status> {
    let key = rcgen::KeyPair::generate().unwrap();
    let csr = rcgen::CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap();
    let request = IstioCertificateRequest { csr, validity_duration: 3600, metadata: None };
    let mut client = CertificateClient::new(plane.channel(None).await);
    let answer = client.create_certificate(with_token(request, token)).await?;
    Ok((key.serialize_pem(), answer.into_inner().cert_chain))
}

/// Types that show as base64 in a dump.
fn unreadable(dump: &Value) -> Vec<String> {
    match dump {
        Value::Object(fields) => {
            let mut found: Vec<String> = fields.values().flat_map(unreadable).collect();
            if let (2, Some(Value::String(kind)), Some(Value::String(_))) =
                (fields.len(), fields.get("@type"), fields.get("value"))
            {
                found.push(kind.clone());
            }
            found
        }
        Value::Array(items) => items.iter().flat_map(unreadable).collect(),
        _ => Vec::new(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn serves_a_mesh() {
    let plane = start().await;

    // Certificates are signed for the identity behind the token, and for nobody else.
    assert_eq!(certificate(&plane, "").await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(certificate(&plane, "nonsense").await.unwrap_err().code(), Code::Unauthenticated);
    let (key, chain) = certificate(&plane, "bookinfo:reviews").await.unwrap();
    assert_eq!(chain.len(), 2);
    assert_eq!(chain[1], plane.root().await);

    // A proxy is who its token says, or it gets nothing.
    let types = [type_url::CLUSTER, type_url::LISTENER, type_url::NAME_TABLE];
    let channel = plane.channel(None).await;
    let unknown = Proxy::connect(channel.clone(), "", node("bookinfo", "reviews"), &types).await;
    assert_eq!(unknown.map(drop).unwrap_err().code(), Code::Unauthenticated);
    let mut liar =
        Proxy::connect(channel.clone(), "default:x", node("bookinfo", "reviews"), &types).await.unwrap();
    assert_eq!(liar.next().await.unwrap_err().code(), Code::PermissionDenied);

    let mut proxy =
        Proxy::connect(channel, "bookinfo:reviews", node("bookinfo", "reviews"), &types).await.unwrap();
    let clusters = proxy.next().await.unwrap();
    let cluster = "outbound|9080||reviews.bookinfo.svc.cluster.local";
    assert!(clusters.upserts.iter().any(|upsert| upsert.name == cluster));
    let listeners = proxy.next().await.unwrap();
    assert!(listeners.upserts.iter().any(|upsert| upsert.name == "virtualInbound"));
    assert_eq!(proxy.next().await.unwrap().type_url, type_url::NAME_TABLE);

    // Endpoints travel alone, and before the quiet time of other changes is over.
    proxy.ask(type_url::ENDPOINT, [cluster]).await;
    assert_eq!(proxy.next_of(type_url::ENDPOINT).await.upserts.len(), 1);
    endpoints(&plane.api, &["10.64.0.5", "10.64.0.6"]);
    let started = Instant::now();
    let changed = proxy.next().await.unwrap();
    assert_eq!(changed.type_url, type_url::ENDPOINT, "nothing else changed");
    println!("endpoint change to proxy: {:?}", started.elapsed());
    let assignment = ClusterLoadAssignment::decode(changed.upserts[0].body.value.clone()).unwrap();
    assert_eq!(assignment.endpoints.iter().map(|locality| locality.lb_endpoints.len()).sum::<usize>(), 2);

    // A change of configuration brings only what differs, and goes away again.
    let before = clusters.upserts.len();
    let rules = "/apis/networking.istio.io/v1beta1/destinationrules";
    plane.api.fake.apply(
        rules,
        json!({"metadata": {"name": "reviews", "namespace": "bookinfo"},
            "spec": {"host": "reviews", "subsets": [{"name": "v1", "labels": {"version": "v1"}}]}}),
    );
    let subset = proxy.next_of(type_url::CLUSTER).await;
    assert!(
        subset.upserts.len() < before && subset.removed.is_empty(),
        "{} of {before}",
        subset.upserts.len()
    );
    assert!(subset.upserts.iter().any(|upsert| upsert.name.contains("|v1|")));
    plane.api.fake.delete(rules, "bookinfo/reviews");
    assert_eq!(
        proxy.next_of(type_url::CLUSTER).await.removed,
        ["outbound|9080|v1|reviews.bookinfo.svc.cluster.local"]
    );

    // Any other change reaches it too.
    plane.api.fake.apply(
        "/apis/networking.istio.io/v1beta1/serviceentries",
        json!({"metadata": {"name": "bank", "namespace": "bookinfo"},
            "spec": {"hosts": ["bank.example.com"], "addresses": ["10.1.2.3"], "resolution": "STATIC",
                "location": "MESH_EXTERNAL", "ports": [{"number": 443, "name": "tls", "protocol": "TLS"}],
                "endpoints": [{"address": "192.0.2.1"}]}}),
    );
    let names = proxy.next_of(type_url::NAME_TABLE).await;
    let table = NameTable::decode(names.upserts[0].body.value.clone()).unwrap();
    assert_eq!(table.table["bank.example.com"].ips, ["10.1.2.3"]);
    let hosts = || {
        let map = plane.api.fake.get("/api/v1/configmaps", "istio-system/portolan-dns")?;
        map["data"]["hosts"].as_str().map(str::to_owned)
    };
    for _ in 0..100 {
        if hosts().is_some_and(|hosts| hosts.contains("10.1.2.3 bank.example.com")) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(hosts().unwrap_or_default().contains("10.1.2.3 bank.example.com"), "{:?}", hosts());

    // What it shows of itself.
    let mut sync = plane.debug("/debug/syncz").await;
    for _ in 0..100 {
        if sync[0]["cluster_sent"] == sync[0]["cluster_acked"] {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        sync = plane.debug("/debug/syncz").await;
    }
    assert_eq!(sync[0]["proxy"], "reviews-1.bookinfo");
    assert_eq!(sync[0]["cluster_sent"], sync[0]["cluster_acked"]);
    let ads = plane.debug("/debug/adsz").await;
    assert_eq!(ads["clients"][0]["identity"], "spiffe://west.local/ns/bookinfo/sa/reviews");
    let registry = plane.debug("/debug/registryz").await;
    assert!(registry.to_string().contains("reviews.bookinfo.svc.cluster.local"));
    assert!(plane.debug("/debug/endpointz").await.to_string().contains("10.64.0.5"));
    assert!(plane.debug("/debug/configz").await.to_string().contains("bank.example.com"));
    let dump = plane.debug("/debug/config_dump?proxyID=reviews-1.bookinfo").await;
    assert_eq!(dump["configs"].as_array().unwrap().len(), 6);
    assert!(dump["configs"][1].to_string().contains(cluster));
    assert_eq!(unreadable(&dump), Vec::<String>::new());
    let (_, metrics) = plane.http(plane.args.monitoring_port, "/metrics").await.unwrap();
    assert!(metrics.contains("citadel_server_success_cert_issuance_count 1"), "{metrics}");
    assert!(metrics.contains("pilot_xds_pushes{type=\"nds\"} 2"), "{metrics}");

    // The API server dies: who has a certificate is served all the same, and changes nothing.
    plane.api.stop();
    let identity = Identity::from_pem(chain[0].clone(), key);
    let channel = plane.channel(Some(identity)).await;
    let mut again = Proxy::connect(channel, "", node("bookinfo", "reviews"), &types).await.unwrap();
    for type_url in types {
        assert_eq!(again.next().await.unwrap().type_url, type_url);
    }
}
