//! The route table: virtual host by domain, then the first route that matches (spec/dataplane.md 21 to 24).

use std::collections::HashMap;
use std::sync::Arc;

use super::action::Action;
use super::mutation::Mutations;
use super::retry::RetryPolicy;
use crate::filters::PerFilter;
use crate::message::matchers::{HeaderMatch, QueryMatch};
use crate::message::{ConnectionInfo, Request, without_port};
use crate::value::{PerMillion, drawn};

/// A compiled route configuration.
#[derive(Debug, Default)]
pub(crate) struct RouteTable {
    pub(crate) hosts: Vec<Arc<VirtualHost>>,
    pub(crate) exact: HashMap<String, usize>,
    /// Longest first.
    pub(crate) suffixes: Vec<(String, usize)>,
    /// Longest first.
    pub(crate) prefixes: Vec<(String, usize)>,
    pub(crate) any: Option<usize>,
    pub(crate) ignore_port: bool,
    pub(crate) mutations: Mutations,
    pub(crate) most_specific_wins: bool,
    pub(crate) internal_only: Vec<http::HeaderName>,
}

/// Whose plain requests are sent to https.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequireTls {
    No,
    External,
    All,
}

/// A compiled virtual host.
#[derive(Debug)]
pub(crate) struct VirtualHost {
    pub(crate) routes: Vec<Arc<Route>>,
    pub(crate) mutations: Mutations,
    pub(crate) require_tls: RequireTls,
    pub(crate) attempt_count_to_upstream: bool,
    pub(crate) attempt_count_to_client: bool,
    pub(crate) retry: Option<Arc<RetryPolicy>>,
    /// Request bytes that may be kept for another try.
    pub(crate) buffer_limit: Option<usize>,
    pub(crate) per_filter: PerFilter,
}

/// A compiled route.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) name: Arc<str>,
    pub(crate) path: PathMatch,
    pub(crate) headers: Vec<HeaderMatch>,
    pub(crate) query: Vec<QueryMatch>,
    pub(crate) grpc: bool,
    pub(crate) share: Option<PerMillion>,
    /// Request bytes that may be kept for another try.
    pub(crate) buffer_limit: Option<usize>,
    /// Client certificate presented / validated.
    pub(crate) tls: Option<(Option<bool>, Option<bool>)>,
    pub(crate) action: Action,
    pub(crate) mutations: Mutations,
    pub(crate) per_filter: PerFilter,
}

/// How a route matches the path.
#[derive(Debug)]
pub(crate) enum PathMatch {
    Prefix(String, bool),
    Exact(String, bool),
    /// `/a` matches `/a` and `/a/b` but not `/ab`.
    Separated(String, bool),
    Regex(Box<regex_automata::meta::Regex>),
    Connect,
}

/// The route of a request.
#[derive(Debug, Clone)]
pub(crate) struct Matched {
    pub(crate) table: Arc<RouteTable>,
    pub(crate) host: Arc<VirtualHost>,
    pub(crate) route: Arc<Route>,
}

impl RouteTable {
    /// The virtual host of an authority.
    pub(crate) fn virtual_host(&self, authority: &str) -> Option<&Arc<VirtualHost>> {
        let lower;
        let mut host = authority;
        if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
            lower = host.to_ascii_lowercase();
            host = &lower;
        }
        if self.ignore_port {
            host = without_port(host);
        }
        let at = self
            .exact
            .get(host)
            .or_else(|| {
                let fits = |(suffix, _): &&(String, usize)| {
                    host.len() > suffix.len() && host.ends_with(suffix.as_str())
                };
                self.suffixes.iter().find(fits).map(|(_, at)| at)
            })
            .or_else(|| {
                let fits = |(prefix, _): &&(String, usize)| {
                    host.len() > prefix.len() && host.starts_with(prefix.as_str())
                };
                self.prefixes.iter().find(fits).map(|(_, at)| at)
            })
            .or(self.any.as_ref())?;
        self.hosts.get(*at)
    }

    /// The first matching route.
    pub(crate) fn find(self: &Arc<Self>, request: &Request, connection: &ConnectionInfo) -> Option<Matched> {
        let host = self.virtual_host(&request.authority)?;
        let route = host.routes.iter().find(|route| route.matches(request, connection))?;
        Some(Matched { table: self.clone(), host: host.clone(), route: route.clone() })
    }
}

impl Route {
    fn matches(&self, request: &Request, connection: &ConnectionInfo) -> bool {
        let path = request.path_only();
        let eq = |text: &str, want: &str, case: bool| {
            if case { text == want } else { text.eq_ignore_ascii_case(want) }
        };
        let starts = |want: &str, case: bool| {
            path.is_char_boundary(want.len())
                && path.len() >= want.len()
                && eq(&path[..want.len()], want, case)
        };
        let path_fits = match &self.path {
            _ if request.method == http::Method::CONNECT => matches!(self.path, PathMatch::Connect),
            PathMatch::Prefix(want, case) => path.len() >= want.len() && starts(want, *case),
            PathMatch::Exact(want, case) => eq(path, want, *case),
            PathMatch::Separated(want, case) => {
                path.len() >= want.len()
                    && starts(want, *case)
                    && (path.len() == want.len() || path.as_bytes().get(want.len()) == Some(&b'/'))
            }
            PathMatch::Regex(regex) => regex.is_match(path),
            PathMatch::Connect => false,
        };
        path_fits
            && self.headers.iter().all(|header| header.matches(request))
            && self.query.iter().all(|query| request.query().is_some_and(|text| query.matches(text)))
            && (!self.grpc || request.is_grpc)
            && self.tls.is_none_or(|(presented, validated)| {
                let has = connection.peer().is_some();
                presented.is_none_or(|wanted| wanted == has) && validated.is_none_or(|wanted| wanted == has)
            })
            && self.share.is_none_or(drawn)
    }
}
