//! HTTP rules of VirtualServices as routes (Istio 1.9 reference, Virtual Service).

use portolan_mesh::ResolvedVirtualService;
use portolan_resources::networking::{
    CorsPolicy, Destination, HeaderOperations, Headers, HttpFaultInjection, HttpMatchRequest, HttpRedirect,
    HttpRetry, HttpRoute, Percent,
};
use portolan_xds::names::ClusterName;

use super::matches;
use crate::{
    context::Context,
    metadata,
    naming::{CORS_FILTER, FAULT_FILTER, destination_cluster, destination_port},
    pb::*,
    traffic_policy::traffic_policy,
};

/// Conditions of the default retry policy.
const DEFAULT_RETRY_ON: &str = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes";
/// Status that the default policy retries.
const DEFAULT_RETRY_STATUS: u32 = 503;
/// Retries of the default policy.
const DEFAULT_RETRIES: u32 = 2;
/// How often another endpoint is looked for on a retry.
const HOST_SELECTION_ATTEMPTS: i64 = 5;
/// Retries after which priorities are weighed anew.
const PRIORITY_UPDATE_FREQUENCY: i32 = 2;

/// The routes of a VirtualService for a gateway (`mesh` or `namespace/name`) and port. Empty when none of its rules holds
/// for this proxy.
pub(super) fn routes(
    ctx: &Context<'_>,
    vs: &ResolvedVirtualService,
    gateway: &str,
    port: u16,
) -> Vec<route::Route> {
    let mut out = Vec::new();
    for rule in &vs.spec.http {
        if rule.match_.is_empty() {
            if let Some(route) = one(ctx, vs, rule, None, port) {
                out.push(route);
                return out;
            }
            continue;
        }
        for m in rule.match_.iter().filter(|m| applies(ctx, m, gateway, port)) {
            let Some(route) = one(ctx, vs, rule, Some(m), port) else { continue };
            let last = route.r#match.as_ref().is_some_and(matches::is_catch_all);
            out.push(route);
            if last {
                return out;
            }
        }
    }
    out
}

fn applies(ctx: &Context<'_>, m: &HttpMatchRequest, gateway: &str, port: u16) -> bool {
    (m.gateways.is_empty() || m.gateways.iter().any(|g| g == gateway))
        && m.port.is_none_or(|p| p == u32::from(port))
        && ctx.has_labels(&m.source_labels)
        && m.source_namespace.as_deref().is_none_or(|ns| ns.is_empty() || ctx.is_in(ns))
}

fn one(
    ctx: &Context<'_>,
    vs: &ResolvedVirtualService,
    rule: &HttpRoute,
    m: Option<&HttpMatchRequest>,
    port: u16,
) -> Option<route::Route> {
    let mut out = route::Route {
        name: route_name(rule, m),
        r#match: Some(m.map_or_else(matches::everything, matches::of)),
        metadata: Some(metadata::route(&vs.meta.key)),
        ..Default::default()
    };
    if let Some(redirect) = &rule.redirect {
        out.action = Some(route::route::Action::Redirect(redirect_action(redirect)));
    } else {
        let (action, operation) = route_action(ctx, rule, m, port)?;
        out.decorator = Some(route::Decorator { operation, ..Default::default() });
        out.action = Some(route::route::Action::Route(action));
        if let Some(fault) = rule.fault.as_ref().and_then(fault) {
            out.typed_per_filter_config.insert(FAULT_FILTER.to_owned(), any(&fault));
        }
        if let Some(cors) = &rule.cors_policy {
            out.typed_per_filter_config.insert(CORS_FILTER.to_owned(), any(&cors_policy(cors)));
        }
    }
    let headers = header_operations(rule.headers.as_ref());
    out.request_headers_to_add = headers.request_add;
    out.request_headers_to_remove = headers.request_remove;
    out.response_headers_to_add = headers.response_add;
    out.response_headers_to_remove = headers.response_remove;
    Some(out)
}

/// `name`, `name.match` or nothing.
fn route_name(rule: &HttpRoute, m: Option<&HttpMatchRequest>) -> String {
    match (rule.name.as_deref().unwrap_or_default(), m.and_then(|m| m.name.as_deref())) {
        (name, None | Some("")) => name.to_owned(),
        ("", Some(of_match)) => of_match.to_owned(),
        (name, Some(of_match)) => format!("{name}.{of_match}"),
    }
}

fn redirect_action(redirect: &HttpRedirect) -> route::RedirectAction {
    use route::redirect_action::{PathRewriteSpecifier, RedirectResponseCode as Code};
    let code = match redirect.redirect_code {
        Some(302) => Code::Found,
        Some(303) => Code::SeeOther,
        Some(307) => Code::TemporaryRedirect,
        Some(308) => Code::PermanentRedirect,
        _ => Code::MovedPermanently,
    };
    route::RedirectAction {
        host_redirect: redirect.authority.clone().unwrap_or_default(),
        path_rewrite_specifier: redirect.uri.clone().map(PathRewriteSpecifier::PathRedirect),
        response_code: code as i32,
        ..Default::default()
    }
}

/// The action and the name of its spans; `None` when no destination is left.
///
/// A deadline that a gRPC caller names is capped by the old field, as in Istio: its successor `max_stream_duration` has
/// Envoy forget `timeout`.
#[expect(deprecated, reason = "max_grpc_timeout: see above")]
fn route_action(
    ctx: &Context<'_>,
    rule: &HttpRoute,
    m: Option<&HttpMatchRequest>,
    port: u16,
) -> Option<(route::RouteAction, String)> {
    use route::route_action::{ClusterSpecifier, HostRewriteSpecifier};
    let timeout = rule.timeout.as_ref().and_then(|t| t.get()).unwrap_or_default();
    let mut action = route::RouteAction {
        timeout: Some(duration(timeout)),
        max_grpc_timeout: Some(duration(timeout)),
        retry_policy: retry_policy(rule.retries.as_ref()),
        ..Default::default()
    };
    if let Some(rewrite) = &rule.rewrite {
        if let Some(uri) = &rewrite.uri {
            rewrite_path(&mut action, uri, m);
        }
        action.host_rewrite_specifier =
            rewrite.authority.clone().map(HostRewriteSpecifier::HostRewriteLiteral);
    }
    if let Some(mirror) = &rule.mirror {
        action.request_mirror_policies = mirror_policy(ctx, rule, mirror, port).into_iter().collect();
    }
    let mut destinations: Vec<_> = rule
        .route
        .iter()
        .filter_map(|d| Some((d.destination.as_ref()?, d.weight.unwrap_or_default(), d.headers.as_ref())))
        .collect();
    if destinations.len() > 1 {
        destinations.retain(|(_, weight, _)| *weight > 0);
    }
    let (first, ..) = destinations.first()?;
    let operation =
        format!("{}:{}/*", first.host, destination_port(ctx.service(&first.host).as_deref(), first, port));
    action.hash_policy = hash_policies(ctx, first, port);
    let single_without_headers = matches!(destinations.as_slice(), [(_, _, None)]);
    action.cluster_specifier = Some(if single_without_headers {
        ClusterSpecifier::Cluster(destination_cluster(ctx, first, port))
    } else {
        let total_one = destinations.len() == 1;
        let clusters = destinations
            .iter()
            .map(|(destination, weight, headers)| {
                let ops = header_operations(*headers);
                let weight = if total_one { 100 } else { u32::try_from(*weight).unwrap_or_default() };
                route::weighted_cluster::ClusterWeight {
                    name: destination_cluster(ctx, destination, port),
                    weight: u32v(weight),
                    request_headers_to_add: ops.request_add,
                    request_headers_to_remove: ops.request_remove,
                    response_headers_to_add: ops.response_add,
                    response_headers_to_remove: ops.response_remove,
                    ..Default::default()
                }
            })
            .collect();
        ClusterSpecifier::WeightedClusters(route::WeightedCluster { clusters, ..Default::default() })
    });
    Some((action, operation))
}

/// A prefix rewrite replaces what the route's path condition matched; after a regular expression that is everything.
fn rewrite_path(action: &mut route::RouteAction, uri: &str, m: Option<&HttpMatchRequest>) {
    let is_regex = m.and_then(|m| m.uri.as_ref()).is_some_and(|u| u.regex.is_some());
    if !is_regex {
        action.prefix_rewrite = uri.to_owned();
        return;
    }
    let pattern = m.and_then(|m| m.uri.as_ref()).and_then(|u| u.regex.clone()).unwrap_or_default();
    action.regex_rewrite = Some(matcher::RegexMatchAndSubstitute {
        pattern: Some(regex(pattern)),
        // A literal substitution: backslashes would be references to groups.
        substitution: uri.replace('\\', "\\\\"),
    });
}

fn mirror_policy(
    ctx: &Context<'_>,
    rule: &HttpRoute,
    mirror: &Destination,
    port: u16,
) -> Option<route::route_action::RequestMirrorPolicy> {
    let share = match (rule.mirror_percentage, rule.mirror_percent) {
        (Some(Percent { value }), _) => value,
        (None, Some(percent)) => f64::from(percent),
        (None, None) => 100.0,
    };
    (share > 0.0).then(|| route::route_action::RequestMirrorPolicy {
        cluster: destination_cluster(ctx, mirror, port),
        runtime_fraction: Some(core::RuntimeFractionalPercent {
            default_value: Some(fraction(share)),
            ..Default::default()
        }),
        trace_sampled: boolv(false),
        ..Default::default()
    })
}

/// The retry policy; every route has one unless the user turned retries off.
pub(super) fn retry_policy(retries: Option<&HttpRetry>) -> Option<route::RetryPolicy> {
    use route::retry_policy::{RetryHostPredicate, RetryPriority, retry_host_predicate, retry_priority};
    let mut policy = route::RetryPolicy {
        retry_on: DEFAULT_RETRY_ON.to_owned(),
        num_retries: u32v(DEFAULT_RETRIES),
        retriable_status_codes: vec![DEFAULT_RETRY_STATUS],
        retry_host_predicate: vec![RetryHostPredicate {
            name: "envoy.retry_host_predicates.previous_hosts".to_owned(),
            config_type: Some(retry_host_predicate::ConfigType::TypedConfig(any(
                &previous_hosts::PreviousHostsPredicate {},
            ))),
        }],
        host_selection_retry_max_attempts: HOST_SELECTION_ATTEMPTS,
        ..Default::default()
    };
    let Some(retries) = retries else { return Some(policy) };
    let attempts = u32::try_from(retries.attempts).ok().filter(|n| *n > 0)?;
    policy.num_retries = u32v(attempts);
    policy.per_try_timeout = retries.per_try_timeout.as_ref().and_then(|t| t.get()).map(duration);
    if let Some(conditions) = retries.retry_on.as_deref().filter(|c| !c.is_empty()) {
        let mut names = Vec::new();
        policy.retriable_status_codes.clear();
        for condition in conditions.split(',').map(str::trim).filter(|c| !c.is_empty()) {
            match condition.parse::<u32>() {
                Ok(status) => policy.retriable_status_codes.push(status),
                Err(_) => names.push(condition),
            }
        }
        if !policy.retriable_status_codes.is_empty() && !names.contains(&"retriable-status-codes") {
            names.push("retriable-status-codes");
        }
        policy.retry_on = names.join(",");
    }
    if retries.retry_remote_localities == Some(true) {
        let config =
            previous_priorities::PreviousPrioritiesConfig { update_frequency: PRIORITY_UPDATE_FREQUENCY };
        policy.retry_priority = Some(RetryPriority {
            name: "envoy.retry_priorities.previous_priorities".to_owned(),
            config_type: Some(retry_priority::ConfigType::TypedConfig(any(&config))),
        });
    }
    Some(policy)
}

/// What a route hashes for the destination's consistent hashing.
pub(super) fn hash_policies(
    ctx: &Context<'_>,
    destination: &Destination,
    port: u16,
) -> Vec<route::route_action::HashPolicy> {
    let Some(name) = ClusterName::parse(&destination_cluster(ctx, destination, port)) else {
        return Vec::new();
    };
    hash_policies_of(ctx, &name)
}

pub(super) fn hash_policies_of(
    ctx: &Context<'_>,
    name: &ClusterName,
) -> Vec<route::route_action::HashPolicy> {
    use route::route_action::hash_policy::{
        ConnectionProperties, Cookie, Header, PolicySpecifier, QueryParameter,
    };
    let rule = ctx.scope.destination_rule(&name.host);
    let rule = rule.as_deref();
    let parts = traffic_policy(rule, name.port, &name.subset);
    let Some(hash) = parts.load_balancer.and_then(|l| l.consistent_hash.as_ref()) else { return Vec::new() };
    let specifier = if let Some(header) = &hash.http_header_name {
        PolicySpecifier::Header(Header { header_name: header.clone(), ..Default::default() })
    } else if let Some(cookie) = &hash.http_cookie {
        PolicySpecifier::Cookie(Cookie {
            name: cookie.name.clone(),
            path: cookie.path.clone().unwrap_or_default(),
            ttl: cookie.ttl.as_ref().and_then(|t| t.get()).map(duration),
            ..Default::default()
        })
    } else if let Some(name) = &hash.http_query_parameter_name {
        PolicySpecifier::QueryParameter(QueryParameter { name: name.clone() })
    } else if hash.use_source_ip == Some(true) {
        PolicySpecifier::ConnectionProperties(ConnectionProperties { source_ip: true })
    } else {
        return Vec::new();
    };
    vec![route::route_action::HashPolicy { policy_specifier: Some(specifier), ..Default::default() }]
}

fn fault(fault: &HttpFaultInjection) -> Option<fault::HttpFault> {
    let share = |percentage: Option<Percent>, percent: Option<i32>| match (percentage, percent) {
        (Some(Percent { value }), _) => value,
        (None, Some(percent)) => f64::from(percent),
        (None, None) => 100.0,
    };
    let delay = fault.delay.as_ref().and_then(|d| {
        let length = d.fixed_delay.as_ref()?.get()?;
        let share = share(d.percentage, d.percent);
        (share > 0.0).then(|| common_fault::FaultDelay {
            percentage: Some(fraction(share)),
            fault_delay_secifier: Some(common_fault::fault_delay::FaultDelaySecifier::FixedDelay(duration(
                length,
            ))),
        })
    });
    let abort = fault.abort.as_ref().and_then(|a| {
        let status = u32::try_from(a.http_status?).ok()?;
        let share = share(a.percentage, None);
        (share > 0.0).then(|| fault::FaultAbort {
            percentage: Some(fraction(share)),
            error_type: Some(fault::fault_abort::ErrorType::HttpStatus(status)),
            ..Default::default()
        })
    });
    (delay.is_some() || abort.is_some()).then(|| fault::HttpFault { delay, abort, ..Default::default() })
}

fn cors_policy(policy: &CorsPolicy) -> cors::CorsPolicy {
    let mut origins: Vec<matcher::StringMatcher> =
        policy.allow_origins.iter().filter_map(matches::matcher).collect();
    if origins.is_empty() {
        // The older form.
        origins = policy.allow_origin.iter().map(exact).collect();
    }
    cors::CorsPolicy {
        allow_origin_string_match: origins
            .into_iter()
            .map(|m| if m == exact("*") { regex_matcher(".*") } else { m })
            .collect(),
        allow_methods: policy.allow_methods.join(","),
        allow_headers: policy.allow_headers.join(","),
        expose_headers: policy.expose_headers.join(","),
        max_age: policy
            .max_age
            .as_ref()
            .and_then(|a| a.get())
            .map(|a| a.as_secs().to_string())
            .unwrap_or_default(),
        allow_credentials: policy.allow_credentials.and_then(boolv),
        filter_enabled: Some(core::RuntimeFractionalPercent {
            default_value: Some(fraction(100.0)),
            ..Default::default()
        }),
        ..Default::default()
    }
}

#[derive(Default)]
struct HeaderEdits {
    request_add: Vec<core::HeaderValueOption>,
    request_remove: Vec<String>,
    response_add: Vec<core::HeaderValueOption>,
    response_remove: Vec<String>,
}

fn header_operations(headers: Option<&Headers>) -> HeaderEdits {
    let Some(headers) = headers else { return HeaderEdits::default() };
    let (request_add, request_remove) = edits(headers.request.as_ref());
    let (response_add, response_remove) = edits(headers.response.as_ref());
    HeaderEdits { request_add, request_remove, response_add, response_remove }
}

fn edits(ops: Option<&HeaderOperations>) -> (Vec<core::HeaderValueOption>, Vec<String>) {
    use crate::pb::core::header_value_option::HeaderAppendAction as Action;
    let Some(ops) = ops else { return Default::default() };
    let option = |(key, value): (&String, &String), action: Action| core::HeaderValueOption {
        header: Some(core::HeaderValue { key: key.clone(), value: value.clone(), ..Default::default() }),
        append_action: action as i32,
        ..Default::default()
    };
    let set = ops.set.iter().map(|h| option(h, Action::OverwriteIfExistsOrAdd));
    let add = ops.add.iter().map(|h| option(h, Action::AppendIfExistsOrAdd));
    // Envoy refuses to remove pseudo headers and host.
    let removable = |name: &&String| !name.starts_with(':') && !name.eq_ignore_ascii_case("host");
    (set.chain(add).collect(), ops.remove.iter().filter(removable).cloned().collect())
}
