//! The route table: virtual host by domain, then the first route that matches.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use super::action::Action;
use super::domain::Domain;
use super::mutation::Mutations;
use super::path::PathMatch;
use super::retry::RetryPolicy;
use crate::filters::PerFilter;
use crate::message::matchers::{HeaderMatch, QueryMatch};
use crate::message::{ConnectionFacts, Request, without_port};
use crate::tracers::settings::RouteTracing;
use crate::value::{PerMillion, drawn};

/// What requests are routed by: a compiled route configuration with all of its virtual hosts.
#[derive(Debug)]
pub struct RouteTable {
    /// All of them.
    pub(super) hosts: Vec<Arc<VirtualHost>>,
    /// By name.
    pub(super) exact: HashMap<Arc<str>, usize>,
    /// Longest first.
    pub(super) suffixes: Vec<(Arc<str>, usize)>,
    /// Longest first.
    pub(super) prefixes: Vec<(Arc<str>, usize)>,
    /// For all other names.
    pub(super) any: Option<usize>,
    /// Whether the port of the authority is cut off.
    pub(super) ignore_port: bool,
    /// Header changes for all requests.
    pub mutations: Arc<Mutations>,
    /// Whether the table's changes come first.
    pub most_specific_wins: bool,
    /// Fields that only internal clients may send.
    pub internal_only: Arc<[http::HeaderName]>,
}

/// Whose plain requests are sent to https.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequireTls {
    /// Nobody's.
    No,
    /// External clients'.
    External,
    /// Everybody's.
    All,
}

impl RequireTls {
    /// Whether a client, one of us or not, has to use https.
    fn concerns(self, internal: bool) -> bool {
        match self {
            RequireTls::No => false,
            RequireTls::External => !internal,
            RequireTls::All => true,
        }
    }
}

/// The route of a request that should have come over TLS.
fn to_https(table: Arc<RouteTable>) -> Matched {
    static PLAIN: LazyLock<(Arc<VirtualHost>, Arc<Route>)> =
        LazyLock::new(|| (Arc::new(VirtualHost::nothing()), Arc::new(Route::to_https())));
    let (host, route) = &*PLAIN;
    Matched { table, host: host.clone(), route: route.clone() }
}

/// A compiled virtual host.
#[derive(Debug)]
pub struct VirtualHost {
    /// Whom it is for; no two are the same.
    pub domains: Vec<Domain>,
    /// In order; the first that matches counts.
    pub routes: Vec<Arc<Route>>,
    /// Header changes for all routes.
    pub mutations: Mutations,
    /// Whose plain requests are sent to https.
    pub require_tls: RequireTls,
    /// Tell hosts which try it is.
    pub attempt_count_to_upstream: bool,
    /// Tell clients how many there were.
    pub attempt_count_to_client: bool,
    /// For routes without one of their own.
    pub retry: Option<Arc<RetryPolicy>>,
    /// Request bytes that may be kept for another try.
    pub buffer_limit: Option<usize>,
    /// What it overrides of filters.
    pub per_filter: PerFilter,
}

/// A compiled route.
#[derive(Debug)]
pub struct Route {
    /// For logs.
    pub name: Arc<str>,
    /// Which paths.
    pub path: PathMatch,
    /// Which fields; all must match.
    pub headers: Vec<HeaderMatch>,
    /// Which parameters; all must match.
    pub query: Vec<QueryMatch>,
    /// gRPC only.
    pub grpc: bool,
    /// Which part of the requests.
    pub share: Option<PerMillion>,
    /// Request bytes that may be kept for another try.
    pub buffer_limit: Option<usize>,
    /// What it says of tracing; `None` = nothing.
    pub tracing: Option<Box<RouteTracing>>,
    /// Client certificate presented / validated.
    pub tls: Option<(Option<bool>, Option<bool>)>,
    /// What is done.
    pub action: Action,
    /// Header changes.
    pub mutations: Mutations,
    /// What it overrides of filters.
    pub per_filter: PerFilter,
}

/// The route of a request.
#[derive(Debug, Clone)]
pub struct Matched {
    /// The configuration.
    pub table: Arc<RouteTable>,
    /// The virtual host in it.
    pub host: Arc<VirtualHost>,
    /// The route in that.
    pub route: Arc<Route>,
}

impl RouteTable {
    /// The virtual host of an authority.
    pub fn virtual_host(&self, authority: &str) -> Option<&Arc<VirtualHost>> {
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
                let fits =
                    |(suffix, _): &&(Arc<str>, usize)| host.len() > suffix.len() && host.ends_with(&**suffix);
                self.suffixes.iter().find(fits).map(|(_, at)| at)
            })
            .or_else(|| {
                let fits = |(prefix, _): &&(Arc<str>, usize)| {
                    host.len() > prefix.len() && host.starts_with(&**prefix)
                };
                self.prefixes.iter().find(fits).map(|(_, at)| at)
            })
            .or(self.any.as_ref())?;
        self.hosts.get(*at)
    }

    /// The first matching route. Where plain requests are not taken, such a request has one that leads to https, before
    /// any of the host's own: nothing of the host is said or done for it. `internal`: the client is known to be one of us.
    pub fn find(
        self: &Arc<Self>,
        request: &Request,
        connection: &ConnectionFacts,
        internal: bool,
    ) -> Option<Matched> {
        let host = self.virtual_host(&request.authority)?;
        if request.scheme != "https" && host.require_tls.concerns(internal) {
            return Some(to_https(self.clone()));
        }
        let route = host.routes.iter().find(|route| route.matches(request, connection))?;
        Some(Matched { table: self.clone(), host: host.clone(), route: route.clone() })
    }
}

impl VirtualHost {
    /// One that says nothing.
    fn nothing() -> VirtualHost {
        VirtualHost {
            domains: Vec::new(),
            routes: Vec::new(),
            mutations: Mutations::default(),
            require_tls: RequireTls::No,
            attempt_count_to_upstream: false,
            attempt_count_to_client: false,
            retry: None,
            buffer_limit: None,
            per_filter: PerFilter::default(),
        }
    }
}

impl Route {
    /// One for everything that leads to the same place over https.
    fn to_https() -> Route {
        Route {
            name: "".into(),
            path: PathMatch::Prefix("/".into(), true),
            headers: Vec::new(),
            query: Vec::new(),
            grpc: false,
            share: None,
            buffer_limit: None,
            tracing: None,
            tls: None,
            action: Action::Https,
            mutations: Mutations::default(),
            per_filter: PerFilter::default(),
        }
    }

    fn matches(&self, request: &Request, connection: &ConnectionFacts) -> bool {
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
