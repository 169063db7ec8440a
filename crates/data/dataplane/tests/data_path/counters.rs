//! Counters that a dashboard believes.
#![allow(clippy::unwrap_used, reason = "a test reports by panicking")]

use std::io::{Read, Write};

use crate::support::*;

#[test]
fn connections_beyond_the_limit_are_closed_and_counted() {
    let plane = Plane::with(|options| options.connections_per_listener = 2);
    let at = plane.simple(&[]);
    let kept = [connect(at), connect(at)];
    plane.until("http.test.downstream_cx_active", 2);
    assert_eq!(connect(at).read(&mut [0; 1]).unwrap_or(0), 0);
    let name = format!("listener.{}.downstream_cx_overflow", address_of_listener(&plane));
    plane.until(&name, 1);
    // There is room again when one has left.
    drop(kept);
    plane.until("http.test.downstream_cx_active", 0);
    eventually("room for a connection", || (status(&get(at, "/", "")) == 503).then_some(()));
}

#[test]
fn a_connection_that_is_looked_at_counts_against_the_limit() {
    let plane = Plane::with(|options| options.connections_per_listener = 1);
    let mut listener = listener("l", vec![chain(any(&manager(table("r", vec![]))))]);
    listener.listener_filters = vec![listener::ListenerFilter {
        name: "envoy.filters.listener.tls_inspector".into(),
        ..Default::default()
    }];
    let at = plane.listen(&listener);
    let _silent = connect(at);
    let name = format!("listener.{}.downstream_pre_cx_active", address_of_listener(&plane));
    plane.until(&name, 1);
    assert_eq!(connect(at).read(&mut [0; 1]).unwrap_or(0), 0);
}

/// Name of the only listener in statistics.
fn address_of_listener(plane: &Plane) -> String {
    let samples = plane.plane.stats().samples();
    let name = samples.into_iter().find_map(|sample| {
        let name = sample.stat_name.strip_prefix("listener.")?.strip_suffix(".downstream_cx_total")?;
        Some(name.to_owned())
    });
    name.unwrap()
}

#[test]
fn a_response_that_is_cut_counts_as_reset() {
    let backend = Backend::new(|_, _| "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc".into());
    let plane = Plane::new();
    let mut action = to_cluster("backend");
    action.timeout = Some(ProtoDuration { seconds: 0, nanos: 200_000_000 });
    plane.cluster(&static_cluster("backend", &[backend.address]));
    let manager = manager(table("r", vec![forward("/", action)]));
    let at = plane.listen(&listener("l", vec![chain(any(&manager))]));
    assert!(get(at, "/", "").ends_with("abc"));
    plane.until("http.test.downstream_rq_tx_reset", 1);
}

#[test]
fn a_host_that_leaves_a_request_alone_is_counted() {
    let backend = Backend::new(|_, _| String::new());
    let plane = Plane::new();
    let at = plane.simple(&[backend.address]);
    assert_eq!(status(&get(at, "/", "")), 503);
    plane.until("cluster.backend.upstream_cx_destroy_remote_with_active_rq", 1);
}

#[test]
fn a_connection_that_ends_between_requests_is_not_counted_as_cut() {
    let backend =
        Backend::new(|_, _| "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx".into());
    let plane = Plane::new();
    let at = plane.simple(&[backend.address]);
    assert_eq!(status(&get(at, "/", "")), 200);
    plane.until("cluster.backend.upstream_cx_active", 0);
    assert_eq!(plane.stat("cluster.backend.upstream_cx_destroy_remote_with_active_rq"), 0);
}

#[test]
fn requests_that_wait_for_a_connection_are_shown() {
    // Accepts nothing: with the queue full a connect hangs.
    let full = portolan_testing::Busy::new();
    let plane = Plane::new();
    let at = plane.simple(&[full.address]);
    let mut stream = connect(at);
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    plane.until("cluster.backend.upstream_rq_pending_active", 1);
    drop(stream);
    plane.until("cluster.backend.upstream_rq_pending_active", 0);
}

#[test]
fn requests_that_overload_drops_are_counted() {
    let backend = Backend::ok("x");
    let plane = Plane::new();
    let mut cluster = static_cluster("backend", &[backend.address]);
    let assignment = cluster.load_assignment.as_mut().unwrap();
    assignment.policy = Some(endpoint::cluster_load_assignment::Policy {
        drop_overloads: vec![endpoint::cluster_load_assignment::policy::DropOverload {
            category: "all".into(),
            drop_percentage: Some(portolan_envoy_api::pb::envoy::r#type::v3::FractionalPercent {
                numerator: 100,
                denominator: 0,
            }),
        }],
        ..Default::default()
    });
    plane.cluster(&cluster);
    let manager = manager(table("r", vec![forward("/", to_cluster("backend"))]));
    let at = plane.listen(&listener("l", vec![chain(any(&manager))]));
    assert_eq!(status(&get(at, "/", "")), 503);
    plane.until("cluster.backend.upstream_rq_drop_overload", 1);
}

#[test]
fn no_statistic_is_shown_twice() {
    let plane = Plane::new();
    plane.simple(&[]);
    let mut names: Vec<_> =
        plane.plane.stats().samples().into_iter().map(|sample| sample.stat_name).collect();
    let all = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), all);
}

#[test]
fn bytes_of_http1_hosts_are_counted() {
    let backend = Backend::ok("x");
    let plane = Plane::new();
    let at = plane.simple(&[backend.address]);
    assert_eq!(status(&get(at, "/", "")), 200);
    let answer = respond(200, "x").len() as u64;
    plane.until("cluster.backend.upstream_cx_rx_bytes_total", answer);
    plane.until("cluster.backend.upstream_cx_tx_bytes_total", backend.last().len() as u64);
    // Also of a connection that is used again.
    assert_eq!(status(&get(at, "/", "")), 200);
    plane.until("cluster.backend.upstream_cx_rx_bytes_total", 2 * answer);
}

#[test]
fn bytes_of_http2_hosts_are_counted() {
    const SIZE: usize = 10_000;
    let backend = http2_backend(|mut respond| async move {
        if let Ok(mut body) = respond.send_response(http::Response::new(()), false) {
            let _ = body.send_data(vec![b'x'; SIZE].into(), true);
        }
    });
    let plane = Plane::new();
    let mut cluster = static_cluster("backend", &[backend]);
    #[allow(deprecated, reason = "the shortest way to ask for HTTP/2")]
    {
        cluster.http2_protocol_options = Some(core::Http2ProtocolOptions::default());
    }
    plane.cluster(&cluster);
    let manager = manager(table("r", vec![forward("/", to_cluster("backend"))]));
    let at = plane.listen(&listener("l", vec![chain(any(&manager))]));
    let answer = get(at, "/", "");
    assert_eq!(portolan_testing::http::parse(answer.as_bytes()).unwrap().1.len(), SIZE);
    assert!(plane.stat("cluster.backend.upstream_cx_rx_bytes_total") > SIZE as u64);
    assert!(plane.stat("cluster.backend.upstream_cx_tx_bytes_total") > 0);
}

#[tokio::test]
async fn bytes_of_http2_clients_are_counted() {
    const SIZE: usize = 10_000;
    let backend = Backend::new(|_, _| respond(200, &"x".repeat(SIZE)));
    let plane = Plane::new();
    let at = plane.simple(&[backend.address]);
    let stream = tokio::net::TcpStream::connect(at).await.unwrap();
    let (send, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::get("http://test.example/").body(()).unwrap();
    let (response, _) = send.ready().await.unwrap().send_request(request, true).unwrap();
    let mut body = response.await.unwrap().into_body();
    let mut read = 0;
    while let Some(data) = body.data().await {
        let data = data.unwrap();
        read += data.len();
        body.flow_control().release_capacity(data.len()).unwrap();
    }
    assert_eq!(read, SIZE);
    assert!(plane.stat("http.test.downstream_cx_tx_bytes_total") > SIZE as u64);
    assert!(plane.stat("http.test.downstream_cx_rx_bytes_total") > 0);
}
