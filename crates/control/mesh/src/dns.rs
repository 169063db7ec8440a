//! What the mesh's DNS answers.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use portolan_derive::{Derived, Reader};

use crate::{
    export_to::Visibility,
    registered::AddedHosts,
    registry::ServiceAt,
    service::{Registry, Service},
};

/// What DNS answers for a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsEntry {
    /// Addresses.
    pub addresses: Vec<IpAddr>,
    /// Where the host comes from.
    pub registry: Registry,
}

/// Hosts that only the mesh can resolve, with their addresses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct DnsTable;

impl Derived for DnsTable {
    type Value = Arc<BTreeMap<String, DnsEntry>>;
    fn derive(&self, read: &Reader<'_>) -> Self::Value {
        let resolvable = |s: &Arc<Service>| {
            s.registry != Registry::Kubernetes
                && matches!(s.visibility, Visibility::Public)
                && !s.host.contains('*')
        };
        let hosts = read.get(&AddedHosts);
        let services = hosts.iter().filter_map(|host| read.get(&ServiceAt(host.clone())));
        let table = services.filter(resolvable).filter_map(|s| {
            let addresses: Vec<IpAddr> =
                s.virtual_addresses().iter().filter_map(|a| a.parse().ok()).collect();
            (!addresses.is_empty()).then(|| (s.host.clone(), DnsEntry { addresses, registry: s.registry }))
        });
        Arc::new(table.collect())
    }
}
