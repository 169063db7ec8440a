//! The route table: virtual host by domain, then the first route that matches (spec/dataplane.md 21 to 24).

use std::collections::HashMap;
use std::sync::Arc;

use super::action::Action;
use super::mutation::Mutations;
use super::path::PathMatch;
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
        self.path.matches(request)
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
