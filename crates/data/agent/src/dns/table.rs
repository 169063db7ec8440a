//! The mesh's names, as the control plane pushes them (NDS), and what a question about them is answered with.

use std::collections::HashMap;
use std::net::IpAddr;

use portolan_xds::istio::NameTable;

/// Registry whose hosts have short names.
const KUBERNETES: &str = "Kubernetes";
/// Names that one table may hold, aliases included.
const MAX_NAMES: usize = 500_000;
/// Addresses that are answered for one name.
const MAX_ADDRESSES: usize = 64;

/// Hosts by lower-case name without the final dot.
#[derive(Debug, Default)]
pub(crate) struct Table {
    hosts: HashMap<String, Vec<IpAddr>>,
}

/// What is known about a name.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Known<'a> {
    /// The host that the name stands for, when it is another one (a search domain was appended).
    pub(crate) alias_of: Option<&'a str>,
    /// Its addresses.
    pub(crate) addresses: &'a [IpAddr],
}

impl Table {
    /// Builds the look-up table for a proxy in `namespace`. Kubernetes hosts also have the short names that the
    /// resolver of a Pod would expand.
    pub(crate) fn new(names: &NameTable, namespace: &str) -> Self {
        let mut hosts = HashMap::new();
        for (host, info) in &names.table {
            let addresses: Vec<IpAddr> =
                info.ips.iter().filter_map(|ip| ip.parse().ok()).take(MAX_ADDRESSES).collect();
            let mut aliases = vec![host.to_ascii_lowercase()];
            if info.registry == KUBERNETES && !info.shortname.is_empty() && !info.namespace.is_empty() {
                let (short, of) = (info.shortname.to_ascii_lowercase(), &info.namespace);
                if of == namespace {
                    aliases.push(short.clone());
                }
                aliases.push(format!("{short}.{of}"));
                aliases.push(format!("{short}.{of}.svc"));
            }
            for alias in aliases {
                if hosts.len() >= MAX_NAMES {
                    tracing::warn!(
                        "the name table has more than {MAX_NAMES} names; the rest is left to other servers"
                    );
                    return Table { hosts };
                }
                hosts.insert(alias, addresses.clone());
            }
        }
        Table { hosts }
    }

    /// Looks a name up: itself, then the wildcards above it, then the same without one of the search domains.
    pub(crate) fn look_up(&self, name: &str, search: &[String]) -> Option<Known<'_>> {
        if let Some((_, addresses)) = self.find(name) {
            return Some(Known { alias_of: None, addresses });
        }
        search.iter().find_map(|domain| {
            let host = name.strip_suffix(domain.as_str())?.strip_suffix('.')?;
            // Only names with a dot: a bare word is meant for the search domains.
            let (key, addresses) = self.find(host).filter(|_| host.contains('.'))?;
            // The key of a wildcard is not a name that can be answered; then no alias is named.
            Some(Known { alias_of: (key == host).then_some(key), addresses })
        })
    }

    fn find(&self, name: &str) -> Option<(&str, &[IpAddr])> {
        let get = |key: &str| self.hosts.get_key_value(key).map(|(key, ips)| (key.as_str(), ips.as_slice()));
        if let Some(found) = get(name) {
            return Some(found);
        }
        let mut rest = name;
        while let Some((_, parent)) = rest.split_once('.') {
            if let Some(found) = get(&format!("*.{parent}")) {
                return Some(found);
            }
            rest = parent;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use portolan_xds::istio::NameInfo;

    use super::*;

    fn table() -> Table {
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
        let table = [
            entry("reviews.bookinfo.svc.cluster.local", "10.96.0.7", "reviews", "bookinfo"),
            entry("db.other.svc.cluster.local", "10.96.0.8", "db", "other"),
            entry("ratings.bookinfo.svc.east-imports.local", "240.241.0.1", "", ""),
            entry("*.example.com", "240.240.0.1", "", ""),
        ];
        Table::new(&NameTable { table: table.into() }, "bookinfo")
    }

    #[test]
    fn names_aliases_and_wildcards() {
        let search = ["bookinfo.svc.cluster.local".to_owned(), "svc.cluster.local".to_owned()];
        let table = table();
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
            let found = table.look_up(name, &search).map(|k| (k.alias_of, k.addresses[0].to_string()));
            assert_eq!(found, expected.map(|(alias, ip)| (alias, ip.to_owned())), "{name}");
        }
    }
}
