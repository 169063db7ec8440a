//! Forwarding over plain HTTP/1, refusals, keep-alive, updates.

use std::io::{Read, Write};

use crate::support::*;

#[test]
fn forwards_a_request() {
    let backend = Backend::ok("hello");
    let plane = Plane::new();
    let at = plane.simple(&[backend.address]);
    let answer = get(at, "/a?b=c", "X-Mine: 1\r\n");
    assert_eq!(status(&answer), 200, "{answer}");
    assert_eq!(body(&answer), "hello");
    assert!(answer.contains("server: envoy\r\n"), "{answer}");
    assert!(answer.contains("x-envoy-upstream-service-time: "), "{answer}");
    assert!(answer.contains("connection: close\r\n"), "{answer}");
    let request = backend.last();
    assert!(request.starts_with("GET /a?b=c HTTP/1.1\r\nhost: test.example\r\n"), "{request}");
    for wanted in ["x-mine: 1\r\n", "x-forwarded-proto: http\r\n", "x-request-id: "] {
        assert!(request.contains(wanted), "{wanted:?} in {request}");
    }
    assert!(!request.contains("connection:"), "{request}");
    assert_eq!(plane.stat("cluster.backend.upstream_rq_total"), 1);
    assert_eq!(plane.stat("http.test.downstream_rq_2xx"), 1);
}

#[test]
fn bodies_both_ways() {
    let backend = Backend::new(|request, _| {
        let body = request.split_once("\r\n\r\n").unwrap().1;
        format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
            body.len()
        )
    });
    let plane = Plane::new();
    let at = plane.simple(&[backend.address]);
    let answer =
        exchange(at, "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 5\r\n\r\n12345");
    assert_eq!(body(&answer), "3\r\nabc\r\n5\r\n12345\r\n0\r\n\r\n", "{answer}");
    let answer = exchange(
        at,
        "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
    );
    assert_eq!(status(&answer), 200, "{answer}");
    assert!(backend.last().contains("transfer-encoding: chunked\r\n"), "{}", backend.last());
}

#[test]
fn what_came_before_a_cut_is_sent() {
    let socket = std::net::TcpListener::bind(loopback()).unwrap();
    let address = socket.local_addr().unwrap();
    let (hang_up, told) = std::sync::mpsc::channel::<()>();
    std::thread::spawn(move || {
        let (mut stream, _) = socket.accept().unwrap();
        read_message(&mut stream).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc").unwrap();
        let _ = told.recv();
    });
    let plane = Plane::new();
    let at = plane.simple(&[address]);
    let mut stream = connect(at);
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = vec![0; 1024];
    let mut filled = 0;
    while !answer[..filled].ends_with(b"abc") {
        let read = stream.read(&mut answer[filled..]).unwrap();
        assert_ne!(read, 0, "closed after {:?}", String::from_utf8_lossy(&answer[..filled]));
        filled += read;
    }
    // The backend ends in the middle of the body: the client can tell, by the length that it was promised.
    drop(hang_up);
    assert_eq!(stream.read(&mut answer).unwrap_or(0), 0);
}

#[test]
fn a_slow_reader_gets_everything() {
    const SIZE: usize = 8 * 1024 * 1024;
    let text: String = ('a'..='z').cycle().take(SIZE).collect();
    let whole = text.clone();
    let backend = Backend::new(move |request, _| {
        let chunked = request.starts_with("GET /chunked");
        match chunked {
            true => format!(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{SIZE:x}\r\n{whole}\r\n0\r\n\r\n"
            ),
            false => respond(200, &whole),
        }
    });
    let plane = Plane::new();
    let at = plane.simple(&[backend.address]);
    for path in ["/plain", "/chunked"] {
        let mut stream = connect(at);
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        // More than fits on the way: nothing is read before the backend has begun to send.
        eventually("a request", || (backend.count() > 0).then_some(()));
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let (_, got) = portolan_testing::http::parse(&answer).unwrap();
        assert!(got == text, "{path}: {} bytes of {SIZE}, or others", got.len());
    }
}

#[test]
fn connections_are_kept_on_both_sides() {
    let backend = Backend::ok("x");
    let plane = Plane::new();
    let at = plane.simple(&[backend.address]);
    let mut stream = connect(at);
    for _ in 0..10 {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        assert_eq!(status(&read_message(&mut stream).unwrap()), 200);
    }
    assert_eq!(backend.count(), 10);
    assert_eq!(backend.connections(), 1);
    // Pipelined.
    stream.write_all("GET / HTTP/1.1\r\nHost: x\r\n\r\n".repeat(20).as_bytes()).unwrap();
    for _ in 0..20 {
        assert_eq!(status(&read_message(&mut stream).unwrap()), 200);
    }
    assert_eq!(backend.count(), 30);
}

#[test]
fn malformed_requests_are_refused_and_closed() {
    let backend = Backend::ok("x");
    let plane = Plane::new();
    let at = plane.simple(&[backend.address]);
    for (request, code) in [
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        ("GET / HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n", 400),
        ("\x16\x03\x01\x02", 400),
        ("GET / HTTP/3.1\r\nHost: a\r\n\r\n", 505),
        ("GET / HTTP/1.0\r\nHost: a\r\n\r\n", 426),
    ] {
        let answer = exchange(at, request);
        assert_eq!(status(&answer), code, "{request:?}: {answer}");
    }
    assert_eq!(backend.count(), 0);
    let answer = exchange(at, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n");
    assert_eq!(status(&answer), 400, "{answer}");
}

#[test]
fn answers_without_a_way() {
    let plane = Plane::new();
    let at = plane.simple(&[]);
    let answer = get(at, "/", "");
    assert_eq!((status(&answer), body(&answer)), (503, "no healthy upstream"));
    // Nobody listens there.
    plane.cluster(&static_cluster("backend", &[portolan_testing::nobody()]));
    let answer = eventually("the host to be known", || {
        Some(get(at, "/", "")).filter(|answer| !answer.contains("no healthy"))
    });
    assert_eq!(status(&answer), 503);
    assert!(body(&answer).ends_with("reset reason: remote connection failure"), "{answer}");
    let nowhere = manager(table("r", vec![forward("/", to_cluster("missing"))]));
    let at = plane.listen(&listener("nowhere", vec![chain(any(&nowhere))]));
    assert_eq!(status(&get(at, "/", "")), 503);
    let empty = manager(table("r", vec![]));
    let at = plane.listen(&listener("empty", vec![chain(any(&empty))]));
    assert_eq!(status(&get(at, "/", "")), 404);
}

#[test]
fn a_listener_waits_for_its_routes() {
    let backend = Backend::ok("x");
    let plane = Plane::new();
    plane.cluster(&static_cluster("backend", &[backend.address]));
    let mut hcm = manager(table("", vec![]));
    hcm.route_specifier = Some(hcm::http_connection_manager::RouteSpecifier::Rds(hcm::Rds {
        route_config_name: "late".into(),
        ..Default::default()
    }));
    plane.apply(ResourceKind::Listener, "l", &listener("l", vec![chain(any(&hcm))]));
    let status_of = plane.plane.config().status();
    assert_eq!(status_of.listeners[0].waits_for, ["route configuration late"]);
    assert!(plane.plane.config().needs().borrow().routes.contains("late"));
    plane.apply(ResourceKind::Routes, "late", &table("late", vec![forward("/", to_cluster("backend"))]));
    assert_eq!(status(&get(plane.address("l"), "/", "")), 200);
}

#[test]
fn endpoints_change() {
    let (one, two) = (Backend::ok("1"), Backend::ok("2"));
    let plane = Plane::new();
    let mut cluster = static_cluster("backend", &[]);
    cluster.load_assignment = None;
    cluster.cluster_discovery_type = Some(cluster::cluster::ClusterDiscoveryType::Type(3));
    cluster.eds_cluster_config =
        Some(cluster::cluster::EdsClusterConfig { service_name: "service".into(), ..Default::default() });
    plane.cluster(&cluster);
    assert!(plane.plane.config().needs().borrow().endpoints.contains("service"));
    let manager = manager(table("r", vec![forward("/", to_cluster("backend"))]));
    let at = plane.listen(&listener("l", vec![chain(any(&manager))]));
    assert_eq!(status(&get(at, "/", "")), 503);
    plane.apply(ResourceKind::Endpoints, "service", &endpoints("service", &[one.address]));
    eventually("the first host", || (body(&get(at, "/", "")) == "1").then_some(()));
    plane.apply(ResourceKind::Endpoints, "service", &endpoints("service", &[two.address]));
    eventually("the second host", || (body(&get(at, "/", "")) == "2").then_some(()));
}

#[test]
fn bad_resources_are_refused_whole() {
    let backend = Backend::ok("x");
    let plane = Plane::new();
    let at = plane.simple(&[backend.address]);
    let mut hcm = manager(table("r", vec![forward("/", to_cluster("backend"))]));
    hcm.http_filters.insert(0, http_filter("who.knows", Any { type_url: "x/y.Z".into(), value: vec![] }));
    let reason = plane.reject(ResourceKind::Listener, "simple", &listener("simple", vec![chain(any(&hcm))]));
    assert!(reason.contains("who.knows") && reason.contains("unsupported filter y.Z"), "{reason}");
    assert_eq!(status(&get(at, "/", "")), 200);
    hcm.http_filters[0].is_optional = true;
    let at = plane.listen(&listener("other", vec![chain(any(&hcm))]));
    assert_eq!(status(&get(at, "/", "")), 200);
}

#[test]
fn statistics_of_a_listener_that_is_gone_are_forgotten() {
    let plane = Plane::new();
    let apply = |version: u32, prefix: &str, name: &str| {
        let mut manager = manager(table("r", vec![forward("/", to_cluster("backend"))]));
        manager.stat_prefix = prefix.into();
        manager.via = format!("v{version}");
        plane.apply(ResourceKind::Listener, name, &listener(name, vec![chain(any(&manager))]));
    };
    let shows = |name: &str| plane.plane.stats().samples().iter().any(|sample| sample.stat_name == name);
    apply(0, "gone", "first");
    assert!(shows("http.gone.downstream_rq_total"));
    let mut gone = ConfigUpdate::new(ResourceKind::Listener);
    gone.removed.push("first".into());
    plane.plane.config().apply(gone).unwrap();
    // Workers hold on to a snapshot until they take the next one over.
    let mut version = 0;
    eventually("the statistics to be forgotten", || {
        version += 1;
        apply(version, "stays", "second");
        (!shows("http.gone.downstream_rq_total")).then_some(())
    });
    assert!(shows("http.stays.downstream_rq_total"));
}
