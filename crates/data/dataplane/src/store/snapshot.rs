//! The compiled configuration that workers run on.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use crate::listener::Listener;
use crate::listener::bind::Bound;
use crate::route::RouteTable;
use crate::upstream::Cluster;

/// One consistent, immutable state of the whole configuration.
#[derive(Debug, Default, Clone)]
pub struct Snapshot {
    /// Grows by one with every snapshot.
    pub generation: u64,
    pub(crate) listeners: HashMap<Arc<str>, ActiveListener>,
    pub(crate) routes: HashMap<Arc<str>, Arc<RouteTable>>,
    pub(crate) clusters: HashMap<Arc<str>, Arc<Cluster>>,
    /// Listeners that are not bound, by the address that others hand connections over for.
    pub(crate) unbound: HashMap<SocketAddr, Arc<Listener>>,
}

impl Snapshot {
    /// The listener for connections that were redirected: that of their address, else that of the wildcard address with
    /// their port (Envoy: `use_original_dst`).
    pub(crate) fn handed_over(&self, wanted: SocketAddr) -> Option<&Arc<Listener>> {
        let wildcard = match wanted {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        // Flow and scope of an IPv6 address say nothing about a listener.
        let exact = SocketAddr::new(wanted.ip(), wanted.port());
        self.unbound.get(&exact).or_else(|| self.unbound.get(&SocketAddr::new(wildcard, wanted.port())))
    }
}

/// A listener in use.
#[derive(Debug, Clone)]
pub(crate) struct ActiveListener {
    pub(crate) listener: Arc<Listener>,
    /// `None`: not bound, gets connections from others only; or draining.
    pub(crate) bound: Option<Arc<Bound>>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listener::scopes::StatScopes;
    use crate::pb::{core, listener};

    fn snapshot(addresses: &[&str]) -> Snapshot {
        let listeners = addresses.iter().map(|text| {
            let address: SocketAddr = text.parse().unwrap();
            let socket = core::SocketAddress {
                address: address.ip().to_string(),
                port_specifier: Some(core::socket_address::PortSpecifier::PortValue(address.port().into())),
                ..Default::default()
            };
            let message = listener::Listener {
                name: (*text).to_owned(),
                address: Some(core::Address { address: Some(core::address::Address::SocketAddress(socket)) }),
                filter_chains: vec![listener::FilterChain::default()],
                ..Default::default()
            };
            let compiled = Listener::compile(&message, 1, &mut StatScopes::default(), None).unwrap();
            (address, Arc::new(compiled))
        });
        Snapshot { unbound: listeners.collect(), ..Snapshot::default() }
    }

    #[test]
    fn a_redirected_connection_finds_its_listener() {
        let snapshot = snapshot(&["10.0.0.1:80", "0.0.0.0:80", "0.0.0.0:443", "[::]:80"]);
        for (wanted, found) in [
            ("10.0.0.1:80", Some("10.0.0.1:80")),
            ("10.0.0.2:80", Some("0.0.0.0:80")),
            ("10.0.0.1:443", Some("0.0.0.0:443")),
            ("10.0.0.1:81", None),
            ("[2001:db8::1]:80", Some("[::]:80")),
            ("[2001:db8::1]:443", None),
        ] {
            let listener = snapshot.handed_over(wanted.parse().unwrap());
            assert_eq!(listener.map(|listener| &*listener.name), found, "{wanted}");
        }
    }
}
