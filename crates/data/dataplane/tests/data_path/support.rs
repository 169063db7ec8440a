//! A data plane, backends that record what they get, and builders of Envoy messages.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test reports by panicking")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

pub(crate) use portolan_dataplane::config::{ConfigUpdate, ResourceKind};
pub(crate) use portolan_dataplane::{DataPlane, DataPlaneOptions};
pub(crate) use portolan_envoy_api::pb::envoy::config::cluster::v3 as cluster;
pub(crate) use portolan_envoy_api::pb::envoy::config::core::v3 as core;
pub(crate) use portolan_envoy_api::pb::envoy::config::endpoint::v3 as endpoint;
pub(crate) use portolan_envoy_api::pb::envoy::config::listener::v3 as listener;
pub(crate) use portolan_envoy_api::pb::envoy::config::route::v3 as route;
pub(crate) use portolan_envoy_api::pb::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
pub(crate) use portolan_envoy_api::pb::google::protobuf::{Any, Duration as ProtoDuration};
use prost::{Message, Name};

pub(crate) const WAIT: Duration = Duration::from_secs(5);

pub(crate) fn any<M: Message + Name>(message: &M) -> Any {
    Any { type_url: M::type_url(), value: message.encode_to_vec() }
}

pub(crate) fn address(address: SocketAddr) -> core::Address {
    core::Address {
        address: Some(core::address::Address::SocketAddress(core::SocketAddress {
            address: address.ip().to_string(),
            port_specifier: Some(core::socket_address::PortSpecifier::PortValue(address.port().into())),
            ..Default::default()
        })),
    }
}

pub(crate) fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

pub(crate) fn endpoints(name: &str, hosts: &[SocketAddr]) -> endpoint::ClusterLoadAssignment {
    let one = |host: &SocketAddr| endpoint::LbEndpoint {
        host_identifier: Some(endpoint::lb_endpoint::HostIdentifier::Endpoint(endpoint::Endpoint {
            address: Some(address(*host)),
            ..Default::default()
        })),
        ..Default::default()
    };
    endpoint::ClusterLoadAssignment {
        cluster_name: name.into(),
        endpoints: vec![endpoint::LocalityLbEndpoints {
            lb_endpoints: hosts.iter().map(one).collect(),
            ..Default::default()
        }],
        ..Default::default()
    }
}

pub(crate) fn static_cluster(name: &str, hosts: &[SocketAddr]) -> cluster::Cluster {
    cluster::Cluster {
        name: name.into(),
        load_assignment: Some(endpoints(name, hosts)),
        connect_timeout: Some(ProtoDuration { seconds: 2, nanos: 0 }),
        ..Default::default()
    }
}

pub(crate) fn to_cluster(name: &str) -> route::RouteAction {
    route::RouteAction {
        cluster_specifier: Some(route::route_action::ClusterSpecifier::Cluster(name.into())),
        ..Default::default()
    }
}

pub(crate) fn prefix(prefix: &str) -> Option<route::RouteMatch> {
    Some(route::RouteMatch {
        path_specifier: Some(route::route_match::PathSpecifier::Prefix(prefix.into())),
        ..Default::default()
    })
}

pub(crate) fn forward(at: &str, action: route::RouteAction) -> route::Route {
    route::Route {
        r#match: prefix(at),
        action: Some(route::route::Action::Route(action)),
        ..Default::default()
    }
}

pub(crate) fn table(name: &str, routes: Vec<route::Route>) -> route::RouteConfiguration {
    route::RouteConfiguration {
        name: name.into(),
        virtual_hosts: vec![route::VirtualHost {
            name: "all".into(),
            domains: vec!["*".into()],
            routes,
            ..Default::default()
        }],
        ..Default::default()
    }
}

pub(crate) fn manager(table: route::RouteConfiguration) -> hcm::HttpConnectionManager {
    use portolan_envoy_api::pb::envoy::extensions::filters::http::router::v3::Router;
    hcm::HttpConnectionManager {
        stat_prefix: "test".into(),
        http_filters: vec![http_filter("envoy.filters.http.router", any(&Router::default()))],
        route_specifier: Some(hcm::http_connection_manager::RouteSpecifier::RouteConfig(table)),
        ..Default::default()
    }
}

pub(crate) fn http_filter(name: &str, config: Any) -> hcm::HttpFilter {
    hcm::HttpFilter {
        name: name.into(),
        config_type: Some(hcm::http_filter::ConfigType::TypedConfig(config)),
        ..Default::default()
    }
}

pub(crate) fn chain(filter: Any) -> listener::FilterChain {
    listener::FilterChain {
        filters: vec![listener::Filter {
            name: "last".into(),
            config_type: Some(listener::filter::ConfigType::TypedConfig(filter)),
        }],
        ..Default::default()
    }
}

pub(crate) fn listener(name: &str, chains: Vec<listener::FilterChain>) -> listener::Listener {
    listener::Listener {
        name: name.into(),
        address: Some(address(loopback())),
        filter_chains: chains,
        ..Default::default()
    }
}

/// A data plane under test.
pub(crate) struct Plane {
    pub(crate) plane: DataPlane,
}

impl Plane {
    /// With two workers, and half a second to drain.
    pub(crate) fn new() -> Plane {
        Plane::with(|_| {})
    }

    /// One whose drain does not end before the test does.
    pub(crate) fn patient() -> Plane {
        Plane::with(|options| options.drain_time = 10 * WAIT)
    }

    pub(crate) fn with(change: impl FnOnce(&mut DataPlaneOptions)) -> Plane {
        let mut options =
            DataPlaneOptions { concurrency: 2, drain_time: Duration::from_millis(500), ..Default::default() };
        change(&mut options);
        Plane { plane: DataPlane::start(options).unwrap() }
    }

    pub(crate) fn apply<M: Message>(&self, kind: ResourceKind, name: &str, message: &M) {
        let update = ConfigUpdate::new(kind).upsert(name, "1", message.encode_to_vec());
        self.plane.config().apply(update).unwrap();
    }

    pub(crate) fn reject<M: Message>(&self, kind: ResourceKind, name: &str, message: &M) -> String {
        let update = ConfigUpdate::new(kind).upsert(name, "1", message.encode_to_vec());
        self.plane.config().apply(update).unwrap_err()[0].to_string()
    }

    pub(crate) fn cluster(&self, cluster: &cluster::Cluster) {
        self.apply(ResourceKind::Cluster, &cluster.name, cluster);
    }

    /// Adds a listener and returns its address, once it accepts.
    pub(crate) fn listen(&self, listener: &listener::Listener) -> SocketAddr {
        self.apply(ResourceKind::Listener, &listener.name, listener);
        self.address(&listener.name)
    }

    pub(crate) fn address(&self, name: &str) -> SocketAddr {
        let find = || {
            let status = self.plane.config().status();
            let found = status.listeners.into_iter().find(|one| one.name == name)?;
            found.local_addresses.first().copied()
        };
        eventually(find)
    }

    /// An HTTP listener that forwards everything to one cluster of these hosts.
    pub(crate) fn simple(&self, hosts: &[SocketAddr]) -> SocketAddr {
        self.cluster(&static_cluster("backend", hosts));
        let manager = manager(table("r", vec![forward("/", to_cluster("backend"))]));
        self.listen(&listener("simple", vec![chain(any(&manager))]))
    }

    pub(crate) fn stat(&self, name: &str) -> u64 {
        let samples = self.plane.stats().samples();
        match samples.into_iter().find(|sample| sample.stat_name == name).map(|sample| sample.value) {
            Some(portolan_dataplane::stats::SampleValue::Number(number)) => number,
            other => panic!("no number called {name}: {other:?}"),
        }
    }
}

pub(crate) fn eventually<T>(mut check: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(start.elapsed() < WAIT, "did not happen in time");
        #[expect(clippy::disallowed_methods, reason = "a test that waits on a thread of its own")]
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub(crate) fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(WAIT)).unwrap();
    stream
}

/// Sends bytes and reads until the peer closes.
pub(crate) fn exchange(to: SocketAddr, request: &str) -> String {
    let mut stream = connect(to);
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// GET with `connection: close`.
pub(crate) fn get(to: SocketAddr, path: &str, fields: &str) -> String {
    exchange(to, &format!("GET {path} HTTP/1.1\r\nHost: test.example\r\nConnection: close\r\n{fields}\r\n"))
}

pub(crate) fn status(answer: &str) -> u16 {
    answer.get(9..12).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("no status in {answer:?}"))
}

pub(crate) fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

/// The content of a chunked body.
pub(crate) fn without_chunks(mut rest: &str) -> String {
    let mut out = String::new();
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        out.push_str(&after[..size]);
        rest = &after[size + 2..];
    }
    out
}

/// Reads one HTTP/1 message with `content-length` or without body.
pub(crate) fn read_message(stream: &mut TcpStream) -> Option<String> {
    let mut data = Vec::new();
    let mut byte = [0u8; 1];
    while !data.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        data.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&data).to_ascii_lowercase();
    let field = |name: &str| {
        head.lines().find_map(|line| line.strip_prefix(name).map(|value| value.trim().to_owned()))
    };
    if let Some(length) = field("content-length:") {
        let mut body = vec![0; length.parse().unwrap()];
        stream.read_exact(&mut body).ok()?;
        data.extend(body);
    } else if field("transfer-encoding:").is_some() {
        while !data.ends_with(b"0\r\n\r\n") {
            if stream.read(&mut byte).ok()? == 0 {
                return None;
            }
            data.push(byte[0]);
        }
    }
    Some(String::from_utf8_lossy(&data).into_owned())
}

/// A backend that answers each request by a function and records all of them.
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    pub(crate) requests: Arc<Mutex<Vec<String>>>,
    pub(crate) connections: Arc<Mutex<usize>>,
}

impl Backend {
    pub(crate) fn new(answer: impl Fn(&str, usize) -> String + Send + Sync + 'static) -> Backend {
        let socket = TcpListener::bind(loopback()).unwrap();
        let address = socket.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(Mutex::new(0));
        let answer = Arc::new(answer);
        let (all, count) = (requests.clone(), connections.clone());
        std::thread::spawn(move || {
            for stream in socket.incoming() {
                let Ok(mut stream) = stream else { return };
                *count.lock().unwrap() += 1;
                let (all, answer) = (all.clone(), answer.clone());
                std::thread::spawn(move || {
                    while let Some(request) = read_message(&mut stream) {
                        let number = {
                            let mut all = all.lock().unwrap();
                            all.push(request.clone());
                            all.len()
                        };
                        let text = answer(&request, number);
                        if text.is_empty() || stream.write_all(text.as_bytes()).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Backend { address, requests, connections }
    }

    pub(crate) fn ok(text: &'static str) -> Backend {
        Backend::new(move |_, _| respond(200, text))
    }

    /// One that never answers.
    pub(crate) fn silent() -> Backend {
        Backend::new(|_, _| {
            loop {
                std::thread::park();
            }
        })
    }

    pub(crate) fn last(&self) -> String {
        self.requests.lock().unwrap().last().cloned().unwrap_or_default()
    }

    pub(crate) fn count(&self) -> usize {
        self.requests.lock().unwrap().len()
    }
}

pub(crate) fn respond(code: u16, text: &str) -> String {
    format!("HTTP/1.1 {code} X\r\nContent-Length: {}\r\n\r\n{text}", text.len())
}

/// An HTTP/2 backend in plaintext that answers each request by a function.
pub(crate) fn http2_backend<F>(
    answer: impl Fn(h2::server::SendResponse<bytes::Bytes>) -> F + Send + 'static,
) -> SocketAddr
where
    F: Future<Output = ()>,
{
    let socket = TcpListener::bind(loopback()).unwrap();
    socket.set_nonblocking(true).unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let socket = tokio::net::TcpListener::from_std(socket).unwrap();
            while let Ok((stream, _)) = socket.accept().await {
                let Ok(mut connection) = h2::server::handshake(stream).await else { continue };
                while let Some(Ok((_, respond))) = connection.accept().await {
                    answer(respond).await;
                }
            }
        });
    });
    address
}

/// A listening socket whose queue is full, so that further connects neither succeed nor fail.
pub(crate) struct FullListener {
    pub(crate) address: SocketAddr,
    _socket: socket2::Socket,
    _waiting: Vec<socket2::Socket>,
}

impl FullListener {
    pub(crate) fn new() -> FullListener {
        use socket2::{Domain, Socket, Type};
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&loopback().into()).unwrap();
        socket.listen(0).unwrap();
        let address = socket.local_addr().unwrap();
        let waiting = (0..4).map(|_| {
            let client = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            client.set_nonblocking(true).unwrap();
            let _ = client.connect(&address);
            client
        });
        FullListener { address: address.as_socket().unwrap(), _waiting: waiting.collect(), _socket: socket }
    }
}
