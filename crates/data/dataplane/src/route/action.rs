//! What a route does: forward, redirect, answer.

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
use crate::message::{ConnectionInfo, Request};
use crate::value::PerMillion;

/// The action of a route.
#[derive(Debug)]
pub(crate) enum Action {
    Forward(Box<RouteAction>),
    Redirect(Box<Redirect>),
    Direct {
        status: StatusCode,
        body: Bytes,
    },
    /// `non_forwarding_action`: for inbound chains of proxyless servers; here the same as no route.
    None,
}

/// Forwarding.
#[derive(Debug)]
pub(crate) struct RouteAction {
    pub(crate) cluster: ClusterChoice,
    pub(crate) not_found: StatusCode,
    pub(crate) path_rewrite: Option<PathRewrite>,
    pub(crate) host_rewrite: HostRewrite,
    pub(crate) append_forwarded_host: bool,
    /// `None` = no limit.
    pub(crate) timeout: Option<Duration>,
    pub(crate) idle_timeout: Option<Option<Duration>>,
    pub(crate) max_stream_duration: Option<Duration>,
    /// Upper bound for `grpc-timeout` as route timeout; `Some(None)` = take what the client says.
    pub(crate) grpc_timeout: Option<Option<Duration>>,
    /// The same as duration of the stream.
    pub(crate) grpc_duration: Option<Option<Duration>>,
    pub(crate) retry: Option<Arc<RetryPolicy>>,
    pub(crate) high_priority: bool,
    pub(crate) hash: Vec<HashPolicy>,
    pub(crate) mirrors: Vec<Mirror>,
    /// Upgrade types that the route switches on or off.
    pub(crate) upgrades: Vec<(String, bool)>,
    pub(crate) subset: Vec<(String, String)>,
}

/// Which cluster.
#[derive(Debug)]
pub(crate) enum ClusterChoice {
    One(Arc<str>),
    Header(HeaderName),
    Weighted { clusters: Vec<WeightedCluster>, total: u64 },
}

/// One of several clusters.
#[derive(Debug)]
pub(crate) struct WeightedCluster {
    pub(crate) name: Arc<str>,
    pub(crate) weight: u64,
    pub(crate) mutations: Mutations,
    pub(crate) host_rewrite: Option<String>,
    pub(crate) per_filter: PerFilter,
    pub(crate) subset: Vec<(String, String)>,
}

/// Host rewrite.
#[derive(Debug, Default)]
pub(crate) enum HostRewrite {
    #[default]
    None,
    Literal(String),
    /// The name of the DNS host that was chosen.
    Auto,
    Header(HeaderName),
    PathRegex(Box<Regex>, String),
}

/// Redirect.
#[derive(Debug)]
pub(crate) struct Redirect {
    pub(crate) status: StatusCode,
    pub(crate) scheme: Option<String>,
    pub(crate) host: Option<String>,
    pub(crate) port: Option<u16>,
    pub(crate) path: Option<PathRewrite>,
    pub(crate) strip_query: bool,
}

/// One input of consistent hashing.
#[derive(Debug)]
pub(crate) enum HashPolicy {
    Header(HeaderName, bool),
    Cookie { name: String, path: String, ttl: Option<Duration>, terminal: bool },
    SourceIp(bool),
    Query(String, bool),
}

/// Copying requests to another cluster.
#[derive(Debug)]
pub(crate) struct Mirror {
    pub(crate) cluster: Arc<str>,
    pub(crate) share: PerMillion,
    pub(crate) suffix: bool,
}

impl ClusterChoice {
    /// The cluster of this request and its weighted entry.
    pub(crate) fn choose(&self, request: &Request) -> Option<(Arc<str>, Option<&WeightedCluster>)> {
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
    pub(crate) fn location(&self, request: &Request, path_match: &PathMatch) -> String {
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
    pub(crate) fn combine(
        policies: &[HashPolicy],
        request: &Request,
        connection: &ConnectionInfo,
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
pub(crate) fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE | Method::TRACE
    )
}

impl ClusterChoice {
    /// The weighted cluster at an index.
    pub(crate) fn at(&self, index: usize) -> Option<&WeightedCluster> {
        match self {
            ClusterChoice::Weighted { clusters, .. } => clusters.get(index),
            _ => None,
        }
    }

    /// The index of a weighted cluster of this choice.
    pub(crate) fn position(&self, wanted: &WeightedCluster) -> Option<usize> {
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
    pub(crate) fn allows_upgrade(&self, upgrade: Option<&str>, listener: &[String]) -> bool {
        let Some(upgrade) = upgrade else { return true };
        match self.upgrades.iter().find(|(name, _)| name == upgrade) {
            Some((_, enabled)) => *enabled,
            None => listener.iter().any(|name| name == upgrade),
        }
    }
}
