//! Clusters of services.

use std::time::Duration as StdDuration;

use portolan_mesh::{Protocol, Resolution, ResolvedDestinationRule, Service, ServicePort};
use portolan_resources::networking::ClientTlsMode;
use portolan_xds::names::ClusterName;

use super::{
    base::{UpstreamHttp, connect_timeout, of_type},
    policy,
};
use crate::{
    context::Context,
    endpoint, metadata,
    pb::*,
    tls::{self, ClientAlpn},
    traffic_policy::{TrafficPolicyParts, traffic_policy},
};

/// Envoy's own refresh of DNS clusters, and MeshConfig's default.
const DEFAULT_DNS_REFRESH: StdDuration = StdDuration::from_secs(5);

/// The clusters of one service: of each port the whole service and each subset; where the proxy asks for them, each once
/// more by the names that AUTO_PASSTHROUGH servers look up (`outbound_.80_._.host`).
pub(crate) fn of_service(ctx: &Context<'_>, host: &str) -> Vec<cluster::Cluster> {
    let Some(service) = ctx.scope.visible_exact(host) else { return Vec::new() };
    let rule = ctx.scope.destination_rule(host);
    let rule = rule.as_deref();
    let sni_forms: &[bool] =
        if ctx.node.is_router() && ctx.node.metadata.sni_dnat { &[false, true] } else { &[false] };
    let mut out = Vec::new();
    for port in &service.ports {
        for sni_form in sni_forms {
            let subsets = rule.iter().flat_map(|r| &r.spec.subsets).map(|s| s.name.as_str());
            out.extend(
                std::iter::once("")
                    .chain(subsets)
                    .filter_map(|subset| one(ctx, &service, port, rule, subset, *sni_form)),
            );
        }
    }
    out
}

fn one(
    ctx: &Context<'_>,
    service: &Service,
    port: &ServicePort,
    rule: Option<&ResolvedDestinationRule>,
    subset: &str,
    sni_form: bool,
) -> Option<cluster::Cluster> {
    let name = ClusterName::outbound(port.number, subset, &service.host);
    let mut made = cluster::Cluster {
        name: if sni_form { name.sni() } else { name.to_string() },
        connect_timeout: connect_timeout(ctx),
        metadata: Some(metadata::cluster(&[service], rule.map(|r| &r.meta.key), subset)),
        ..Default::default()
    };
    discovery(ctx, &mut made, service, port, rule, subset)?;
    let parts = traffic_policy(rule, port.number, subset);
    let http = upstream_http(ctx, port.protocol, &parts);
    policy::apply(ctx, &mut made, &parts, http);
    // An AUTO_PASSTHROUGH cluster carries the client's own TLS.
    if !sni_form {
        security(ctx, &mut made, service, &parts, &name, http);
    }
    Some(made)
}

fn upstream_http(ctx: &Context<'_>, protocol: Protocol, parts: &TrafficPolicyParts<'_>) -> UpstreamHttp {
    match protocol {
        p if p.is_http2() => UpstreamHttp::Http2,
        Protocol::Http if policy::upgrades_to_h2(ctx, parts.connection_pool) => UpstreamHttp::Http2,
        Protocol::Http => UpstreamHttp::Http1,
        Protocol::Auto => UpstreamHttp::AsDownstream,
        // TLS that we originate ourselves: what comes to this cluster is the plain HTTP inside.
        Protocol::Https if parts.tls.is_some_and(|t| t.mode != ClientTlsMode::Disable) => UpstreamHttp::Http1,
        _ => UpstreamHttp::None,
    }
}

/// Type of discovery; `None` when the service cannot be a cluster.
fn discovery(
    ctx: &Context<'_>,
    made: &mut cluster::Cluster,
    service: &Service,
    port: &ServicePort,
    rule: Option<&ResolvedDestinationRule>,
    subset: &str,
) -> Option<()> {
    use cluster::cluster::DiscoveryType;
    match service.resolution {
        Resolution::ClientSide | Resolution::Passthrough if endpoint::are_served(ctx.node, service) => {
            made.cluster_discovery_type = of_type(DiscoveryType::Eds);
            made.eds_cluster_config = Some(cluster::cluster::EdsClusterConfig {
                eds_config: Some(ads()),
                service_name: ClusterName::outbound(port.number, subset, &service.host).to_string(),
            });
        }
        Resolution::ClientSide | Resolution::Passthrough => {
            made.cluster_discovery_type = of_type(DiscoveryType::OriginalDst);
            made.lb_policy = cluster::cluster::LbPolicy::ClusterProvided as i32;
        }
        Resolution::Dns => {
            let endpoints = endpoint::dns(ctx, service, port, rule, subset, &made.name);
            if endpoints.endpoints.is_empty() {
                return None;
            }
            made.cluster_discovery_type = of_type(DiscoveryType::StrictDns);
            made.dns_lookup_family = cluster::cluster::DnsLookupFamily::V4Only as i32;
            let rate =
                ctx.mesh().dns_refresh_rate.get().filter(|d| d.as_millis() >= 1 && *d != DEFAULT_DNS_REFRESH);
            // Superseded by a cluster extension, but what every Envoy of the last years and our own proxy read. Left out
            // where it is the default, because Envoy logs a warning for each.
            #[expect(deprecated, reason = "its successor, a cluster extension, is read by few yet")]
            {
                made.dns_refresh_rate = rate.map(duration);
            }
            made.load_assignment = Some(endpoints);
        }
    }
    Some(())
}

/// Transport socket: as the DestinationRule says, else automatic mTLS (docs/reference/xds.md).
fn security(
    ctx: &Context<'_>,
    made: &mut cluster::Cluster,
    service: &Service,
    parts: &TrafficPolicyParts<'_>,
    name: &ClusterName,
    http: UpstreamHttp,
) {
    let alpn = match http {
        UpstreamHttp::None => ClientAlpn::Tcp,
        UpstreamHttp::Http1 => ClientAlpn::Http1,
        UpstreamHttp::Http2 => ClientAlpn::Http2,
        UpstreamHttp::AsDownstream => ClientAlpn::Auto,
    };
    let mesh_tls = |sni: &str, identities| tls::mesh_client(ctx, sni, &identities, alpn);
    if let Some(settings) = parts.tls {
        made.transport_socket = match settings.mode {
            ClientTlsMode::Disable => None,
            ClientTlsMode::IstioMutual => {
                let default_sni = name.sni();
                let sni = settings.sni.as_deref().filter(|s| !s.is_empty()).unwrap_or(&default_sni);
                let identities = if settings.subject_alt_names.is_empty() {
                    ctx.model.accepted_identities(service)
                } else {
                    settings.subject_alt_names.iter().cloned().collect()
                };
                Some(mesh_tls(sni, identities))
            }
            ClientTlsMode::Simple | ClientTlsMode::Mutual => {
                let sni = if service.host.contains('*') { "" } else { service.host.as_str() };
                Some(tls::plain_client(settings, sni, http == UpstreamHttp::Http2))
            }
        };
        return;
    }
    if !ctx.mesh().enable_auto_mtls || service.mesh_external {
        return;
    }
    let socket = || mesh_tls(&name.sni(), ctx.model.accepted_identities(service));
    if made.cluster_discovery_type == of_type(cluster::cluster::DiscoveryType::OriginalDst) {
        // Original destinations carry no metadata to match on: mTLS when every endpoint can.
        let endpoints = ctx.model.endpoints_of(&service.host);
        let mut all = endpoints.iter().flat_map(|e| e.by_port.values().flatten()).peekable();
        if all.peek().is_some() && all.all(|e| endpoint::takes_mesh_tls(ctx.model, e)) {
            made.transport_socket = Some(socket());
        }
        return;
    }
    made.transport_socket_matches = vec![
        cluster::cluster::TransportSocketMatch {
            name: "tlsMode-istio".to_owned(),
            r#match: Some(metadata::tls_mode(true)),
            transport_socket: Some(socket()),
        },
        cluster::cluster::TransportSocketMatch {
            name: "tlsMode-disabled".to_owned(),
            r#match: Some(Default::default()),
            transport_socket: Some(tls::plaintext()),
        },
    ];
}
