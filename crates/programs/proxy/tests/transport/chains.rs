//! Which filter chain takes a connection: SNI, ALPN, TLS or not; protocol versions; certificates that rotate.

use rustls::ProtocolVersion;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::config::*;
use crate::support::tls::{Authority, Client, V12, V13, Versions, server_uri};
use crate::support::{Config, Program, Proxy, eventually, http, http_on, in_time, on_each};

/// A chain that answers with its own name.
fn named(name: &str, matched: Value, tls: Option<Value>) -> Value {
    let chain = with(chain(answering("chains", name)), json!({"name": name, "filter_chain_match": matched}));
    match tls {
        Some(tls) => with(chain, tls),
        None => chain,
    }
}

async fn body(stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin) -> Option<String> {
    http_on(stream, "GET", "/", "").await.ok().map(|(_, body)| body)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sni_chooses_the_chain() {
    let west = Authority::new("west.test");
    let server = west.account("server");
    let tls = |alpn: &[&str]| {
        downstream_tls(json!({"tls_certificates": server.config(), "alpn_protocols": alpn}), json!({}))
    };
    let chains = vec![
        named("wild-com", json!({"server_names": ["*.com"]}), Some(tls(&[]))),
        named("wild-example", json!({"server_names": ["*.example.com"]}), Some(tls(&[]))),
        named("exact", json!({"server_names": ["a.example.com", "b.example.com"]}), Some(tls(&[]))),
        named(
            "mesh",
            json!({"server_names": ["outbound_.80_._.cart.shop.svc.cluster.local"]}),
            Some(tls(&[])),
        ),
        named("plain", json!({"transport_protocol": "raw_buffer"}), None),
        named(
            "istio",
            json!({"transport_protocol": "tls", "application_protocols": ["istio", "istio-peer-exchange"]}),
            Some(tls(&["istio-peer-exchange", "istio"])),
        ),
        named("other-tls", json!({"transport_protocol": "tls"}), Some(tls(&[]))),
    ];
    let listener = with(listener("chains", chains), json!({"listener_filters": [tls_inspector()]}));
    let without_default = with(
        self::listener(
            "strict",
            vec![named("exact", json!({"server_names": ["a.example.com"]}), Some(tls(&[])))],
        ),
        json!({"listener_filters": [tls_inspector()]}),
    );
    let cases: &[(Option<&'static str>, &[&'static str], &str)] = &[
        (Some("a.example.com"), &[], "exact"),
        (Some("B.Example.COM"), &[], "exact"),
        (Some("c.example.com"), &[], "wild-example"),
        (Some("d.c.example.com"), &[], "wild-example"),
        (Some("example.com"), &[], "wild-com"),
        (Some("outbound_.80_._.cart.shop.svc.cluster.local"), &[], "mesh"),
        // The name decides first: there is no way back to a chain that fits by protocol.
        (Some("a.example.com"), &["istio"], "exact"),
        (Some("org.test"), &[], "other-tls"),
        (None, &[], "other-tls"),
        (None, &["h2", "http/1.1"], "other-tls"),
        (None, &["istio"], "istio"),
        (Some("org.test"), &["istio-peer-exchange", "istio", "h2"], "istio"),
    ];
    on_each(async |program| {
        let listeners = vec![listener.clone(), without_default.clone()];
        let proxy = Proxy::start(program, Config { listeners, ..Config::default() }).await;
        let at = proxy.address("chains").await;
        for (sni, alpn, expected) in cases {
            let client = Client { sni: *sni, alpn: alpn.to_vec(), ..Client::default() };
            let answer = body(client.connect(at).await.unwrap()).await;
            assert_eq!(answer.as_deref(), Some(*expected), "{program:?}: {sni:?} {alpn:?}");
        }
        assert_eq!(http(at, "GET", "/", "").await.unwrap().1, "plain", "{program:?}");
        let strict = proxy.address("strict").await;
        for sni in [Some("other.test"), None] {
            let client = Client { sni, ..Client::default() };
            assert!(client.connect(strict).await.is_err(), "{program:?}: {sni:?}");
        }
        proxy.until_stat("listener.strict.no_filter_chain_match", 2).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn protocols_and_versions_are_negotiated() {
    let west = Authority::new("west.test");
    let server = west.account("server");
    let context = |name: &str, alpn: &[&str], params: Value| {
        let common = json!({
            "tls_certificates": server.config(), "alpn_protocols": alpn, "tls_params": params,
        });
        with(
            listener(name, vec![with(chain(answering(name, "ok")), downstream_tls(common, json!({})))]),
            json!({"listener_filters": [tls_inspector()]}),
        )
    };
    let listeners = vec![
        context("http", &["h2", "http/1.1"], json!({})),
        context("one", &["http/1.1"], json!({})),
        context("none", &[], json!({})),
        context("new", &[], json!({"tls_minimum_protocol_version": "TLSv1_3"})),
        context("old", &[], json!({"tls_maximum_protocol_version": "TLSv1_2"})),
        context(
            "up-to-date",
            &[],
            json!({"tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3"}),
        ),
    ];
    // Server's list, client's list, choice: the server's order decides.
    let protocols: &[(&str, &[&'static str], Option<&str>)] = &[
        ("http", &["http/1.1", "h2"], Some("h2")),
        ("http", &["http/1.1"], Some("http/1.1")),
        ("http", &["istio-http/1.1", "istio", "http/1.1"], Some("http/1.1")),
        // A client whose protocols are all unknown goes on without one.
        ("http", &["spdy/3"], None),
        ("http", &[], None),
        ("one", &["h2", "http/1.1"], Some("http/1.1")),
        ("one", &["h2"], None),
        ("none", &["h2"], None),
    ];
    let versions: [(&str, Versions, Option<ProtocolVersion>); 6] = [
        ("new", rustls::ALL_VERSIONS, Some(ProtocolVersion::TLSv1_3)),
        ("new", &V12, None),
        ("old", rustls::ALL_VERSIONS, Some(ProtocolVersion::TLSv1_2)),
        ("old", &V13, None),
        ("up-to-date", &V12, Some(ProtocolVersion::TLSv1_2)),
        ("up-to-date", &V13, Some(ProtocolVersion::TLSv1_3)),
    ];
    on_each(async |program| {
        let proxy = Proxy::start(program, Config { listeners: listeners.clone(), ..Config::default() }).await;
        for (name, alpn, expected) in protocols {
            let client = Client { alpn: alpn.to_vec(), ..Client::default() };
            let stream = client.connect(proxy.address(name).await).await.unwrap();
            let chosen =
                stream.get_ref().1.alpn_protocol().map(|name| String::from_utf8(name.to_vec()).unwrap());
            assert_eq!(chosen.as_deref(), *expected, "{program:?}: {name} {alpn:?}");
            if chosen.as_deref() != Some("h2") {
                assert_eq!(body(stream).await.as_deref(), Some("ok"), "{program:?}: {name} {alpn:?}");
            }
        }
        for (name, versions, expected) in versions {
            let before = proxy.stat(&format!("listener.{name}.ssl.connection_error")).await;
            let client = Client { versions: Some(versions), ..Client::default() };
            let got = client.connect(proxy.address(name).await).await;
            let version = got.ok().and_then(|stream| stream.get_ref().1.protocol_version());
            assert_eq!(version, expected, "{program:?}: {name} {versions:?}");
            if expected.is_none() {
                proxy.until_stat(&format!("listener.{name}.ssl.connection_error"), before + 1).await;
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_client_does_not_wait_for_ever() {
    let chains = || vec![chain(tcp_proxy("silent", json!({"cluster": "banner"})))];
    let inspected = |name: &str, on: bool| {
        with(
            listener(name, chains()),
            json!({
                "listener_filters": [tls_inspector()],
                "listener_filters_timeout": "0.2s",
                "continue_on_listener_filters_timeout": on,
            }),
        )
    };
    // A server that speaks first, as databases do.
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = socket.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = socket.accept().await {
            let _ = stream.write_all(b"hello").await;
        }
    });
    on_each(async |program| {
        let config = Config {
            listeners: vec![inspected("closes", false), inspected("goes-on", true)],
            clusters: vec![cluster("banner", &[host])],
            ..Config::default()
        };
        let proxy = Proxy::start(program, config).await;
        for (name, expected) in [("closes", ""), ("goes-on", "hello")] {
            let mut stream = TcpStream::connect(proxy.address(name).await).await.unwrap();
            let mut text = String::new();
            in_time(stream.read_to_string(&mut text)).await.unwrap();
            assert_eq!(text, expected, "{program:?}: {name}");
            proxy.until_stat(&format!("listener.{name}.downstream_pre_cx_timeout"), 1).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handshake_does_not_take_for_ever() {
    let server = Authority::new("west.test").account("server");
    let tls = downstream_tls(json!({"tls_certificates": server.config()}), json!({}));
    on_each(async |program| {
        let chain = with(
            with(chain(answering("slow", "ok")), tls.clone()),
            json!({"transport_socket_connect_timeout": "0.2s"}),
        );
        let config = Config { listeners: vec![listener("slow", vec![chain])], ..Config::default() };
        let proxy = Proxy::start(program, config).await;
        let at = proxy.address("slow").await;
        let mut stream = TcpStream::connect(at).await.unwrap();
        // The start of a hello, and nothing more.
        stream.write_all(&[22, 3, 1, 1, 0, 1]).await.unwrap();
        let mut rest = Vec::new();
        let _ = in_time(stream.read_to_end(&mut rest)).await;
        proxy.until_stat("listener.slow.downstream_cx_transport_socket_connect_timeout", 1).await;
        // Something that is no hello at all.
        let mut stream = TcpStream::connect(at).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let _ = in_time(stream.read_to_end(&mut rest)).await;
        proxy.until_stat("listener.slow.ssl.connection_error", 1).await;
        assert_eq!(body_or_none(&Client::default(), at).await.as_deref(), Some("ok"), "{program:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_closed_tls_still_answers() {
    let west = Authority::new("west.test");
    let server = west.account("server");
    let tls = downstream_tls(json!({"tls_certificates": server.config()}), json!({}));
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = socket.local_addr().unwrap();
    // Answers when it has read everything.
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = socket.accept().await {
            tokio::spawn(async move {
                let mut all = Vec::new();
                if stream.read_to_end(&mut all).await.is_ok() {
                    let _ = stream.write_all(format!("{} bytes", all.len()).as_bytes()).await;
                }
            });
        }
    });
    on_each(async |program| {
        let config = Config {
            listeners: vec![listener(
                "half",
                vec![with(chain(tcp_proxy("half", json!({"cluster": "counter"}))), tls.clone())],
            )],
            clusters: vec![cluster("counter", &[host])],
            ..Config::default()
        };
        let proxy = Proxy::start(program, config).await;
        let mut stream = Client::default().connect(proxy.address("half").await).await.unwrap();
        stream.write_all(&[7; 100_000]).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut text = String::new();
        in_time(stream.read_to_string(&mut text)).await.unwrap();
        assert_eq!(text, "100000 bytes", "{program:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_from_files_rotate_by_renaming() {
    let west = Authority::new("west.test");
    let (first, second) = (west.account("first"), west.account("second"));
    let secret = |file: &str| json!({"name": file, "sds_config": {"path_config_source": {"path": format!("{{DIR}}/{file}.json")}}});
    let common = json!({
        "tls_certificate_sds_secret_configs": [secret("own")],
        "validation_context_sds_secret_config": secret("roots"),
    });
    let east = Authority::new("east.test");
    on_each(async |program| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_owned();
        let put = |file: &str, kind: &str, content: Value| {
            let secret =
                any("extensions.transport_sockets.tls.v3.Secret", json!({"name": file, kind: content}));
            let new = path.join(format!("{file}.new"));
            std::fs::write(&new, json!({"resources": [secret]}).to_string()).unwrap();
            std::fs::rename(new, path.join(format!("{file}.json"))).unwrap();
        };
        put("own", "tls_certificate", first.config()[0].clone());
        put("roots", "validation_context", json!({"trusted_ca": {"inline_string": west.root()}}));
        let tls = downstream_tls(common.clone(), json!({"require_client_certificate": true}));
        let config = Config {
            listeners: vec![listener("rotating", vec![with(chain(answering("rotating", "ok")), tls)])],
            ..Config::default()
        };
        let proxy = Proxy::start_in(program, config, directory).await;
        let at = proxy.address("rotating").await;
        let client = Client::of(&west.account("client"));
        let mut old = client.connect(at).await.unwrap();
        assert!(server_uri(&old).ends_with("/sa/first"), "{program:?}");
        put("own", "tls_certificate", second.config()[0].clone());
        eventually("the second certificate", async || {
            let stream = client.connect(at).await.ok()?;
            server_uri(&stream).ends_with("/sa/second").then_some(())
        })
        .await;
        // What was open before goes on.
        old.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut some = [0; 12];
        in_time(old.read_exact(&mut some)).await.unwrap();
        assert_eq!(&some, b"HTTP/1.1 200", "{program:?}");
        // Trust rotates as well, and a broken file changes nothing.
        put("roots", "validation_context", json!({"trusted_ca": {"inline_string": east.root()}}));
        let foreign = Client::of(&east.account("client"));
        eventually("the new root", async || body(foreign.connect(at).await.ok()?).await).await;
        assert!(body_or_none(&client, at).await.is_none(), "{program:?}: the old root is gone");
        let broken = inline("no PEM");
        put("own", "tls_certificate", json!({"certificate_chain": broken, "private_key": broken}));
        // Files are read in the order of their changes: when this one is in use, the broken one was seen. (Envoy keeps
        // the broken one and takes no other change until it is mended.)
        put("roots", "validation_context", json!({"trusted_ca": {"inline_string": west.root()}}));
        if program == Program::Ours {
            eventually("the old root", async || body_or_none(&client, at).await).await;
            assert!(server_uri(&client.connect(at).await.unwrap()).ends_with("/sa/second"));
        }
        put("own", "tls_certificate", first.config()[0].clone());
        eventually("the first certificate", async || {
            server_uri(&client.connect(at).await.ok()?).ends_with("/sa/first").then_some(())
        })
        .await;
    })
    .await;
}

async fn body_or_none(client: &Client, at: std::net::SocketAddr) -> Option<String> {
    body(client.connect(at).await.ok()?).await
}
