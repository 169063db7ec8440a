//! Names that two kinds of resources must agree on: filters and the routes that configure them, listeners and the route
//! configurations that they ask for, routes and clusters.

use portolan_mesh::{GatewayServer, Protocol, Service};
use portolan_resources::networking::{Destination, ServerTlsMode};
use portolan_xds::names::ClusterName;

use crate::context::Context;

/// Network filter name of connection managers.
pub(crate) const CONNECTION_MANAGER_FILTER: &str = "envoy.filters.network.http_connection_manager";
/// HTTP filter names that routes configure.
pub(crate) const CORS_FILTER: &str = "envoy.filters.http.cors";
pub(crate) const FAULT_FILTER: &str = "envoy.filters.http.fault";
/// Istio's own filters, known to our proxy by name.
pub(crate) const METADATA_EXCHANGE: &str = "istio.metadata_exchange";
/// Istio's standard metrics.
pub(crate) const STATS: &str = "istio.stats";
/// What the routes of a server are called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RouteKind {
    /// Plain HTTP: all servers of the port share `http.<port>`.
    Http(String),
    /// Terminated HTTPS: `https.<port>.<port name>.<gateway>.<namespace>`.
    Https(String),
    /// No HTTP.
    None,
}

/// Whether a server is plain HTTP for the proxy.
pub(crate) fn is_plain_http(server: &GatewayServer) -> bool {
    server.protocol.is_http()
}

fn tls_mode(server: &GatewayServer) -> Option<ServerTlsMode> {
    server.server.tls.as_ref().map(|t| t.mode.unwrap_or_default())
}

/// Whether a server terminates TLS and speaks HTTP inside.
fn is_https(server: &GatewayServer) -> bool {
    server.protocol == Protocol::Https
        && matches!(
            tls_mode(server),
            Some(ServerTlsMode::Simple | ServerTlsMode::Mutual | ServerTlsMode::IstioMutual)
        )
}

pub(crate) fn route_kind(server: &GatewayServer) -> RouteKind {
    if is_plain_http(server) {
        return RouteKind::Http(format!("http.{}", server.port));
    }
    if !is_https(server) {
        return RouteKind::None;
    }
    let name = server.server.port.as_ref().map(|p| p.name.as_str()).unwrap_or_default();
    RouteKind::Https(format!(
        "https.{}.{name}.{}.{}",
        server.port, server.gateway.name, server.gateway.namespace
    ))
}

/// Name of the cluster of a destination: its own port, else the only port of the service, else the listener's.
pub(crate) fn destination_cluster(
    ctx: &Context<'_>,
    destination: &Destination,
    listener_port: u16,
) -> String {
    let subset = destination.subset.as_deref().unwrap_or_default();
    let service = ctx.service(&destination.host);
    let number = destination_port(service.as_deref(), destination, listener_port);
    ClusterName::outbound(number, subset, &destination.host).to_string()
}

/// Port of a destination: its own, else the only one of the service, else the listener's.
pub(crate) fn destination_port(
    service: Option<&Service>,
    destination: &Destination,
    listener_port: u16,
) -> u16 {
    let explicit = destination.port.as_ref().and_then(|p| u16::try_from(p.number).ok()).filter(|p| *p != 0);
    explicit
        .or_else(|| match service.map(|s| s.ports.as_slice()) {
            Some([only]) => Some(only.number),
            _ => None,
        })
        .unwrap_or(listener_port)
}
