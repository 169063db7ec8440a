//! Conditions of routes (Istio 1.9 reference, Virtual Service).

use portolan_resources::networking::{HttpMatchRequest, StringMatch};

use crate::pb::*;

/// Everything.
pub(super) fn everything() -> route::RouteMatch {
    route::RouteMatch {
        path_specifier: Some(route::route_match::PathSpecifier::Prefix("/".to_owned())),
        ..Default::default()
    }
}

/// Whether a condition takes every request, so that later ones are never reached.
pub(super) fn is_catch_all(m: &route::RouteMatch) -> bool {
    use route::route_match::PathSpecifier;
    let path = match &m.path_specifier {
        Some(PathSpecifier::Prefix(p)) => p == "/",
        Some(PathSpecifier::SafeRegex(r)) => r.regex == ".*" || r.regex == "*",
        _ => false,
    };
    path && m.headers.is_empty() && m.query_parameters.is_empty()
}

/// The condition of one match entry; what is resolved when configuration is made (port, labels) is not part of it.
pub(super) fn of(m: &HttpMatchRequest) -> route::RouteMatch {
    let mut out = everything();
    if let Some(uri) = &m.uri
        && let Some(path) = path(uri)
    {
        out.path_specifier = Some(path);
    }
    out.case_sensitive = boolv(!m.ignore_uri_case);
    for (name, value) in &m.headers {
        if let Some(name) = header_name(name) {
            out.headers.push(header(&name, value, false));
        }
    }
    for (name, value) in &m.without_headers {
        if let Some(name) = header_name(name) {
            out.headers.push(header(&name, value, true));
        }
    }
    for (name, value) in [(":method", &m.method), (":authority", &m.authority), (":scheme", &m.scheme)] {
        if let Some(value) = value {
            out.headers.push(header(name, value, false));
        }
    }
    for (name, value) in &m.query_params {
        use route::query_parameter_matcher::QueryParameterMatchSpecifier as Specifier;
        let specifier = match matcher(value) {
            Some(matcher) => Specifier::StringMatch(matcher),
            None => Specifier::PresentMatch(true),
        };
        out.query_parameters.push(route::QueryParameterMatcher {
            name: name.clone(),
            query_parameter_match_specifier: Some(specifier),
        });
    }
    out
}

/// Header names that have fields of their own are ignored, as in Istio.
fn header_name(name: &str) -> Option<String> {
    let lower = name.to_ascii_lowercase();
    (!matches!(lower.as_str(), "uri" | "scheme" | "method" | "authority")).then_some(lower)
}

fn path(value: &StringMatch) -> Option<route::route_match::PathSpecifier> {
    use route::route_match::PathSpecifier;
    if let Some(exact) = &value.exact {
        return Some(PathSpecifier::Path(exact.clone()));
    }
    if let Some(prefix) = &value.prefix {
        return Some(PathSpecifier::Prefix(prefix.clone()));
    }
    value.regex.as_ref().map(|r| PathSpecifier::SafeRegex(regex(r)))
}

/// The matcher of a value; `None` when there is no condition but presence.
pub(super) fn matcher(value: &StringMatch) -> Option<matcher::StringMatcher> {
    if let Some(text) = &value.exact {
        return Some(exact(text));
    }
    // Envoy refuses a route configuration with an empty prefix or expression.
    if let Some(text) = &value.prefix {
        return Some(if text.is_empty() { regex_matcher(".*") } else { prefix(text) });
    }
    value.regex.as_ref().filter(|r| !r.is_empty() && *r != "*").map(regex_matcher)
}

fn header(name: &str, value: &StringMatch, invert: bool) -> route::HeaderMatcher {
    use route::header_matcher::HeaderMatchSpecifier as Specifier;
    let specifier = match matcher(value) {
        Some(matcher) => Specifier::StringMatch(matcher),
        None => Specifier::PresentMatch(true),
    };
    route::HeaderMatcher {
        name: name.to_owned(),
        // Without the field its value is not the unwanted one; Envoy would not match.
        treat_missing_header_as_empty: invert && matches!(specifier, Specifier::StringMatch(_)),
        header_match_specifier: Some(specifier),
        invert_match: invert,
    }
}
