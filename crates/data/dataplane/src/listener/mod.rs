//! Listeners as they run: their configuration with statistics, TLS and the end of their chains' lives.

pub(crate) mod bind;
pub(crate) mod scopes;

use std::collections::BTreeSet;
use std::ops::Deref;
use std::sync::Arc;

pub(crate) use portolan_dataplane_config::listener::{
    Codec, ConnectionView, Denied, EscapedSlashes, ForwardCert, Inspected, MAX_INSPECTED, Observed, Routes,
    ServerHeader, StripPort, Underscores, Verdict, choose,
};
use portolan_dataplane_config::{filters::FilterStats, listener as config};
use tokio_util::sync::CancellationToken;

use self::scopes::StatScopes;
use crate::external::load;
use crate::pb::listener;
use crate::stats::metrics::{HttpStats, ListenerStats, PerWorker, TcpStats};
use crate::tls::ServerTls;
use crate::value::{At as _, Valid};

/// A listener. Reads like its configuration, whose own chains are empty.
#[derive(Debug)]
pub(crate) struct Listener {
    config: config::Listener,
    chains: Vec<Arc<FilterChain>>,
    default_chain: Option<Arc<FilterChain>>,
    pub(crate) keepalive: Option<socket2::TcpKeepalive>,
    pub(crate) stats: Arc<PerWorker<ListenerStats>>,
}

/// A filter chain. Reads like its configuration.
#[derive(Debug)]
pub(crate) struct FilterChain {
    config: config::FilterChain,
    pub(crate) tls: Option<Arc<ServerTls>>,
    pub(crate) terminal: Terminal,
    /// Cancelled when the chain is replaced or its listener drains.
    pub(crate) drain: CancellationToken,
}

/// The last filter.
#[derive(Debug)]
pub(crate) enum Terminal {
    Http(Arc<Hcm>),
    Tcp(Arc<TcpProxy>),
    /// No filters: Envoy closes such connections.
    Close,
}

/// A connection manager. Reads like its configuration.
#[derive(Debug)]
pub(crate) struct Hcm {
    config: config::Hcm,
    pub(crate) stats: Arc<PerWorker<HttpStats>>,
    pub(crate) filter_stats: Arc<PerWorker<FilterStats>>,
}

/// A TCP proxy. Reads like its configuration.
#[derive(Debug)]
pub(crate) struct TcpProxy {
    config: config::TcpProxy,
    pub(crate) stats: Arc<PerWorker<TcpStats>>,
}

impl Deref for Listener {
    type Target = config::Listener;

    fn deref(&self) -> &config::Listener {
        &self.config
    }
}

impl Deref for FilterChain {
    type Target = config::FilterChain;

    fn deref(&self) -> &config::FilterChain {
        &self.config
    }
}

impl Deref for Hcm {
    type Target = config::Hcm;

    fn deref(&self) -> &config::Hcm {
        &self.config
    }
}

impl Deref for TcpProxy {
    type Target = config::TcpProxy;

    fn deref(&self) -> &config::TcpProxy {
        &self.config
    }
}

impl Listener {
    /// Compiles a listener. Chains whose messages did not change are kept, and their connections with them.
    pub(crate) fn compile(
        from: &listener::Listener,
        workers: usize,
        scopes: &mut StatScopes,
        previous: Option<&Listener>,
    ) -> Valid<Listener> {
        let config = config::Listener::without_chains(from, load)?;
        let context = config.context(load);
        let mut chain_of = |from: &listener::FilterChain| {
            let same = |chain: &&Arc<FilterChain>| chain.source == *from && !chain.drain.is_cancelled();
            if let Some(chain) = previous.and_then(|previous| previous.all_chains().find(same)) {
                return Ok(chain.clone());
            }
            let config = config::FilterChain::compile(from, context)?;
            Ok(Arc::new(FilterChain::new(config, workers, scopes)))
        };
        let chains = from.filter_chains.iter();
        let chains =
            chains.map(|chain| chain_of(chain).at(&config::chain_field(chain))).collect::<Valid<_>>()?;
        let default_chain =
            from.default_filter_chain.as_ref().map(&mut chain_of).transpose().at("default_filter_chain")?;
        let stats = scopes.listener(workers, config.stat_name.clone());
        let keepalive = config.keepalive.map(crate::external::keepalive);
        Ok(Listener { config, chains, default_chain, keepalive, stats })
    }

    pub(crate) fn all_chains(&self) -> impl Iterator<Item = &Arc<FilterChain>> {
        self.chains.iter().chain(&self.default_chain)
    }

    /// The chain of a connection.
    pub(crate) fn choose(&self, seen: &Observed<'_>) -> Option<&Arc<FilterChain>> {
        choose(&self.matches, seen).and_then(|at| self.chains.get(at)).or(self.default_chain.as_ref())
    }

    pub(crate) fn route_names(&self, into: &mut BTreeSet<String>) {
        for chain in self.all_chains() {
            if let Terminal::Http(hcm) = &chain.terminal {
                into.extend(hcm.route_name().map(str::to_owned));
            }
        }
    }

    pub(crate) fn secret_names(&self, into: &mut BTreeSet<String>) {
        self.all_chains().filter_map(|chain| chain.tls.as_ref()).for_each(|tls| tls.secret_names(into));
    }
}

impl FilterChain {
    fn new(mut config: config::FilterChain, workers: usize, scopes: &mut StatScopes) -> FilterChain {
        let terminal = match std::mem::replace(&mut config.terminal, config::Terminal::Close) {
            config::Terminal::Http(hcm) => Terminal::Http(Arc::new(Hcm {
                stats: scopes.http(workers, &hcm.stat_prefix),
                filter_stats: scopes.filters(workers, &hcm.stat_prefix),
                config: *hcm,
            })),
            config::Terminal::Tcp(proxy) => Terminal::Tcp(Arc::new(TcpProxy {
                stats: scopes.tcp(workers, &proxy.stat_prefix),
                config: *proxy,
            })),
            config::Terminal::Close => Terminal::Close,
        };
        let tls = config.tls.take().map(|context| Arc::new(ServerTls::new(context)));
        FilterChain { config, tls, terminal, drain: CancellationToken::new() }
    }
}
