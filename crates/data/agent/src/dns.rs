//! The DNS proxy (`ISTIO_META_DNS_CAPTURE`): answers the mesh's names, passes the rest on.
//!
//! Captured questions of the application arrive on loopback, over UDP and TCP. What the control plane's name table (NDS)
//! knows is answered here; everything else goes to the servers of `/etc/resolv.conf`, and their answer is passed back as
//! it is.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use portolan_dns::{Data, Forwarder, ResolvConf, Role, Server, Zone, ZoneBuilder};
use portolan_xds::istio::NameTable;
use prost::Message as _;
use tokio::net::{TcpListener, UdpSocket};

use crate::xds_client::NameTableSink;

/// Seconds that an answer of ours may be kept (Istio's value): addresses of the mesh change rarely, and
/// routing goes by host name anyway.
const TTL: u32 = 30;
/// Registry whose hosts have short names.
const KUBERNETES: &str = "Kubernetes";
/// Names that one table may hold, aliases included.
const MAX_NAMES: usize = 500_000;
/// Addresses that are answered for one name.
const MAX_ADDRESSES: usize = 64;

/// Answers the mesh's names. Cheap to clone.
#[derive(Debug, Clone)]
pub struct DnsProxy {
    server: Server,
    namespace: Arc<str>,
    search: Arc<[String]>,
}

impl DnsProxy {
    /// A proxy for a workload in `namespace`, with its sockets, on loopback. `resolv_conf` is the workload's own: the
    /// servers behind, and the domains that its resolver appends.
    pub async fn bind(
        port: u16,
        namespace: &str,
        resolv_conf: ResolvConf,
    ) -> std::io::Result<(Self, UdpSocket, TcpListener)> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let (udp, tcp) = (UdpSocket::bind(address).await?, TcpListener::bind(address).await?);
        let server = Server::new(Role::Interceptor, TTL, Forwarder::new(resolv_conf.servers));
        let proxy = DnsProxy { server, namespace: namespace.into(), search: resolv_conf.search.into() };
        Ok((proxy, udp, tcp))
    }

    /// Serves without end; dropping the future ends what is being worked on.
    pub async fn serve(self, udp: UdpSocket, tcp: TcpListener) {
        tokio::join!(self.server.clone().serve_udp(udp), self.server.serve_tcp(tcp));
    }
}

impl NameTableSink for DnsProxy {
    fn set_table(&self, body: &[u8]) -> Result<(), String> {
        let names = NameTable::decode(body).map_err(|error| format!("not a NameTable: {error}"))?;
        self.server.set_zone(zone_of(&names, &self.namespace, &self.search));
        Ok(())
    }
}

/// The names that a workload in `namespace` may ask for. Kubernetes hosts also have the short names that the resolver of
/// a Pod would expand.
fn zone_of(names: &NameTable, namespace: &str, search: &[String]) -> Zone {
    let mut zone = ZoneBuilder::default();
    zone.search(search.to_vec());
    for (host, info) in &names.table {
        let mut owners = vec![host.to_ascii_lowercase()];
        if info.registry == KUBERNETES && !info.shortname.is_empty() && !info.namespace.is_empty() {
            let (short, of) = (info.shortname.to_ascii_lowercase(), &info.namespace);
            if of == namespace {
                owners.push(short.clone());
            }
            owners.push(format!("{short}.{of}"));
            owners.push(format!("{short}.{of}.svc"));
        }
        for owner in owners {
            if zone.len() >= MAX_NAMES {
                tracing::warn!(
                    "the name table has more than {MAX_NAMES} names; the rest is left to other servers"
                );
                return zone.build();
            }
            if !owner.starts_with("*.") {
                zone.exists(owner.clone());
            }
            for ip in info.ips.iter().filter_map(|ip| ip.parse::<IpAddr>().ok()).take(MAX_ADDRESSES) {
                zone.add(owner.clone(), Data::Address(ip));
            }
        }
    }
    zone.build()
}

#[cfg(test)]
mod tests {
    use portolan_dns::{Answer, Kind};
    use portolan_xds::istio::NameInfo;

    use super::*;

    fn zone() -> Zone {
        let entry = |host: &str, ip: &str, short: &str, namespace: &str| {
            let registry = if short.is_empty() { "External" } else { KUBERNETES };
            let info = NameInfo {
                ips: vec![ip.into()],
                registry: registry.into(),
                shortname: short.into(),
                namespace: namespace.into(),
            };
            (host.to_owned(), info)
        };
        let search = ["bookinfo.svc.cluster.local".to_owned(), "svc.cluster.local".to_owned()];
        let table = [
            entry("reviews.bookinfo.svc.cluster.local", "10.96.0.7", "reviews", "bookinfo"),
            entry("db.other.svc.cluster.local", "10.96.0.8", "db", "other"),
            entry("ratings.bookinfo.svc.east-imports.local", "240.241.0.1", "", ""),
            entry("*.example.com", "240.240.0.1", "", ""),
        ];
        zone_of(&NameTable { table: table.into() }, "bookinfo", &search)
    }

    /// The address that a question for `name` leads to, over an alias or not.
    fn address(zone: &Zone, name: &str) -> Option<(Option<String>, String)> {
        let Answer::Records(records) = zone.lookup(name, Kind::A) else { return None };
        match &records[0].1 {
            Data::Alias(target) => address(zone, target).map(|(_, ip)| (Some(target.clone()), ip)),
            Data::Address(ip) => Some((None, ip.to_string())),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn names_aliases_and_wildcards() {
        let zone = zone();
        for (name, expected) in [
            ("reviews.bookinfo.svc.cluster.local", Some((None, "10.96.0.7"))),
            ("reviews", Some((None, "10.96.0.7"))),
            ("db", None),
            ("db.other", Some((None, "10.96.0.8"))),
            ("db.other.svc", Some((None, "10.96.0.8"))),
            ("a.b.example.com", Some((None, "240.240.0.1"))),
            ("example.com", None),
            ("ratings.bookinfo.svc.east-imports.local", Some((None, "240.241.0.1"))),
            (
                "ratings.bookinfo.svc.east-imports.local.svc.cluster.local",
                Some((Some("ratings.bookinfo.svc.east-imports.local"), "240.241.0.1")),
            ),
            ("www.example.com.bookinfo.svc.cluster.local", Some((None, "240.240.0.1"))),
            ("unknown.bookinfo.svc.cluster.local", None),
        ] {
            let expected =
                expected.map(|(alias, ip): (Option<&str>, &str)| (alias.map(str::to_owned), ip.to_owned()));
            assert_eq!(address(&zone, name), expected, "{name}");
        }
    }

    #[test]
    fn what_the_table_does_not_have_is_left_to_other_servers() {
        assert_eq!(zone().lookup("unknown.bookinfo.svc.cluster.local", Kind::A), Answer::Forward);
    }

    #[tokio::test]
    async fn a_table_that_is_none_is_refused() {
        let resolv_conf = ResolvConf::default();
        let (proxy, ..) = DnsProxy::bind(0, "bookinfo", resolv_conf).await.unwrap();
        assert!(proxy.set_table(b"\xff").unwrap_err().starts_with("not a NameTable"));
    }
}
