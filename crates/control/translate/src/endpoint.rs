//! Endpoints (EDS), with locality priorities (Istio 1.9 reference, Locality Load Balancing).

use std::collections::BTreeMap;

use portolan_mesh::{
    Endpoint, EndpointAddress, Locality, Model, ProxyNode, Registry, Resolution, ResolvedDestinationRule,
    Service, ServicePort,
};
use portolan_names::labels;
use portolan_resources::{
    networking::{LocalityDistribute, LocalityLbSetting},
    security::MtlsMode,
};
use portolan_xds::names::ClusterName;

use crate::{context::Context, metadata, pb::*, traffic_policy::traffic_policy};

/// Whether a service's endpoints come from us (EDS): not by DNS, and not by the address that the client used. A gateway has
/// no original destination: it balances over the endpoints.
pub(crate) fn are_served(node: &ProxyNode, service: &Service) -> bool {
    match service.resolution {
        Resolution::ClientSide => true,
        Resolution::Passthrough => node.is_router() && service.registry == Registry::Kubernetes,
        Resolution::Dns => false,
    }
}

/// All assignments that the clusters of a service ask for, with their names: of each port the whole service and each
/// subset.
pub(crate) fn of_service(ctx: &Context<'_>, host: &str) -> Vec<(String, endpoint::ClusterLoadAssignment)> {
    let Some(service) = ctx.scope.visible_exact(host).filter(|s| are_served(ctx.node, s)) else {
        return Vec::new();
    };
    let rule = ctx.scope.destination_rule(host);
    let rule = rule.as_deref();
    let all = ctx.model.endpoints_of(host);
    let mut out = BTreeMap::new();
    for port in &service.ports {
        let endpoints = all.as_ref().map(|e| e.port(port.number)).unwrap_or_default();
        let subsets = rule.iter().flat_map(|r| &r.spec.subsets).map(|s| s.name.as_str());
        for subset in std::iter::once("").chain(subsets) {
            let name = ClusterName::outbound(port.number, subset, host).to_string();
            let made = |name: &String| build(ctx, name, endpoints.iter(), port, rule, subset);
            out.entry(name).or_insert_with_key(made);
        }
    }
    out.into_iter().collect()
}

/// The endpoints of a service that the proxy resolves by DNS: those listed, else the host itself.
pub(crate) fn dns(
    ctx: &Context<'_>,
    service: &Service,
    port: &ServicePort,
    rule: Option<&ResolvedDestinationRule>,
    subset: &str,
    name: &str,
) -> endpoint::ClusterLoadAssignment {
    let listed = ctx.model.endpoints_of(&service.host);
    let listed = listed.as_ref().map(|e| e.port(port.number)).unwrap_or_default();
    if !listed.is_empty() {
        return build(ctx, name, listed.iter(), port, rule, subset);
    }
    let host = service.external_name.as_deref().unwrap_or(&service.host);
    if host.contains('*') {
        return endpoint::ClusterLoadAssignment { cluster_name: name.to_owned(), ..Default::default() };
    }
    let itself = Endpoint {
        address: EndpointAddress::Dns(host.to_owned()),
        port: port.number,
        labels: Default::default(),
        identity: None,
        mesh_tls: false,
        locality: Locality::default(),
        weight: 0,
        network: String::new(),
        namespace: service.namespace.clone(),
        workload: String::new(),
    };
    build(ctx, name, std::iter::once(&itself), port, rule, "")
}

/// Whether an endpoint takes mesh mTLS: it can, and its PeerAuthentication does not forbid it.
pub(crate) fn takes_mesh_tls(model: Model<'_>, endpoint: &Endpoint) -> bool {
    endpoint.mesh_tls
        && model.mtls_modes(&endpoint.namespace, &endpoint.labels).port(endpoint.port) != MtlsMode::Disable
}

fn build<'e>(
    ctx: &Context<'_>,
    name: &str,
    endpoints: impl Iterator<Item = &'e Endpoint>,
    port: &ServicePort,
    rule: Option<&ResolvedDestinationRule>,
    subset: &str,
) -> endpoint::ClusterLoadAssignment {
    let subset_labels = rule
        .and_then(|r| r.spec.subsets.iter().find(|s| !subset.is_empty() && s.name == subset))
        .map(|s| &s.labels);
    let in_subset =
        |e: &&Endpoint| subset_labels.is_none_or(|l| l.iter().all(|(k, v)| e.labels.get(k) == Some(v)));
    let mut localities: BTreeMap<Locality, Vec<endpoint::LbEndpoint>> = BTreeMap::new();
    for e in endpoints.filter(in_subset).filter(|e| ctx.node.sees_network(&e.network)) {
        localities.entry(e.locality.clone()).or_default().push(lb_endpoint(ctx, e));
    }
    let mut groups: Vec<(Locality, endpoint::LocalityLbEndpoints)> = localities
        .into_iter()
        .map(|(locality, lb_endpoints)| {
            let weight: u32 = lb_endpoints
                .iter()
                .map(|e| e.load_balancing_weight.map_or(1, |w| w.value))
                .fold(0, u32::saturating_add);
            let group = endpoint::LocalityLbEndpoints {
                locality: (!locality.is_empty()).then(|| core::Locality {
                    region: locality.region.clone(),
                    zone: locality.zone.clone(),
                    sub_zone: locality.subzone.clone(),
                }),
                lb_endpoints,
                load_balancing_weight: u32v(weight),
                ..Default::default()
            };
            (locality, group)
        })
        .collect();
    prioritize(ctx, &mut groups, port, rule, subset);
    endpoint::ClusterLoadAssignment {
        cluster_name: name.to_owned(),
        endpoints: groups.into_iter().map(|(_, g)| g).collect(),
        ..Default::default()
    }
}

fn lb_endpoint(ctx: &Context<'_>, e: &Endpoint) -> endpoint::LbEndpoint {
    let address = match &e.address {
        EndpointAddress::Ip(ip) => socket(ip.to_string(), e.port),
        EndpointAddress::Dns(name) => socket(name, e.port),
        EndpointAddress::Unix(path) => core::Address {
            address: Some(core::address::Address::Pipe(core::Pipe {
                path: path.clone(),
                ..Default::default()
            })),
        },
    };
    endpoint::LbEndpoint {
        metadata: Some(metadata::endpoint(takes_mesh_tls(ctx.model, e), workload_text(ctx, e))),
        load_balancing_weight: u32v(e.weight.max(1)),
        host_identifier: Some(endpoint::lb_endpoint::HostIdentifier::Endpoint(endpoint::Endpoint {
            address: Some(address),
            ..Default::default()
        })),
        ..Default::default()
    }
}

/// `workload;namespace;canonical name;canonical revision;cluster`, for the statistics of requests that fail before the
/// peer could say who it is.
fn workload_text(ctx: &Context<'_>, e: &Endpoint) -> String {
    let first = |keys: &[&str]| keys.iter().find_map(|k| e.labels.get(*k)).map(String::as_str);
    let name =
        first(&[labels::CANONICAL_NAME, labels::APP_KUBERNETES_NAME, labels::APP]).unwrap_or(&e.workload);
    let revision = first(&[labels::CANONICAL_REVISION, labels::APP_KUBERNETES_VERSION, labels::VERSION]);
    let revision = revision.unwrap_or(if e.workload.is_empty() { "" } else { "latest" });
    format!("{};{};{name};{revision};{}", e.workload, e.namespace, ctx.model.cluster().cluster_id)
}

/// Priorities and weights by locality. Failover needs outlier detection: without it nothing ever becomes unhealthy.
fn prioritize(
    ctx: &Context<'_>,
    groups: &mut Vec<(Locality, endpoint::LocalityLbEndpoints)>,
    port: &ServicePort,
    rule: Option<&ResolvedDestinationRule>,
    subset: &str,
) {
    let parts = traffic_policy(rule, port.number, subset);
    let of_rule = parts.load_balancer.and_then(|l| l.locality_lb_setting.as_ref());
    let mesh = ctx.mesh();
    let setting = of_rule.or(mesh.locality_lb_setting.as_ref());
    let default = LocalityLbSetting::default();
    let setting = setting.unwrap_or(&default);
    if setting.enabled == Some(false) {
        return;
    }
    let own = ctx.model.workload_of(ctx.node).map(|w| w.locality.clone());
    let own = own.unwrap_or_else(|| ctx.node.locality.clone());
    if own.is_empty() {
        return;
    }
    if let Some(distribute) = setting.distribute.iter().find(|d| locality_matches(&d.from, &own)) {
        apply_distribute(groups, distribute);
    } else if parts.outlier_detection.is_some() {
        apply_failover(groups, setting, &own);
    }
}

/// Whether the place of a proxy may matter for the endpoints of a service: only settings make it so.
pub(crate) fn depends_on_place(ctx: &Context<'_>, host: &str) -> bool {
    ctx.mesh().locality_lb_setting.is_some() || ctx.scope.destination_rule(host).is_some()
}

fn locality_matches(pattern: &str, locality: &Locality) -> bool {
    let wanted = Locality::parse(pattern);
    let part = |want: &str, have: &str| want.is_empty() || want == "*" || want == have;
    // `region/*` leaves the rest open.
    part(&wanted.region, &locality.region)
        && part(&wanted.zone, &locality.zone)
        && part(&wanted.subzone, &locality.subzone)
}

fn apply_distribute(groups: &mut Vec<(Locality, endpoint::LocalityLbEndpoints)>, rule: &LocalityDistribute) {
    let mut weights: Vec<Option<u32>> = vec![None; groups.len()];
    for (target, share) in &rule.to {
        let matching: Vec<usize> = groups
            .iter()
            .enumerate()
            .filter(|(i, (l, _))| weights[*i].is_none() && locality_matches(target, l))
            .map(|(i, _)| i)
            .collect();
        let weight = |i: usize| groups[i].1.load_balancing_weight.map_or(1, |w| w.value.max(1));
        let total: u64 = matching.iter().map(|i| u64::from(weight(*i))).sum();
        for i in matching {
            let part = (u64::from(weight(i)) * u64::from(*share)).div_ceil(total.max(1));
            weights[i] = Some(u32::try_from(part).unwrap_or(u32::MAX));
        }
    }
    let mut index = 0;
    groups.retain_mut(|(_, group)| {
        let weight = weights[index];
        index += 1;
        group.load_balancing_weight = weight.and_then(u32v);
        weight.is_some_and(|w| w > 0)
    });
}

fn apply_failover(
    groups: &mut [(Locality, endpoint::LocalityLbEndpoints)],
    setting: &LocalityLbSetting,
    own: &Locality,
) {
    let target = setting.failover.iter().find(|f| f.from == own.region).map(|f| f.to.as_str());
    let raw: Vec<u32> = groups
        .iter()
        .map(|(l, _)| match () {
            () if l.region != own.region => match target {
                Some(region) if region != l.region => 4,
                _ => 3,
            },
            () if l.zone != own.zone => 2,
            () if l.subzone != own.subzone => 1,
            () => 0,
        })
        .collect();
    // Envoy wants priorities without gaps.
    let mut used = raw.clone();
    used.sort_unstable();
    used.dedup();
    for ((_, group), raw) in groups.iter_mut().zip(raw) {
        group.priority =
            used.iter().position(|p| *p == raw).and_then(|p| u32::try_from(p).ok()).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    type Weights<'a> = &'a [(&'a str, u32)];

    /// Groups of endpoints in these localities, with these weights.
    fn groups(localities: &[(&str, u32)]) -> Vec<(Locality, endpoint::LocalityLbEndpoints)> {
        let group = |weight: u32| endpoint::LocalityLbEndpoints {
            load_balancing_weight: u32v(weight),
            ..Default::default()
        };
        localities.iter().map(|(text, weight)| (Locality::parse(text), group(*weight))).collect()
    }

    #[test]
    fn a_locality_is_matched_part_by_part_and_what_is_open_matches_all() {
        for (pattern, locality, expected) in [
            ("r/z/s", "r/z/s", true),
            ("r/z/s", "r/z/t", false),
            ("r/z/s", "r/y/s", false),
            ("r/z/s", "q/z/s", false),
            ("r/z", "r/z/t", true),
            ("r/*", "r/z/s", true),
            ("r/*/s", "r/z/s", true),
            ("r/*/s", "r/z/t", false),
            ("*", "q/z/s", true),
            ("", "q/z/s", true),
            ("r", "q/z/s", false),
        ] {
            assert_eq!(
                locality_matches(pattern, &Locality::parse(locality)),
                expected,
                "{pattern} {locality}"
            );
        }
    }

    #[test]
    fn traffic_is_distributed_by_share_and_what_has_none_is_left_out() {
        let cases: [(Value, Weights<'_>, Weights<'_>); 5] = [
            (json!({"r/a": 80, "r/b": 20}), &[("r/a", 1), ("r/b", 1)], &[("r/a", 80), ("r/b", 20)]),
            // A share is divided by the weights of what it matches.
            (json!({"r/*": 90}), &[("r/a", 1), ("r/b", 2)], &[("r/a", 30), ("r/b", 60)]),
            (json!({"r/a": 100}), &[("r/a", 1), ("r/b", 1), ("q/a", 1)], &[("r/a", 100)]),
            (json!({"r/a": 100, "r/b": 0}), &[("r/a", 1), ("r/b", 1)], &[("r/a", 100)]),
            // The first that matches holds.
            (json!({"r/a": 10, "r/a/s": 90}), &[("r/a/s", 1)], &[("r/a/s", 10)]),
        ];
        for (to, before, expected) in cases {
            let rule: LocalityDistribute =
                serde_json::from_value(json!({"from": "*", "to": to.clone()})).unwrap();
            let mut found = groups(before);
            apply_distribute(&mut found, &rule);
            let shown: Vec<_> =
                found.iter().map(|(l, g)| (l.to_string(), g.load_balancing_weight.unwrap().value)).collect();
            let expected: Vec<_> = expected.iter().map(|(l, w)| ((*l).to_owned(), *w)).collect();
            assert_eq!(shown, expected, "{to}");
        }
    }

    #[test]
    fn the_nearer_locality_goes_first_and_the_named_region_before_others() {
        let all = ["r/z/s", "r/z/t", "r/y/s", "q/z/s", "p/z/s"];
        for (failover, localities, expected) in [
            (json!([]), &all[..], vec![0, 1, 2, 3, 3]),
            (json!([{"from": "r", "to": "q"}]), &all[..], vec![0, 1, 2, 3, 4]),
            (json!([{"from": "x", "to": "q"}]), &all[..], vec![0, 1, 2, 3, 3]),
            // Without gaps.
            (json!([]), &["r/z/s", "q/z/s"], vec![0, 1]),
            (json!([]), &["r/y/s", "q/z/s"], vec![0, 1]),
        ] {
            let setting: LocalityLbSetting =
                serde_json::from_value(json!({"failover": failover.clone()})).unwrap();
            let mut found = groups(&localities.iter().map(|l| (*l, 1)).collect::<Vec<_>>());
            apply_failover(&mut found, &setting, &Locality::parse("r/z/s"));
            let priorities: Vec<u32> = found.iter().map(|(_, g)| g.priority).collect();
            assert_eq!(priorities, expected, "{failover} {localities:?}");
        }
    }
}
