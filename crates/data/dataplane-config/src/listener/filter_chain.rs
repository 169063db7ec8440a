//! Filter chains and how one is chosen.

#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::compile::Compile;
use super::network::{self, Compiled, NetworkFilter, Terminal};
use crate::pb::{core, listener, tls};
use crate::tls::ServerContext;
use crate::value::{At as _, Invalid, Loader, Valid, cidr, duration, type_of, unpack};

/// Time for a TLS handshake unless `transport_socket_connect_timeout` says otherwise.
const DEFAULT_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);

/// A compiled filter chain.
#[derive(Debug)]
pub struct FilterChain {
    /// For logs.
    pub name: Arc<str>,
    /// The message, to see whether an update left the chain as it is.
    pub source: listener::FilterChain,
    /// `None`: plaintext.
    pub tls: Option<ServerContext>,
    /// Time for a TLS handshake.
    pub handshake_timeout: Duration,
    /// Filters that look at a connection before the last one takes it.
    pub filters: Vec<Arc<dyn NetworkFilter>>,
    /// The last filter.
    pub terminal: Terminal,
}

impl FilterChain {
    /// Compiles a chain of a listener.
    pub fn compile(from: &listener::FilterChain, context: Compile) -> Valid<FilterChain> {
        crate::ignored::refuse_chain(from)?;
        let mut filters = Vec::new();
        let mut terminal = None;
        for filter in &from.filters {
            if terminal.is_some() {
                return Err(Invalid(format!("filter {:?} comes after a terminal filter", filter.name)));
            }
            match network::compile(filter, context).at(&format!("filters {:?}", filter.name))? {
                Compiled::Filter(filter) => filters.push(filter),
                Compiled::Terminal(last) => terminal = Some(last),
                Compiled::Nothing => {}
            }
        }
        if terminal.is_none() && !filters.is_empty() {
            return Err(Invalid::new("the last filter is not terminal"));
        }
        let terminal = terminal.unwrap_or(Terminal::Close);
        let http = matches!(terminal, Terminal::Http(_));
        Ok(FilterChain {
            name: from.name.as_str().into(),
            tls: server_tls(from.transport_socket.as_ref(), http, context.load).at("transport_socket")?,
            handshake_timeout: duration(from.transport_socket_connect_timeout.as_ref())?
                .filter(|limit| !limit.is_zero())
                .unwrap_or(DEFAULT_HANDSHAKE_TIMEOUT),
            filters,
            terminal,
            source: from.clone(),
        })
    }
}

fn server_tls(
    socket: Option<&core::TransportSocket>,
    http: bool,
    load: Loader,
) -> Valid<Option<ServerContext>> {
    let Some(socket) = socket else { return Ok(None) };
    let Some(core::transport_socket::ConfigType::TypedConfig(config)) = &socket.config_type else {
        return Err(Invalid(format!("{:?} has no typed_config", socket.name)));
    };
    match type_of(config) {
        "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext" => {
            let context: tls::DownstreamTlsContext = unpack(config)?;
            Ok(Some(ServerContext::compile(&context, http, load)?))
        }
        "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer" => Ok(None),
        name => Err(Invalid(format!("unsupported transport socket {name}"))),
    }
}

/// `filter_chain_match`, compiled.
#[derive(Debug, Default)]
pub struct ChainMatch {
    port: Option<u32>,
    destinations: Vec<IpNet>,
    server_names: Vec<String>,
    transport: String,
    protocols: Vec<Vec<u8>>,
    direct_sources: Vec<IpNet>,
    source_type: i32,
    sources: Vec<IpNet>,
    source_ports: Vec<u32>,
}

/// What is known of a connection when its chain is chosen.
pub struct Observed<'a> {
    /// Where it was meant for.
    pub local: std::net::SocketAddr,
    /// Where it comes from.
    pub remote: std::net::SocketAddr,
    /// Server name of the TLS handshake.
    pub sni: Option<&'a str>,
    /// Whether it begins with TLS.
    pub is_tls: bool,
    /// ALPN, or the HTTP version that was seen.
    pub protocols: &'a [Vec<u8>],
}

impl ChainMatch {
    /// Compiles the message; without one, everything fits.
    pub fn compile(from: Option<&listener::FilterChainMatch>) -> Valid<ChainMatch> {
        let Some(from) = from else { return Ok(ChainMatch::default()) };
        if !from.address_suffix.is_empty() {
            return Err(Invalid::new("address_suffix is not supported"));
        }
        let ranges = |ranges: &[core::CidrRange]| ranges.iter().map(cidr).collect::<Valid<Vec<_>>>();
        let mut server_names = Vec::new();
        for name in &from.server_names {
            let name = name.to_ascii_lowercase();
            if name.contains('*') && !name.starts_with("*.") {
                return Err(Invalid(format!("server name {name:?}: only a leading \"*.\" is a wildcard")));
            }
            server_names.push(name);
        }
        Ok(ChainMatch {
            port: from.destination_port.as_ref().map(|port| port.value),
            destinations: ranges(&from.prefix_ranges).at("prefix_ranges")?,
            server_names,
            transport: from.transport_protocol.clone(),
            protocols: from.application_protocols.iter().map(|name| name.clone().into_bytes()).collect(),
            direct_sources: ranges(&from.direct_source_prefix_ranges).at("direct_source_prefix_ranges")?,
            source_type: from.source_type,
            sources: ranges(&from.source_prefix_ranges).at("source_prefix_ranges")?,
            source_ports: from.source_ports.clone(),
        })
    }
}

/// Index of the chain for a connection. Each criterion narrows the candidates to those that name the best value, or
/// else to those that do not name the criterion; there is no way back.
pub fn choose(chains: &[ChainMatch], seen: &Observed<'_>) -> Option<usize> {
    let mut left: Vec<&ChainMatch> = chains.iter().collect();
    let port = u32::from(seen.local.port());
    narrow(&mut left, |chain| chain.port == Some(port), |chain| chain.port.is_none());
    narrow_ip(&mut left, seen.local.ip(), |chain| &chain.destinations);
    narrow_names(&mut left, seen.sni);
    let transport = if seen.is_tls { "tls" } else { "raw_buffer" };
    narrow(&mut left, |chain| chain.transport == transport, |chain| chain.transport.is_empty());
    let offered = seen.protocols.iter().find(|name| left.iter().any(|chain| chain.protocols.contains(name)));
    match offered {
        Some(name) => left.retain(|chain| chain.protocols.contains(name)),
        None => left.retain(|chain| chain.protocols.is_empty()),
    }
    narrow_ip(&mut left, seen.remote.ip(), |chain| &chain.direct_sources);
    let local = seen.remote.ip().is_loopback() || seen.remote.ip() == seen.local.ip();
    let kind = if local { 1 } else { 2 };
    narrow(&mut left, |chain| chain.source_type == kind, |chain| chain.source_type == 0);
    narrow_ip(&mut left, seen.remote.ip(), |chain| &chain.sources);
    let port = u32::from(seen.remote.port());
    narrow(&mut left, |chain| chain.source_ports.contains(&port), |chain| chain.source_ports.is_empty());
    let chosen = *left.first()?;
    chains.iter().position(|chain| std::ptr::eq(chain, chosen))
}

fn narrow(
    left: &mut Vec<&ChainMatch>,
    best: impl Fn(&ChainMatch) -> bool,
    rest: impl Fn(&ChainMatch) -> bool,
) {
    if left.iter().any(|chain| best(chain)) {
        left.retain(|chain| best(chain));
    } else {
        left.retain(|chain| rest(chain));
    }
}

fn narrow_ip(left: &mut Vec<&ChainMatch>, ip: IpAddr, ranges: impl Fn(&ChainMatch) -> &Vec<IpNet>) {
    let ip = ip.to_canonical();
    let longest = |chain: &ChainMatch| {
        ranges(chain).iter().filter(|net| net.contains(&ip)).map(IpNet::prefix_len).max()
    };
    match left.iter().filter_map(|chain| longest(chain)).max() {
        Some(best) => left.retain(|chain| longest(chain) == Some(best)),
        None => left.retain(|chain| ranges(chain).is_empty()),
    }
}

fn narrow_names(left: &mut Vec<&ChainMatch>, sni: Option<&str>) {
    let sni = sni.unwrap_or("").to_ascii_lowercase();
    if !sni.is_empty() {
        if left.iter().any(|chain| chain.server_names.contains(&sni)) {
            left.retain(|chain| chain.server_names.contains(&sni));
            return;
        }
        let mut rest = sni.as_str();
        while let Some((_, suffix)) = rest.split_once('.') {
            let wildcard = format!("*.{suffix}");
            if left.iter().any(|chain| chain.server_names.contains(&wildcard)) {
                left.retain(|chain| chain.server_names.contains(&wildcard));
                return;
            }
            rest = suffix;
        }
    }
    left.retain(|chain| chain.server_names.is_empty());
}
