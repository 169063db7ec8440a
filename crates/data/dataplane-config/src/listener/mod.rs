//! Listeners, compiled.

#[cfg(test)]
mod tests;

mod compile;
mod connection_manager;
mod filter_chain;
mod filters;
mod network;
mod tcp_proxy;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

pub use compile::Compile;
pub use connection_manager::{
    Codec, EscapedSlashes, ForwardCert, Hcm, Routes, ServerHeader, StripPort, Underscores,
};
pub use filter_chain::{ChainMatch, FilterChain, Observed, choose};
pub use filters::{ConfiguredFilter, Inspected, ListenerFilter, MAX_INSPECTED, Verdict};
pub use network::{ConnectionView, Denied, NetworkFilter, Terminal};
pub use tcp_proxy::TcpProxy;

use crate::access_log::AccessLog;
use crate::pb::{core, listener};
use crate::value::{
    At as _, Direction, Invalid, Keepalive, Loader, NetAddress, Valid, address, bool_or, duration,
};

/// Envoy's `listener_filters_timeout`.
const DEFAULT_LISTENER_FILTERS_TIMEOUT: Duration = Duration::from_secs(15);

/// How to bind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BindOptions {
    /// Where.
    pub address: SocketAddr,
    /// `IP_TRANSPARENT`: also for addresses that are not the machine's.
    pub transparent: bool,
    /// `IP_FREEBIND`: also before the address exists.
    pub freebind: bool,
    /// Connections that wait to be accepted.
    pub backlog: Option<u32>,
}

/// A compiled listener.
#[derive(Debug)]
pub struct Listener {
    /// The resource's name.
    pub name: Arc<str>,
    /// Where it listens, or what it stands for.
    pub address: SocketAddr,
    /// `None`: gets connections handed over only.
    pub bind: Option<BindOptions>,
    /// Hands connections over to the listener of their original destination.
    pub use_original_dst: bool,
    /// What looks at a connection before a chain is chosen, in order.
    pub filters: Vec<ConfiguredFilter>,
    /// Time for that; `None` = no limit.
    pub inspect_timeout: Option<Duration>,
    /// Whether a connection goes on when that time is up.
    pub continue_on_timeout: bool,
    /// Of the traffic.
    pub direction: Direction,
    /// Which connections the chains are for, in the order of `chains`.
    pub matches: Vec<ChainMatch>,
    /// What is done with connections. Empty after [`Listener::without_chains`].
    pub chains: Vec<FilterChain>,
    /// For connections that match none.
    pub default_chain: Option<FilterChain>,
    /// For connections that no chain takes.
    pub access_log: Vec<AccessLog>,
    /// Of accepted connections.
    pub keepalive: Option<Keepalive>,
    /// Name of its statistics' scope.
    pub stat_name: String,
}

impl Listener {
    /// Whether it is looked up where redirected connections wanted to go. `use_original_dst` brings the filter along, as
    /// in Envoy.
    pub fn restores_destination(&self) -> bool {
        self.use_original_dst || self.filters.iter().any(ConfiguredFilter::restores_destination)
    }

    /// Compiles a listener.
    pub fn compile(from: &listener::Listener, load: Loader) -> Valid<Listener> {
        let mut out = Self::without_chains(from, load)?;
        let context = out.context(load);
        for chain in &from.filter_chains {
            out.chains.push(FilterChain::compile(chain, context).at(&chain_field(chain))?);
        }
        if let Some(chain) = &from.default_filter_chain {
            out.default_chain = Some(FilterChain::compile(chain, context).at("default_filter_chain")?);
        }
        Ok(out)
    }

    /// What its chains need to be compiled.
    pub fn context(&self, load: Loader) -> Compile {
        Compile { direction: self.direction, load }
    }

    /// Compiles all but the chains, for those who keep chains that did not change.
    pub fn without_chains(from: &listener::Listener, load: Loader) -> Valid<Listener> {
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
        if from.filter_chains.is_empty() && from.default_filter_chain.is_none() {
            return Err(Invalid::new("no filter chains"));
        }
        let matches = from
            .filter_chains
            .iter()
            .map(|chain| ChainMatch::compile(chain.filter_chain_match.as_ref()).at(&chain_field(chain)));
        Ok(Listener {
            name: from.name.as_str().into(),
            address,
            bind,
            use_original_dst: bool_or(from.use_original_dst.as_ref(), false),
            filters: ConfiguredFilter::compile_all(&from.listener_filters)?,
            inspect_timeout: match duration(from.listener_filters_timeout.as_ref())
                .at("listener_filters_timeout")?
            {
                None => Some(DEFAULT_LISTENER_FILTERS_TIMEOUT),
                Some(limit) if limit.is_zero() => None,
                Some(limit) => Some(limit),
            },
            continue_on_timeout: from.continue_on_listener_filters_timeout,
            direction,
            matches: matches.collect::<Valid<_>>()?,
            chains: Vec::new(),
            default_chain: None,
            access_log: AccessLog::compile_all(&from.access_log, load)?,
            keepalive: from.tcp_keepalive.as_ref().map(Keepalive::compile),
            stat_name,
        })
    }
}

/// How errors name a chain.
pub fn chain_field(chain: &listener::FilterChain) -> String {
    format!("filter chain {:?}", chain.name)
}
