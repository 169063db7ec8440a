//! Attributes that rules can name, as matchers.

use portolan_names::names;

use super::combine::{
    any_permission, any_principal, not_permission, not_principal, permission, principal, ranges,
};
use crate::{
    context::Context,
    jwt::{JWT_FILTER, METADATA_KEY},
    pb::*,
};

/// Which half of an RBAC policy an attribute belongs to.
pub(super) enum Side {
    Permission,
    Principal,
}

/// `None` for unknown attributes.
pub(super) fn side(key: &str) -> Option<Side> {
    match key {
        "destination.ip" | "destination.port" | "connection.sni" => Some(Side::Permission),
        "source.ip"
        | "remote.ip"
        | "source.namespace"
        | "source.principal"
        | "request.auth.principal"
        | "request.auth.audiences"
        | "request.auth.presenter" => Some(Side::Principal),
        _ if argument(key, "request.headers").is_some()
            || argument(key, "request.regex.headers").is_some()
            || argument(key, "request.auth.claims").is_some() =>
        {
            Some(Side::Principal)
        }
        _ => None,
    }
}

/// Whether only HTTP filters can see an attribute.
pub(super) fn is_http_only(key: &str) -> bool {
    key.starts_with("request.")
}

/// The text in the brackets of `name[text]`.
fn argument<'a>(key: &'a str, name: &str) -> Option<&'a str> {
    key.strip_prefix(name)?.strip_prefix('[')?.strip_suffix(']').filter(|a| !a.is_empty())
}

/// Istio's text match: exact, `prefix*`, `*suffix`; `None` for `*`, presence.
fn matcher_of(value: &str) -> Option<matcher::StringMatcher> {
    if value == "*" {
        return None;
    }
    if let Some(end) = value.strip_prefix('*') {
        return Some(suffix(end));
    }
    if let Some(start) = value.strip_suffix('*') {
        return Some(prefix(start));
    }
    Some(exact(value))
}

/// A permission that never holds, for values that cannot be read.
fn never_permission() -> rbac::Permission {
    not_permission(permission(rbac::permission::Rule::Any(true)))
}

fn never_principal() -> rbac::Principal {
    not_principal(principal(rbac::principal::Identifier::Any(true)))
}

/// One of `values` of a destination attribute.
pub(super) fn permissions(key: &str, values: &[String]) -> rbac::Permission {
    use rbac::permission::Rule;
    let rules: Vec<rbac::Permission> = match key {
        "destination.ip" => ranges(values).map(|r| permission(Rule::DestinationIp(r))).collect(),
        "destination.port" => values
            .iter()
            .filter_map(|v| v.parse::<u16>().ok())
            .map(|p| permission(Rule::DestinationPort(u32::from(p))))
            .collect(),
        "connection.sni" => values
            .iter()
            .map(|v| {
                permission(Rule::RequestedServerName(matcher_of(v).unwrap_or_else(|| regex_matcher(".+"))))
            })
            .collect(),
        _ => Vec::new(),
    };
    if rules.is_empty() { never_permission() } else { any_permission(rules) }
}

/// A header of the request, as permission.
pub(super) fn header_permission(name: &str, value: &str) -> rbac::Permission {
    permission(rbac::permission::Rule::Header(header(name, value)))
}

fn header(name: &str, value: &str) -> route::HeaderMatcher {
    use route::header_matcher::HeaderMatchSpecifier as Specifier;
    let specifier = match matcher_of(value) {
        Some(m) => Specifier::StringMatch(m),
        None => Specifier::PresentMatch(true),
    };
    route::HeaderMatcher {
        name: name.to_owned(),
        header_match_specifier: Some(specifier),
        ..Default::default()
    }
}

/// A host, with any port when the policy names none: routing ignores the port too, so a policy that did not could be
/// walked around.
pub(super) fn host(value: &str) -> Vec<rbac::Permission> {
    let mut out = Vec::new();
    let mut push = |matcher: Option<matcher::StringMatcher>| {
        use route::header_matcher::HeaderMatchSpecifier as Specifier;
        let specifier = match matcher {
            Some(m) => Specifier::StringMatch(matcher::StringMatcher { ignore_case: true, ..m }),
            None => Specifier::PresentMatch(true),
        };
        out.push(permission(rbac::permission::Rule::Header(route::HeaderMatcher {
            name: ":authority".to_owned(),
            header_match_specifier: Some(specifier),
            ..Default::default()
        })));
    };
    push(matcher_of(value));
    if !value.contains('*') && !value.contains(':') {
        push(Some(prefix(format!("{value}:"))));
    }
    out
}

/// A path without query.
pub(super) fn path(value: &str) -> rbac::Permission {
    let matcher = matcher_of(value).unwrap_or_else(|| regex_matcher(".+"));
    permission(rbac::permission::Rule::UrlPath(matcher::PathMatcher {
        rule: Some(matcher::path_matcher::Rule::Path(matcher)),
    }))
}

/// One of `values` of a client attribute.
pub(super) fn principals(ctx: &Context<'_>, key: &str, values: &[String]) -> rbac::Principal {
    use rbac::principal::Identifier;
    let ids: Vec<rbac::Principal> = match key {
        "source.ip" => ranges(values).map(|r| principal(Identifier::DirectRemoteIp(r))).collect(),
        "remote.ip" => ranges(values).map(|r| principal(Identifier::RemoteIp(r))).collect(),
        "source.principal" => {
            values.iter().flat_map(|v| with_aliases(ctx, v)).map(|v| authenticated(spiffe(&v))).collect()
        }
        "source.namespace" => values
            .iter()
            .map(|ns| {
                authenticated(Some(regex_matcher(format!(
                    ".*/ns/{}/.*",
                    portolan_re2::escape(ns).replace(r"\*", ".*")
                ))))
            })
            .collect(),
        "request.auth.principal" => values.iter().map(|v| request_principal(v)).collect(),
        "request.auth.audiences" => values.iter().map(|v| claim(&["aud"], v)).collect(),
        "request.auth.presenter" => values.iter().map(|v| claim(&["azp"], v)).collect(),
        _ => {
            if let Some(claims) = argument(key, "request.auth.claims") {
                let path: Vec<&str> = claims.split("][").collect();
                values.iter().map(|v| claim(&path, v)).collect()
            } else if let Some(name) = argument(key, "request.headers") {
                values.iter().map(|v| principal(Identifier::Header(header(name, v)))).collect()
            } else if let Some(name) = argument(key, "request.regex.headers") {
                values.iter().map(|v| principal(Identifier::Header(regex_header(name, v)))).collect()
            } else {
                Vec::new()
            }
        }
    };
    if ids.is_empty() { never_principal() } else { any_principal(ids) }
}

/// The whole header value matches (an addition of Service Mesh).
fn regex_header(name: &str, value: &str) -> route::HeaderMatcher {
    route::HeaderMatcher {
        name: name.to_owned(),
        header_match_specifier: Some(route::header_matcher::HeaderMatchSpecifier::StringMatch(
            regex_matcher(value),
        )),
        ..Default::default()
    }
}

fn authenticated(name: Option<matcher::StringMatcher>) -> rbac::Principal {
    principal(rbac::principal::Identifier::Authenticated(rbac::principal::Authenticated {
        principal_name: name,
    }))
}

/// The URI in the certificate for a principal without `spiffe://`; `None` for `*`, any identity.
fn spiffe(value: &str) -> Option<matcher::StringMatcher> {
    if value == "*" {
        return None;
    }
    if let Some(end) = value.strip_prefix('*') {
        return Some(suffix(end));
    }
    let full = format!("{}{value}", names::SPIFFE_PREFIX);
    Some(match full.strip_suffix('*') {
        Some(start) => prefix(start),
        None => exact(full),
    })
}

/// A principal of our own trust domain also holds for its aliases (and the other way round).
fn with_aliases(ctx: &Context<'_>, value: &str) -> Vec<String> {
    let Some((domain, rest)) = value.split_once('/') else { return vec![value.to_owned()] };
    // `cluster.local` has always meant the mesh's own trust domain in policies.
    if domain != names::TRUST_DOMAIN && !ctx.mesh().trust_domains().any(|td| td == domain) {
        return vec![value.to_owned()];
    }
    let mut out = vec![value.to_owned()];
    for own in ctx.mesh().trust_domains().filter(|td| *td != domain) {
        out.push(format!("{own}/{rest}"));
    }
    out
}

/// A claim of the verified token: a text, or one of a list of texts.
fn claim(path: &[&str], value: &str) -> rbac::Principal {
    let text_matcher = matcher_of(value).unwrap_or_else(|| regex_matcher(".+"));
    let string = matcher::ValueMatcher {
        match_pattern: Some(matcher::value_matcher::MatchPattern::StringMatch(text_matcher)),
    };
    let list = matcher::ValueMatcher {
        match_pattern: Some(matcher::value_matcher::MatchPattern::ListMatch(Box::new(
            matcher::ListMatcher {
                match_pattern: Some(matcher::list_matcher::MatchPattern::OneOf(Box::new(string.clone()))),
            },
        ))),
    };
    let key = |k: &str| matcher::metadata_matcher::PathSegment {
        segment: Some(matcher::metadata_matcher::path_segment::Segment::Key(k.to_owned())),
    };
    let segments: Vec<_> = std::iter::once(METADATA_KEY).chain(path.iter().copied()).map(key).collect();
    let with = |value| {
        principal(rbac::principal::Identifier::SourcedMetadata(rbac::SourcedMetadata {
            metadata_matcher: Some(matcher::MetadataMatcher {
                filter: JWT_FILTER.to_owned(),
                path: segments.clone(),
                value: Some(value),
                ..Default::default()
            }),
            ..Default::default()
        }))
    };
    any_principal(vec![with(string), with(list)])
}

/// `issuer/subject`. Both may contain slashes, so every way to read it counts.
fn request_principal(value: &str) -> rbac::Principal {
    if value == "*" {
        return claim(&["sub"], "*");
    }
    let both = |issuer: &str, subject: &str| {
        principal(rbac::principal::Identifier::AndIds(rbac::principal::Set {
            ids: vec![claim(&["iss"], issuer), claim(&["sub"], subject)],
        }))
    };
    if let Some(end) = value.strip_prefix('*') {
        return match end.rsplit_once('/') {
            Some((issuer, subject)) => both(&format!("*{issuer}"), subject),
            None => claim(&["sub"], value),
        };
    }
    let splits: Vec<_> = value
        .match_indices('/')
        .map(|(i, _)| both(&value[..i], if i + 1 < value.len() { &value[i + 1..] } else { "*" }))
        .collect();
    match splits.is_empty() {
        true if value.ends_with('*') => claim(&["iss"], value),
        true => never_principal(),
        false => any_principal(splits),
    }
}
