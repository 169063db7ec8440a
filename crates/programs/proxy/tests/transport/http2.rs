//! HTTP/2 on both sides: streams, windows, resets, goodbyes, abuse, and the way from and to HTTP/1.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::config::*;
use crate::support::http2::{self, *};
use crate::support::tls::{Authority, Client};
use crate::support::{Config, Program, Proxy, eventually, http, in_time, on_each};
use portolan_testing::Peer;

fn trailers(name: &'static str, value: &'static str) -> HeaderMap {
    let mut map = HeaderMap::new();
    map.insert(name, value.parse().unwrap());
    map
}

/// One listener in front of one cluster that speaks HTTP/2.
fn h2_to_h2(peer: &Peer) -> Config {
    Config {
        listeners: vec![listener("h2", vec![chain(forwarding("h2", "h2"))])],
        clusters: vec![with(cluster("h2", &[peer.address]), http2())],
        ..Config::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_with_bodies_and_trailers() {
    let peer = describing().await;
    on_each(async |program| {
        let proxy = Proxy::start(program, h2_to_h2(&peer)).await;
        let client = H2Client::connect(proxy.address("h2").await).await;
        let request = post("/a?b=c").header("x-mine", "1").header("te", "trailers");
        let answer = client.send(request, vec![7; 100_000], trailers("x-sum", "42")).await.unwrap();
        assert_eq!((answer.status, answer.field("x-end")), (200, Some("yes")), "{program:?} {answer:?}");
        let seen = answer.json();
        assert_eq!(seen["method"], "POST");
        assert_eq!(seen["path"], "/a?b=c");
        assert_eq!(seen["authority"], "test.example");
        assert_eq!(seen["body"], 100_000);
        assert_eq!(seen["trailers"]["x-sum"], "42", "{program:?} {seen}");
        assert_eq!(seen["headers"]["x-mine"], "1");
        assert_eq!(seen["headers"]["te"], "trailers", "{program:?} {seen}");
        assert_eq!(seen["headers"].get("host"), None, "{program:?} {seen}");

        // Many at once share one connection.
        let all =
            (0..200).map(|number| {
                let client = client.clone();
                async move {
                    client.ask(get(&format!("/{number}"))).await.map(|answer| answer.json()["path"].clone())
                }
            });
        let answers = futures::future::join_all(all).await;
        for (number, path) in answers.into_iter().enumerate() {
            assert_eq!(path.unwrap(), format!("/{number}"), "{program:?}");
        }
        let stats = proxy.stats().await;
        for (name, wanted) in [
            ("cluster.h2.upstream_cx_http2_total", 1),
            ("cluster.h2.upstream_rq_total", 201),
            ("cluster.h2.upstream_rq_2xx", 201),
            ("http.h2.downstream_cx_http2_total", 1),
            ("http.h2.downstream_rq_http2_total", 201),
            ("http.h2.downstream_rq_2xx", 201),
        ] {
            assert_eq!(stats.get(name), Some(&wanted), "{program:?}: {name}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_requests_share_one_connection() {
    let peer = describing().await;
    on_each(async |program| {
        let proxy = Proxy::start(program, h2_to_h2(&peer)).await;
        let client = H2Client::connect(proxy.address("h2").await).await;
        let all = (0..50).map(|_| client.ask(get("/")));
        assert!(futures::future::join_all(all).await.iter().all(Result::is_ok), "{program:?}");
        assert_eq!(proxy.stat("cluster.h2.upstream_cx_total").await, 1, "{program:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_readers_hold_writers_back() {
    const SIZE: usize = 4 * 1024 * 1024;
    let sent = Arc::new(AtomicUsize::new(0));
    let count = sent.clone();
    let peer = h2_peer(h2::server::Builder::new(), move |request, mut respond, _| {
        let count = count.clone();
        async move {
            if request.method() == http::Method::POST {
                return describe(request, respond).await;
            }
            let mut stream = respond.send_response(Response::new(()), false).unwrap();
            let piece = Bytes::from(vec![1; 16 * 1024]);
            for _ in 0..SIZE / piece.len() {
                if push(&mut stream, piece.clone()).await.is_err() {
                    return;
                }
                count.fetch_add(piece.len(), Relaxed);
            }
            let _ = stream.send_data(Bytes::new(), true);
        }
    })
    .await;
    on_each(async |program| {
        sent.store(0, Relaxed);
        let windows =
            json!({"initial_stream_window_size": 262_144, "initial_connection_window_size": 1_048_576});
        let mut config = h2_to_h2(&peer);
        let small = protocol(json!({"explicit_http_config": {"http2_protocol_options": windows}}));
        let routes = json!([{"match": {"prefix": "/"}, "route": {"cluster": "h2", "timeout": "0s"}}]);
        let manager = manager_with("h2", routes, json!({"http2_protocol_options": windows}));
        config.listeners = vec![listener("h2", vec![chain(manager)])];
        config.clusters = vec![with(cluster("h2", &[peer.address]), small)];
        let proxy = Proxy::start(program, config).await;
        let client = H2Client::connect(proxy.address("h2").await).await;
        let (response, _stream) = client.start(get("/"), true).await.unwrap();
        let mut body = in_time(response).await.unwrap().into_body();
        // Nothing is read, so the server comes to a stop, far from the end.
        let mut last = usize::MAX;
        let stopped = eventually("the server to stop", async || {
            // Nothing announces that a writer has come to a stop: only time tells it from a slow one.
            tokio::time::sleep(Duration::from_millis(100)).await;
            let now = sent.load(Relaxed);
            let stopped = now == last && now > 0;
            last = now;
            stopped.then_some(now)
        })
        .await;
        assert!(stopped < SIZE * 3 / 4, "{program:?}: {stopped} bytes on the way");
        let second = H2Client::connect(proxy.address("h2").await).await;
        let other = second.send(post("/"), vec![1; 10], HeaderMap::new()).await.unwrap();
        assert_eq!(other.status, 200, "{program:?}: other streams of the same upstream connection go on");
        let (data, _) = in_time(drain(&mut body)).await.unwrap();
        assert_eq!(data.len(), SIZE, "{program:?}");
        let answer = client.send(post("/"), vec![1; SIZE / 8], HeaderMap::new()).await.unwrap();
        assert_eq!(answer.json()["body"], SIZE / 8, "{program:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resets_are_passed_on() {
    let resets = Arc::new(Mutex::new(Vec::new()));
    let seen = resets.clone();
    let peer = h2_peer(h2::server::Builder::new(), move |request, mut respond, _| {
        let seen = seen.clone();
        async move {
            match request.uri().path() {
                "/reset" => respond.send_reset(h2::Reason::INTERNAL_ERROR),
                "/refuse" => respond.send_reset(h2::Reason::REFUSED_STREAM),
                "/half" => {
                    let mut stream = respond.send_response(Response::new(()), false).unwrap();
                    push(&mut stream, Bytes::from_static(b"abc")).await.unwrap();
                    let mut body = request.into_body();
                    // The rest is for the client to ask for.
                    let _ = body.data().await;
                    stream.send_reset(h2::Reason::INTERNAL_ERROR);
                }
                _ => {
                    let reason = std::future::poll_fn(|cx| respond.poll_reset(cx)).await;
                    seen.lock().unwrap().push(reason.ok());
                }
            }
        }
    })
    .await;
    let log = access_log("log", &["REQ(:PATH)", "RESPONSE_CODE", "RESPONSE_FLAGS", "RESPONSE_CODE_DETAILS"]);
    on_each(async |program| {
        resets.lock().unwrap().clear();
        let mut config = h2_to_h2(&peer);
        let routes = json!([{"match": {"prefix": "/"}, "route": {"cluster": "h2"}}]);
        config.listeners =
            vec![listener("h2", vec![chain(manager_with("h2", routes, json!({"access_log": log})))])];
        let proxy = Proxy::start(program, config).await;
        let client = H2Client::connect(proxy.address("h2").await).await;
        let answer = client.ask(get("/reset")).await.unwrap();
        assert_eq!(answer.status, 503, "{program:?}");
        assert!(answer.text().contains("reset reason: remote reset"), "{program:?}: {}", answer.text());
        let answer = client.ask(get("/refuse")).await.unwrap();
        assert_eq!(answer.status, 503, "{program:?}");
        assert!(answer.text().contains("remote refused stream reset"), "{program:?}: {}", answer.text());

        let (response, mut stream) = client.start(post("/half"), false).await.unwrap();
        let mut body = in_time(response).await.unwrap().into_body();
        assert_eq!(in_time(body.data()).await.unwrap().unwrap(), "abc", "{program:?}");
        push(&mut stream, Bytes::from_static(b"go")).await.unwrap();
        let end = in_time(body.data()).await;
        assert!(matches!(end, Some(Err(_))), "{program:?}: {end:?}: a cut body must not look whole");

        let (response, mut stream) = client.start(post("/wait"), false).await.unwrap();
        eventually("the request upstream", async || {
            (proxy.stat("cluster.h2.upstream_rq_active").await == 1).then_some(())
        })
        .await;
        stream.send_reset(h2::Reason::CANCEL);
        drop(response);
        eventually("the reset upstream", async || (resets.lock().unwrap().len() == 1).then_some(())).await;
        let lines = proxy.log("log", 4).await;
        let of = |path: &str| {
            let line = lines.iter().find(|line| line["REQ(:PATH)"] == path).unwrap();
            format!("{} {}", line["RESPONSE_CODE"], line["RESPONSE_FLAGS"].as_str().unwrap())
        };
        assert_eq!(of("/reset"), "503 UR", "{program:?} {lines:?}");
        assert_eq!(of("/refuse"), "503 UR", "{program:?} {lines:?}");
        assert_eq!(of("/half"), "200 UR", "{program:?} {lines:?}");
        // Envoy has a flag of its own for a stream that is reset since Istio's dashboards were made; ours is theirs.
        let gone = if program == Program::Ours { "0 DC" } else { "0 DR" };
        assert_eq!(of("/wait"), gone, "{program:?} {lines:?}");
        let stats = proxy.stats().await;
        // The client may take the cut response back as well.
        assert!(stats["http.h2.downstream_rq_rx_reset"] >= 1, "{program:?}");
        assert!(stats["cluster.h2.upstream_rq_rx_reset"] >= 2, "{program:?}");
        assert_eq!(stats["cluster.h2.upstream_rq_tx_reset"], 1, "{program:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn goodbyes_lose_no_request() {
    // Every connection says goodbye after ten requests.
    let peer = Peer::new(async |stream: TcpStream, number| {
        let handle = |request, respond, _| describe(request, respond);
        http2::serve(stream, &h2::server::Builder::new(), handle, number, Some(10)).await;
    })
    .await;
    on_each(async |program| {
        let before = peer.count();
        let mut config = h2_to_h2(&peer);
        let route =
            json!({"cluster": "h2", "retry_policy": {"retry_on": "refused-stream,reset", "num_retries": 3}});
        config.listeners = vec![listener(
            "h2",
            vec![chain(manager("h2", json!([{"match": {"prefix": "/"}, "route": route}])))],
        )];
        let proxy = Proxy::start(program, config).await;
        let client = H2Client::connect(proxy.address("h2").await).await;
        for _ in 0..15 {
            let all = (0..4).map(|_| client.ask(get("/")));
            for answer in futures::future::join_all(all).await {
                assert_eq!(answer.unwrap().status, 200, "{program:?}");
            }
        }
        assert!(peer.count() - before >= 3, "{program:?}: {}", peer.count() - before);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn draining_says_goodbye_and_finishes() {
    let (release, held) = tokio::sync::watch::channel(false);
    let peer = h2_peer(h2::server::Builder::new(), move |request, respond, _| {
        let mut held = held.clone();
        async move {
            if request.uri().path() == "/slow" {
                let _ = held.wait_for(|released| *released).await;
            }
            describe(request, respond).await;
        }
    })
    .await;
    on_each(async |program| {
        release.send_replace(false);
        let proxy = Proxy::start(program, h2_to_h2(&peer)).await;
        let at = proxy.address("h2").await;
        let mut bare = Bare::connect(at).await;
        let client = H2Client::connect(at).await;
        let (slow, _stream) = client.start(get("/slow"), true).await.unwrap();
        proxy.until_stat("cluster.h2.upstream_rq_active", 1).await;
        assert_eq!(proxy.post("/drain_listeners?graceful").await.0, 200, "{program:?}");
        // Envoy says goodbye with a response, ours at once; each says it in the end.
        let mut sent = false;
        let mut stream = 1;
        let seen = loop {
            let mut fields = PSEUDO;
            fields[2].1 = "/quick";
            if !sent || program == Program::Envoy {
                bare.write(&frame(HEADERS, END_STREAM | END_HEADERS, stream, &hpack(&fields))).await;
                sent = true;
            }
            let seen = bare.read_until(|seen| seen.goaway.is_some() || !seen.ended.is_empty()).await;
            stream += 2;
            if seen.goaway.is_some() || seen.closed {
                break seen;
            }
        };
        assert_eq!(seen.goaway, Some(0), "{program:?}: {seen:?}");
        release.send_replace(true);
        assert_eq!(collect(slow).await.unwrap().status, 200, "{program:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stream_limits_are_kept() {
    // A server that takes one stream at a time.
    let mut one = h2::server::Builder::new();
    one.max_concurrent_streams(1);
    let peer = h2_peer(one, |request, respond, _| describe(request, respond)).await;
    let (release, held) = tokio::sync::watch::channel(false);
    let waiting = h2_peer(h2::server::Builder::new(), move |request, respond, _| {
        let mut held = held.clone();
        async move {
            let _ = held.wait_for(|released| *released).await;
            describe(request, respond).await;
        }
    })
    .await;
    on_each(async |program| {
        release.send_replace(false);
        let limited = manager_with(
            "limited",
            json!([{"match": {"prefix": "/"}, "route": {"cluster": "waiting"}}]),
            json!({"http2_protocol_options": {"max_concurrent_streams": 2}}),
        );
        let mut config = h2_to_h2(&peer);
        config.clusters[0]["circuit_breakers"] = json!({"thresholds": [{"max_retries": 100}]});
        // A new connection is used before it has said its limit.
        let route =
            json!({"cluster": "h2", "retry_policy": {"retry_on": "refused-stream", "num_retries": 8}});
        let routes = json!([{"match": {"prefix": "/"}, "route": route}]);
        config.listeners = vec![listener("h2", vec![chain(manager("h2", routes))])];
        config.listeners.push(listener("limited", vec![chain(limited)]));
        config.clusters.push(with(cluster("waiting", &[waiting.address]), http2()));
        let proxy = Proxy::start(program, config).await;
        let client = H2Client::connect(proxy.address("h2").await).await;
        // The first learns the limit.
        assert_eq!(client.ask(get("/")).await.unwrap().status, 200, "{program:?}");
        let all = (0..8).map(|_| client.ask(get("/")));
        for answer in futures::future::join_all(all).await {
            let answer = answer.unwrap();
            assert_eq!(answer.status, 200, "{program:?}: {}", answer.text());
        }

        let mut bare = Bare::connect(proxy.address("limited").await).await;
        for stream in [1, 3, 5] {
            bare.write(&frame(HEADERS, END_STREAM | END_HEADERS, stream, &hpack(&PSEUDO))).await;
        }
        let seen = bare.read_until(|seen| !seen.reset.is_empty() || seen.closed).await;
        assert!(
            seen.reset.iter().any(|(stream, _)| *stream == 5) || seen.goaway.is_some_and(|code| code != 0),
            "{program:?}: {seen:?}"
        );
        release.send_replace(true);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_requests_never_arrive() {
    let arrived = Arc::new(AtomicUsize::new(0));
    let count = arrived.clone();
    let peer = h2_peer(h2::server::Builder::new(), move |request, respond, _| {
        count.fetch_add(1, Relaxed);
        describe(request, respond)
    })
    .await;
    let [method, scheme, path, authority] = PSEUDO;
    let large = "x".repeat(70 * 1024);
    let cases: Vec<(&str, Vec<(&str, &str)>)> = vec![
        ("no method", vec![scheme, path, authority]),
        ("no scheme", vec![method, path, authority]),
        ("no path", vec![method, scheme, authority]),
        ("empty path", vec![method, scheme, (":path", ""), authority]),
        ("two methods", vec![method, method, scheme, path, authority]),
        ("two paths", vec![method, scheme, path, path, authority]),
        ("two authorities", vec![method, scheme, path, authority, authority]),
        ("unknown pseudo field", vec![method, scheme, path, authority, (":other", "x")]),
        ("a status", vec![method, scheme, path, authority, (":status", "200")]),
        ("pseudo field after others", vec![method, scheme, ("x-a", "b"), path, authority]),
        ("upper case", vec![method, scheme, path, authority, ("X-Mine", "b")]),
        ("space in a name", vec![method, scheme, path, authority, ("x mine", "b")]),
        ("line feed in a value", vec![method, scheme, path, authority, ("x-mine", "a\nb: c")]),
        ("zero in a value", vec![method, scheme, path, authority, ("x-mine", "a\0b")]),
        ("connection", vec![method, scheme, path, authority, ("connection", "close")]),
        ("keep-alive", vec![method, scheme, path, authority, ("keep-alive", "5")]),
        ("transfer-encoding", vec![method, scheme, path, authority, ("transfer-encoding", "chunked")]),
        ("te: gzip", vec![method, scheme, path, authority, ("te", "gzip")]),
        ("bad authority", vec![method, scheme, path, (":authority", "a b")]),
        ("too large", vec![method, scheme, path, authority, ("x-large", &large)]),
        ("content-length that lies", vec![method, scheme, path, authority, ("content-length", "5")]),
        ("content-length that is none", vec![method, scheme, path, authority, ("content-length", "x")]),
    ];
    on_each(async |program| {
        arrived.store(0, Relaxed);
        let proxy = Proxy::start(program, h2_to_h2(&peer)).await;
        let at = proxy.address("h2").await;
        let mut wrong = Vec::new();
        let all = cases.iter().map(async |(what, fields)| {
            let mut bare = Bare::connect(at).await;
            let block = hpack(fields);
            let mut pieces = block.chunks(16 * 1024).peekable();
            let first = pieces.next().unwrap();
            let end = |last: bool| if last { END_HEADERS } else { 0 };
            bare.write(&frame(HEADERS, END_STREAM | end(pieces.peek().is_none()), 1, first)).await;
            while let Some(piece) = pieces.next() {
                bare.write(&frame(CONTINUATION, end(pieces.peek().is_none()), 1, piece)).await;
            }
            let seen = bare
                .read_until(|seen| !seen.reset.is_empty() || !seen.answered.is_empty() || seen.closed)
                .await;
            (what, seen)
        });
        for (what, seen) in futures::future::join_all(all).await {
            if seen.answered.iter().any(|(_, first)| *first == 0x88) {
                wrong.push(format!("{what}: {seen:?}"));
            }
        }
        assert_eq!(arrived.load(Relaxed), 0, "{program:?}");
        assert!(wrong.is_empty(), "{program:?}:\n{}", wrong.join("\n"));
        // And what is allowed arrives.
        let mut bare = Bare::connect(at).await;
        let fields = [method, scheme, path, authority, ("te", "trailers"), ("x-empty", "")];
        bare.write(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &hpack(&fields))).await;
        let seen = bare.read_until(|seen| !seen.answered.is_empty() || seen.closed).await;
        assert_eq!(seen.answered, [(1, 0x88)], "{program:?}: {seen:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_end() {
    let peer = describing().await;
    on_each(async |program| {
        let proxy = Proxy::start(program, h2_to_h2(&peer)).await;
        let at = proxy.address("h2").await;

        // Header blocks without end.
        let mut bare = Bare::connect(at).await;
        bare.write(&frame(HEADERS, END_STREAM, 1, &hpack(&PSEUDO))).await;
        let piece = frame(CONTINUATION, 0, 1, &hpack(&[("x-more", &"y".repeat(1000))]).repeat(15));
        let mut sent = 0;
        while sent < 4096 && bare.write(&piece).await {
            sent += 1;
        }
        let seen = bare.read_until(|seen| seen.closed).await;
        assert!(seen.answered.iter().all(|(_, first)| *first != 0x88), "{program:?}: {seen:?}");
        assert!(sent < 4096, "{program:?}: 60 MB of header block were taken");

        // Requests that are taken back at once.
        let mut bare = Bare::connect(at).await;
        let mut stream = 1u32;
        let mut open = true;
        while open && stream < 200_000 {
            let mut many = Vec::new();
            for _ in 0..100 {
                many.extend(frame(HEADERS, END_STREAM | END_HEADERS, stream, &hpack(&PSEUDO)));
                many.extend(frame(RST_STREAM, 0, stream, &8u32.to_be_bytes()));
                stream += 2;
            }
            open = bare.write(&many).await;
        }
        assert!(!open, "{program:?}: {} streams were opened and reset", stream / 2);

        // Pings whose answers nobody reads: refused, or no longer read.
        let mut bare = Bare::connect(at).await;
        let many = frame(PING, 0, 0, b"12345678").repeat(1000);
        let mut sent = 0;
        while sent < 20_000 {
            // Only time tells a peer that no longer reads from a slow one.
            let writing = tokio::time::timeout(Duration::from_millis(500), bare.0.write_all(&many)).await;
            if !matches!(writing, Ok(Ok(()))) {
                break;
            }
            sent += 1;
        }
        assert!(sent < 20_000, "{program:?}: 340 MB of pings were taken");

        let client = H2Client::connect(at).await;
        assert_eq!(client.ask(get("/")).await.unwrap().status, 200, "{program:?}: others are served");
    })
    .await;
}

/// An HTTP/1 server that returns the request as it came.
async fn http1_mirror() -> Peer {
    Peer::new(async |mut stream: TcpStream, _| {
        let mut all = Vec::new();
        let mut piece = [0; 4096];
        loop {
            let Ok(count) = stream.read(&mut piece).await else { return };
            if count == 0 {
                return;
            }
            all.extend_from_slice(&piece[..count]);
            let text = String::from_utf8_lossy(&all);
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let whole = match length {
                Some(length) => body.len() >= length.parse().unwrap(),
                None => !head.contains("transfer-encoding: chunked") || body.ends_with("0\r\n\r\n"),
            };
            if whole {
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nKeep-Alive: timeout=5\r\nConnection: x-hop\r\nX-Hop: 1\r\nX-Kept: 1\r\n\r\n{:x}\r\n{text}\r\n0\r\n\r\n",
                    text.len()
                );
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
                all.clear();
            }
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn between_http1_and_http2() {
    let (new, old) = (describing().await, http1_mirror().await);
    on_each(async |program| {
        let mut config = h2_to_h2(&new);
        config.listeners.push(listener("h1", vec![chain(forwarding("h1", "h1"))]));
        config.clusters.push(cluster("h1", &[old.address]));
        let proxy = Proxy::start(program, config).await;

        // HTTP/1 to HTTP/2.
        let at = proxy.address("h2").await;
        let fields = "x-mine: 1\r\ncookie: a=1; b=2\r\nte: trailers, gzip\r\nkeep-alive: 5\r\nx-hop: 1\r\n";
        let (status, body) = http(at, "GET", "/p?q", fields).await.unwrap();
        assert_eq!(status, 200, "{program:?}");
        let seen: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(seen["authority"], "test.example", "{program:?} {seen}");
        assert_eq!(seen["path"], "/p?q");
        assert_eq!(seen["scheme"], "http");
        assert_eq!(seen["headers"]["cookie"].as_str().map(|text| text.replace('|', "; ")), Some("a=1; b=2".into()));
        for name in ["host", "connection", "keep-alive", "transfer-encoding", "upgrade"] {
            assert_eq!(seen["headers"].get(name), None, "{program:?}: {name} {seen}");
        }
        let (status, body) = in_time(async {
            let mut stream = TcpStream::connect(at).await.unwrap();
            stream
                .write_all(b"POST / HTTP/1.1\r\nHost: Other.Example:81\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
                .await
                .unwrap();
            let mut all = Vec::new();
            stream.read_to_end(&mut all).await.unwrap();
            let text = String::from_utf8(all).unwrap();
            let start = text.find("{\"").unwrap();
            let end = text.rfind('}').unwrap();
            (text[9..12].to_owned(), text[start..=end].to_owned())
        })
        .await;
        let seen: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status.as_str(), &seen["body"]), ("200", &json!(5)), "{program:?} {seen}");
        assert_eq!(seen["headers"].get("transfer-encoding"), None, "{program:?} {seen}");

        // HTTP/2 to HTTP/1.
        let client = H2Client::connect(proxy.address("h1").await).await;
        let request = get("/x").header("cookie", "a=1").header("cookie", "b=2").header("te", "trailers");
        let answer = client.ask(request).await.unwrap();
        let text = answer.text();
        assert!(text.starts_with("GET /x HTTP/1.1\r\nhost: test.example\r\n"), "{program:?}: {text}");
        assert!(text.contains("\r\ncookie: a=1; b=2\r\n"), "{program:?}: {text}");
        assert!(!text.contains("transfer-encoding") && !text.contains("content-length"), "{program:?}: {text}");
        for name in ["transfer-encoding", "keep-alive", "connection"] {
            assert_eq!(answer.field(name), None, "{program:?}: {name} {answer:?}");
        }
        assert_eq!(answer.field("x-kept"), Some("1"), "{program:?}");
        // A body of unknown length is chunked, a known one is not.
        let answer = client.send(post("/"), "12345", HeaderMap::new()).await.unwrap();
        assert!(answer.text().contains("\r\ntransfer-encoding: chunked\r\n"), "{program:?}: {}", answer.text());
        let request = post("/").header("content-length", "5");
        let answer = client.send(request, "12345", HeaderMap::new()).await.unwrap();
        let text = answer.text();
        assert!(text.contains("\r\ncontent-length: 5\r\n") && !text.contains("chunked"), "{program:?}: {text}");
        assert!(text.ends_with("\r\n\r\n12345"), "{program:?}: {text}");
        // HEAD has a length and no body.
        let request = http::Request::head("http://test.example/");
        let answer = client.ask(request).await.unwrap();
        assert_eq!((answer.status, answer.body.len()), (200, 0), "{program:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alpn_chooses_the_codec() {
    let west = Authority::new("west.test");
    let server = west.account("server");
    let tls = downstream_tls(
        json!({"tls_certificates": server.config(), "alpn_protocols": ["h2", "http/1.1"]}),
        json!({}),
    );
    // Upstream servers behind TLS: one with HTTP/2, one without any protocol name, one that knows HTTP/1 only.
    let h2 = {
        let acceptor = crate::support::tls::server(&west.account("h2"), &["h2", "http/1.1"]);
        tls_h2(acceptor).await
    };
    let nameless = tls_h2(crate::support::tls::server(&west.account("nameless"), &[])).await;
    let context = |alpn: &[&str]| {
        upstream_tls(
            json!({"alpn_protocols": alpn, "validation_context": {"trusted_ca": inline(west.root())}}),
            json!({}),
        )
    };
    let auto = protocol(json!({"auto_config": {"http2_protocol_options": {}}}));
    on_each(async |program| {
        let entry = |name: &str| listener(name, vec![with(chain(forwarding(name, name)), tls.clone())]);
        let config = Config {
            listeners: ["explicit", "nameless", "auto"].map(entry).into(),
            clusters: vec![
                with(with(cluster("explicit", &[h2.address]), http2()), context(&["h2"])),
                with(with(cluster("nameless", &[nameless.address]), http2()), context(&["h2"])),
                with(with(cluster("auto", &[h2.address]), auto.clone()), context(&["h2", "http/1.1"])),
            ],
            ..Config::default()
        };
        let proxy = Proxy::start(program, config).await;
        for name in ["explicit", "nameless", "auto"] {
            let at = proxy.address(name).await;
            let client = Client { alpn: vec!["h2", "http/1.1"], ..Client::default() };
            let stream = client.connect(at).await.unwrap();
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]), "{program:?}");
            let answer = H2Client::over(stream).await.ask(get("/")).await.unwrap();
            assert_eq!(answer.status, 200, "{program:?}: {name}: {}", answer.text());
            let client = Client { alpn: vec!["http/1.1"], ..Client::default() };
            let answer =
                crate::support::http_on(client.connect(at).await.unwrap(), "GET", "/", "").await.unwrap();
            assert_eq!(answer.0, 200, "{program:?}: {name}: {}", answer.1);
            assert!(
                proxy.stat(&format!("cluster.{name}.upstream_cx_http2_total")).await >= 1,
                "{program:?}: {name}"
            );
            assert_eq!(
                proxy.stat(&format!("cluster.{name}.upstream_cx_http1_total")).await,
                0,
                "{program:?}: {name}"
            );
        }
    })
    .await;
}

async fn tls_h2(acceptor: tokio_rustls::TlsAcceptor) -> Peer {
    Peer::new(move |stream, number| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let handle = |request, respond, _| describe(request, respond);
            http2::serve(stream, &h2::server::Builder::new(), handle, number, None).await;
        }
    })
    .await
}

/// A reset is never an end, not even one that says there was no error.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_bodies_do_not_look_whole() {
    let bodies = Arc::new(Mutex::new(Vec::new()));
    let seen = bodies.clone();
    let peer = h2_peer(h2::server::Builder::new(), move |request, mut respond, _| {
        let seen = seen.clone();
        async move {
            if request.method() == http::Method::POST {
                let whole = drain(&mut request.into_body()).await.is_ok();
                seen.lock().unwrap().push(whole);
                let _ = respond.send_response(Response::new(()), true);
                return;
            }
            let mut stream = respond.send_response(Response::new(()), false).unwrap();
            push(&mut stream, Bytes::from_static(b"abc")).await.unwrap();
            stream.reserve_capacity(1);
            let _ = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await;
            stream.send_reset(h2::Reason::NO_ERROR);
        }
    })
    .await;
    on_each(async |program| {
        bodies.lock().unwrap().clear();
        let proxy = Proxy::start(program, h2_to_h2(&peer)).await;
        let client = H2Client::connect(proxy.address("h2").await).await;
        let answer = client.ask(get("/")).await;
        assert!(!matches!(&answer, Ok(answer) if answer.status == 200), "{program:?}: {answer:?}");
        let (_response, mut stream) = client.start(post("/"), false).await.unwrap();
        push(&mut stream, Bytes::from_static(b"abc")).await.unwrap();
        proxy.until_stat("cluster.h2.upstream_rq_active", 1).await;
        stream.send_reset(h2::Reason::NO_ERROR);
        eventually("the cut request", async || (!bodies.lock().unwrap().is_empty()).then_some(())).await;
        assert_eq!(*bodies.lock().unwrap(), [false], "{program:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_end_when_they_are_told_to() {
    let large = h2_peer(h2::server::Builder::new(), |request, mut respond, _| async move {
        if request.uri().path() != "/large" {
            return describe(request, respond).await;
        }
        let response = Response::builder().header("x-large", "y".repeat(70 * 1024)).body(()).unwrap();
        let _ = respond.send_response(response, true);
    })
    .await;
    on_each(async |program| {
        let before = large.count();
        let mut config = h2_to_h2(&large);
        let routes = json!([{"match": {"prefix": "/"}, "route": {"cluster": "h2"}}]);
        let few = json!({
            "common_http_protocol_options": {"max_requests_per_connection": 3}, "drain_timeout": "0.2s",
        });
        let idle = json!({"common_http_protocol_options": {"idle_timeout": "0.3s"}});
        config.listeners.extend([
            listener("few", vec![chain(manager_with("few", routes.clone(), few))]),
            listener("idle", vec![chain(manager_with("idle", routes, idle))]),
        ]);
        let spent = protocol(json!({
            "common_http_protocol_options": {"max_requests_per_connection": 2},
            "explicit_http_config": {"http2_protocol_options": {}},
        }));
        config.clusters = vec![with(cluster("h2", &[large.address]), spent)];
        let proxy = Proxy::start(program, config).await;
        let client = H2Client::connect(proxy.address("h2").await).await;
        for _ in 0..6 {
            assert_eq!(client.ask(get("/")).await.unwrap().status, 200, "{program:?}");
        }
        assert_eq!(large.count() - before, 3, "{program:?}");
        assert_eq!(proxy.stat("cluster.h2.upstream_cx_max_requests").await, 3, "{program:?}");
        // A head that is too large is the server's fault.
        let answer = client.ask(get("/large")).await.unwrap();
        assert!(matches!(answer.status, 502 | 503), "{program:?}: {answer:?}");

        let mut bare = Bare::connect(proxy.address("few").await).await;
        for stream in [1, 3, 5] {
            bare.write(&frame(HEADERS, END_STREAM | END_HEADERS, stream, &hpack(&PSEUDO))).await;
            let seen = bare.read_until(|seen| !seen.ended.is_empty() || seen.closed).await;
            assert!(seen.answered.contains(&(stream, 0x88)), "{program:?}: {seen:?}");
            if let Some(code) = seen.goaway {
                assert_eq!((code, stream), (0, 5), "{program:?}");
            }
        }
        let seen = bare.read_until(|seen| seen.closed).await;
        assert!(seen.reset.is_empty(), "{program:?}: {seen:?}");

        let mut bare = Bare::connect(proxy.address("idle").await).await;
        let seen = bare.read_until(|seen| seen.goaway.is_some() || seen.closed).await;
        assert_eq!(seen.goaway, Some(0), "{program:?}: {seen:?}");
        proxy.until_stat("http.idle.downstream_cx_idle_timeout", 1).await;
    })
    .await;
}
