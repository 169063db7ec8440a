//! Addresses for hosts that nothing else resolves.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    sync::Arc,
};

use portolan_derive::{Derived, Reader, Relation};

use crate::{
    facts::ChosenFact,
    registered::{AddedHosts, Registered, wants_address},
    service::Registry,
};

/// First two bytes of the addresses of ServiceEntry hosts (Istio 1.9 reference, Service Entry and Workload Entry).
pub const AUTO_VIP_SERVICE_ENTRY: [u8; 2] = [240, 240];
/// First two bytes of the addresses of imported hosts (docs/reference/federation.md).
pub const AUTO_VIP_FEDERATION: [u8; 2] = [240, 241];

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

/// An address for every one of these hosts. A host that had one keeps it; a new one gets the address of its hash, or the
/// next free one. So addresses do not move when other hosts come and go.
pub(crate) fn allocate(
    wanting: &BTreeMap<String, Registry>,
    before: impl Fn(&str) -> Option<Ipv4Addr>,
) -> BTreeMap<String, Ipv4Addr> {
    let mut table = BTreeMap::new();
    let mut taken = BTreeSet::new();
    for (host, registry) in wanting {
        if let Some(ip) = before(host)
            && ip.octets()[..2] == pool(*registry)
            && taken.insert(ip)
        {
            table.insert(host.clone(), ip);
        }
    }
    for (host, registry) in wanting {
        table.entry(host.clone()).or_insert_with(|| {
            let pool = pool(*registry);
            let start = hash(host);
            let free = (0..65_024).map(|i| address(pool, start.wrapping_add(i))).find(|ip| taken.insert(*ip));
            // A full pool (65 024 hosts) shares addresses; HTTP still works, it goes by host name.
            free.unwrap_or_else(|| address(pool, start))
        });
    }
    table
}

/// The addresses that are chosen, by host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct AutoAddresses;

impl Relation for AutoAddresses {
    type Entry = String;
    type Value = Ipv4Addr;
    fn derive(&self, read: &Reader<'_>) -> BTreeMap<String, Ipv4Addr> {
        let wanting = |host: &String| {
            let service = read.get(&Registered(host.clone())).filter(|s| wants_address(s))?;
            Some((host.clone(), service.registry))
        };
        let wanting = read.get(&AddedHosts).iter().filter_map(wanting).collect();
        allocate(&wanting, |host| read.fact(&ChosenFact(host.to_owned())))
    }
}

/// The same as a value that can be held.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Chosen;

impl Derived for Chosen {
    type Value = Arc<BTreeMap<String, Ipv4Addr>>;
    fn derive(&self, read: &Reader<'_>) -> Self::Value {
        read.whole(&AutoAddresses)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanting(hosts: impl Iterator<Item = u32>) -> BTreeMap<String, Registry> {
        hosts.map(|i| (format!("h{i}.x"), Registry::Federation)).collect()
    }

    #[test]
    fn addresses_are_stable() {
        let table = allocate(&wanting(0..500), |_| None);
        let distinct: BTreeSet<_> = table.values().collect();
        assert_eq!(distinct.len(), 500);
        assert!(table.values().all(|ip| ip.octets()[..2] == AUTO_VIP_FEDERATION));
        let after = allocate(&wanting((250..500).chain(900..950)), |host| table.get(host).copied());
        for i in 250..500 {
            let host = format!("h{i}.x");
            assert_eq!(after[&host], table[&host]);
        }
        assert_eq!(after.len(), 300);
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
            let table = allocate(&wanting(0..1), |_| Some(before));
            assert_eq!(table["h0.x"] == before, kept, "{before}");
        }
    }
}
