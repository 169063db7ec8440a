//! Services and endpoints.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use crate::{export_to::Visibility, object::Age, protocol::Protocol};

/// Where a service comes from; in this order when several registries have the same host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Registry {
    /// A Kubernetes Service.
    #[default]
    Kubernetes,
    /// A ServiceEntry.
    ServiceEntry,
    /// An import from another mesh.
    Federation,
}

/// How a proxy finds the endpoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Resolution {
    /// From the control plane (EDS).
    #[default]
    ClientSide,
    /// It goes to the address that the client used.
    Passthrough,
    /// It asks DNS.
    Dns,
}

/// A port of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ServicePort {
    /// Name.
    pub name: String,
    /// Number that clients use.
    pub number: u16,
    /// What is spoken.
    pub protocol: Protocol,
}

/// A service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// Full host name, lower case; a ServiceEntry's may be a wildcard.
    pub host: String,
    /// Short name, shown in metrics.
    pub name: String,
    /// Namespace.
    pub namespace: String,
    /// Origin.
    pub registry: Registry,
    /// Virtual addresses: IPs or, for ServiceEntries, CIDRs. Empty: none of its own.
    pub addresses: Vec<String>,
    /// Address that we chose because the service has none; clients learn it from [`crate::Model::dns_table`].
    pub auto_address: Option<Ipv4Addr>,
    /// Wants an [`Service::auto_address`] when it has no address.
    pub wants_auto_address: bool,
    /// Ports.
    pub ports: Vec<ServicePort>,
    /// How endpoints are found.
    pub resolution: Resolution,
    /// Outside of the mesh: no mesh mTLS.
    pub mesh_external: bool,
    /// Who sees it.
    pub visibility: Visibility,
    /// Labels of the service.
    pub labels: BTreeMap<String, String>,
    /// Labels of its workloads.
    pub selector: BTreeMap<String, String>,
    /// Names that its servers may have, besides the identities of the endpoints.
    pub subject_alt_names: BTreeSet<String>,
    /// The Kubernetes Service has no cluster IP by wish.
    pub headless: bool,
    /// DNS name that an ExternalName Service stands for.
    pub external_name: Option<String>,
    /// Age, for conflicts.
    pub age: Age,
}

impl Service {
    /// The port with this number.
    pub fn port(&self, number: u16) -> Option<&ServicePort> {
        self.ports.iter().find(|p| p.number == number)
    }
    /// Addresses that clients may use: the given ones, else the chosen one.
    pub fn virtual_addresses(&self) -> Vec<String> {
        if self.addresses.is_empty() {
            return self.auto_address.iter().map(ToString::to_string).collect();
        }
        self.addresses.clone()
    }
}

/// Address of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EndpointAddress {
    /// IP.
    Ip(IpAddr),
    /// DNS name, for services resolved by DNS.
    Dns(String),
    /// Path of a Unix socket.
    Unix(String),
}

impl fmt::Display for EndpointAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(f),
            Self::Dns(name) => f.write_str(name),
            Self::Unix(path) => write!(f, "unix://{path}"),
        }
    }
}

/// Where something runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Locality {
    /// Region.
    pub region: String,
    /// Zone.
    pub zone: String,
    /// Sub-zone.
    pub subzone: String,
}

impl Locality {
    /// Reads `region/zone/subzone`.
    pub fn parse(text: &str) -> Self {
        let mut parts = text.splitn(3, '/').map(str::to_owned);
        let mut next = || parts.next().unwrap_or_default();
        Self { region: next(), zone: next(), subzone: next() }
    }
    /// Nothing is known.
    pub fn is_empty(&self) -> bool {
        self.region.is_empty() && self.zone.is_empty() && self.subzone.is_empty()
    }
}

impl fmt::Display for Locality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}",
            [&self.region, &self.zone, &self.subzone].map(String::as_str).join("/").trim_end_matches('/')
        )
    }
}

/// One endpoint of one port of a service.
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    /// Address.
    pub address: EndpointAddress,
    /// Port of the workload.
    pub port: u16,
    /// Labels of the workload.
    pub labels: Arc<BTreeMap<String, String>>,
    /// SPIFFE id with `spiffe://`.
    pub identity: Option<String>,
    /// It terminates mesh mTLS.
    pub mesh_tls: bool,
    /// Where it runs.
    pub locality: Locality,
    /// Load balancing weight; 0 means 1.
    pub weight: u32,
    /// Network; empty is the cluster's own.
    pub network: String,
    /// Namespace of the workload.
    pub namespace: String,
    /// Name of the workload (Deployment), for metrics.
    pub workload: String,
}

/// Endpoints of a service by service port number.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServiceEndpoints {
    /// Port number to endpoints, sorted by address.
    pub by_port: BTreeMap<u16, Vec<Endpoint>>,
}

impl ServiceEndpoints {
    /// Endpoints of a port.
    pub fn port(&self, number: u16) -> &[Endpoint] {
        self.by_port.get(&number).map(Vec::as_slice).unwrap_or_default()
    }
    /// Identities of all endpoints.
    pub fn identities(&self) -> BTreeSet<String> {
        self.by_port.values().flatten().filter_map(|e| e.identity.clone()).collect()
    }
    /// Adds the endpoints of another registry.
    pub fn merge(&mut self, other: &Self) {
        for (port, endpoints) in &other.by_port {
            let mine = self.by_port.entry(*port).or_default();
            mine.extend(endpoints.iter().cloned());
            mine.sort_by(|a, b| (&a.address, a.port).cmp(&(&b.address, b.port)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_has_the_ports_that_it_has() {
        let port = ServicePort { number: 80, ..ServicePort::default() };
        let service = Service { ports: vec![port.clone()], ..Service::default() };
        assert_eq!((service.port(80), service.port(81)), (Some(&port), None));
    }

    #[test]
    fn addresses_are_shown_as_they_are_written() {
        for (address, text) in [
            (EndpointAddress::Ip("fd00::1".parse().unwrap()), "fd00::1"),
            (EndpointAddress::Dns("a.example".to_owned()), "a.example"),
            (EndpointAddress::Unix("/run/s".to_owned()), "unix:///run/s"),
        ] {
            assert_eq!(address.to_string(), text);
        }
    }

    #[test]
    fn localities_are_read_and_shown() {
        for (text, [region, zone, subzone], shown) in [
            ("", ["", "", ""], ""),
            ("r", ["r", "", ""], "r"),
            ("r/z", ["r", "z", ""], "r/z"),
            ("r/z/s", ["r", "z", "s"], "r/z/s"),
            ("r/z/s/t", ["r", "z", "s/t"], "r/z/s/t"),
            ("/z", ["", "z", ""], "/z"),
            ("//s", ["", "", "s"], "//s"),
        ] {
            let locality = Locality::parse(text);
            assert_eq!(
                [&locality.region, &locality.zone, &locality.subzone],
                [region, zone, subzone],
                "{text}"
            );
            assert_eq!(
                (locality.to_string().as_str(), locality.is_empty()),
                (shown, text.is_empty()),
                "{text}"
            );
        }
    }
}
