//! The control plane that a bootstrap names, behind one of its static clusters.

use std::path::PathBuf;

use portolan_envoy_api::pb::envoy::config::bootstrap::v3::Bootstrap;
use portolan_envoy_api::pb::envoy::config::cluster::v3::Cluster;
use portolan_envoy_api::pb::envoy::config::core::v3::{
    ApiConfigSource, DataSource, address, config_source::ConfigSourceSpecifier, data_source,
    grpc_service::TargetSpecifier,
};
use portolan_envoy_api::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use portolan_envoy_api::pb::envoy::extensions::transport_sockets::tls::v3::{
    CommonTlsContext, UpstreamTlsContext, common_tls_context::ValidationContextType,
};
use prost::Message;

use super::address::socket_address;
use crate::upstream::{OwnIdentity, Roots, Target, Upstream, UpstreamTls};
use portolan_dataplane::config::ResourceKind;

/// Type name of the TLS settings of a cluster.
const UPSTREAM_TLS: &str = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";

/// The control plane of a bootstrap.
#[derive(Debug, Clone)]
pub struct AdsSource {
    /// Where it is.
    pub upstream: Upstream,
    /// Types to subscribe to as wildcards.
    pub wildcards: Vec<ResourceKind>,
}

/// Why the configuration source cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A source that is neither ADS nor a file.
    #[error("dynamic_resources.{0}: only `ads` and `path_config_source` are supported here")]
    Unsupported(&'static str),
    /// `ads` is used, but there is no `ads_config`.
    #[error("dynamic_resources.{0} uses ads, but dynamic_resources.ads_config is missing")]
    NoAds(&'static str),
    /// No usable gRPC service.
    #[error(
        "dynamic_resources.ads_config.grpc_services[0] must have envoy_grpc.cluster_name or google_grpc.target_uri"
    )]
    NoService,
    /// The named cluster is missing.
    #[error("dynamic_resources.ads_config names cluster {0:?}, which is not among static_resources.clusters")]
    NoCluster(String),
    /// The cluster has no endpoint.
    #[error("cluster {0:?} of the control plane has no endpoint with an address")]
    NoEndpoint(String),
    /// TLS without roots: nobody would be verified.
    #[error(
        "cluster {0:?} of the control plane uses TLS without validation_context.trusted_ca; name a file or inline PEM"
    )]
    NoRoots(String),
    /// A transport socket that the control connection cannot speak.
    #[error("cluster {0:?} of the control plane has an unsupported or invalid transport socket")]
    TransportSocket(String),
}

/// The control plane of a bootstrap, if it has one.
pub fn ads(bootstrap: &Bootstrap) -> Result<Option<AdsSource>, SourceError> {
    let Some(dynamic) = &bootstrap.dynamic_resources else { return Ok(None) };
    let mut wildcards = Vec::new();
    for (name, kind, source) in [
        ("cds_config", ResourceKind::Cluster, &dynamic.cds_config),
        ("lds_config", ResourceKind::Listener, &dynamic.lds_config),
    ] {
        match source.as_ref().and_then(|source| source.config_source_specifier.as_ref()) {
            None | Some(ConfigSourceSpecifier::PathConfigSource(_)) => {}
            Some(ConfigSourceSpecifier::Ads(_)) if dynamic.ads_config.is_none() => {
                return Err(SourceError::NoAds(name));
            }
            Some(ConfigSourceSpecifier::Ads(_)) => wildcards.push(kind),
            #[expect(deprecated, reason = "files of older Envoy versions use `path`")]
            Some(ConfigSourceSpecifier::Path(_)) => {}
            Some(_) => return Err(SourceError::Unsupported(name)),
        }
    }
    let Some(api) = &dynamic.ads_config else { return Ok(None) };
    Ok(Some(AdsSource { upstream: upstream(bootstrap, api)?, wildcards }))
}

fn upstream(bootstrap: &Bootstrap, api: &ApiConfigSource) -> Result<Upstream, SourceError> {
    let service = api.grpc_services.first().ok_or(SourceError::NoService)?;
    let metadata =
        service.initial_metadata.iter().map(|header| (header.key.clone(), header.value.clone())).collect();
    match &service.target_specifier {
        Some(TargetSpecifier::EnvoyGrpc(grpc)) => {
            let cluster = bootstrap
                .static_resources
                .iter()
                .flat_map(|resources| &resources.clusters)
                .find(|cluster| cluster.name == grpc.cluster_name)
                .ok_or_else(|| SourceError::NoCluster(grpc.cluster_name.clone()))?;
            let target = target(cluster).ok_or_else(|| SourceError::NoEndpoint(cluster.name.clone()))?;
            let tls = tls(cluster, &target)?;
            Ok(Upstream { target, tls, token_path: None, metadata })
        }
        Some(TargetSpecifier::GoogleGrpc(grpc)) if !grpc.target_uri.is_empty() => Ok(Upstream {
            target: match grpc.target_uri.strip_prefix("unix:") {
                Some(path) => Target::Unix(path.into()),
                None => Target::Tcp(grpc.target_uri.trim_start_matches("dns:///").to_owned()),
            },
            tls: None,
            token_path: None,
            metadata,
        }),
        _ => Err(SourceError::NoService),
    }
}

fn target(cluster: &Cluster) -> Option<Target> {
    let assignment = cluster.load_assignment.as_ref()?;
    let endpoints = assignment.endpoints.iter().flat_map(|locality| &locality.lb_endpoints);
    endpoints
        .filter_map(|endpoint| match endpoint.host_identifier.as_ref()? {
            HostIdentifier::Endpoint(endpoint) => endpoint.address.as_ref(),
            HostIdentifier::EndpointName(_) => None,
        })
        .find_map(|address| match address.address.as_ref()? {
            address::Address::Pipe(pipe) => Some(Target::Unix(PathBuf::from(&pipe.path))),
            _ => socket_address(address).map(Target::Tcp),
        })
}

fn tls(cluster: &Cluster, target: &Target) -> Result<Option<UpstreamTls>, SourceError> {
    use portolan_envoy_api::pb::envoy::config::core::v3::transport_socket::ConfigType;
    let Some(socket) = &cluster.transport_socket else { return Ok(None) };
    let invalid = || SourceError::TransportSocket(cluster.name.clone());
    let Some(ConfigType::TypedConfig(any)) = &socket.config_type else { return Err(invalid()) };
    if any.type_url.ends_with(".RawBuffer") {
        return Ok(None);
    }
    if !any.type_url.ends_with(UPSTREAM_TLS) {
        return Err(invalid());
    }
    let context = UpstreamTlsContext::decode(any.value.as_slice()).map_err(|_| invalid())?;
    let common = context.common_tls_context.unwrap_or_default();
    let roots = roots(&common).ok_or_else(|| SourceError::NoRoots(cluster.name.clone()))?;
    let server_name = match (context.sni.is_empty(), target) {
        (false, _) => context.sni,
        (true, Target::Tcp(address)) => address
            .rsplit_once(':')
            .map_or(address.as_str(), |(host, _)| host)
            .trim_matches(['[', ']'])
            .to_owned(),
        (true, Target::Unix(_)) => "localhost".to_owned(),
    };
    let identity = common.tls_certificates.first().and_then(|certificate| {
        Some(OwnIdentity::Files(
            file_name(certificate.certificate_chain.as_ref()?)?,
            file_name(certificate.private_key.as_ref()?)?,
        ))
    });
    Ok(Some(UpstreamTls { roots, server_name, identity }))
}

fn roots(common: &CommonTlsContext) -> Option<Roots> {
    let context = match common.validation_context_type.as_ref()? {
        ValidationContextType::ValidationContext(context) => context,
        ValidationContextType::CombinedValidationContext(combined) => {
            combined.default_validation_context.as_ref()?
        }
        _ => return None,
    };
    match context.trusted_ca.as_ref()?.specifier.as_ref()? {
        data_source::Specifier::Filename(path) => Some(Roots::File(path.into())),
        data_source::Specifier::InlineBytes(bytes) => Some(Roots::Inline(bytes.clone())),
        data_source::Specifier::InlineString(text) => Some(Roots::Inline(text.clone().into_bytes())),
        data_source::Specifier::EnvironmentVariable(name) => {
            std::env::var(name).ok().map(|v| Roots::Inline(v.into()))
        }
    }
}

fn file_name(source: &DataSource) -> Option<PathBuf> {
    match source.specifier.as_ref()? {
        data_source::Specifier::Filename(path) => Some(path.into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::{Value, json};

    use super::super::document::from_document;
    use super::*;

    fn bootstrap(ads_cluster: Value) -> Bootstrap {
        let document = json!({
            "dynamic_resources": {
                "cds_config": {"ads": {}, "resource_api_version": "V3"},
                "lds_config": {"ads": {}, "resource_api_version": "V3"},
                "ads_config": {
                    "api_type": "DELTA_GRPC",
                    "transport_api_version": "V3",
                    "grpc_services": [{"envoy_grpc": {"cluster_name": "xds"},
                                       "initial_metadata": [{"key": "x-tenant", "value": "blue"}]}]
                }
            },
            "static_resources": {"clusters": [ads_cluster]}
        });
        from_document(Path::new("b.json"), document).unwrap().message
    }

    fn cluster(address: Value, extra: Value) -> Value {
        let mut cluster = json!({
            "name": "xds",
            "load_assignment": {"cluster_name": "xds", "endpoints": [
                {"lb_endpoints": [{"endpoint": {"address": address}}]}]}
        });
        if let (Some(map), Value::Object(extra)) = (cluster.as_object_mut(), extra) {
            map.extend(extra);
        }
        cluster
    }

    #[test]
    fn pipes_and_sockets() {
        let pipe = ads(&bootstrap(cluster(json!({"pipe": {"path": "./XDS"}}), json!({})))).unwrap().unwrap();
        assert_eq!(pipe.upstream.target, Target::Unix("./XDS".into()));
        assert_eq!(pipe.wildcards, [ResourceKind::Cluster, ResourceKind::Listener]);
        assert_eq!(pipe.upstream.metadata, [("x-tenant".into(), "blue".into())]);
        let socket = json!({"socket_address": {"address": "istiod.istio-system.svc", "port_value": 15010}});
        let tcp = ads(&bootstrap(cluster(socket, json!({})))).unwrap().unwrap();
        assert_eq!(tcp.upstream.target, Target::Tcp("istiod.istio-system.svc:15010".into()));
    }

    #[test]
    fn tls_needs_roots() {
        let tls = |context: Value| {
            let socket = json!({"socket_address": {"address": "istiod", "port_value": 15012}});
            let transport = json!({"transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
                "sni": "istiod.istio-system.svc", "common_tls_context": context}}});
            ads(&bootstrap(cluster(socket, transport)))
        };
        assert!(matches!(tls(json!({})), Err(SourceError::NoRoots(_))));
        let good =
            tls(json!({"validation_context": {"trusted_ca": {"filename": "/ca.pem"}}})).unwrap().unwrap();
        let tls = good.upstream.tls.unwrap();
        assert_eq!(
            (tls.roots, tls.server_name),
            (Roots::File("/ca.pem".into()), "istiod.istio-system.svc".into())
        );
    }

    #[test]
    fn a_missing_cluster_is_named() {
        let mut broken = bootstrap(cluster(json!({"pipe": {"path": "x"}}), json!({})));
        broken.static_resources = None;
        assert!(matches!(ads(&broken), Err(SourceError::NoCluster(name)) if name == "xds"));
    }
}
