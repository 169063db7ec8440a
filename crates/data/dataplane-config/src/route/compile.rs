//! Virtual hosts and their routes, compiled.

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, StatusCode};

use super::action::{
    Action, ClusterChoice, HashPolicy, HostRewrite, Mirror, Redirect, RouteAction, WeightedCluster,
};
use super::domain::Domain;
use super::mutation::Mutations;
use super::path::{PathMatch, PathRewrite};
use super::retry::RetryPolicy;
use super::table::{RequireTls, Route, VirtualHost};
use crate::cluster::of_criteria;
use crate::filters::PerFilter;
use crate::ignored::{refuse_route, refuse_virtual_host};
use crate::message::matchers::{HeaderMatch, QueryMatch, full_regex, search_regex};
use crate::pb::{core, matcher, route};
use crate::tracers::settings::RouteTracing;
use crate::value::{
    At as _, Invalid, Loader, Valid, bool_or, data, duration, runtime_fraction, timeout, u32_or,
};

/// Envoy's route timeout.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(15);
/// Largest body of a direct response (Envoy's default limit).
const MAX_DIRECT_BODY: usize = 4096;

pub(super) fn header_name(name: &str) -> Valid<HeaderName> {
    HeaderName::from_bytes(name.as_bytes()).map_err(|_| Invalid(format!("{name:?} is not a header name")))
}

impl VirtualHost {
    /// Compiles a virtual host.
    ///
    /// # Errors
    /// When it is not usable, with the field and the reason.
    pub fn compile(from: &route::VirtualHost, load: Loader) -> Valid<VirtualHost> {
        refuse_virtual_host(from)?;
        if from.matcher.is_some() {
            return Err(Invalid::new("matcher is not supported"));
        }
        let domains: Vec<Domain> = from.domains.iter().map(|text| Domain::new(text)).collect();
        let mut known = HashSet::new();
        if let Some(domain) = domains.iter().find(|domain| !known.insert(*domain)) {
            return Err(Invalid(format!("domain {domain:?} is listed twice")));
        }
        let mut routes = Vec::with_capacity(from.routes.len());
        for (at, one) in from.routes.iter().enumerate() {
            routes.push(Arc::new(compile_route(one, load).at(&format!("route {at} {:?}", one.name))?));
        }
        let mut per_filter = PerFilter::compile(&from.typed_per_filter_config)?;
        if let Some(cors) = &from.cors {
            per_filter.set_legacy_cors(cors)?;
        }
        Ok(VirtualHost {
            domains,
            routes,
            mutations: Mutations::compile(
                &from.request_headers_to_add,
                &from.request_headers_to_remove,
                &from.response_headers_to_add,
                &from.response_headers_to_remove,
            )?,
            require_tls: match route::virtual_host::TlsRequirementType::try_from(from.require_tls) {
                Ok(route::virtual_host::TlsRequirementType::None) => RequireTls::No,
                Ok(route::virtual_host::TlsRequirementType::ExternalOnly) => RequireTls::External,
                Ok(route::virtual_host::TlsRequirementType::All) | Err(_) => RequireTls::All,
            },
            attempt_count_to_upstream: from.include_request_attempt_count,
            attempt_count_to_client: from.include_attempt_count_in_response,
            buffer_limit: from.per_request_buffer_limit_bytes.map(|limit| limit.value as usize),
            retry: retry_policy(from.retry_policy.as_ref())?,
            per_filter,
        })
    }
}

fn compile_route(from: &route::Route, load: Loader) -> Valid<Route> {
    refuse_route(from)?;
    let wanted = from.r#match.as_ref().ok_or_else(|| Invalid::new("missing match"))?;
    if !wanted.dynamic_metadata.is_empty() || !wanted.filter_state.is_empty() || !wanted.cookies.is_empty() {
        return Err(Invalid::new("match by cookies, dynamic metadata or filter state is not supported"));
    }
    let mut per_filter = PerFilter::compile(&from.typed_per_filter_config)?;
    let action = match &from.action {
        Some(route::route::Action::Route(action)) => {
            if let Some(cors) = &action.cors {
                per_filter.set_legacy_cors(cors)?;
            }
            Action::Forward(Box::new(route_action(action).at("route")?))
        }
        Some(route::route::Action::Redirect(redirect)) => {
            Action::Redirect(Box::new(compile_redirect(redirect).at("redirect")?))
        }
        Some(route::route::Action::DirectResponse(direct)) => {
            let body = direct.body.as_ref().map(|body| data(body, load)).transpose().at("direct_response")?;
            let body = body.flatten().unwrap_or_default();
            if body.len() > MAX_DIRECT_BODY {
                return Err(Invalid(format!("direct_response: body is larger than {MAX_DIRECT_BODY} bytes")));
            }
            Action::Direct { status: status(direct.status).at("direct_response")?, body: body.into() }
        }
        Some(route::route::Action::NonForwardingAction(_)) => Action::None,
        Some(route::route::Action::FilterAction(_)) => {
            return Err(Invalid::new("filter_action is not supported"));
        }
        None => return Err(Invalid::new("missing action")),
    };
    Ok(Route {
        name: from.name.as_str().into(),
        path: path_match(wanted).at("match")?,
        headers: HeaderMatch::compile_all(&wanted.headers)?,
        query: wanted
            .query_parameters
            .iter()
            .map(QueryMatch::compile)
            .collect::<Valid<_>>()
            .at("query_parameters")?,
        grpc: wanted.grpc.is_some(),
        share: runtime_fraction(wanted.runtime_fraction.as_ref()),
        buffer_limit: from.per_request_buffer_limit_bytes.map(|limit| limit.value as usize),
        tracing: RouteTracing::compile(from, load)?,
        tls: wanted
            .tls_context
            .as_ref()
            .map(|tls| (tls.presented.map(|v| v.value), tls.validated.map(|v| v.value))),
        action,
        mutations: Mutations::compile(
            &from.request_headers_to_add,
            &from.request_headers_to_remove,
            &from.response_headers_to_add,
            &from.response_headers_to_remove,
        )?,
        per_filter,
    })
}

fn path_match(from: &route::RouteMatch) -> Valid<PathMatch> {
    use route::route_match::PathSpecifier as P;
    let case = bool_or(from.case_sensitive.as_ref(), true);
    Ok(match from.path_specifier.as_ref().ok_or_else(|| Invalid::new("missing path specifier"))? {
        P::Prefix(text) => PathMatch::Prefix(text.clone(), case),
        P::Path(text) => PathMatch::Exact(text.clone(), case),
        P::SafeRegex(regex) => PathMatch::Regex(Box::new(full_regex(&regex.regex)?)),
        P::ConnectMatcher(_) => PathMatch::Connect,
        P::PathSeparatedPrefix(text) => PathMatch::Separated(text.clone(), case),
        P::PathMatchPolicy(_) => return Err(Invalid::new("path_match_policy is not supported")),
    })
}

fn status(code: u32) -> Valid<StatusCode> {
    u16::try_from(code)
        .ok()
        .filter(|code| (200..600).contains(code))
        .and_then(|code| StatusCode::from_u16(code).ok())
        .ok_or_else(|| Invalid(format!("{code} is not a usable status")))
}

fn substitution(
    from: &matcher::RegexMatchAndSubstitute,
) -> Valid<(Box<regex_automata::meta::Regex>, String)> {
    let pattern = from.pattern.as_ref().ok_or_else(|| Invalid::new("regex rewrite without pattern"))?;
    Ok((Box::new(search_regex(&pattern.regex)?), from.substitution.clone()))
}

fn route_action(from: &route::RouteAction) -> Valid<RouteAction> {
    use route::route_action::{ClusterSpecifier as C, HostRewriteSpecifier as H};
    let cluster = match from.cluster_specifier.as_ref().ok_or_else(|| Invalid::new("missing cluster"))? {
        C::Cluster(name) => ClusterChoice::One(name.as_str().into()),
        C::ClusterHeader(name) => ClusterChoice::Header(header_name(name)?),
        C::WeightedClusters(weighted) => weighted_clusters(weighted).at("weighted_clusters")?,
        C::ClusterSpecifierPlugin(_) | C::InlineClusterSpecifierPlugin(_) => {
            return Err(Invalid::new("cluster specifier plugins are not supported"));
        }
    };
    let path_rewrite = if !from.prefix_rewrite.is_empty() {
        Some(PathRewrite::Prefix(from.prefix_rewrite.clone()))
    } else if let Some(regex) = &from.regex_rewrite {
        let (regex, text) = substitution(regex).at("regex_rewrite")?;
        Some(PathRewrite::Regex(regex, text))
    } else if from.path_rewrite_policy.is_some() {
        return Err(Invalid::new("path_rewrite_policy is not supported"));
    } else {
        None
    };
    let host_rewrite = match &from.host_rewrite_specifier {
        None => HostRewrite::None,
        Some(H::HostRewriteLiteral(text)) => HostRewrite::Literal(text.clone()),
        Some(H::AutoHostRewrite(auto)) if auto.value => HostRewrite::Auto,
        Some(H::AutoHostRewrite(_)) => HostRewrite::None,
        Some(H::HostRewriteHeader(name)) => HostRewrite::Header(header_name(name)?),
        Some(H::HostRewritePathRegex(regex)) => {
            let (regex, text) = substitution(regex).at("host_rewrite_path_regex")?;
            HostRewrite::PathRegex(regex, text)
        }
        Some(H::HostRewrite(_)) => return Err(Invalid::new("host_rewrite with formats is not supported")),
    };
    let stream = from.max_stream_duration.as_ref();
    let max_stream_duration =
        duration(stream.and_then(|stream| stream.max_stream_duration.as_ref())).at("max_stream_duration")?;
    let grpc_timeout = match &from.max_grpc_timeout {
        None => None,
        Some(max) => Some(timeout(Some(max), None).at("max_grpc_timeout")?),
    };
    let grpc_duration = match stream.and_then(|stream| stream.grpc_timeout_header_max.as_ref()) {
        None => None,
        Some(max) => Some(timeout(Some(max), None).at("grpc_timeout_header_max")?),
    };
    let idle_timeout = match &from.idle_timeout {
        None => None,
        Some(value) => Some(timeout(Some(value), None).at("idle_timeout")?),
    };
    let mut mirrors = Vec::new();
    for mirror in &from.request_mirror_policies {
        if mirror.cluster.is_empty() {
            return Err(Invalid::new("request_mirror_policies: cluster is empty"));
        }
        mirrors.push(Mirror {
            cluster: mirror.cluster.as_str().into(),
            share: runtime_fraction(mirror.runtime_fraction.as_ref()).unwrap_or(1_000_000),
            suffix: !mirror.disable_shadow_host_suffix_append,
        });
    }
    Ok(RouteAction {
        cluster,
        not_found: match from.cluster_not_found_response_code {
            1 => StatusCode::NOT_FOUND,
            2 => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        },
        path_rewrite,
        host_rewrite,
        append_forwarded_host: from.append_x_forwarded_host,
        timeout: timeout(from.timeout.as_ref(), Some(DEFAULT_TIMEOUT)).at("timeout")?,
        idle_timeout,
        max_stream_duration: max_stream_duration.filter(|limit| !limit.is_zero()),
        grpc_timeout,
        grpc_duration,
        retry: retry_policy(from.retry_policy.as_ref())?,
        high_priority: from.priority == core::RoutingPriority::High as i32,
        hash: from.hash_policy.iter().map(hash_policy).collect::<Valid<_>>().at("hash_policy")?,
        mirrors,
        upgrades: from
            .upgrade_configs
            .iter()
            .map(|upgrade| {
                (upgrade.upgrade_type.to_ascii_lowercase(), bool_or(upgrade.enabled.as_ref(), true))
            })
            .collect(),
        subset: of_criteria(from.metadata_match.as_ref()),
    })
}

fn weighted_clusters(from: &route::WeightedCluster) -> Valid<ClusterChoice> {
    use route::weighted_cluster::cluster_weight::HostRewriteSpecifier as H;
    let mut clusters = Vec::new();
    for one in &from.clusters {
        if one.name.is_empty() {
            return Err(Invalid::new("weighted cluster without name"));
        }
        clusters.push(WeightedCluster {
            name: one.name.as_str().into(),
            weight: u64::from(u32_or(one.weight.as_ref(), 0)),
            mutations: Mutations::compile(
                &one.request_headers_to_add,
                &one.request_headers_to_remove,
                &one.response_headers_to_add,
                &one.response_headers_to_remove,
            )?,
            host_rewrite: one.host_rewrite_specifier.as_ref().map(|H::HostRewriteLiteral(text)| text.clone()),
            per_filter: PerFilter::compile(&one.typed_per_filter_config)?,
            subset: of_criteria(one.metadata_match.as_ref()),
        });
    }
    let total = clusters.iter().map(|cluster| cluster.weight).sum::<u64>();
    if total == 0 {
        return Err(Invalid::new("the sum of weights is 0"));
    }
    Ok(ClusterChoice::Weighted { clusters, total })
}

/// The policy of a virtual host or a route.
fn retry_policy(from: Option<&route::RetryPolicy>) -> Valid<Option<Arc<RetryPolicy>>> {
    Ok(from.map(RetryPolicy::compile).transpose().at("retry_policy")?.map(Arc::new))
}

fn hash_policy(from: &route::route_action::HashPolicy) -> Valid<HashPolicy> {
    use route::route_action::hash_policy::PolicySpecifier as S;
    let terminal = from.terminal;
    Ok(match from.policy_specifier.as_ref().ok_or_else(|| Invalid::new("empty hash policy"))? {
        S::Header(header) => HashPolicy::Header(header_name(&header.header_name)?, terminal),
        S::Cookie(cookie) => HashPolicy::Cookie {
            name: cookie.name.clone(),
            path: cookie.path.clone(),
            ttl: duration(cookie.ttl.as_ref())?,
            terminal,
        },
        S::ConnectionProperties(_) => HashPolicy::SourceIp(terminal),
        S::QueryParameter(query) => HashPolicy::Query(query.name.clone(), terminal),
        S::FilterState(_) => return Err(Invalid::new("filter_state is not supported")),
    })
}

fn compile_redirect(from: &route::RedirectAction) -> Valid<Redirect> {
    use route::redirect_action::{PathRewriteSpecifier as P, SchemeRewriteSpecifier as S};
    let text = |text: &String| (!text.is_empty()).then(|| text.clone());
    Ok(Redirect {
        status: match from.response_code {
            1 => StatusCode::FOUND,
            2 => StatusCode::SEE_OTHER,
            3 => StatusCode::TEMPORARY_REDIRECT,
            4 => StatusCode::PERMANENT_REDIRECT,
            _ => StatusCode::MOVED_PERMANENTLY,
        },
        scheme: match &from.scheme_rewrite_specifier {
            Some(S::HttpsRedirect(true)) => Some("https".to_owned()),
            Some(S::HttpsRedirect(false)) | None => None,
            Some(S::SchemeRedirect(scheme)) => text(scheme),
        },
        host: text(&from.host_redirect),
        port: u16::try_from(from.port_redirect).ok().filter(|port| *port > 0),
        path: match &from.path_rewrite_specifier {
            None => None,
            Some(P::PathRedirect(path)) => text(path).map(PathRewrite::Full),
            Some(P::PrefixRewrite(path)) => text(path).map(PathRewrite::Prefix),
            Some(P::RegexRewrite(regex)) => {
                let (regex, text) = substitution(regex)?;
                Some(PathRewrite::Regex(regex, text))
            }
            Some(P::PathRewrite(_)) => return Err(Invalid::new("path_rewrite formats are not supported")),
        },
        strip_query: from.strip_query,
    })
}
