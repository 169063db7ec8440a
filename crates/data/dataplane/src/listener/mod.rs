//! Listeners, compiled.

pub(crate) mod bind;
pub(crate) mod compile;
pub(crate) mod connection_manager;
pub(crate) mod filter_chain;
pub(crate) mod tcp_proxy;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::listener::bind::BindOptions;
use crate::listener::compile::{Compile, StatScopes};
use crate::listener::connection_manager::Hcm;
use crate::listener::filter_chain::{ChainMatch, FilterChain, Observed, Terminal, choose};
use crate::pb::{core, listener};
use crate::stats::metrics::{ListenerStats, PerWorker};
use crate::telemetry::access_log::AccessLog;
use crate::value::{At as _, Direction, Invalid, NetAddress, Valid, address, bool_or, duration, type_of};

/// Envoy's `listener_filters_timeout`.
const DEFAULT_LISTENER_FILTERS_TIMEOUT: Duration = Duration::from_secs(15);

/// A compiled listener.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) name: Arc<str>,
    pub(crate) address: SocketAddr,
    /// `None`: gets connections handed over only.
    pub(crate) bind: Option<BindOptions>,
    pub(crate) use_original_dst: bool,
    /// Looks up where redirected connections wanted to go.
    pub(crate) original_dst: bool,
    pub(crate) tls_inspector: Option<Inspector>,
    pub(crate) http_inspector: Option<Inspector>,
    pub(crate) inspect_timeout: Option<Duration>,
    pub(crate) continue_on_timeout: bool,
    pub(crate) direction: Direction,
    pub(crate) matches: Vec<ChainMatch>,
    pub(crate) chains: Vec<Arc<FilterChain>>,
    pub(crate) default_chain: Option<Arc<FilterChain>>,
    pub(crate) access_log: Vec<AccessLog>,
    pub(crate) keepalive: Option<socket2::TcpKeepalive>,
    pub(crate) stats: Arc<PerWorker<ListenerStats>>,
}

/// A listener filter and the connections that it leaves alone.
#[derive(Debug, Clone)]
pub(crate) struct Inspector {
    disabled: Option<Predicate>,
}

#[derive(Debug, Clone)]
enum Predicate {
    Or(Vec<Predicate>),
    And(Vec<Predicate>),
    Not(Box<Predicate>),
    Any,
    Port(std::ops::Range<i32>),
}

impl Inspector {
    pub(crate) fn applies(&self, port: u16) -> bool {
        !self.disabled.as_ref().is_some_and(|predicate| predicate.matches(i32::from(port)))
    }
}

impl Predicate {
    fn compile(from: &listener::ListenerFilterChainMatchPredicate) -> Valid<Predicate> {
        use listener::listener_filter_chain_match_predicate::Rule as R;
        let all = |set: &listener::listener_filter_chain_match_predicate::MatchSet| {
            set.rules.iter().map(Predicate::compile).collect::<Valid<Vec<_>>>()
        };
        Ok(match from.rule.as_ref().ok_or_else(|| Invalid::new("empty predicate"))? {
            R::OrMatch(set) => Predicate::Or(all(set)?),
            R::AndMatch(set) => Predicate::And(all(set)?),
            R::NotMatch(inner) => Predicate::Not(Box::new(Predicate::compile(inner)?)),
            R::AnyMatch(_) => Predicate::Any,
            R::DestinationPortRange(range) => Predicate::Port(range.start..range.end),
        })
    }

    fn matches(&self, port: i32) -> bool {
        match self {
            Predicate::Or(all) => all.iter().any(|one| one.matches(port)),
            Predicate::And(all) => all.iter().all(|one| one.matches(port)),
            Predicate::Not(one) => !one.matches(port),
            Predicate::Any => true,
            Predicate::Port(range) => range.contains(&port),
        }
    }
}

impl Listener {
    pub(crate) fn compile(
        from: &listener::Listener,
        workers: usize,
        scopes: &mut StatScopes,
        previous: Option<&Listener>,
    ) -> Valid<Listener> {
        if from.api_listener.is_some()
            || from.udp_listener_config.is_some()
            || from.listener_specifier.is_some()
        {
            return Err(Invalid::new("only TCP listeners are supported"));
        }
        if !from.additional_addresses.is_empty()
            || from.filter_chain_matcher.is_some()
            || from.fcds_config.is_some()
        {
            return Err(Invalid::new(
                "additional_addresses, filter_chain_matcher and fcds_config are not supported",
            ));
        }
        let address = match address(from.address.as_ref()).at("address")? {
            NetAddress::Socket(address) => address,
            other => return Err(Invalid(format!("address: cannot listen on {other}"))),
        };
        let deprecated = from.deprecated_v1.as_ref().and_then(|old| old.bind_to_port.as_ref());
        let bind = bool_or(from.bind_to_port.as_ref().or(deprecated), true).then(|| BindOptions {
            address,
            transparent: bool_or(from.transparent.as_ref(), false),
            freebind: bool_or(from.freebind.as_ref(), false),
            backlog: from.tcp_backlog_size.as_ref().map(|size| size.value),
        });
        let direction = match core::TrafficDirection::try_from(from.traffic_direction) {
            Ok(core::TrafficDirection::Inbound) => Direction::Inbound,
            Ok(core::TrafficDirection::Outbound) => Direction::Outbound,
            _ => Direction::Unspecified,
        };
        let stat_name =
            if from.stat_prefix.is_empty() { address.to_string() } else { from.stat_prefix.clone() };
        let stats =
            scopes.listeners.entry(stat_name).or_insert_with(|| Arc::new(PerWorker::new(workers))).clone();
        let context = Compile { workers, scopes: std::cell::RefCell::new(scopes), direction };
        let mut out = Listener {
            name: from.name.as_str().into(),
            address,
            bind,
            use_original_dst: bool_or(from.use_original_dst.as_ref(), false),
            original_dst: false,
            tls_inspector: None,
            http_inspector: None,
            inspect_timeout: match duration(from.listener_filters_timeout.as_ref())
                .at("listener_filters_timeout")?
            {
                None => Some(DEFAULT_LISTENER_FILTERS_TIMEOUT),
                Some(limit) if limit.is_zero() => None,
                Some(limit) => Some(limit),
            },
            continue_on_timeout: from.continue_on_listener_filters_timeout,
            direction,
            matches: Vec::new(),
            chains: Vec::new(),
            default_chain: None,
            access_log: AccessLog::compile_all(&from.access_log)?,
            keepalive: from.tcp_keepalive.as_ref().map(crate::upstream::config::keepalive),
            stats,
        };
        for filter in &from.listener_filters {
            out.listener_filter(filter).at(&format!("listener_filters {:?}", filter.name))?;
        }
        for chain in &from.filter_chains {
            let field = format!("filter chain {:?}", chain.name);
            out.matches.push(ChainMatch::compile(chain.filter_chain_match.as_ref()).at(&field)?);
            out.chains.push(chain_of(chain, previous, &context).at(&field)?);
        }
        if let Some(chain) = &from.default_filter_chain {
            out.default_chain = Some(chain_of(chain, previous, &context).at("default_filter_chain")?);
        }
        if out.chains.is_empty() && out.default_chain.is_none() {
            return Err(Invalid::new("no filter chains"));
        }
        Ok(out)
    }

    fn listener_filter(&mut self, filter: &listener::ListenerFilter) -> Valid<()> {
        let disabled =
            filter.filter_disabled.as_ref().map(Predicate::compile).transpose().at("filter_disabled")?;
        let name = match &filter.config_type {
            Some(listener::listener_filter::ConfigType::TypedConfig(config)) => type_of(config),
            Some(_) => return Err(Invalid::new("config_discovery is not supported")),
            None => filter.name.as_str(),
        };
        match name {
            "envoy.extensions.filters.listener.original_dst.v3.OriginalDst"
            | "envoy.filters.listener.original_dst" => {
                self.original_dst = true;
            }
            "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"
            | "envoy.filters.listener.tls_inspector" => {
                self.tls_inspector = Some(Inspector { disabled });
            }
            "envoy.extensions.filters.listener.http_inspector.v3.HttpInspector"
            | "envoy.filters.listener.http_inspector" => self.http_inspector = Some(Inspector { disabled }),
            name => return Err(Invalid(format!("unsupported listener filter {name}"))),
        }
        Ok(())
    }

    pub(crate) fn all_chains(&self) -> impl Iterator<Item = &Arc<FilterChain>> {
        self.chains.iter().chain(&self.default_chain)
    }

    /// The chain of a connection.
    pub(crate) fn choose(&self, seen: &Observed<'_>) -> Option<&Arc<FilterChain>> {
        choose(&self.matches, seen).and_then(|at| self.chains.get(at)).or(self.default_chain.as_ref())
    }

    pub(crate) fn route_names(&self, into: &mut BTreeSet<String>) {
        for hcm in self.managers() {
            into.extend(hcm.route_name().map(str::to_owned));
        }
    }

    pub(crate) fn secret_names(&self, into: &mut BTreeSet<String>) {
        self.all_chains().filter_map(|chain| chain.tls.as_ref()).for_each(|tls| tls.secret_names(into));
    }

    fn managers(&self) -> impl Iterator<Item = &Arc<Hcm>> {
        self.all_chains().filter_map(|chain| match &chain.terminal {
            Terminal::Http(hcm) => Some(hcm),
            _ => None,
        })
    }
}

/// A chain whose message did not change is kept, and its connections with it.
fn chain_of(
    from: &listener::FilterChain,
    previous: Option<&Listener>,
    context: &Compile<'_>,
) -> Valid<Arc<FilterChain>> {
    let same = |chain: &&Arc<FilterChain>| chain.source == *from && !chain.drain.is_cancelled();
    if let Some(chain) = previous.and_then(|previous| previous.all_chains().find(same)) {
        return Ok(chain.clone());
    }
    FilterChain::compile(from, context).map(Arc::new)
}
