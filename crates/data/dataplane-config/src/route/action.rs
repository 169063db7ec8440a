//! What a route does: forward, redirect, answer.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, Method, StatusCode};
use portolan_balance::hash::xx_hash as hash;
use regex_automata::meta::Regex;

use super::mutation::Mutations;
use super::path::{PathMatch, PathRewrite};
use super::retry::RetryPolicy;
use crate::filters::PerFilter;
use crate::message::{ConnectionFacts, Request};
use crate::value::PerMillion;

/// The action of a route.
#[derive(Debug)]
pub enum Action {
    /// To a cluster.
    Forward(Box<RouteAction>),
    /// To another location.
    Redirect(Box<Redirect>),
    /// To the same place over https.
    Https,
    /// By an answer of our own.
    Direct {
        /// Its status.
        status: StatusCode,
        /// Its body.
        body: Bytes,
    },
    /// `non_forwarding_action`: for inbound chains of proxyless servers; here the same as no route.
    None,
}

/// Forwarding.
#[derive(Debug)]
pub struct RouteAction {
    /// Where to.
    pub cluster: ClusterChoice,
    /// Status when there is no such cluster.
    pub not_found: StatusCode,
    /// What becomes of the path.
    pub path_rewrite: Option<PathRewrite>,
    /// What becomes of the host.
    pub host_rewrite: HostRewrite,
    /// Send the client's host as `x-forwarded-host`.
    pub append_forwarded_host: bool,
    /// `None` = no limit.
    pub timeout: Option<Duration>,
    /// Silence after which the stream is ended; `None` = as the manager says; `Some(None)` = never.
    pub idle_timeout: Option<Option<Duration>>,
    /// Longest life of the stream.
    pub max_stream_duration: Option<Duration>,
    /// Upper bound for `grpc-timeout` as route timeout; `Some(None)` = take what the client says.
    pub grpc_timeout: Option<Option<Duration>>,
    /// The same as duration of the stream.
    pub grpc_duration: Option<Option<Duration>>,
    /// When to try again; `None` = as the virtual host says.
    pub retry: Option<Arc<RetryPolicy>>,
    /// Which circuit breakers count it.
    pub high_priority: bool,
    /// What chooses the host where hashes do.
    pub hash: Vec<HashPolicy>,
    /// Clusters that get copies.
    pub mirrors: Vec<Mirror>,
    /// Upgrade types that the route switches on or off.
    pub upgrades: Vec<(String, bool)>,
    /// Labels that hosts must have.
    pub subset: Vec<(String, String)>,
}

/// Which cluster.
#[derive(Debug)]
pub enum ClusterChoice {
    /// This one.
    One(Arc<str>),
    /// The one that a field names.
    Header(HeaderName),
    /// One of several, by weight.
    Weighted {
        /// Which ones.
        clusters: Vec<WeightedCluster>,
        /// Sum of the weights.
        total: u64,
    },
}

/// One of several clusters.
#[derive(Debug)]
pub struct WeightedCluster {
    /// Its name.
    pub name: Arc<str>,
    /// Its weight.
    pub weight: u64,
    /// Header changes for requests to it.
    pub mutations: Mutations,
    /// What becomes of the host.
    pub host_rewrite: Option<String>,
    /// What it overrides of filters.
    pub per_filter: PerFilter,
    /// Labels that hosts must have.
    pub subset: Vec<(String, String)>,
}

/// Host rewrite.
#[derive(Debug, Default)]
pub enum HostRewrite {
    /// As it is.
    #[default]
    None,
    /// This text.
    Literal(String),
    /// The name of the DNS host that was chosen.
    Auto,
    /// What a field says.
    Header(HeaderName),
    /// The path by an expression, and what comes in its place.
    PathRegex(Box<Regex>, String),
}

/// Redirect.
#[derive(Debug)]
pub struct Redirect {
    /// Its status.
    pub status: StatusCode,
    /// Another scheme.
    pub scheme: Option<String>,
    /// Another host.
    pub host: Option<String>,
    /// Another port.
    pub port: Option<u16>,
    /// Another path.
    pub path: Option<PathRewrite>,
    /// Without the query.
    pub strip_query: bool,
}

/// One input of consistent hashing.
#[derive(Debug)]
pub enum HashPolicy {
    /// A field; whether the policies end here if there is one.
    Header(HeaderName, bool),
    /// A cookie.
    Cookie {
        /// Its name.
        name: String,
        /// Its path, where we set it.
        path: String,
        /// How long it lives, where we set it; `None`: it is not set.
        ttl: Option<Duration>,
        /// Whether the policies end here if there is one.
        terminal: bool,
    },
    /// The client's address; whether the policies end here.
    SourceIp(bool),
    /// A parameter of the query; whether the policies end here if there is one.
    Query(String, bool),
}

/// Copying requests to another cluster.
#[derive(Debug)]
pub struct Mirror {
    /// Its name.
    pub cluster: Arc<str>,
    /// Of the requests.
    pub share: PerMillion,
    /// Whether `-shadow` is added to the host.
    pub suffix: bool,
}

impl ClusterChoice {
    /// The cluster of this request and its weighted entry.
    pub fn choose(&self, request: &Request) -> Option<(Arc<str>, Option<&WeightedCluster>)> {
        match self {
            ClusterChoice::One(name) => Some((name.clone(), None)),
            ClusterChoice::Header(name) => {
                let name = request.headers.get(name)?.to_str().ok()?;
                Some((name.into(), None))
            }
            ClusterChoice::Weighted { clusters, total } => {
                let mut draw = fastrand::u64(0..(*total).max(1));
                let chosen = clusters.iter().find(|cluster| {
                    let hit = draw < cluster.weight;
                    draw = draw.saturating_sub(cluster.weight);
                    hit
                })?;
                Some((chosen.name.clone(), Some(chosen)))
            }
        }
    }
}

impl Redirect {
    /// The `Location`.
    pub fn location(&self, request: &Request, path_match: &PathMatch) -> String {
        let scheme = self.scheme.as_deref().unwrap_or(request.scheme);
        let mut host = self.host.clone().unwrap_or_else(|| request.authority.clone());
        if let Some(port) = self.port {
            host = format!("{}:{port}", crate::message::without_port(&host));
        } else if self.scheme.is_some() && self.host.is_none() {
            // A default port of the old scheme makes no sense with the new one.
            let bare = crate::message::without_port(&host);
            if host.ends_with(":80") || host.ends_with(":443") {
                host = bare.to_owned();
            }
        }
        let mut path = match &self.path {
            Some(PathRewrite::Full(path)) if path.contains('?') => path.clone(),
            Some(rewrite) => rewrite.apply(path_match, &request.path),
            None => request.path.clone(),
        };
        if self.strip_query
            && let Some((bare, _)) = path.split_once('?')
        {
            path = bare.to_owned();
        }
        format!("{scheme}://{host}{path}")
    }
}

impl HashPolicy {
    /// Combines the policies' hashes; also returns a cookie that must be set.
    pub fn combine(
        policies: &[HashPolicy],
        request: &Request,
        connection: &ConnectionFacts,
    ) -> (Option<u64>, Option<String>) {
        let mut total: Option<u64> = None;
        let mut set_cookie = None;
        for policy in policies {
            let (value, terminal) = match policy {
                HashPolicy::Header(name, terminal) => {
                    let value = request.headers.get(name).map(|value| hash(value.as_bytes()));
                    (
                        value.or_else(|| (name == "host").then(|| hash(request.authority.as_bytes()))),
                        *terminal,
                    )
                }
                HashPolicy::Query(name, terminal) => {
                    let pair = request.query().and_then(|query| {
                        query
                            .split('&')
                            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
                            .find(|(n, _)| n == name)
                    });
                    (pair.map(|(_, value)| hash(value.as_bytes())), *terminal)
                }
                HashPolicy::SourceIp(terminal) => {
                    (Some(hash(connection.remote.ip().to_string().as_bytes())), *terminal)
                }
                HashPolicy::Cookie { name, path, ttl, terminal } => {
                    let found = cookie(request, name);
                    let value = match (found, ttl) {
                        (Some(value), _) => Some(hash(value.as_bytes())),
                        (None, Some(ttl)) => {
                            let value = format!("{:016x}", fastrand::u64(..));
                            let mut text = format!("{name}=\"{value}\"");
                            if !ttl.is_zero() {
                                text.push_str(&format!("; Max-Age={}", ttl.as_secs()));
                            }
                            if !path.is_empty() {
                                text.push_str(&format!("; Path={path}"));
                            }
                            text.push_str("; HttpOnly");
                            set_cookie = Some(text);
                            Some(hash(value.as_bytes()))
                        }
                        (None, None) => None,
                    };
                    (value, *terminal)
                }
            };
            if let Some(value) = value {
                total = Some(total.map_or(value, |total| total.rotate_left(1) ^ value));
                if terminal {
                    break;
                }
            }
        }
        (total, set_cookie)
    }
}

fn cookie<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    request
        .headers
        .get_all(http::header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value.trim_matches('"'))
}

/// Methods that may be sent again without asking (RFC 9110 9.2.2).
pub fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE | Method::TRACE
    )
}

impl ClusterChoice {
    /// The weighted cluster at an index.
    pub fn at(&self, index: usize) -> Option<&WeightedCluster> {
        match self {
            ClusterChoice::Weighted { clusters, .. } => clusters.get(index),
            _ => None,
        }
    }

    /// The index of a weighted cluster of this choice.
    pub fn position(&self, wanted: &WeightedCluster) -> Option<usize> {
        match self {
            ClusterChoice::Weighted { clusters, .. } => {
                clusters.iter().position(|one| std::ptr::eq(one, wanted))
            }
            _ => None,
        }
    }
}

impl RouteAction {
    /// Whether an upgrade is allowed here: by the route, else by the listener.
    pub fn allows_upgrade(&self, upgrade: Option<&str>, listener: &[String]) -> bool {
        let Some(upgrade) = upgrade else { return true };
        match self.upgrades.iter().find(|(name, _)| name == upgrade) {
            Some((_, enabled)) => *enabled,
            None => listener.iter().any(|name| name == upgrade),
        }
    }
}
