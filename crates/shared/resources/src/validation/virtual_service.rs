//! VirtualService rules.

use std::time::Duration;

use portolan_names::names::MESH_GATEWAY;

use super::{Report, Validate, common};
use crate::{VirtualService, networking::*};

/// Header names that routing sets by itself and that a match may not name.
const FORBIDDEN_MATCH_HEADERS: [&str; 5] = ["uri", "scheme", "method", "authority", ":path"];
/// Redirect codes that Envoy can send.
const REDIRECT_CODES: [u32; 6] = [0, 301, 302, 303, 307, 308];

impl Validate for VirtualService {
    fn validate(&self) -> Report {
        let mut r = Report::default();
        let spec = &self.spec;
        let delegate_root = spec.hosts.is_empty();
        if delegate_root {
            validate_delegate(&mut r, spec);
        }
        let mesh = spec.gateways.is_empty() || spec.gateways.iter().any(|g| g == MESH_GATEWAY);
        for (i, host) in spec.hosts.iter().enumerate() {
            let path = format!("spec.hosts[{i}]");
            if common::is_ip(host) {
                continue;
            }
            common::host(&mut r, &path, host);
            if host == "*" && mesh {
                r.error(
                    &path,
                    "host * is not allowed for virtual services in the mesh; bind the object to a gateway",
                );
            }
            if spec.hosts.iter().take(i).any(|h| h == host) {
                r.error(&path, format!("{host:?} is listed twice"));
            }
        }
        for (i, gateway) in spec.gateways.iter().enumerate() {
            let name = gateway.rsplit('/').next().unwrap_or_default();
            if !common::is_fqdn(name) || gateway.split('/').count() > 2 {
                r.error(format!("spec.gateways[{i}]"), format!("{gateway:?} is not [namespace/]name"));
            }
        }
        if !delegate_root && spec.http.is_empty() && spec.tcp.is_empty() && spec.tls.is_empty() {
            r.error("spec", "http, tcp or tls must be provided");
        }
        common::export_to(&mut r, "spec.exportTo", &spec.export_to);
        let mut catch_all: Option<usize> = None;
        for (i, route) in spec.http.iter().enumerate() {
            let path = format!("spec.http[{i}]");
            if let Some(before) = catch_all {
                r.warn(&path, format!("is never reached: spec.http[{before}] matches every request"));
            }
            http_route(&mut r, &path, route);
            if catch_all.is_none() && route.match_.is_empty() {
                catch_all = Some(i);
            }
        }
        for (i, route) in spec.tls.iter().enumerate() {
            let path = format!("spec.tls[{i}]");
            if route.match_.is_empty() {
                r.error(format!("{path}.match"), "TLS routes need at least one match");
            }
            for (j, m) in route.match_.iter().enumerate() {
                tls_match(&mut r, &format!("{path}.match[{j}]"), m, &spec.hosts);
            }
            tcp_destinations(&mut r, &path, &route.route);
        }
        for (i, route) in spec.tcp.iter().enumerate() {
            let path = format!("spec.tcp[{i}]");
            for (j, m) in route.match_.iter().enumerate() {
                let path = format!("{path}.match[{j}]");
                subnets(&mut r, &path, &m.destination_subnets);
                if let Some(port) = m.port {
                    common::port(&mut r, &format!("{path}.port"), port);
                }
                if let Some(subnet) = &m.source_subnet
                    && !common::is_ip_or_cidr(subnet)
                {
                    r.error(format!("{path}.sourceSubnet"), format!("{subnet:?} is neither IP nor CIDR"));
                }
                common::labels(&mut r, &format!("{path}.sourceLabels"), &m.source_labels);
            }
            tcp_destinations(&mut r, &path, &route.route);
        }
        r
    }
}

/// A VirtualService without hosts is a delegate: HTTP only, no gateways, no further delegation.
fn validate_delegate(r: &mut Report, spec: &VirtualServiceSpec) {
    if !spec.gateways.is_empty() || !spec.tcp.is_empty() || !spec.tls.is_empty() || spec.http.is_empty() {
        r.error(
            "spec.hosts",
            "must have at least one host (only a delegate with http rules alone may have none)",
        );
    }
    for (i, route) in spec.http.iter().enumerate() {
        if route.delegate.is_some() {
            r.error(format!("spec.http[{i}].delegate"), "a delegate may not delegate further");
        }
    }
}

fn http_route(r: &mut Report, path: &str, route: &HttpRoute) {
    common::one_of(
        r,
        path,
        &[
            ("route", !route.route.is_empty()),
            ("redirect", route.redirect.is_some()),
            ("delegate", route.delegate.is_some()),
        ],
        true,
    );
    if route.redirect.is_some() && route.fault.is_some() {
        r.error(format!("{path}.fault"), "cannot be used with a redirect");
    }
    if route.redirect.is_some() && route.rewrite.is_some() {
        r.error(format!("{path}.rewrite"), "cannot be used with a redirect");
    }
    for (i, m) in route.match_.iter().enumerate() {
        http_match(r, &format!("{path}.match[{i}]"), m);
    }
    if let Some(redirect) = &route.redirect {
        if redirect.uri.is_none() && redirect.authority.is_none() {
            r.error(format!("{path}.redirect"), "uri or authority is required");
        }
        if let Some(code) = redirect.redirect_code
            && !REDIRECT_CODES.contains(&code)
        {
            r.error(
                format!("{path}.redirect.redirectCode"),
                format!("{code} is not one of 301, 302, 303, 307, 308"),
            );
        }
    }
    if let Some(delegate) = &route.delegate
        && delegate.name.as_deref().unwrap_or_default().is_empty()
    {
        r.error(format!("{path}.delegate.name"), "is required");
    }
    if let Some(rewrite) = &route.rewrite
        && rewrite.uri.is_none()
        && rewrite.authority.is_none()
    {
        r.error(format!("{path}.rewrite"), "uri or authority is required");
    }
    common::duration(r, &format!("{path}.timeout"), route.timeout.as_ref(), Duration::ZERO);
    if let Some(retries) = &route.retries {
        http_retry(r, &format!("{path}.retries"), retries);
    }
    if let Some(fault) = &route.fault {
        http_fault(r, &format!("{path}.fault"), fault);
    }
    if let Some(mirror) = &route.mirror {
        destination(r, &format!("{path}.mirror"), mirror);
    }
    common::int_percent(r, &format!("{path}.mirror_percent"), route.mirror_percent.map(i64::from));
    common::percent(r, &format!("{path}.mirrorPercentage.value"), route.mirror_percentage);
    if let Some(cors) = &route.cors_policy {
        let path = format!("{path}.corsPolicy");
        for (i, origin) in cors.allow_origins.iter().enumerate() {
            common::string_match(r, &format!("{path}.allowOrigins[{i}]"), origin, false);
        }
        for (i, header) in cors.allow_headers.iter().enumerate() {
            common::header_name(r, &format!("{path}.allowHeaders[{i}]"), header, false);
        }
        common::duration(r, &format!("{path}.maxAge"), cors.max_age.as_ref(), Duration::ZERO);
        if let Some(age) = cors.max_age.as_ref().and_then(|a| a.get())
            && age.subsec_millis() != 0
        {
            r.error(format!("{path}.maxAge"), "must be whole seconds");
        }
    }
    headers(r, &format!("{path}.headers"), route.headers.as_ref());
    for (i, d) in route.route.iter().enumerate() {
        headers(r, &format!("{path}.route[{i}].headers"), d.headers.as_ref());
    }
    let destinations: Vec<_> = route.route.iter().map(|d| (d.destination.as_ref(), d.weight)).collect();
    weighted(r, path, &destinations);
}

fn http_match(r: &mut Report, path: &str, m: &HttpMatchRequest) {
    for (name, value) in
        [("uri", &m.uri), ("scheme", &m.scheme), ("method", &m.method), ("authority", &m.authority)]
    {
        if let Some(value) = value {
            common::string_match(r, &format!("{path}.{name}"), value, false);
        }
    }
    for (field, map) in [("headers", &m.headers), ("withoutHeaders", &m.without_headers)] {
        for (name, value) in map {
            let path = format!("{path}.{field}[{name}]");
            common::header_name(r, &path, name, true);
            if FORBIDDEN_MATCH_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
                r.warn(&path, "use the field of this name instead of headers; the entry is ignored");
            }
            // Here this is Istio's way to say that the header must be missing; it is not read as an expression.
            if field == "withoutHeaders" && value.regex.as_deref() == Some("*") {
                continue;
            }
            common::string_match(r, &path, value, true);
        }
    }
    for (name, value) in &m.query_params {
        common::string_match(r, &format!("{path}.queryParams[{name}]"), value, false);
    }
    if let Some(port) = m.port {
        common::port(r, &format!("{path}.port"), port);
    }
    common::labels(r, &format!("{path}.sourceLabels"), &m.source_labels);
}

fn http_retry(r: &mut Report, path: &str, retries: &HttpRetry) {
    /// Conditions that Envoy knows (`x-envoy-retry-on` and `x-envoy-retry-grpc-on`).
    const CONDITIONS: [&str; 14] = [
        "5xx",
        "gateway-error",
        "reset",
        "connect-failure",
        "envoy-ratelimited",
        "retriable-4xx",
        "refused-stream",
        "retriable-status-codes",
        "retriable-headers",
        "cancelled",
        "deadline-exceeded",
        "internal",
        "resource-exhausted",
        "unavailable",
    ];
    if retries.attempts < 0 {
        r.error(format!("{path}.attempts"), "must not be negative");
    }
    if retries.attempts == 0
        && (retries.per_try_timeout.is_some()
            || retries.retry_on.is_some()
            || retries.retry_remote_localities.is_some())
    {
        r.error(format!("{path}.attempts"), "attempts 0 turns retries off and excludes the other fields");
    }
    common::duration(
        r,
        &format!("{path}.perTryTimeout"),
        retries.per_try_timeout.as_ref(),
        Duration::from_millis(1),
    );
    for condition in retries.retry_on.iter().flat_map(|c| c.split(',')).map(str::trim) {
        let status = condition.parse::<u16>().is_ok_and(|c| (100..600).contains(&c));
        if !status && !CONDITIONS.contains(&condition) {
            r.error(
                format!("{path}.retryOn"),
                format!("{condition:?} is neither a retry condition nor a status code"),
            );
        }
    }
}

fn http_fault(r: &mut Report, path: &str, fault: &HttpFaultInjection) {
    if fault.delay.is_none() && fault.abort.is_none() {
        r.error(path, "delay or abort is required");
    }
    if let Some(delay) = &fault.delay {
        let path = format!("{path}.delay");
        if delay.fixed_delay.is_none() {
            r.error(format!("{path}.fixedDelay"), "is required");
        }
        common::duration(
            r,
            &format!("{path}.fixedDelay"),
            delay.fixed_delay.as_ref(),
            Duration::from_millis(1),
        );
        common::percent(r, &format!("{path}.percentage.value"), delay.percentage);
        common::int_percent(r, &format!("{path}.percent"), delay.percent.map(i64::from));
    }
    if let Some(abort) = &fault.abort {
        let path = format!("{path}.abort");
        common::one_of(
            r,
            &path,
            &[
                ("httpStatus", abort.http_status.is_some()),
                ("grpcStatus", abort.grpc_status.is_some()),
                ("http2Error", abort.http2_error.is_some()),
            ],
            true,
        );
        if let Some(status) = abort.http_status
            && !(200..=600).contains(&status)
        {
            r.error(format!("{path}.httpStatus"), format!("{status} is not in the range 200..600"));
        }
        common::percent(r, &format!("{path}.percentage.value"), abort.percentage);
    }
}

fn headers(r: &mut Report, path: &str, headers: Option<&Headers>) {
    let Some(headers) = headers else { return };
    for (direction, ops) in [("request", &headers.request), ("response", &headers.response)] {
        let Some(ops) = ops else { continue };
        let path = format!("{path}.{direction}");
        for (kind, map) in [("set", &ops.set), ("add", &ops.add)] {
            for name in map.keys() {
                common::header_name(r, &format!("{path}.{kind}[{name}]"), name, true);
            }
        }
        for (i, name) in ops.remove.iter().enumerate() {
            let path = format!("{path}.remove[{i}]");
            common::header_name(r, &path, name, false);
            if name.eq_ignore_ascii_case("host") {
                r.error(path, "the host header cannot be removed");
            }
        }
    }
}

fn destination(r: &mut Report, path: &str, d: &Destination) {
    if d.host == "*" || d.host.starts_with("*.") {
        r.error(format!("{path}.host"), "a destination cannot be a wildcard");
    } else if !common::is_ip(&d.host) {
        common::host(r, &format!("{path}.host"), &d.host);
    }
    if let Some(subset) = &d.subset
        && !common::is_fqdn(subset)
    {
        r.error(format!("{path}.subset"), format!("{subset:?} is not a subset name"));
    }
    if let Some(port) = &d.port {
        common::port(r, &format!("{path}.port.number"), port.number);
    }
}

fn tcp_destinations(r: &mut Report, path: &str, routes: &[RouteDestination]) {
    if routes.is_empty() {
        r.error(format!("{path}.route"), "at least one destination is required");
    }
    let destinations: Vec<_> = routes.iter().map(|d| (d.destination.as_ref(), d.weight)).collect();
    weighted(r, path, &destinations);
}

/// Destinations are valid and, when there are several, their weights add up to 100.
fn weighted(r: &mut Report, path: &str, routes: &[(Option<&Destination>, Option<i32>)]) {
    let mut total = 0i64;
    for (i, (dest, weight)) in routes.iter().enumerate() {
        let path = format!("{path}.route[{i}]");
        match dest {
            Some(dest) => destination(r, &format!("{path}.destination"), dest),
            None => r.error(format!("{path}.destination"), "is required"),
        }
        let weight = i64::from(weight.unwrap_or_default());
        common::int_percent(r, &format!("{path}.weight"), Some(weight));
        total += weight;
    }
    if routes.len() > 1 && total != 100 {
        r.error(format!("{path}.route"), format!("total destination weight {total} != 100"));
    }
}

fn subnets(r: &mut Report, path: &str, subnets: &[String]) {
    for (i, subnet) in subnets.iter().enumerate() {
        if !common::is_ip_or_cidr(subnet) {
            r.error(format!("{path}.destinationSubnets[{i}]"), format!("{subnet:?} is neither IP nor CIDR"));
        }
    }
}

fn tls_match(r: &mut Report, path: &str, m: &TlsMatchAttributes, hosts: &[String]) {
    if m.sni_hosts.is_empty() {
        r.error(format!("{path}.sniHosts"), "at least one SNI host is required");
    }
    for (i, sni) in m.sni_hosts.iter().enumerate() {
        let path = format!("{path}.sniHosts[{i}]");
        if sni.is_empty() || !common::is_wildcard_host(sni) {
            r.error(&path, format!("{sni:?} is not a DNS name"));
        }
        let covered = hosts.iter().any(|h| match h.strip_prefix('*') {
            Some(suffix) => sni.ends_with(suffix),
            None => h == sni,
        });
        if !covered && !hosts.is_empty() {
            r.error(&path, format!("{sni:?} is not within one of spec.hosts"));
        }
    }
    subnets(r, path, &m.destination_subnets);
    if let Some(port) = m.port {
        common::port(r, &format!("{path}.port"), port);
    }
    common::labels(r, &format!("{path}.sourceLabels"), &m.source_labels);
}
