//! Addresses for hosts that nothing else resolves.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use crate::{
    export_to::Visibility,
    service::{Registry, Service},
    snapshot::Snapshot,
};

/// First two bytes of the addresses of ServiceEntry hosts (Istio 1.9 reference, Service Entry and Workload Entry).
pub const AUTO_VIP_SERVICE_ENTRY: [u8; 2] = [240, 240];
/// First two bytes of the addresses of imported hosts (docs/reference/federation.md).
pub const AUTO_VIP_FEDERATION: [u8; 2] = [240, 241];

/// What DNS answers for a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsEntry {
    /// Addresses.
    pub addresses: Vec<IpAddr>,
    /// Where the host comes from.
    pub registry: Registry,
}

/// FNV-1a, 64 bit: the same on every build and machine, so that a host keeps its address.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}

fn pool(registry: Registry) -> [u8; 2] {
    match registry {
        Registry::Federation => AUTO_VIP_FEDERATION,
        Registry::Kubernetes | Registry::ServiceEntry => AUTO_VIP_SERVICE_ENTRY,
    }
}

/// The address of slot `slot` in a pool: `.1` to `.254` of each of its 256 networks.
fn address(pool: [u8; 2], slot: u64) -> Ipv4Addr {
    const PER_NETWORK: u64 = 254;
    let slot = slot % (256 * PER_NETWORK);
    // Both fit: slot / 254 < 256 and slot % 254 + 1 <= 254.
    Ipv4Addr::new(pool[0], pool[1], (slot / PER_NETWORK) as u8, (slot % PER_NETWORK) as u8 + 1)
}

/// Gives every service that wants one an address. A host that had one keeps it; a new one gets the address of its hash,
/// or the next free one. So addresses do not move when other hosts come and go.
pub(crate) fn allocate(
    services: &mut [Service],
    before: &BTreeMap<String, Ipv4Addr>,
) -> BTreeMap<String, Ipv4Addr> {
    let mut wanting: Vec<&mut Service> =
        services.iter_mut().filter(|s| s.wants_auto_address && s.addresses.is_empty()).collect();
    wanting.sort_by(|a, b| a.host.cmp(&b.host));
    let mut table = BTreeMap::new();
    let mut taken = BTreeSet::new();
    for service in &wanting {
        if let Some(ip) = before.get(&service.host)
            && ip.octets()[..2] == pool(service.registry)
            && taken.insert(*ip)
        {
            table.insert(service.host.clone(), *ip);
        }
    }
    for service in &mut wanting {
        let ip = *table.entry(service.host.clone()).or_insert_with(|| {
            let pool = pool(service.registry);
            let start = hash(&service.host);
            let free = (0..65_024).map(|i| address(pool, start.wrapping_add(i))).find(|ip| taken.insert(*ip));
            // A full pool (65 024 hosts) shares addresses; HTTP still works, it goes by host name.
            free.unwrap_or_else(|| address(pool, start))
        });
        service.auto_address = Some(ip);
    }
    table
}

impl Snapshot {
    /// Hosts that only the mesh can resolve, with their addresses: imports and ServiceEntries with addresses of their
    /// own. The cluster's DNS and the agents' DNS proxies answer from this table.
    pub(crate) fn dns_table(&self) -> BTreeMap<String, DnsEntry> {
        let resolvable = |s: &&Arc<Service>| {
            s.registry != Registry::Kubernetes
                && matches!(s.visibility, Visibility::Public)
                && !s.host.contains('*')
        };
        self.services
            .values()
            .filter(resolvable)
            .filter_map(|s| {
                let addresses: Vec<IpAddr> =
                    s.virtual_addresses().iter().filter_map(|a| a.parse().ok()).collect();
                (!addresses.is_empty())
                    .then(|| (s.host.clone(), DnsEntry { addresses, registry: s.registry }))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanting(host: &str) -> Service {
        Service {
            host: host.to_owned(),
            registry: Registry::Federation,
            wants_auto_address: true,
            ..Service::default()
        }
    }

    #[test]
    fn addresses_are_stable() {
        let mut all: Vec<Service> = (0..500).map(|i| wanting(&format!("h{i}.x"))).collect();
        let table = allocate(&mut all, &BTreeMap::new());
        let distinct: BTreeSet<_> = table.values().collect();
        assert_eq!(distinct.len(), 500);
        assert!(table.values().all(|ip| ip.octets()[..2] == AUTO_VIP_FEDERATION));
        let mut fewer: Vec<Service> =
            (250..500).chain(900..950).map(|i| wanting(&format!("h{i}.x"))).collect();
        let after = allocate(&mut fewer, &table);
        for i in 250..500 {
            let host = format!("h{i}.x");
            assert_eq!(after[&host], table[&host]);
        }
    }

    /// Published values of FNV-1a, 64 bit.
    #[test]
    fn the_hash_is_the_same_everywhere() {
        for (text, expected) in
            [("", 0xcbf2_9ce4_8422_2325), ("a", 0xaf63_dc4c_8601_ec8c), ("foobar", 0x8594_4171_f739_67e8)]
        {
            assert_eq!(hash(text), expected, "{text}");
        }
    }

    #[test]
    fn slots_go_through_all_networks_of_a_pool() {
        for (slot, expected) in [
            (0, [240, 241, 0, 1]),
            (253, [240, 241, 0, 254]),
            (254, [240, 241, 1, 1]),
            (65_023, [240, 241, 255, 254]),
            (65_024, [240, 241, 0, 1]),
        ] {
            assert_eq!(address(AUTO_VIP_FEDERATION, slot).octets(), expected, "{slot}");
        }
    }

    #[test]
    fn a_host_keeps_the_address_that_it_had_if_its_pool_has_it() {
        for (before, kept) in [([240, 241, 7, 7], true), ([240, 240, 7, 7], false)] {
            let before = Ipv4Addr::from(before);
            let table = allocate(&mut [wanting("h.x")], &BTreeMap::from([("h.x".to_owned(), before)]));
            assert_eq!(table["h.x"] == before, kept, "{before}");
        }
    }

    #[test]
    fn only_services_that_want_an_address_and_have_none_get_one() {
        let having = Service { addresses: vec!["10.0.0.1".to_owned()], ..wanting("having.x") };
        let content = Service { wants_auto_address: false, ..wanting("content.x") };
        let mut all = [having, content, wanting("h.x")];
        let table = allocate(&mut all, &BTreeMap::new());
        assert_eq!(table.keys().collect::<Vec<_>>(), ["h.x"]);
        assert_eq!(all.map(|s| s.auto_address.is_some()), [false, false, true]);
    }
}
