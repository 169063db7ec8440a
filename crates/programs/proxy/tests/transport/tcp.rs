//! The TCP proxy: bytes, half-close, failures and what the log says of them, SNI pass-through.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::config::*;
use crate::support::tls::{Authority, Client, server, server_uri};
use crate::support::{Config, Proxy, in_time, on_each};
use portolan_testing::{Busy, Peer, nobody, read_all};

const LOG: [&str; 6] = [
    "RESPONSE_FLAGS",
    "BYTES_RECEIVED",
    "BYTES_SENT",
    "UPSTREAM_CLUSTER",
    "UPSTREAM_HOST",
    "CONNECTION_TERMINATION_DETAILS",
];

/// A listener in front of one cluster, with a log of its own.
fn tcp(name: &str, fields: Value) -> Value {
    let log = access_log(&format!("{name}.log"), &LOG);
    listener(name, vec![chain(tcp_proxy(name, with(json!({"cluster": name, "access_log": log}), fields)))])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_and_ends_are_passed_on() {
    let echo = Peer::echo().await;
    // Ends its half first, then counts what still comes.
    let first = Peer::new(async |mut stream: TcpStream, _| {
        stream.write_all(b"bye").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut all = Vec::new();
        let _ = stream.read_to_end(&mut all).await;
        assert_eq!(all.len(), 10);
    })
    .await;
    let cut = Peer::new(async |mut stream: TcpStream, _| {
        let mut some = [0; 4];
        let _ = stream.read_exact(&mut some).await;
        let _ = stream.write_all(b"abc").await;
        // Unread bytes or not, the peer sees a reset.
        socket2::SockRef::from(&stream).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    })
    .await;
    on_each(async |program| {
        let config = Config {
            listeners: ["echo", "first", "cut"].map(|name| tcp(name, json!({}))).into(),
            clusters: vec![
                cluster("echo", &[echo.address]),
                cluster("first", &[first.address]),
                cluster("cut", &[cut.address]),
            ],
            ..Config::default()
        };
        let proxy = Proxy::start(program, config).await;

        let mut stream = TcpStream::connect(proxy.address("echo").await).await.unwrap();
        stream.write_all(b"12345").await.unwrap();
        let mut five = [0; 5];
        in_time(stream.read_exact(&mut five)).await.unwrap();
        assert_eq!(&five, b"12345");
        stream.write_all(b"678").await.unwrap();
        stream.shutdown().await.unwrap();
        assert_eq!(read_all(stream).await, "678", "{program:?}");
        let line = proxy.log("echo.log", 1).await.remove(0);
        assert_eq!(line["RESPONSE_FLAGS"], "-", "{program:?} {line}");
        assert_eq!(
            (&line["BYTES_RECEIVED"], &line["BYTES_SENT"]),
            (&json!(8), &json!(8)),
            "{program:?} {line}"
        );
        assert_eq!(line["UPSTREAM_CLUSTER"], "echo");
        assert_eq!(line["UPSTREAM_HOST"], echo.address.to_string());

        let mut stream = TcpStream::connect(proxy.address("first").await).await.unwrap();
        let mut text = String::new();
        in_time(stream.read_to_string(&mut text)).await.unwrap();
        assert_eq!(text, "bye", "{program:?}");
        stream.write_all(b"0123456789").await.unwrap();
        drop(stream);
        let line = proxy.log("first.log", 1).await.remove(0);
        assert_eq!(
            (&line["BYTES_RECEIVED"], &line["BYTES_SENT"]),
            (&json!(10), &json!(3)),
            "{program:?} {line}"
        );

        let mut stream = TcpStream::connect(proxy.address("cut").await).await.unwrap();
        stream.write_all(b"1234").await.unwrap();
        assert!(matches!(read_all(&mut stream).await.as_str(), "abc" | ""), "{program:?}");
        let line = proxy.log("cut.log", 1).await.remove(0);
        assert_eq!(line["BYTES_RECEIVED"], json!(4), "{program:?} {line}");
        proxy.until_stat("tcp.cut.downstream_cx_total", 1).await;
        proxy.until_stat("cluster.cut.upstream_cx_active", 0).await;
        let stats = proxy.stats().await;
        for (name, wanted) in [
            ("tcp.echo.downstream_cx_rx_bytes_total", 8),
            ("tcp.echo.downstream_cx_tx_bytes_total", 8),
            ("cluster.echo.upstream_cx_rx_bytes_total", 8),
            ("cluster.echo.upstream_cx_tx_bytes_total", 8),
            ("cluster.echo.upstream_cx_total", 1),
            ("cluster.echo.upstream_rq_total", 1),
            ("listener.echo.downstream_cx_total", 1),
        ] {
            assert_eq!(stats.get(name), Some(&wanted), "{program:?}: {name}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_wrong_is_logged() {
    let echo = Peer::echo().await;
    let busy = Busy::new();
    on_each(async |program| {
        let gone = nobody();
        let config = Config {
            listeners: vec![
                tcp("refused", json!({"max_connect_attempts": 3})),
                tcp("empty", json!({})),
                tcp("unknown", json!({"cluster": "no-such"})),
                tcp("idle", json!({"idle_timeout": "0.3s"})),
                tcp("full", json!({})),
                tcp("hanging", json!({})),
                tcp("fail-over", json!({"max_connect_attempts": 2})),
            ],
            clusters: vec![
                cluster("refused", &[gone]),
                cluster("empty", &[]),
                cluster("idle", &[echo.address]),
                with(
                    cluster("full", &[echo.address]),
                    json!({"circuit_breakers": {"thresholds": [{"max_connections": 1}]}}),
                ),
                with(cluster("hanging", &[busy.address]), json!({"connect_timeout": "0.2s"})),
                cluster("fail-over", &[gone, echo.address]),
            ],
            ..Config::default()
        };
        let proxy = Proxy::start(program, config).await;
        for name in ["refused", "empty", "unknown", "hanging"] {
            let stream = TcpStream::connect(proxy.address(name).await).await.unwrap();
            assert_eq!(read_all(stream).await, "", "{program:?}: {name}");
        }
        let mut idle = TcpStream::connect(proxy.address("idle").await).await.unwrap();
        idle.write_all(b"x").await.unwrap();
        assert_eq!(read_all(idle).await, "x", "{program:?}");

        let mut held = TcpStream::connect(proxy.address("full").await).await.unwrap();
        held.write_all(b"x").await.unwrap();
        in_time(held.read_u8()).await.unwrap();
        let second = TcpStream::connect(proxy.address("full").await).await.unwrap();
        assert_eq!(read_all(second).await, "", "{program:?}");

        for (name, flags) in
            [("refused", "UF,URX"), ("empty", "UH"), ("unknown", "NC"), ("hanging", "UF,URX")]
        {
            let line = proxy.log(&format!("{name}.log"), 1).await.remove(0);
            assert_eq!(line["RESPONSE_FLAGS"], flags, "{program:?}: {name} {line}");
        }
        assert_eq!(proxy.log("full.log", 1).await[0]["RESPONSE_FLAGS"], "UO", "{program:?}");
        let line = proxy.log("idle.log", 1).await.remove(0);
        assert_eq!(line["BYTES_SENT"], json!(1), "{program:?} {line}");

        // With a second try everybody gets an answer, whichever host came first.
        for _ in 0..4 {
            let mut stream = TcpStream::connect(proxy.address("fail-over").await).await.unwrap();
            stream.write_all(b"x").await.unwrap();
            stream.shutdown().await.unwrap();
            assert_eq!(read_all(stream).await, "x", "{program:?}");
        }
        let stats = proxy.stats().await;
        for (name, wanted) in [
            ("cluster.refused.upstream_cx_connect_fail", 3),
            ("cluster.refused.upstream_cx_total", 3),
            ("cluster.refused.upstream_cx_connect_attempts_exceeded", 1),
            ("cluster.hanging.upstream_cx_connect_timeout", 1),
            ("cluster.hanging.upstream_cx_connect_attempts_exceeded", 1),
            ("cluster.empty.upstream_cx_none_healthy", 1),
            ("cluster.full.upstream_cx_overflow", 1),
            ("tcp.unknown.downstream_cx_no_route", 1),
            ("tcp.idle.idle_timeout", 1),
        ] {
            assert_eq!(stats.get(name), Some(&wanted), "{program:?}: {name}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn weights_share_connections_out() {
    let (a, b) = (Peer::name("a").await, Peer::name("b").await);
    on_each(async |program| {
        let weighted = json!({"clusters": [{"name": "a", "weight": 3}, {"name": "b", "weight": 1}]});
        let config = Config {
            listeners: vec![listener(
                "weighted",
                vec![chain(tcp_proxy("weighted", json!({"weighted_clusters": weighted})))],
            )],
            clusters: vec![cluster("a", &[a.address]), cluster("b", &[b.address])],
            ..Config::default()
        };
        let proxy = Proxy::start(program, config).await;
        let at = proxy.address("weighted").await;
        let mut seen = BTreeMap::new();
        for _ in 0..200 {
            *seen.entry(read_all(TcpStream::connect(at).await.unwrap()).await).or_insert(0) += 1;
        }
        // 150 are expected; six standard deviations are 37.
        assert!((113..=187).contains(&seen["a"]), "{program:?}: {seen:?}");
        assert_eq!(seen["a"] + seen["b"], 200, "{program:?}: {seen:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policy_closes_connections() {
    // The server must not speak first: Envoy lets it until the client has said something.
    let echo = Peer::echo().await;
    let rbac = |action: &str, principal: Value| {
        json!({
            "name": "envoy.filters.network.rbac",
            "typed_config": any("extensions.filters.network.rbac.v3.RBAC", json!({
                "stat_prefix": "door.",
                "rules": {
                    "action": action,
                    "policies": {"rule[0]": {"permissions": [{"any": true}], "principals": [principal]}},
                },
            })),
        })
    };
    let west = Authority::new("west.test");
    let mutual = downstream_tls(
        json!({
            "tls_certificates": west.account("server").config(),
            "validation_context": {"trusted_ca": inline(west.root())},
        }),
        json!({"require_client_certificate": true}),
    );
    let here = json!({"direct_remote_ip": {"address_prefix": "127.0.0.0", "prefix_len": 8}});
    let elsewhere = json!({"direct_remote_ip": {"address_prefix": "10.0.0.0", "prefix_len": 8}});
    let cart = json!({"authenticated": {"principal_name": {"exact": "spiffe://west.test/ns/shop/sa/cart"}}});
    on_each(async |program| {
        let door = |name: &str, filter: Value| {
            let log = access_log(&format!("{name}.log"), &LOG);
            let proxy = tcp_proxy(name, json!({"cluster": "in", "access_log": log}));
            listener(name, vec![json!({"filters": [filter, proxy]})])
        };
        let config = Config {
            listeners: vec![
                door("allow-here", rbac("ALLOW", here.clone())),
                door("allow-elsewhere", rbac("ALLOW", elsewhere.clone())),
                door("deny-here", rbac("DENY", here.clone())),
                door("deny-elsewhere", rbac("DENY", elsewhere.clone())),
                {
                    let mut listener = door("allow-cart", rbac("ALLOW", cart.clone()));
                    listener["filter_chains"][0]["transport_socket"] = mutual["transport_socket"].clone();
                    listener
                },
            ],
            clusters: vec![cluster("in", &[echo.address])],
            ..Config::default()
        };
        let proxy = Proxy::start(program, config).await;
        for (name, open) in
            [("allow-here", true), ("allow-elsewhere", false), ("deny-here", false), ("deny-elsewhere", true)]
        {
            let mut stream = TcpStream::connect(proxy.address(name).await).await.unwrap();
            let _ = stream.write_all(b"x").await;
            let _ = stream.shutdown().await;
            assert_eq!(read_all(stream).await, if open { "x" } else { "" }, "{program:?}: {name}");
        }
        let line = proxy.log("deny-here.log", 1).await.remove(0);
        let details = line["CONNECTION_TERMINATION_DETAILS"].as_str().unwrap_or_default();
        assert_eq!(details, "rbac_access_denied_matched_policy[rule[0]]", "{program:?}: {line}");
        let line = proxy.log("allow-elsewhere.log", 1).await.remove(0);
        let details = line["CONNECTION_TERMINATION_DETAILS"].as_str().unwrap_or_default();
        assert_eq!(details, "rbac_access_denied_matched_policy[none]", "{program:?}: {line}");
        for (account, expected) in [("cart", "x"), ("other", "")] {
            let client = Client::of(&west.account(account));
            let mut stream = client.connect(proxy.address("allow-cart").await).await.unwrap();
            let _ = stream.write_all(b"x").await;
            let _ = stream.shutdown().await;
            assert_eq!(read_all(stream).await, expected, "{program:?}: {account}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_passes_through_by_its_name() {
    let west = Authority::new("west.test");
    let peer = async |account: &str| {
        let acceptor = server(&west.account(account), &["istio"]);
        Peer::new(move |stream, _| {
            let acceptor = acceptor.clone();
            async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let _ = stream.write_all(b"hi").await;
                let _ = stream.shutdown().await;
                let _ = stream.read_to_end(&mut Vec::new()).await;
            }
        })
        .await
    };
    let (cart, shop) = (peer("cart").await, peer("shop").await);
    const CART: &str = "outbound_.80_._.cart.shop.svc.cluster.local";
    const SHOP: &str = "outbound_.8080_.v1_.shop.shop.svc.cluster.local";
    on_each(async |program| {
        let log = access_log("pass.log", &["REQUESTED_SERVER_NAME", "UPSTREAM_CLUSTER", "RESPONSE_FLAGS"]);
        let to = |names: &[&str], cluster: &str| {
            with(
                chain(tcp_proxy("pass", json!({"cluster": cluster, "access_log": log}))),
                json!({"filter_chain_match": {"server_names": names}}),
            )
        };
        let by_name = json!({"filters": [
            {
                "name": "envoy.filters.network.sni_cluster",
                "typed_config": any("extensions.filters.network.sni_cluster.v3.SniCluster", json!({})),
            },
            tcp_proxy("auto", json!({"cluster": "BlackHoleCluster"})),
        ]});
        let inspected = json!({"listener_filters": [tls_inspector()]});
        let config = Config {
            listeners: vec![
                with(
                    listener("pass", vec![to(&[CART], "cart"), to(&["*.shop.svc.cluster.local"], "shop")]),
                    inspected.clone(),
                ),
                with(listener("auto", vec![by_name]), inspected),
            ],
            clusters: vec![
                cluster("cart", &[cart.address]),
                cluster("shop", &[shop.address]),
                cluster(CART, &[cart.address]),
                cluster("BlackHoleCluster", &[]),
            ],
            ..Config::default()
        };
        let proxy = Proxy::start(program, config).await;
        for (listener, sni, account) in
            [("pass", CART, "cart"), ("pass", SHOP, "shop"), ("auto", CART, "cart")]
        {
            let client = Client { sni: Some(sni), alpn: vec!["istio"], ..Client::default() };
            let stream = client.connect(proxy.address(listener).await).await.unwrap();
            assert!(server_uri(&stream).ends_with(account), "{program:?}: {sni}");
            // The protocol is agreed on with the server, not with the proxy.
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"istio"[..]), "{program:?}");
            assert_eq!(read_all(stream).await, "hi", "{program:?}: {sni}");
        }
        for (listener, sni) in [("pass", Some("other.test")), ("pass", None), ("auto", Some(SHOP))] {
            let client = Client { sni, alpn: vec!["istio"], ..Client::default() };
            assert!(client.connect(proxy.address(listener).await).await.is_err(), "{program:?}: {sni:?}");
        }
        let lines = proxy.log("pass.log", 2).await;
        assert_eq!(lines[0]["REQUESTED_SERVER_NAME"], CART, "{program:?}");
        assert_eq!(lines[0]["UPSTREAM_CLUSTER"], "cart", "{program:?}");
        proxy.until_stat("listener.pass.no_filter_chain_match", 2).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn much_flows_both_ways_at_once() {
    const SIZE: usize = 50 * 1024 * 1024;
    // Sends as much as it reads, each at its own pace.
    let peer = Peer::new(async |stream: TcpStream, _| {
        let (mut read, mut write) = stream.into_split();
        let send = tokio::spawn(async move {
            let piece = vec![1u8; 256 * 1024];
            for _ in 0..SIZE / piece.len() {
                write.write_all(&piece).await.unwrap();
            }
            write.shutdown().await.unwrap();
        });
        let got = tokio::io::copy(&mut read, &mut tokio::io::sink()).await.unwrap();
        assert_eq!(got, SIZE as u64);
        send.await.unwrap();
    })
    .await;
    on_each(async |program| {
        let config = Config {
            listeners: vec![tcp("much", json!({}))],
            clusters: vec![cluster("much", &[peer.address])],
            ..Config::default()
        };
        let proxy = Proxy::start(program, config).await;
        let stream = TcpStream::connect(proxy.address("much").await).await.unwrap();
        let (mut read, mut write) = stream.into_split();
        let send = tokio::spawn(async move {
            let piece = vec![2u8; 256 * 1024];
            for _ in 0..SIZE / piece.len() {
                write.write_all(&piece).await.unwrap();
            }
            write.shutdown().await.unwrap();
        });
        let got = in_time(tokio::io::copy(&mut read, &mut tokio::io::sink())).await.unwrap();
        assert_eq!(got, SIZE as u64, "{program:?}");
        send.await.unwrap();
        let line = proxy.log("much.log", 1).await.remove(0);
        assert_eq!(
            (&line["BYTES_RECEIVED"], &line["BYTES_SENT"]),
            (&json!(SIZE), &json!(SIZE)),
            "{program:?}"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_stops_stops_the_writer() {
    // Never reads.
    let deaf = Peer::new(async |stream: TcpStream, _| {
        let _stream = stream;
        std::future::pending::<()>().await;
    })
    .await;
    on_each(async |program| {
        let config = Config {
            listeners: vec![tcp("deaf", json!({}))],
            clusters: vec![cluster("deaf", &[deaf.address])],
            ..Config::default()
        };
        let proxy = Proxy::start(program, config).await;
        let mut stream = TcpStream::connect(proxy.address("deaf").await).await.unwrap();
        let piece = vec![0u8; 1024 * 1024];
        let mut sent = 0;
        // Socket buffers grow up to a few megabytes each; what a proxy holds itself must be less than that. Only time
        // tells a writer that was stopped from a slow one.
        while let Ok(Ok(count)) =
            tokio::time::timeout(std::time::Duration::from_millis(300), stream.write(&piece)).await
        {
            sent += count;
            assert!(sent < 64 * 1024 * 1024, "{program:?}: no end at {sent}");
        }
        assert!(sent > 0);
    })
    .await;
}
