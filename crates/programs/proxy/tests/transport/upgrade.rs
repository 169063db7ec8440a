//! Upgrades between two sidecars of ours, which else speak HTTP/2 with each other.

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::config::*;
use crate::support::tls::Authority;
use crate::support::{Config, Program, Proxy, in_time};
use portolan_testing::Peer;

const SWITCHED: &str =
    "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
/// Names of the mesh: our proxies add the one by which they find each other.
const INSIDE: [&str; 2] = ["istio-peer-exchange", "istio"];

/// The head of a message.
async fn head(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\n") {
        text.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(text).unwrap().to_ascii_lowercase()
}

/// An application that switches where it is asked to, and echoes from then on.
async fn application() -> Peer {
    Peer::new(async |mut stream: TcpStream, _| {
        let asked = head(&mut stream).await;
        if !asked.contains("upgrade: websocket") {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
            return;
        }
        stream.write_all(SWITCHED.as_bytes()).await.unwrap();
        let (mut read, mut write) = stream.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn between_two_sidecars() {
    let west = Authority::new("west.test");
    let app = application().await;
    let common = |name: &str, alpn: &[&str]| {
        json!({
            "alpn_protocols": alpn, "tls_certificates": west.account(name).config(),
            "validation_context": {"trusted_ca": inline(west.root())},
        })
    };
    let upgrades = json!({"upgrade_configs": [{"upgrade_type": "websocket"}]});
    let routes = json!([{"match": {"prefix": "/"}, "route": {"cluster": "next", "timeout": "0s"}}]);
    let entry = |chain| vec![listener("entry", vec![chain])];
    let manager = chain(manager_with("http", routes, upgrades));
    let inbound = Config {
        listeners: entry(with(
            manager.clone(),
            downstream_tls(
                common("server", &["h2", "http/1.1"]),
                json!({"require_client_certificate": true}),
            ),
        )),
        clusters: vec![cluster("next", &[app.address])],
        ..Config::default()
    };
    let server = Proxy::start(Program::Ours, inbound).await;
    let outbound = Config {
        listeners: entry(manager),
        clusters: vec![with(
            cluster("next", &[server.address("entry").await]),
            upstream_tls(common("client", &INSIDE), json!({})),
        )],
        ..Config::default()
    };
    let client = Proxy::start(Program::Ours, outbound).await;
    let at = client.address("entry").await;

    // Without an upgrade they speak HTTP/2.
    let (status, _) = crate::support::http(at, "GET", "/", "").await.unwrap();
    assert_eq!(status, 200);
    assert_eq!(client.stat("cluster.next.upstream_cx_http2_total").await, 1);

    let mut stream = TcpStream::connect(at).await.unwrap();
    let ask = "GET /ws HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    stream.write_all(ask.as_bytes()).await.unwrap();
    let answer = in_time(head(&mut stream)).await;
    assert!(answer.starts_with("http/1.1 101") && answer.contains("upgrade: websocket"), "{answer}");
    for text in ["one", "two"] {
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut back = [0; 3];
        in_time(stream.read_exact(&mut back)).await.unwrap();
        assert_eq!(&back, text.as_bytes());
    }
}
