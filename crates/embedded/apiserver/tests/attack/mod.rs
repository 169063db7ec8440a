//! What somebody with a socket, and perhaps a token, may try. The server goes on to answer others.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::Cluster;

/// A good answer comes within this, on a slow and busy machine too.
const SOON: Duration = Duration::from_secs(20);

fn pem(directory: &Path, name: &str) -> Vec<u8> {
    std::fs::read(directory.join("pki").join(name)).unwrap()
}

/// Sends one request as the administrator; answers the whole response.
async fn ask(cluster: &Cluster, request: String) -> String {
    let directory = cluster.directory.path();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(&pem(directory, "ca.crt")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(
            vec![CertificateDer::from_pem_slice(&pem(directory, "admin.crt")).unwrap()],
            PrivateKeyDer::from_pem_slice(&pem(directory, "admin.key")).unwrap(),
        )
        .unwrap();
    let work = async {
        let socket = TcpStream::connect(address(cluster)).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let mut stream =
            tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, socket).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // The server may close without saying so in TLS.
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    };
    tokio::time::timeout(SOON, work).await.expect("the server does not answer")
}

fn address(cluster: &Cluster) -> String {
    let kubeconfig = cluster.server.kubeconfig();
    let at = kubeconfig.find("https://").unwrap() + "https://".len();
    kubeconfig[at..].split_whitespace().next().unwrap().trim_matches('"').to_owned()
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_review_with_many_unknown_fields() {
    let cluster = Cluster::start().await;
    let fields: Vec<String> = (0..80_000).map(|n| format!("\"k{n}\":1")).collect();
    let body = format!("{{\"spec\":{{}},{}}}", fields.join(","));
    let request = format!(
        "POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let (answer, health) = tokio::join!(ask(&cluster, request), ask(&cluster, get("/healthz")));
    assert!(health.starts_with("HTTP/1.1 200"), "{health}");
    assert!(answer.starts_with("HTTP/1.1 201"), "{}", &answer[..200]);
    let head = answer.split("\r\n\r\n").next().unwrap().to_lowercase();
    assert!(head.lines().count() < 100 && head.len() < 64 << 10, "clients refuse such a head");
    cluster.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_connections_give_up_their_places() {
    let cluster = Cluster::start().await;
    let address = address(&cluster);
    let mut silent = Vec::new();
    for _ in 0..=portolan_apiserver::limits::MAX_ANONYMOUS_PER_ADDRESS {
        silent.push(TcpStream::connect(&address).await.unwrap());
    }
    // Long before its handshake would have taken too long.
    let closed = async { silent[0].read(&mut [0]).await };
    let within = portolan_apiserver::limits::HANDSHAKE_TIMEOUT / 2;
    let read = tokio::time::timeout(within, closed).await.expect("the first one keeps its place");
    assert!(matches!(read, Ok(0) | Err(_)));
    assert!(ask(&cluster, get("/healthz")).await.starts_with("HTTP/1.1 200"));
    cluster.server.shutdown().await;
}
