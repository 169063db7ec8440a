//! Clusters and their endpoints, compiled.

mod breaker;
mod labels;
mod outlier;
mod policy;
mod subset;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use portolan_balance::{Settings, breaker::Limits};
use portolan_h1::HeaderCase;

use super::environment::now;
use super::host::{Endpoint, Health, HostSet, HostState};
use super::{Assignment, Host};
use crate::io::Trailers;
use crate::pb::{self, cluster, core, endpoint, tls, upstream_http};
use crate::tls::{ClientTls, SecretMap};
use crate::value::{
    At as _, Invalid, NetAddress, Valid, address, duration, fraction, socket_address, struct_string, timeout,
    type_of, u32_or, unpack,
};

/// Envoy's `connect_timeout`.
const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Envoy's upstream idle timeout.
const DEFAULT_IDLE_TIMEOUT: Duration = Duration::from_secs(3600);
/// Envoy's `dns_refresh_rate`.
const DEFAULT_DNS_REFRESH: Duration = Duration::from_secs(5);
/// Smallest refresh that is honoured.
const MIN_DNS_REFRESH: Duration = Duration::from_secs(1);
/// Most endpoints of a cluster.
const MAX_HOSTS: usize = 100_000;
/// Largest priority (Envoy's limit).
const MAX_PRIORITY: u32 = 128;
/// Envoy's `overprovisioning_factor`, in per cent.
const DEFAULT_OVERPROVISIONING: u32 = 140;
/// Streams on one HTTP/2 connection unless configured: enough to need few connections, few enough for balance.
const DEFAULT_MAX_STREAMS: usize = 1024;

pub(crate) use labels::of_criteria;

/// Where the hosts of a cluster come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Discovery {
    Static,
    /// `logical`: only the first address is used.
    Dns {
        logical: bool,
    },
    Eds {
        service_name: String,
    },
    OriginalDst,
}

/// What is spoken upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UpstreamProtocol {
    Http1,
    Http2,
    AsDownstream,
    /// By ALPN.
    Auto,
}

/// The service that a cluster stands for, for metric labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServiceInfo {
    pub(crate) host: Arc<str>,
    pub(crate) name: Arc<str>,
    pub(crate) namespace: Arc<str>,
}

/// A compiled cluster without its hosts.
#[derive(Debug)]
pub(crate) struct ClusterConfig {
    pub(crate) name: Arc<str>,
    pub(crate) discovery: Discovery,
    pub(crate) connect_timeout: Duration,
    pub(crate) balance: Arc<Settings>,
    /// Whether ring and maglev know hosts by their names and not by their addresses.
    hash_hostnames: bool,
    /// Whether a list as a label of a host is several alternatives.
    list_as_any: bool,
    /// Whether connections to all hosts are closed when a host comes or goes.
    pub(crate) close_on_host_change: bool,
    pub(crate) limits: [Limits; 2],
    pub(crate) outlier: Option<portolan_balance::outlier::Settings>,
    /// 0 is the default one; `None` is plaintext.
    transports: Vec<Option<Arc<ClientTls>>>,
    transport_matches: Vec<(pb::Struct, usize)>,
    pub(crate) bind_source: Option<SocketAddr>,
    pub(crate) keepalive: Option<socket2::TcpKeepalive>,
    pub(crate) idle_timeout: Option<Duration>,
    /// 0 = no limit.
    pub(crate) max_requests_per_connection: u32,
    pub(crate) max_streams: usize,
    pub(crate) max_response_headers: usize,
    pub(crate) header_case: HeaderCase,
    pub(crate) trailers: Trailers,
    pub(crate) protocol: UpstreamProtocol,
    pub(crate) service: Option<ServiceInfo>,
    pub(crate) dns_refresh: Duration,
    pub(crate) dns_v6: Option<bool>,
    pub(crate) load_assignment: Option<endpoint::ClusterLoadAssignment>,
}

impl ClusterConfig {
    pub(crate) fn compile(from: &cluster::Cluster) -> Valid<ClusterConfig> {
        if from.name.is_empty() {
            return Err(Invalid::new("name is empty"));
        }
        let discovery = discovery(from)?;
        let (transports, transport_matches) = transports(from)?;
        let http = http_options(from)?;
        let common = http.common.as_ref();
        let outlier =
            from.outlier_detection.as_ref().map(outlier::compile).transpose().at("outlier_detection")?;
        let balance = policy::compile(from)?;
        let bind_source = match from
            .upstream_bind_config
            .as_ref()
            .and_then(|bind| bind.source_address.as_ref())
        {
            None => None,
            Some(source) => match socket_address(source).at("upstream_bind_config")? {
                NetAddress::Socket(address) => Some(address),
                _ => return Err(Invalid::new("upstream_bind_config: source_address must be an IP address")),
            },
        };
        let keepalive = from
            .upstream_connection_options
            .as_ref()
            .and_then(|options| options.tcp_keepalive.as_ref())
            .map(keepalive);
        let max_requests = common
            .and_then(|common| common.max_requests_per_connection.as_ref())
            .or(from.max_requests_per_connection.as_ref());
        Ok(ClusterConfig {
            name: from.name.as_str().into(),
            discovery,
            connect_timeout: duration(from.connect_timeout.as_ref())
                .at("connect_timeout")?
                .filter(|timeout| !timeout.is_zero())
                .unwrap_or(DEFAULT_CONNECT_TIMEOUT),
            balance: Arc::new(balance.settings),
            hash_hostnames: balance.hash_hostnames,
            list_as_any: balance.list_as_any,
            close_on_host_change: from
                .common_lb_config
                .as_ref()
                .is_some_and(|common| common.close_connections_on_host_set_change),
            limits: breaker::compile(from.circuit_breakers.as_ref()).at("circuit_breakers")?,
            outlier,
            transports,
            transport_matches,
            bind_source,
            keepalive,
            idle_timeout: timeout(
                common.and_then(|common| common.idle_timeout.as_ref()),
                Some(DEFAULT_IDLE_TIMEOUT),
            )
            .at("idle_timeout")?,
            max_requests_per_connection: u32_or(max_requests, 0),
            max_streams: http.max_streams,
            max_response_headers: common
                .and_then(|common| common.max_headers_count.as_ref())
                .map_or(portolan_h1::limits::MAX_HEADERS, |count| count.value as usize),
            header_case: http.case,
            trailers: http.trailers,
            protocol: http.protocol,
            service: service(from),
            dns_refresh: duration(from.dns_refresh_rate.as_ref())
                .at("dns_refresh_rate")?
                .unwrap_or(DEFAULT_DNS_REFRESH)
                .max(MIN_DNS_REFRESH),
            dns_v6: match from.dns_lookup_family {
                1 => Some(false),
                2 => Some(true),
                _ => None,
            },
            load_assignment: from.load_assignment.clone(),
        })
    }

    pub(crate) fn is_original_dst(&self) -> bool {
        self.discovery == Discovery::OriginalDst
    }

    /// A host for the address that a connection was meant for.
    pub(crate) fn original_dst_host(&self, address: SocketAddr) -> Arc<Host> {
        let name: Arc<str> = address.to_string().into();
        Arc::new(Host {
            hash_key: name.clone(),
            name,
            weight: 1,
            health: Health::Healthy,
            labels: Vec::new(),
            state: Arc::default(),
            endpoint: Endpoint {
                address: NetAddress::Socket(address),
                hostname: String::new(),
                priority: 0,
                locality: Arc::default(),
                metadata: None,
                transport: 0,
            },
        })
    }

    pub(crate) fn transport(&self, at: usize) -> Option<&Arc<ClientTls>> {
        self.transports.get(at).and_then(Option::as_ref)
    }

    pub(crate) fn secret_names(&self, into: &mut BTreeSet<String>) {
        self.transports.iter().flatten().for_each(|tls| tls.secret_names(into));
    }

    pub(crate) fn tls_ready(&self) -> bool {
        self.transports.iter().flatten().all(|tls| tls.is_ready())
    }

    pub(crate) fn refresh_tls(&self, secrets: &SecretMap) -> Valid<()> {
        self.transports.iter().flatten().try_for_each(|tls| tls.refresh(secrets))
    }

    /// The transport that an endpoint's metadata asks for.
    fn transport_for(&self, metadata: Option<&core::Metadata>) -> usize {
        let labels =
            metadata.and_then(|metadata| metadata.filter_metadata.get("envoy.transport_socket_match"));
        let fits = |wanted: &pb::Struct| {
            wanted
                .fields
                .iter()
                .all(|(name, value)| labels.and_then(|labels| labels.fields.get(name)) == Some(value))
        };
        self.transport_matches.iter().find(|(wanted, _)| fits(wanted)).map_or(0, |(_, at)| *at)
    }

    /// Builds a host set. Hosts that were there before keep their state; names must be in `resolved`.
    pub(crate) fn hosts(
        &self,
        from: &endpoint::ClusterLoadAssignment,
        previous: Option<&HostSet>,
        resolved: &HashMap<String, Vec<std::net::IpAddr>>,
    ) -> Valid<Assignment> {
        let old = previous.map(HostSet::states).unwrap_or_default();
        let now = now();
        let mut states: HashMap<Arc<str>, Arc<HostState>> = HashMap::new();
        let mut state_of = |name: &Arc<str>| {
            let new =
                || old.get(&**name).map_or_else(|| Arc::new(HostState::new(now)), |state| (*state).clone());
            states.entry(name.clone()).or_insert_with(new).clone()
        };
        let mut priorities: Vec<Vec<portolan_balance::Locality<Endpoint>>> = Vec::new();
        let mut count = 0usize;
        for group in &from.endpoints {
            if group.priority > MAX_PRIORITY {
                return Err(Invalid(format!("priority {} is larger than {MAX_PRIORITY}", group.priority)));
            }
            let level = group.priority as usize;
            if priorities.len() <= level {
                priorities.resize_with(level + 1, Vec::new);
            }
            let locality = group.locality.clone().unwrap_or_default();
            let locality = Arc::new((locality.region, locality.zone, locality.sub_zone));
            let mut hosts = Vec::new();
            for lb in &group.lb_endpoints {
                let one = match &lb.host_identifier {
                    Some(endpoint::lb_endpoint::HostIdentifier::Endpoint(one)) => one,
                    Some(endpoint::lb_endpoint::HostIdentifier::EndpointName(name)) => from
                        .named_endpoints
                        .get(name)
                        .ok_or_else(|| Invalid(format!("no named endpoint {name:?}")))?,
                    None => return Err(Invalid::new("lb_endpoint without endpoint")),
                };
                let named = address(one.address.as_ref()).at("endpoint address")?;
                for (found, name) in self.resolve(named, resolved)? {
                    count += 1;
                    if count > MAX_HOSTS {
                        return Err(Invalid(format!("more than {MAX_HOSTS} endpoints")));
                    }
                    let hostname = if one.hostname.is_empty() { name } else { one.hostname.clone() };
                    let endpoint = Endpoint {
                        address: found,
                        hostname,
                        priority: group.priority,
                        locality: locality.clone(),
                        metadata: lb.metadata.clone(),
                        transport: self.transport_for(lb.metadata.as_ref()),
                    };
                    hosts.push(Arc::new(self.host(lb, endpoint, &mut state_of)));
                }
            }
            // A locality without weight gets no traffic when localities are weighted (Envoy).
            let weight =
                u32_or(group.load_balancing_weight.as_ref(), u32::from(!self.balance.locality_weighted));
            if let Some(level) = priorities.get_mut(level) {
                level.push(portolan_balance::Locality { weight, hosts });
            }
        }
        let policy = from.policy.as_ref();
        Ok(Assignment {
            hosts: HostSet {
                priorities,
                overprovisioning: u32_or(
                    policy.and_then(|policy| policy.overprovisioning_factor.as_ref()),
                    DEFAULT_OVERPROVISIONING,
                ),
                weighted_health: policy.is_some_and(|policy| policy.weighted_priority_health),
            },
            drop_overload: policy
                .map(|policy| {
                    policy.drop_overloads.iter().map(|drop| fraction(drop.drop_percentage.as_ref())).collect()
                })
                .unwrap_or_default(),
        })
    }

    fn host(
        &self,
        from: &endpoint::LbEndpoint,
        endpoint: Endpoint,
        state_of: &mut impl FnMut(&Arc<str>) -> Arc<HostState>,
    ) -> Host {
        let name: Arc<str> = endpoint.address.to_string().into();
        let labels =
            from.metadata.as_ref().and_then(|metadata| metadata.filter_metadata.get(labels::NAMESPACE));
        let hash_key = match labels.and_then(|labels| struct_string(labels, labels::HASH_KEY)) {
            Some(key) if !key.is_empty() => key.into(),
            _ if self.hash_hostnames && !endpoint.hostname.is_empty() => endpoint.hostname.as_str().into(),
            _ => name.clone(),
        };
        Host {
            hash_key,
            weight: u32_or(from.load_balancing_weight.as_ref(), 1).max(1),
            health: match core::HealthStatus::try_from(from.health_status) {
                Ok(core::HealthStatus::Unknown | core::HealthStatus::Healthy) => Health::Healthy,
                Ok(core::HealthStatus::Degraded) => Health::Degraded,
                _ => Health::Unhealthy,
            },
            labels: match (&self.balance.subsets, labels) {
                (Some(_), Some(labels)) => labels::of_host(labels, self.list_as_any),
                _ => Vec::new(),
            },
            state: state_of(&name),
            name,
            endpoint,
        }
    }

    fn resolve(
        &self,
        named: NetAddress,
        resolved: &HashMap<String, Vec<std::net::IpAddr>>,
    ) -> Valid<Vec<(NetAddress, String)>> {
        let NetAddress::Name(name, port) = named else { return Ok(vec![(named, String::new())]) };
        let Discovery::Dns { logical } = self.discovery else {
            return Err(Invalid(format!("endpoint address {name:?} is not an IP address")));
        };
        let addresses = resolved.get(&name).map(Vec::as_slice).unwrap_or_default();
        let take = if logical { 1 } else { addresses.len() };
        Ok(addresses
            .iter()
            .take(take)
            .map(|ip| (NetAddress::Socket(SocketAddr::new(*ip, port)), name.clone()))
            .collect())
    }

    /// The names that DNS has to resolve.
    pub(crate) fn dns_names(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        if !matches!(self.discovery, Discovery::Dns { .. }) {
            return names;
        }
        let groups = self.load_assignment.iter().flat_map(|assignment| &assignment.endpoints);
        for lb in groups.flat_map(|group| &group.lb_endpoints) {
            if let Some(endpoint::lb_endpoint::HostIdentifier::Endpoint(one)) = &lb.host_identifier
                && let Ok(NetAddress::Name(name, _)) = address(one.address.as_ref())
            {
                names.insert(name);
            }
        }
        names
    }
}

fn discovery(from: &cluster::Cluster) -> Valid<Discovery> {
    use cluster::cluster::{ClusterDiscoveryType as K, DiscoveryType as T};
    let kind = match &from.cluster_discovery_type {
        Some(K::Type(kind)) => T::try_from(*kind).map_err(|_| Invalid::new("unknown cluster type"))?,
        Some(K::ClusterType(custom)) => {
            return Err(Invalid(format!("unsupported cluster_type {:?}", custom.name)));
        }
        None => T::Static,
    };
    Ok(match kind {
        T::Static => Discovery::Static,
        T::StrictDns => Discovery::Dns { logical: false },
        T::LogicalDns => Discovery::Dns { logical: true },
        T::OriginalDst => Discovery::OriginalDst,
        T::Eds => {
            let config = from
                .eds_cluster_config
                .as_ref()
                .ok_or_else(|| Invalid::new("EDS cluster without eds_cluster_config"))?;
            let name = if config.service_name.is_empty() { &from.name } else { &config.service_name };
            Discovery::Eds { service_name: name.clone() }
        }
    })
}

type Transports = (Vec<Option<Arc<ClientTls>>>, Vec<(pb::Struct, usize)>);

fn transports(from: &cluster::Cluster) -> Valid<Transports> {
    let mut transports = vec![transport(from.transport_socket.as_ref()).at("transport_socket")?];
    let mut matches = Vec::new();
    for one in &from.transport_socket_matches {
        let field = format!("transport_socket_matches {:?}", one.name);
        matches.push((one.r#match.clone().unwrap_or_default(), transports.len()));
        transports.push(transport(one.transport_socket.as_ref()).at(&field)?);
    }
    Ok((transports, matches))
}

fn transport(socket: Option<&core::TransportSocket>) -> Valid<Option<Arc<ClientTls>>> {
    let Some(socket) = socket else { return Ok(None) };
    let Some(core::transport_socket::ConfigType::TypedConfig(config)) = &socket.config_type else {
        return Err(Invalid(format!("{:?} has no typed_config", socket.name)));
    };
    match type_of(config) {
        "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext" => {
            let context: tls::UpstreamTlsContext = unpack(config)?;
            Ok(Some(Arc::new(ClientTls::compile(&context)?)))
        }
        "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer" => Ok(None),
        name => Err(Invalid(format!("unsupported transport socket {name}"))),
    }
}

struct HttpOptions {
    protocol: UpstreamProtocol,
    common: Option<core::HttpProtocolOptions>,
    case: HeaderCase,
    trailers: Trailers,
    max_streams: usize,
}

fn http_options(from: &cluster::Cluster) -> Valid<HttpOptions> {
    use upstream_http::http_protocol_options::{
        UpstreamProtocolOptions as U, explicit_http_config::ProtocolConfig as P,
    };
    let mut options = HttpOptions {
        protocol: UpstreamProtocol::Http1,
        common: from.common_http_protocol_options,
        case: HeaderCase::Lower,
        trailers: Trailers::Drop,
        max_streams: DEFAULT_MAX_STREAMS,
    };
    let streams = |h2: Option<&core::Http2ProtocolOptions>| {
        h2.and_then(|h2| h2.max_concurrent_streams.as_ref())
            .map_or(DEFAULT_MAX_STREAMS, |value| value.value as usize)
    };
    if from.http2_protocol_options.is_some() {
        options.protocol = UpstreamProtocol::Http2;
        options.max_streams = streams(from.http2_protocol_options.as_ref());
    }
    if from.protocol_selection == cluster::cluster::ClusterProtocolSelection::UseDownstreamProtocol as i32 {
        options.protocol = UpstreamProtocol::AsDownstream;
    }
    options.case = header_case(from.http_protocol_options.as_ref());
    options.trailers = Trailers::of(from.http_protocol_options.as_ref());
    for (name, any) in &from.typed_extension_protocol_options {
        if type_of(any) != "envoy.extensions.upstreams.http.v3.HttpProtocolOptions" {
            return Err(Invalid(format!("unsupported typed_extension_protocol_options {name:?}")));
        }
        let http: upstream_http::HttpProtocolOptions = unpack(any)?;
        if !http.http_filters.is_empty() {
            return Err(Invalid::new("upstream http_filters are not supported"));
        }
        options.common = http.common_http_protocol_options;
        match http.upstream_protocol_options {
            Some(U::ExplicitHttpConfig(explicit)) => match explicit.protocol_config {
                Some(P::Http2ProtocolOptions(h2)) => {
                    options.protocol = UpstreamProtocol::Http2;
                    options.max_streams = streams(Some(&h2));
                }
                Some(P::HttpProtocolOptions(h1)) => {
                    options.protocol = UpstreamProtocol::Http1;
                    options.case = header_case(Some(&h1));
                    options.trailers = Trailers::of(Some(&h1));
                }
                Some(P::Http3ProtocolOptions(_)) => return Err(Invalid::new("HTTP/3 is not supported")),
                None => {}
            },
            Some(U::UseDownstreamProtocolConfig(down)) => {
                options.protocol = UpstreamProtocol::AsDownstream;
                options.case = header_case(down.http_protocol_options.as_ref());
                options.trailers = Trailers::of(down.http_protocol_options.as_ref());
                options.max_streams = streams(down.http2_protocol_options.as_ref());
            }
            Some(U::AutoConfig(auto)) => {
                options.protocol = UpstreamProtocol::Auto;
                options.case = header_case(auto.http_protocol_options.as_ref());
                options.trailers = Trailers::of(auto.http_protocol_options.as_ref());
                options.max_streams = streams(auto.http2_protocol_options.as_ref());
            }
            None => {}
        }
    }
    Ok(options)
}

pub(crate) fn header_case(options: Option<&core::Http1ProtocolOptions>) -> HeaderCase {
    use core::http1_protocol_options::header_key_format::HeaderFormat;
    let format = options
        .and_then(|options| options.header_key_format.as_ref())
        .and_then(|format| format.header_format.as_ref());
    match format {
        Some(HeaderFormat::ProperCaseWords(_)) => HeaderCase::ProperWords,
        _ => HeaderCase::Lower,
    }
}

pub(crate) fn keepalive(from: &core::TcpKeepalive) -> socket2::TcpKeepalive {
    let mut keepalive = socket2::TcpKeepalive::new();
    if let Some(time) = &from.keepalive_time {
        keepalive = keepalive.with_time(Duration::from_secs(u64::from(time.value)));
    }
    if let Some(interval) = &from.keepalive_interval {
        keepalive = keepalive.with_interval(Duration::from_secs(u64::from(interval.value)));
    }
    if let Some(probes) = &from.keepalive_probes {
        keepalive = keepalive.with_retries(probes.value);
    }
    keepalive
}

/// From `istio.services` of the metadata, else from a name like `outbound|80|v1|reviews.default.svc.cluster.local`.
fn service(from: &cluster::Cluster) -> Option<ServiceInfo> {
    let istio = from.metadata.as_ref().and_then(|metadata| metadata.filter_metadata.get("istio"));
    let first = istio.and_then(|fields| fields.fields.get("services")).and_then(|value| match &value.kind {
        Some(pb::Kind::ListValue(list)) => list.values.first(),
        _ => None,
    });
    if let Some(pb::Kind::StructValue(service)) = first.and_then(|value| value.kind.as_ref()) {
        let get = |name| struct_string(service, name).unwrap_or("unknown").into();
        return Some(ServiceInfo { host: get("host"), name: get("name"), namespace: get("namespace") });
    }
    let host = from.name.split('|').nth(3).filter(|host| !host.is_empty())?;
    let mut parts = host.split('.');
    let (name, namespace) = (parts.next()?, parts.next().unwrap_or("unknown"));
    Some(ServiceInfo { host: host.into(), name: name.into(), namespace: namespace.into() })
}
