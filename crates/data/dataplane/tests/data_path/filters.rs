//! Filters in the life of a request: what waits for one, and what ends the wait.

use std::io::Write;

use portolan_envoy_api::pb::envoy::extensions::filters::common::fault::v3::{FaultDelay, fault_delay};
use portolan_envoy_api::pb::envoy::extensions::filters::http::fault::v3::HttpFault;
use portolan_envoy_api::pb::envoy::r#type::v3::{FractionalPercent, fractional_percent::DenominatorType};

use crate::support::*;

/// A listener on which each request is delayed by `milliseconds`.
fn delayed(
    plane: &Plane,
    backend: &Backend,
    milliseconds: i32,
    adjust: impl FnOnce(&mut hcm::HttpConnectionManager),
) -> std::net::SocketAddr {
    let fault = HttpFault {
        delay: Some(FaultDelay {
            percentage: Some(FractionalPercent {
                numerator: 100,
                denominator: DenominatorType::Hundred.into(),
            }),
            fault_delay_secifier: Some(fault_delay::FaultDelaySecifier::FixedDelay(ProtoDuration {
                seconds: (milliseconds / 1000).into(),
                nanos: milliseconds % 1000 * 1_000_000,
            })),
        }),
        ..Default::default()
    };
    plane.cluster(&static_cluster("backend", &[backend.address]));
    let mut manager = manager(table("r", vec![forward("/", to_cluster("backend"))]));
    manager.http_filters.insert(0, http_filter("envoy.filters.http.fault", any(&fault)));
    adjust(&mut manager);
    plane.listen(&listener("delayed", vec![chain(any(&manager))]))
}

#[test]
fn a_delayed_request_ends_with_its_client() {
    let backend = Backend::ok("late");
    let plane = Plane::new();
    let at = delayed(&plane, &backend, 3_600_000, |_| {});
    let mut client = connect(at);
    client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    plane.until("http.test.fault_delays_injected", 1);
    assert_eq!(plane.stat("http.test.downstream_rq_active"), 1);
    drop(client);
    plane.until("http.test.downstream_rq_active", 0);
    assert_eq!(plane.stat("http.test.downstream_rq_rx_reset"), 1);
    assert_eq!(backend.count(), 0);
}

#[test]
fn a_delayed_request_ends_with_its_stream_duration() {
    let backend = Backend::ok("late");
    let plane = Plane::new();
    let at = delayed(&plane, &backend, 3_600_000, |manager| {
        manager.common_http_protocol_options.get_or_insert_default().max_stream_duration =
            Some(ProtoDuration { seconds: 0, nanos: 50_000_000 });
    });
    let answer = get(at, "/", "");
    assert_eq!(status(&answer), 408, "{answer}");
    assert_eq!(body(&answer), "downstream duration timeout");
    assert_eq!(backend.count(), 0);
}

#[test]
fn a_delayed_body_arrives_whole() {
    let backend = Backend::ok("thanks");
    let plane = Plane::new();
    let at = delayed(&plane, &backend, 50, |_| {});
    let answer =
        exchange(at, "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 5\r\n\r\n12345");
    assert_eq!(status(&answer), 200, "{answer}");
    assert!(backend.last().contains("content-length: 5\r\n"), "{}", backend.last());
    assert!(backend.last().ends_with("12345"), "{}", backend.last());
}
