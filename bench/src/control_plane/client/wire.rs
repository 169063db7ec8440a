//! The messages as this client reads them: fields that it does not need are passed over, texts are slices of what was
//! received.

use bytes::Bytes;
use prost::{DecodeError, Message};

use super::kind::Kind;

/// `envoy.service.discovery.v3.DeltaDiscoveryResponse`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Response {
    #[prost(message, repeated, tag = "2")]
    pub(crate) resources: Vec<Resource>,
    #[prost(bytes = "bytes", tag = "4")]
    pub(crate) type_url: Bytes,
    #[prost(bytes = "bytes", tag = "5")]
    pub(crate) nonce: Bytes,
    #[prost(bytes = "bytes", repeated, tag = "6")]
    pub(crate) removed: Vec<Bytes>,
}

/// One resource of it.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Resource {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) version: Bytes,
    #[prost(message, optional, tag = "2")]
    pub(crate) body: Option<Any>,
    #[prost(bytes = "bytes", tag = "3")]
    pub(crate) name: Bytes,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Any {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) type_url: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) value: Bytes,
}

/// What a resource makes a proxy ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Needs {
    pub(crate) names: Vec<(Kind, String)>,
    /// Its virtual hosts are resources of their own.
    pub(crate) virtual_hosts: bool,
}

impl Needs {
    /// Reads them.
    pub(crate) fn of(kind: Kind, name: &[u8], body: Bytes) -> Result<Self, DecodeError> {
        let mut needs = Needs::default();
        match kind {
            Kind::Cluster => {
                let cluster = Cluster::decode(body)?;
                if cluster.discovery_type == EDS {
                    let stated = cluster.eds.map(|eds| eds.service_name).unwrap_or_default();
                    let own = || String::from_utf8_lossy(name).into_owned();
                    needs.names.push((Kind::Endpoint, if stated.is_empty() { own() } else { stated }));
                }
            }
            Kind::Listener => {
                let listener = Listener::decode(body)?;
                for chain in listener.chains.into_iter().chain(listener.default_chain) {
                    needs.take_chain(chain)?;
                }
                needs.names.sort_by(|(a, x), (b, y)| (*a as u8, x).cmp(&(*b as u8, y)));
                needs.names.dedup();
            }
            Kind::Route => needs.virtual_hosts = RouteConfiguration::decode(body)?.vhds.is_some(),
            Kind::Endpoint | Kind::VirtualHost | Kind::Secret => {}
        }
        Ok(needs)
    }

    fn take_chain(&mut self, chain: FilterChain) -> Result<(), DecodeError> {
        for config in chain.filters.into_iter().filter_map(|filter| filter.config) {
            if config.type_url.ends_with(CONNECTION_MANAGER)
                && let Some(rds) = ConnectionManager::decode(config.value)?.rds
            {
                self.names.push((Kind::Route, rds.name));
            }
        }
        if let Some(config) = chain.transport_socket.and_then(|socket| socket.config)
            && let Some(common) = DownstreamTls::decode(config.value)?.common
        {
            let combined = common.combined.and_then(|combined| combined.secret);
            let all = common.certificates.into_iter().chain(common.validation).chain(combined);
            // The others are the agent's to supply.
            let kubernetes = all.filter(|secret| secret.name.starts_with(KUBERNETES));
            self.names.extend(kubernetes.map(|secret| (Kind::Secret, secret.name)));
        }
        Ok(())
    }
}

/// `Cluster.DiscoveryType.EDS`
const EDS: i32 = 3;
const CONNECTION_MANAGER: &[u8] = b"v3.HttpConnectionManager";
/// Secrets that the control plane supplies to gateways.
const KUBERNETES: &str = "kubernetes://";

#[derive(Clone, PartialEq, Message)]
struct Cluster {
    #[prost(int32, tag = "2")]
    discovery_type: i32,
    #[prost(message, optional, tag = "3")]
    eds: Option<EdsClusterConfig>,
}

#[derive(Clone, PartialEq, Message)]
struct EdsClusterConfig {
    #[prost(string, tag = "2")]
    service_name: String,
}

#[derive(Clone, PartialEq, Message)]
struct Listener {
    #[prost(message, repeated, tag = "3")]
    chains: Vec<FilterChain>,
    #[prost(message, optional, tag = "25")]
    default_chain: Option<FilterChain>,
}

#[derive(Clone, PartialEq, Message)]
struct FilterChain {
    #[prost(message, repeated, tag = "3")]
    filters: Vec<Filter>,
    #[prost(message, optional, tag = "6")]
    transport_socket: Option<TransportSocket>,
}

#[derive(Clone, PartialEq, Message)]
struct Filter {
    #[prost(message, optional, tag = "4")]
    config: Option<Any>,
}

#[derive(Clone, PartialEq, Message)]
struct TransportSocket {
    #[prost(message, optional, tag = "3")]
    config: Option<Any>,
}

#[derive(Clone, PartialEq, Message)]
struct ConnectionManager {
    #[prost(message, optional, tag = "3")]
    rds: Option<Rds>,
}

#[derive(Clone, PartialEq, Message)]
struct Rds {
    #[prost(string, tag = "2")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct RouteConfiguration {
    #[prost(message, optional, tag = "9")]
    vhds: Option<Nothing>,
}

#[derive(Clone, PartialEq, Message)]
struct Nothing {}

#[derive(Clone, PartialEq, Message)]
struct DownstreamTls {
    #[prost(message, optional, tag = "1")]
    common: Option<CommonTls>,
}

#[derive(Clone, PartialEq, Message)]
struct CommonTls {
    #[prost(message, repeated, tag = "6")]
    certificates: Vec<SecretConfig>,
    #[prost(message, optional, tag = "7")]
    validation: Option<SecretConfig>,
    #[prost(message, optional, tag = "8")]
    combined: Option<CombinedValidation>,
}

#[derive(Clone, PartialEq, Message)]
struct CombinedValidation {
    #[prost(message, optional, tag = "2")]
    secret: Option<SecretConfig>,
}

#[derive(Clone, PartialEq, Message)]
struct SecretConfig {
    #[prost(string, tag = "1")]
    name: String,
}

#[cfg(test)]
mod tests {
    use portolan_envoy_api::pb::envoy::config::cluster::v3 as cluster;
    use portolan_envoy_api::pb::envoy::config::core::v3 as core;
    use portolan_envoy_api::pb::envoy::config::listener::v3 as listener;
    use portolan_envoy_api::pb::envoy::config::route::v3 as route;
    use portolan_envoy_api::pb::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
    use portolan_envoy_api::pb::envoy::extensions::transport_sockets::tls::v3 as tls;
    use portolan_envoy_api::pb::google::protobuf;

    use super::*;

    fn needs(kind: Kind, message: &impl Message) -> Needs {
        Needs::of(kind, b"own", message.encode_to_vec().into()).unwrap()
    }

    fn any(name: &str, message: &impl Message) -> protobuf::Any {
        protobuf::Any { type_url: format!("type.googleapis.com/{name}"), value: message.encode_to_vec() }
    }

    #[test]
    fn clusters_need_endpoints_when_they_say_so() {
        let made = |discovery: cluster::cluster::DiscoveryType, service: &str| cluster::Cluster {
            cluster_discovery_type: Some(cluster::cluster::ClusterDiscoveryType::Type(discovery as i32)),
            eds_cluster_config: Some(cluster::cluster::EdsClusterConfig {
                service_name: service.to_owned(),
                ..Default::default()
            }),
            ..Default::default()
        };
        let names = |cluster| needs(Kind::Cluster, &cluster).names;
        assert_eq!(
            names(made(cluster::cluster::DiscoveryType::Eds, "")),
            [(Kind::Endpoint, "own".to_owned())]
        );
        assert_eq!(
            names(made(cluster::cluster::DiscoveryType::Eds, "x")),
            [(Kind::Endpoint, "x".to_owned())]
        );
        assert_eq!(names(made(cluster::cluster::DiscoveryType::StrictDns, "x")), []);
    }

    #[test]
    fn listeners_need_routes_and_the_secrets_that_are_not_the_agents() {
        let manager = hcm::HttpConnectionManager {
            route_specifier: Some(hcm::http_connection_manager::RouteSpecifier::Rds(hcm::Rds {
                route_config_name: "80".to_owned(),
                ..Default::default()
            })),
            ..Default::default()
        };
        let manager = any(
            "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            &manager,
        );
        let filter = listener::Filter {
            config_type: Some(listener::filter::ConfigType::TypedConfig(manager)),
            ..Default::default()
        };
        let secret = |name: &str| tls::SdsSecretConfig { name: name.to_owned(), ..Default::default() };
        let context = tls::DownstreamTlsContext {
            common_tls_context: Some(tls::CommonTlsContext {
                tls_certificate_sds_secret_configs: vec![secret("kubernetes://cert"), secret("default")],
                ..Default::default()
            }),
            ..Default::default()
        };
        let socket = core::TransportSocket {
            config_type: Some(core::transport_socket::ConfigType::TypedConfig(any("x", &context))),
            ..Default::default()
        };
        let chain = listener::FilterChain {
            filters: vec![filter],
            transport_socket: Some(socket),
            ..Default::default()
        };
        let message = listener::Listener {
            filter_chains: vec![chain.clone()],
            default_filter_chain: Some(chain),
            ..Default::default()
        };
        assert_eq!(
            needs(Kind::Listener, &message).names,
            [(Kind::Route, "80".to_owned()), (Kind::Secret, "kubernetes://cert".to_owned())]
        );
    }

    #[test]
    fn routes_say_where_their_virtual_hosts_are() {
        let mut message = route::RouteConfiguration::default();
        assert!(!needs(Kind::Route, &message).virtual_hosts);
        message.vhds = Some(route::Vhds::default());
        assert!(needs(Kind::Route, &message).virtual_hosts);
    }
}
