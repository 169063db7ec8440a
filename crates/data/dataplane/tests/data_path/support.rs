//! A data plane and builders of Envoy messages.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test reports by panicking")]

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

pub(crate) use portolan_dataplane::config::{ConfigUpdate, ResourceKind};
pub(crate) use portolan_dataplane::{DataPlane, DataPlaneOptions};
pub(crate) use portolan_envoy_api::pb::envoy::config::cluster::v3 as cluster;
pub(crate) use portolan_envoy_api::pb::envoy::config::core::v3 as core;
pub(crate) use portolan_envoy_api::pb::envoy::config::endpoint::v3 as endpoint;
pub(crate) use portolan_envoy_api::pb::envoy::config::listener::v3 as listener;
pub(crate) use portolan_envoy_api::pb::envoy::config::route::v3 as route;
pub(crate) use portolan_envoy_api::pb::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
pub(crate) use portolan_envoy_api::pb::google::protobuf::{Any, Duration as ProtoDuration};
use portolan_testing::PATIENCE;
pub(crate) use portolan_testing::blocking::{
    Backend, body, connect, eventually, exchange, get, read_message, respond, status,
};
use prost::{Message, Name};

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
        Plane::with(|options| options.drain_time = 10 * PATIENCE)
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
        eventually("an address of the listener", find)
    }

    /// An HTTP listener that forwards everything to one cluster of these hosts.
    pub(crate) fn simple(&self, hosts: &[SocketAddr]) -> SocketAddr {
        self.cluster(&static_cluster("backend", hosts));
        let manager = manager(table("r", vec![forward("/", to_cluster("backend"))]));
        self.listen(&listener("simple", vec![chain(any(&manager))]))
    }

    /// Waits until a number is as wanted.
    pub(crate) fn until(&self, name: &str, wanted: u64) {
        eventually(&format!("{name} to be {wanted}"), || (self.stat(name) == wanted).then_some(()));
    }

    pub(crate) fn stat(&self, name: &str) -> u64 {
        let samples = self.plane.stats().samples();
        match samples.into_iter().find(|sample| sample.stat_name == name).map(|sample| sample.value) {
            Some(portolan_dataplane::stats::SampleValue::Number(number)) => number,
            other => panic!("no number called {name}: {other:?}"),
        }
    }
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
