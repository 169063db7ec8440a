//! gRPC as the proxy sees it: HTTP/2 with trailers, statuses in them, and answers of the proxy's own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Response};
use serde_json::json;

use crate::support::config::*;
use crate::support::http2::*;
use crate::support::{Config, Proxy, in_time, on_each};
use portolan_testing::{Peer, nobody};

fn call(path: &str) -> http::request::Builder {
    post(path).header("content-type", "application/grpc").header("te", "trailers")
}

fn status(code: u32) -> HeaderMap {
    let mut map = HeaderMap::new();
    map.insert("grpc-status", code.into());
    map
}

fn head() -> Response<()> {
    Response::builder().header("content-type", "application/grpc").body(()).unwrap()
}

/// A message: not compressed, with its length.
fn message(text: &str) -> Bytes {
    let mut out = vec![0];
    out.extend((text.len() as u32).to_be_bytes());
    out.extend(text.as_bytes());
    out.into()
}

/// Methods: `/t/Echo` sends every piece back as it comes; `/t/Status-N` fails in the head; `/t/Once-N` the first time
/// only (by `x-call`); `/t/Never` never answers.
async fn service() -> Peer {
    let tries = Arc::new(Mutex::new(HashMap::<String, u32>::new()));
    h2_peer(h2::server::Builder::new(), move |request, mut respond, _| {
        let tries = tries.clone();
        async move {
            let path = request.uri().path().to_owned();
            let trailers_only = |code: u32| {
                let mut response = head();
                response.headers_mut().insert("grpc-status", code.into());
                response.headers_mut().insert("grpc-message", "said%20so".parse().unwrap());
                response
            };
            if let Some(code) = path.strip_prefix("/t/Status-") {
                let _ = respond.send_response(trailers_only(code.parse().unwrap()), true);
                return;
            }
            if let Some(code) = path.strip_prefix("/t/Once-") {
                let call = request.headers()["x-call"].to_str().unwrap().to_owned();
                let first = {
                    let mut tries = tries.lock().unwrap();
                    let count = tries.entry(call).or_default();
                    *count += 1;
                    *count == 1
                };
                if first {
                    let _ = respond.send_response(trailers_only(code.parse().unwrap()), true);
                    return;
                }
            }
            if path == "/t/Never" {
                let _ = std::future::poll_fn(|cx| respond.poll_reset(cx)).await;
                return;
            }
            let mut stream = respond.send_response(head(), false).unwrap();
            let mut body = request.into_body();
            while let Some(Ok(piece)) = body.data().await {
                let _ = body.flow_control().release_capacity(piece.len());
                if push(&mut stream, piece).await.is_err() {
                    return;
                }
            }
            let _ = stream.send_trailers(status(0));
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_of_all_four_kinds() {
    let peer = service().await;
    let log = access_log("log", &["REQ(:PATH)", "GRPC_STATUS", "GRPC_STATUS_NUMBER", "RESPONSE_CODE"]);
    on_each(async |program| {
        let routes = json!([{"match": {"prefix": "/"}, "route": {"cluster": "grpc"}}]);
        let config = Config {
            listeners: vec![listener(
                "grpc",
                vec![chain(manager_with("grpc", routes, json!({"access_log": log})))],
            )],
            clusters: vec![with(cluster("grpc", &[peer.address]), http2())],
            ..Config::default()
        };
        let proxy = Proxy::start(program, config).await;
        let client = H2Client::connect(proxy.address("grpc").await).await;
        // One message there and back.
        let (response, mut stream) = client.start(call("/t/Echo"), false).await.unwrap();
        stream.send_data(message("one"), true).unwrap();
        let answer = collect(response).await.unwrap();
        assert_eq!(answer.body, message("one"), "{program:?}");
        assert_eq!(answer.trailers["grpc-status"], "0", "{program:?}");

        // Both sides in turns: each message comes back before the next one is sent.
        let (response, mut stream) = client.start(call("/t/Echo"), false).await.unwrap();
        let mut body = None;
        let mut response = Some(response);
        for number in 0..20 {
            push(&mut stream, message(&format!("number {number}"))).await.unwrap();
            if let Some(response) = response.take() {
                body = Some(in_time(response).await.unwrap().into_body());
            }
            let body = body.as_mut().unwrap();
            let piece = in_time(body.data()).await.unwrap().unwrap();
            body.flow_control().release_capacity(piece.len()).unwrap();
            assert_eq!(piece, message(&format!("number {number}")), "{program:?}");
        }
        stream.send_data(Bytes::new(), true).unwrap();
        let (rest, trailers) = in_time(drain(body.as_mut().unwrap())).await.unwrap();
        assert_eq!((rest.len(), &trailers["grpc-status"]), (0, &"0".parse().unwrap()), "{program:?}");

        // Errors in the head stay there.
        let answer = client.send(call("/t/Status-7"), message("x"), HeaderMap::new()).await.unwrap();
        assert_eq!(answer.status, 200, "{program:?}");
        assert_eq!(answer.headers["grpc-status"], "7", "{program:?}");
        assert_eq!(answer.headers["grpc-message"], "said%20so", "{program:?}");
        assert!(answer.body.is_empty() && answer.trailers.is_empty(), "{program:?}: {answer:?}");

        let lines = proxy.log("log", 3).await;
        let of = |at: usize| (lines[at]["GRPC_STATUS"].clone(), lines[at]["GRPC_STATUS_NUMBER"].clone());
        assert_eq!(of(0), (json!("OK"), json!(0)), "{program:?}");
        assert_eq!(of(1), (json!("OK"), json!(0)), "{program:?}");
        assert_eq!(of(2), (json!("PermissionDenied"), json!(7)), "{program:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_proxys_own_answers_are_grpc() {
    let peer = service().await;
    on_each(async |program| {
        let direct = |path: &str, code: u16| {
            json!({
                "match": {"path": path},
                "direct_response": {"status": code, "body": {"inline_string": "no 100%\n"}},
            })
        };
        let to = |path: &str, route: serde_json::Value| json!({"match": {"path": path}, "route": route});
        let codes = [400u16, 401, 403, 404, 429, 500, 502, 503, 504];
        let mut routes: Vec<_> = codes.iter().map(|code| direct(&format!("/t/{code}"), *code)).collect();
        routes.extend([
            to("/t/Empty", json!({"cluster": "empty"})),
            to("/t/Refused", json!({"cluster": "refused"})),
            to("/t/Unknown", json!({"cluster_header": "x-cluster"})),
            to("/t/Never", json!({"cluster": "grpc", "timeout": "0.2s"})),
        ]);
        let mut with_deadline = to(
            "/t/Never",
            json!({
                "cluster": "grpc", "timeout": "0s",
                "max_stream_duration": {"grpc_timeout_header_max": "0.4s"},
            }),
        );
        with_deadline["match"]["headers"] = json!([{"name": "grpc-timeout", "present_match": true}]);
        routes.insert(0, with_deadline);
        let config = Config {
            listeners: vec![listener("grpc", vec![chain(manager("grpc", json!(routes)))])],
            clusters: vec![
                with(cluster("grpc", &[peer.address]), http2()),
                with(cluster("empty", &[]), http2()),
                with(cluster("refused", &[nobody()]), http2()),
            ],
            ..Config::default()
        };
        let proxy = Proxy::start(program, config).await;
        let client = H2Client::connect(proxy.address("grpc").await).await;
        let cases = [
            ("/t/400", 13),
            ("/t/401", 16),
            ("/t/403", 7),
            ("/t/404", 12),
            ("/t/429", 14),
            ("/t/500", 2),
            ("/t/502", 14),
            ("/t/503", 14),
            ("/t/504", 14),
            ("/t/NoRoute", 12),
            ("/t/Empty", 14),
            ("/t/Refused", 14),
            ("/t/Unknown", 14),
        ];
        for (path, code) in cases {
            let answer = client.send(call(path), message("x"), HeaderMap::new()).await.unwrap();
            assert_eq!(answer.status, 200, "{program:?}: {path}");
            assert_eq!(
                answer.field("grpc-status"),
                Some(code.to_string().as_str()),
                "{program:?}: {path} {answer:?}"
            );
            assert_eq!(answer.field("content-type"), Some("application/grpc"), "{program:?}: {path}");
            assert!(answer.body.is_empty(), "{program:?}: {path}");
            if path == "/t/503" {
                assert_eq!(answer.field("grpc-message"), Some("no 100%25%0A"), "{program:?}");
            }
        }
        // Deadlines: the route's, and the caller's up to the route's limit.
        for (timeout, least, most) in [(None, 150, 380), (Some("150m"), 100, 380), (Some("30S"), 350, 5000)] {
            let mut request = call("/t/Never");
            if let Some(timeout) = timeout {
                request = request.header("grpc-timeout", timeout);
            }
            let start = std::time::Instant::now();
            let answer = client.send(request, message("x"), HeaderMap::new()).await.unwrap();
            let took = start.elapsed().as_millis();
            let code = answer.field("grpc-status").unwrap();
            assert!(matches!(code, "4" | "14"), "{program:?}: {timeout:?} {answer:?}");
            // The upper bounds tell which limit it was, not how fast anything is.
            assert!(took >= least && took < most + 5000, "{program:?}: {timeout:?} took {took} ms");
        }
        proxy.until_stat("cluster.grpc.upstream_rq_active", 0).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retries_by_status() {
    let peer = service().await;
    let names = [
        ("cancelled", 1),
        ("deadline-exceeded", 4),
        ("resource-exhausted", 8),
        ("internal", 13),
        ("unavailable", 14),
    ];
    on_each(async |program| {
        let mut routes: Vec<_> = names
            .iter()
            .map(|(name, _)| {
                json!({
                    "match": {"prefix": "/", "headers": [{"name": "x-on", "string_match": {"exact": name}}]},
                    "route": {
                        "cluster": "grpc",
                        "retry_policy": {
                            "retry_on": name, "num_retries": 1,
                            "retry_back_off": {"base_interval": "0.001s", "max_interval": "0.002s"},
                        },
                    },
                })
            })
            .collect();
        routes.push(json!({"match": {"prefix": "/"}, "route": {"cluster": "grpc"}}));
        let config = Config {
            listeners: vec![listener("grpc", vec![chain(manager("grpc", json!(routes)))])],
            clusters: vec![with(cluster("grpc", &[peer.address]), http2())],
            ..Config::default()
        };
        let proxy = Proxy::start(program, config).await;
        let client = H2Client::connect(proxy.address("grpc").await).await;
        let mut retries = 0;
        for (on, _) in names {
            for (_, code) in names {
                let request = call(&format!("/t/Once-{code}"))
                    .header("x-on", on)
                    .header("x-call", format!("{program:?} {on} {code}"));
                let answer = client.send(request, message("x"), HeaderMap::new()).await.unwrap();
                let same = names.contains(&(on, code));
                let expected = if same { "0".to_owned() } else { code.to_string() };
                assert_eq!(answer.field("grpc-status"), Some(expected.as_str()), "{program:?}: {on} {code}");
                retries += u64::from(same);
            }
        }
        assert_eq!(proxy.stat("cluster.grpc.upstream_rq_retry").await, retries, "{program:?}");
        assert_eq!(proxy.stat("cluster.grpc.upstream_rq_retry_success").await, retries, "{program:?}");
    })
    .await;
}
