//! Clusters and their endpoints, compiled.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use portolan_h1::HeaderCase;

use super::breaker::Limits;
use super::host::{Health, HostState, LocalityHosts};
use super::outlier::OutlierConfig;
use super::{Host, HostSet};
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
/// Streams on one HTTP/2 connection unless configured: enough to need few connections, few enough for balance.
const DEFAULT_MAX_STREAMS: usize = 1024;

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

/// Load balancing policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LbPolicy {
    RoundRobin,
    LeastRequest { choices: u32 },
    Random,
    RingHash { minimum: u64, maximum: u64 },
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
    pub(crate) lb: LbPolicy,
    pub(crate) locality_weighted: bool,
    pub(crate) panic_threshold: f64,
    pub(crate) limits: [Limits; 2],
    pub(crate) outlier: Option<OutlierConfig>,
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
        let outlier = from.outlier_detection.as_ref().map(outlier).transpose().at("outlier_detection")?;
        let lb = lb_policy(from)?;
        let panic_threshold = from
            .common_lb_config
            .as_ref()
            .and_then(|config| config.healthy_panic_threshold.as_ref())
            .map_or(50.0, |percent| percent.value);
        let locality_weighted = matches!(
            from.common_lb_config.as_ref().and_then(|config| config.locality_config_specifier.as_ref()),
            Some(cluster::cluster::common_lb_config::LocalityConfigSpecifier::LocalityWeightedLbConfig(_))
        );
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
            lb,
            locality_weighted,
            panic_threshold,
            limits: limits(from.circuit_breakers.as_ref()),
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
        Arc::new(Host {
            address: NetAddress::Socket(address),
            hostname: String::new(),
            weight: 1,
            priority: 0,
            locality: Arc::default(),
            health: Health::Healthy,
            metadata: None,
            transport: 0,
            state: Arc::default(),
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
    ) -> Valid<HostSet> {
        let old = previous.map(HostSet::states).unwrap_or_default();
        let mut priorities: Vec<Vec<LocalityHosts>> = Vec::new();
        let mut count = 0usize;
        let mut states: HashMap<NetAddress, Arc<HostState>> = HashMap::new();
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
                let addresses = self.resolve(named, resolved)?;
                for (found, name) in addresses {
                    let state = states
                        .entry(found.clone())
                        .or_insert_with(|| old.get(&found).map(|state| (*state).clone()).unwrap_or_default())
                        .clone();
                    count += 1;
                    if count > MAX_HOSTS {
                        return Err(Invalid(format!("more than {MAX_HOSTS} endpoints")));
                    }
                    hosts.push(Arc::new(Host {
                        address: found,
                        hostname: if one.hostname.is_empty() { name } else { one.hostname.clone() },
                        weight: u32_or(lb.load_balancing_weight.as_ref(), 1).max(1),
                        priority: group.priority,
                        locality: locality.clone(),
                        health: match core::HealthStatus::try_from(lb.health_status) {
                            Ok(core::HealthStatus::Unknown | core::HealthStatus::Healthy) => Health::Healthy,
                            Ok(core::HealthStatus::Degraded) => Health::Degraded,
                            _ => Health::Unhealthy,
                        },
                        metadata: lb.metadata.clone(),
                        transport: self.transport_for(lb.metadata.as_ref()),
                        state,
                    }));
                }
            }
            // A locality without weight gets no traffic when localities are weighted (Envoy).
            let weight = u32_or(group.load_balancing_weight.as_ref(), u32::from(!self.locality_weighted));
            if let Some(level) = priorities.get_mut(level) {
                level.push(LocalityHosts { weight, hosts });
            }
        }
        let policy = from.policy.as_ref();
        Ok(HostSet {
            priorities,
            overprovisioning: u32_or(policy.and_then(|policy| policy.overprovisioning_factor.as_ref()), 140),
            drop_overload: policy
                .map(|policy| {
                    policy.drop_overloads.iter().map(|drop| fraction(drop.drop_percentage.as_ref())).collect()
                })
                .unwrap_or_default(),
        })
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

fn lb_policy(from: &cluster::Cluster) -> Valid<LbPolicy> {
    use cluster::cluster::{LbConfig as C, LbPolicy as P};
    if from.load_balancing_policy.is_some() {
        return Err(Invalid::new("load_balancing_policy is not supported; use lb_policy"));
    }
    if from.lb_subset_config.as_ref().is_some_and(|subset| !subset.subset_selectors.is_empty()) {
        return Err(Invalid::new("lb_subset_config is not supported"));
    }
    let policy = P::try_from(from.lb_policy).map_err(|_| Invalid::new("unknown lb_policy"))?;
    Ok(match policy {
        P::RoundRobin | P::ClusterProvided => LbPolicy::RoundRobin,
        P::LeastRequest => LbPolicy::LeastRequest {
            choices: match &from.lb_config {
                Some(C::LeastRequestLbConfig(config)) => u32_or(config.choice_count.as_ref(), 2).clamp(2, 16),
                _ => 2,
            },
        },
        P::Random => LbPolicy::Random,
        // Maglev differs in speed and disruption only; both are consistent.
        P::RingHash | P::Maglev => {
            let (minimum, maximum) = match &from.lb_config {
                Some(C::RingHashLbConfig(config)) => (
                    config.minimum_ring_size.as_ref().map_or(1024, |size| size.value),
                    config.maximum_ring_size.as_ref().map_or(MAX_RING, |size| size.value),
                ),
                _ => (1024, MAX_RING),
            };
            if minimum > maximum || maximum > MAX_RING {
                return Err(Invalid(format!(
                    "ring sizes {minimum}..{maximum} are out of range (at most {MAX_RING})"
                )));
            }
            LbPolicy::RingHash { minimum, maximum }
        }
        P::LoadBalancingPolicyConfig => {
            return Err(Invalid::new("load_balancing_policy is not supported; use lb_policy"));
        }
    })
}

/// Envoy's largest ring.
const MAX_RING: u64 = 8 * 1024 * 1024;

fn limits(breakers: Option<&cluster::CircuitBreakers>) -> [Limits; 2] {
    let mut limits = [Limits::default(); 2];
    for from in breakers.iter().flat_map(|breakers| &breakers.thresholds) {
        let Some(into) = usize::try_from(from.priority).ok().and_then(|at| limits.get_mut(at)) else {
            continue;
        };
        let set = |value: &Option<envoy_types::pb::google::protobuf::UInt32Value>, into: &mut u64| {
            if let Some(value) = value {
                *into = u64::from(value.value);
            }
        };
        set(&from.max_connections, &mut into.connections);
        set(&from.max_pending_requests, &mut into.pending);
        set(&from.max_requests, &mut into.requests);
        set(&from.max_retries, &mut into.retries);
        into.retry_budget = from.retry_budget.as_ref().map(|budget| {
            let share = budget.budget_percent.as_ref().map_or(20.0, |percent| percent.value);
            (share, u64::from(u32_or(budget.min_retry_concurrency.as_ref(), 3)))
        });
    }
    limits
}

fn outlier(from: &cluster::OutlierDetection) -> Valid<OutlierConfig> {
    let or = |value: Option<&envoy_types::pb::google::protobuf::Duration>, seconds: u64| {
        Ok::<_, Invalid>(duration(value)?.unwrap_or(Duration::from_secs(seconds)))
    };
    Ok(OutlierConfig {
        consecutive_5xx: u32_or(from.consecutive_5xx.as_ref(), 5),
        enforcing_5xx: u32_or(from.enforcing_consecutive_5xx.as_ref(), 100),
        consecutive_gateway: u32_or(from.consecutive_gateway_failure.as_ref(), 5),
        enforcing_gateway: u32_or(from.enforcing_consecutive_gateway_failure.as_ref(), 0),
        consecutive_local: u32_or(from.consecutive_local_origin_failure.as_ref(), 5),
        enforcing_local: u32_or(from.enforcing_consecutive_local_origin_failure.as_ref(), 100),
        split_local: from.split_external_local_origin_errors,
        interval: or(from.interval.as_ref(), 10)?,
        base_ejection: or(from.base_ejection_time.as_ref(), 30)?,
        max_ejection: or(from.max_ejection_time.as_ref(), 300)?,
        max_percent: u32_or(from.max_ejection_percent.as_ref(), 10).min(100),
    })
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
