//! What is known by name: pure data.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

use crate::limits::MAX_HOST_LINES;

/// Data of one record.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Data {
    /// An address (A, AAAA).
    Address(IpAddr),
    /// Another name for which the question is to be asked (CNAME).
    Alias(String),
    /// A service (SRV).
    Service {
        /// Its port.
        port: u16,
        /// Name of the host that has it.
        target: String,
    },
    /// The name of an address (PTR).
    Pointer(String),
}

/// What is asked for; other types have no data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Services.
    Srv,
    /// Names of addresses.
    Ptr,
    /// Whatever there is.
    Any,
    /// Something that the zone has no data of.
    Other,
}

/// The answer to a question.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// Owner name and data, in order.
    Records(Vec<(String, Data)>),
    /// The name exists, but has nothing of that type.
    NoData,
    /// The name does not exist.
    NoName,
    /// Not ours: other servers may know.
    Forward,
}

/// Collects what a [`Zone`] is to hold. All names are lower case, without the final dot.
#[derive(Debug, Default)]
pub struct ZoneBuilder(Zone);

/// All names. Immutable; a change makes a new one.
#[derive(Debug, Default)]
pub struct Zone {
    names: HashMap<String, Vec<Data>>,
    /// `*.example.com` by `example.com`.
    wildcards: HashMap<String, Vec<Data>>,
    /// Domains that nobody else knows.
    own: Vec<String>,
    own_single_labels: bool,
    search: Vec<String>,
    /// The domain of [`ZoneBuilder::spelled_addresses`].
    spelled: Option<String>,
}

impl ZoneBuilder {
    /// Names such as `10-64-0-3.GROUP.domain` are the address that they spell, whatever the group.
    pub fn spelled_addresses(&mut self, domain: impl Into<String>) {
        self.0.spelled = Some(domain.into());
    }

    /// Names below `domain`, and itself, are ours alone: what is unknown there does not exist.
    pub fn own(&mut self, domain: impl Into<String>) {
        self.0.own.push(domain.into());
    }

    /// Names of a single label are ours alone.
    pub fn own_single_labels(&mut self) {
        self.0.own_single_labels = true;
    }

    /// Domains that resolvers append before they ask for a name as it is: a name of the zone with one of them appended
    /// is answered as an alias of it, which spares them the further questions. Only names with a dot have that: a bare
    /// word is meant for the search domains.
    pub fn search(&mut self, domains: Vec<String>) {
        self.0.search = domains;
    }

    /// The name exists, with or without data.
    pub fn exists(&mut self, name: impl Into<String>) {
        self.0.names.entry(name.into()).or_default();
    }

    /// Adds a record. A name that begins with `*.` stands for all names below the rest, at any depth (RFC 4592).
    pub fn add(&mut self, name: impl Into<String>, data: Data) {
        let name = name.into();
        let list = match name.strip_prefix("*.") {
            Some(parent) => self.0.wildcards.entry(parent.to_owned()).or_default(),
            None => self.0.names.entry(name).or_default(),
        };
        list.push(data);
    }

    /// Adds text in the form of /etc/hosts (hosts(5)); names may begin with `*.`. Lines that are not understood are left
    /// out.
    pub fn hosts(&mut self, text: &str) {
        for line in text.lines().take(MAX_HOST_LINES) {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_whitespace();
            let Some(Ok(address)) = words.next().map(str::parse::<IpAddr>) else { continue };
            for name in words {
                self.add(name.trim_end_matches('.').to_ascii_lowercase(), Data::Address(address));
            }
        }
    }

    /// Names that were added so far, wildcards included.
    pub fn len(&self) -> usize {
        self.0.names.len() + self.0.wildcards.len()
    }

    /// Whether nothing was added yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The zone.
    pub fn build(self) -> Zone {
        let mut zone = self.0;
        for list in zone.names.values_mut().chain(zone.wildcards.values_mut()) {
            list.sort_unstable();
            list.dedup();
        }
        zone
    }
}

impl Zone {
    /// Answers for `name`: lower case, without the final dot.
    pub fn lookup(&self, name: &str, kind: Kind) -> Answer {
        if let Some(data) = self.names.get(name).or_else(|| self.wildcard(name)) {
            return pick(name, data, kind);
        }
        if let Some(address) = self.spelled_address(name) {
            return pick(name, &[Data::Address(address.into())], kind);
        }
        if let Some(answer) = self.searched(name, kind) {
            return answer;
        }
        if self.owns(name) { Answer::NoName } else { Answer::Forward }
    }

    /// The address that a name spells.
    fn spelled_address(&self, name: &str) -> Option<Ipv4Addr> {
        let (address, group) =
            name.strip_suffix(self.spelled.as_deref()?)?.strip_suffix('.')?.split_once('.')?;
        if group.is_empty() || group.contains('.') || address.contains('.') {
            return None;
        }
        address.replace('-', ".").parse().ok()
    }

    /// The nearest wildcard above a name.
    fn wildcard(&self, name: &str) -> Option<&Vec<Data>> {
        let mut rest = name;
        while let Some((_, parent)) = rest.split_once('.') {
            if let Some(data) = self.wildcards.get(parent) {
                return Some(data);
            }
            rest = parent;
        }
        None
    }

    /// The answer for a name that a resolver appended a search domain to.
    fn searched(&self, name: &str, kind: Kind) -> Option<Answer> {
        self.search.iter().find_map(|domain| {
            let host = name.strip_suffix(domain.as_str())?.strip_suffix('.')?;
            if !host.contains('.') {
                None
            } else if self.names.contains_key(host) {
                Some(Answer::Records(vec![(name.to_owned(), Data::Alias(host.to_owned()))]))
            } else {
                // A wildcard has no name that could be an alias' target.
                self.wildcard(host).map(|data| pick(name, data, kind))
            }
        })
    }

    fn owns(&self, name: &str) -> bool {
        let below = |domain: &String| {
            name.strip_suffix(domain.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        (self.own_single_labels && !name.contains('.')) || self.own.iter().any(below)
    }
}

fn pick(name: &str, data: &[Data], kind: Kind) -> Answer {
    let wanted = |d: &&Data| match (d, kind) {
        // An alias answers every question.
        (Data::Alias(_), _) | (_, Kind::Any) => true,
        (Data::Address(a), Kind::A) => a.is_ipv4(),
        (Data::Address(a), Kind::Aaaa) => a.is_ipv6(),
        (Data::Service { .. }, Kind::Srv) | (Data::Pointer(_), Kind::Ptr) => true,
        _ => false,
    };
    let records: Vec<(String, Data)> =
        data.iter().filter(wanted).map(|d| (name.to_owned(), d.clone())).collect();
    if records.is_empty() { Answer::NoData } else { Answer::Records(records) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(zone: &Zone, name: &str, kind: Kind) -> String {
        match zone.lookup(name, kind) {
            Answer::Records(records) => {
                records.iter().map(|(_, d)| format!("{d:?}")).collect::<Vec<_>>().join(" ")
            }
            other => format!("{other:?}"),
        }
    }

    fn zone() -> Zone {
        let mut zone = ZoneBuilder::default();
        zone.hosts(
            "172.31.242.1 Front.example. # comment\nfd00::1 six.test\n1.2.3.4 *.wild.test\n\
             1.2.3.5 deep.wild.test\nbad line\n10.0.0.2 two.test\n10.0.0.1 two.test\n10.0.0.2 two.test\n",
        );
        zone.exists("empty.cluster.local");
        zone.add("out.cluster.local", Data::Alias("example.com".into()));
        zone.own("cluster.local");
        zone.build()
    }

    #[test]
    fn what_is_known_is_answered_by_type() {
        for (name, kind, expected) in [
            ("front.example", Kind::A, "Address(172.31.242.1)"),
            ("front.example", Kind::Aaaa, "NoData"),
            ("front.example", Kind::Other, "NoData"),
            ("six.test", Kind::Aaaa, "Address(fd00::1)"),
            ("two.test", Kind::A, "Address(10.0.0.1) Address(10.0.0.2)"),
            ("two.test", Kind::Any, "Address(10.0.0.1) Address(10.0.0.2)"),
            ("out.cluster.local", Kind::Aaaa, "Alias(\"example.com\")"),
            ("empty.cluster.local", Kind::A, "NoData"),
        ] {
            assert_eq!(show(&zone(), name, kind), expected, "{name} {kind:?}");
        }
    }

    #[test]
    fn a_wildcard_stands_for_what_is_below_and_has_no_name_of_its_own() {
        for (name, expected) in [
            ("x.wild.test", "Address(1.2.3.4)"),
            ("y.x.wild.test", "Address(1.2.3.4)"),
            ("deep.wild.test", "Address(1.2.3.5)"),
            ("wild.test", "Forward"),
        ] {
            assert_eq!(show(&zone(), name, Kind::A), expected, "{name}");
        }
    }

    #[test]
    fn what_is_unknown_is_ours_or_somebody_elses() {
        for (name, expected) in [
            ("nope.cluster.local", "NoName"),
            ("cluster.local", "NoName"),
            ("notcluster.local", "Forward"),
            ("example.com", "Forward"),
            ("db", "Forward"),
        ] {
            assert_eq!(show(&zone(), name, Kind::A), expected, "{name}");
        }
        let mut labels = ZoneBuilder::default();
        labels.own_single_labels();
        assert_eq!(show(&labels.build(), "db", Kind::A), "NoName");
    }

    #[test]
    fn each_type_of_question_gets_data_of_its_type() {
        let mut zone = ZoneBuilder::default();
        let service = Data::Service { port: 80, target: "b.test".into() };
        for data in [service, Data::Pointer("p.test".into()), Data::Address("10.0.0.1".parse().unwrap())] {
            zone.add("a.test", data);
        }
        let zone = zone.build();
        for (kind, expected) in [
            (Kind::Srv, "Service { port: 80, target: \"b.test\" }"),
            (Kind::Ptr, "Pointer(\"p.test\")"),
            (Kind::A, "Address(10.0.0.1)"),
            (Kind::Aaaa, "NoData"),
            (Kind::Other, "NoData"),
        ] {
            assert_eq!(show(&zone, "a.test", kind), expected, "{kind:?}");
        }
        let Answer::Records(all) = zone.lookup("a.test", Kind::Any) else { panic!("no records") };
        assert_eq!(all.len(), 3);
        assert!(all.iter().all(|(owner, _)| owner == "a.test"));
    }

    #[test]
    fn names_are_counted_with_wildcards() {
        let mut zone = ZoneBuilder::default();
        assert!(zone.is_empty());
        zone.hosts("10.0.0.1 a.test\n10.0.0.2 a.test *.b.test\n");
        assert_eq!((zone.len(), zone.is_empty()), (2, false));
    }

    #[test]
    fn a_hosts_text_has_no_more_lines_than_allowed() {
        let mut zone = ZoneBuilder::default();
        zone.hosts(&(0..=MAX_HOST_LINES).map(|n| format!("10.0.0.1 n{n}.test\n")).collect::<String>());
        assert_eq!(zone.len(), MAX_HOST_LINES);
    }

    #[test]
    fn a_name_with_a_search_domain_is_an_alias() {
        let mut zone = ZoneBuilder::default();
        zone.search(vec!["a.svc.cluster.local".into(), "svc.cluster.local".into()]);
        zone.hosts("240.241.0.1 ratings.east.local single\n240.240.0.1 *.example.com\n");
        let zone = zone.build();
        for (name, expected) in [
            ("ratings.east.local.svc.cluster.local", "Alias(\"ratings.east.local\")"),
            ("ratings.east.local.a.svc.cluster.local", "Alias(\"ratings.east.local\")"),
            ("www.example.com.a.svc.cluster.local", "Address(240.240.0.1)"),
            ("single.svc.cluster.local", "Forward"),
            ("unknown.east.local.svc.cluster.local", "Forward"),
        ] {
            assert_eq!(show(&zone, name, Kind::A), expected, "{name}");
        }
    }
}
