//! Addresses and node ports of Services: which are taken, and by which write they are being taken.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use ipnet::Ipv4Net;
use parking_lot::Mutex;
use portolan_apimachinery::status::FieldError;
use serde_json::{Value, json};

use crate::keys::SERVICES;
use crate::store::{Store, StoreError};

/// The first addresses of the range are handed out by name only: kubernetes is .1, DNS is .10.
const RESERVED: u32 = 16;

/// Gives Services whose address is not in `range` one that is: the same place in the range where that is free. A cluster
/// that starts with another range than before would have Services that nobody can reach.
///
/// # Errors
/// What the store says.
pub(crate) async fn renumber(store: &Store, range: Ipv4Net) -> Result<usize, StoreError> {
    let services = store.list(SERVICES, None).1;
    let mut taken: BTreeSet<Ipv4Addr> =
        services.iter().flat_map(|service| addresses(&service.value)).filter(|a| range.contains(a)).collect();
    let mut renumbered = 0;
    for service in services {
        let Some(old) = addresses(&service.value).next().filter(|address| !range.contains(address)) else {
            continue;
        };
        let place = |offset: u32| Ipv4Addr::from(u32::from(range.network()) | offset);
        let hosts = u32::from(range.hostmask());
        let same = place(u32::from(old) & hosts);
        let mut free = std::iter::once(same).chain((RESERVED..hosts).map(place));
        let Some(new) = free.find(|address| !taken.contains(address)) else { continue };
        taken.insert(new);
        let mut value = service.value.clone();
        value["spec"]["clusterIP"] = json!(new.to_string());
        value["spec"]["clusterIPs"] = json!([new.to_string()]);
        store.update(SERVICES, &service.namespace, &service.name, service.revision, value).await?;
        renumbered += 1;
    }
    Ok(renumbered)
}

/// The addresses and ports of all Services, shared by all writes.
#[derive(Clone)]
pub(crate) struct Addresses(Arc<Mutex<Allocator>>);

impl Addresses {
    /// Those of the stored Services are taken.
    pub(crate) fn new(store: &Store, range: Ipv4Net, node_ports: RangeInclusive<u16>) -> Addresses {
        Addresses(Arc::new(Mutex::new(Allocator::new(store, range, node_ports))))
    }

    /// Fills in what `new` wants and does not have, keeping what `old` had.
    ///
    /// # Errors
    /// An address or port that is out of range, taken, or not to be had.
    pub(crate) fn assign(&self, old: Option<&Value>, new: &mut Value) -> Result<Taken, Vec<FieldError>> {
        let mut taken = Taken { by: Some(self.clone()), addresses: Vec::new(), ports: Vec::new() };
        let mut allocator = self.0.lock();
        let outcome = allocator
            .assign_address(old, new, &mut taken)
            .and_then(|()| allocator.assign_ports(old, new, &mut taken));
        // A failure drops what was taken, which locks again.
        drop(allocator);
        outcome.map(|()| taken).map_err(|error| vec![*error])
    }

    /// The Service is gone, or was replaced by `new`: what it no longer has is free.
    pub(crate) fn release(&self, old: &Value, new: Option<&Value>) {
        self.0.lock().release(old, new);
    }
}

/// What a write has taken. Dropped with the write, however that ends, it gives it back; [`Taken::keep`] once the
/// Service is stored.
#[derive(Default)]
pub(crate) struct Taken {
    by: Option<Addresses>,
    addresses: Vec<Ipv4Addr>,
    ports: Vec<u16>,
}

impl Taken {
    /// The write has happened: from now on the Service holds it.
    pub(crate) fn keep(mut self) {
        self.by = None;
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if let Some(by) = self.by.take()
            && !(self.addresses.is_empty() && self.ports.is_empty())
        {
            by.0.lock().give_back(&self.addresses, &self.ports);
        }
    }
}

struct Allocator {
    range: Ipv4Net,
    node_ports: RangeInclusive<u16>,
    addresses: BTreeSet<Ipv4Addr>,
    ports: BTreeSet<u16>,
    /// Where the search goes on, so that an address is not used again at once.
    next: u32,
}

impl Allocator {
    fn new(store: &Store, range: Ipv4Net, node_ports: RangeInclusive<u16>) -> Allocator {
        let mut allocator = Allocator {
            range,
            node_ports,
            addresses: BTreeSet::new(),
            ports: BTreeSet::new(),
            next: RESERVED,
        };
        for service in store.list(SERVICES, None).1 {
            allocator.addresses.extend(addresses(&service.value));
            allocator.ports.extend(ports(&service.value));
        }
        allocator
    }

    fn assign_address(
        &mut self,
        old: Option<&Value>,
        new: &mut Value,
        taken: &mut Taken,
    ) -> Result<(), Box<FieldError>> {
        let text =
            |value: &Value, path: &str| value.pointer(path).and_then(Value::as_str).unwrap_or("").to_owned();
        if text(new, "/spec/type") == "ExternalName" {
            return Ok(());
        }
        let before = old.map(|old| text(old, "/spec/clusterIP")).unwrap_or_default();
        let mut wanted = text(new, "/spec/clusterIP");
        if wanted == "None" {
            new["spec"]["clusterIPs"] = json!(["None"]);
            return Ok(());
        }
        if wanted.is_empty() && !matches!(before.as_str(), "" | "None") {
            wanted.clone_from(&before);
        }
        if wanted.is_empty() {
            let address = self.free_address().ok_or_else(|| {
                let why = format!("no address is free in {}", self.range);
                Box::new(FieldError::invalid("spec.clusterIP", "", why))
            })?;
            self.addresses.insert(address);
            taken.addresses.push(address);
            wanted = address.to_string();
        } else if wanted != before {
            let address: Ipv4Addr = wanted.parse().map_err(|_| {
                FieldError::invalid("spec.clusterIP", wanted.clone(), "must be an IPv4 address or None")
            })?;
            if !self.range.contains(&address) {
                let why = format!("the address is not in the range of Services, {}", self.range);
                return invalid("spec.clusterIP", wanted, why);
            }
            if !self.addresses.insert(address) {
                let why = "failed to allocate IP: provided IP is already allocated";
                return invalid("spec.clusterIP", wanted, why);
            }
            taken.addresses.push(address);
        }
        new["spec"]["clusterIP"] = json!(wanted);
        new["spec"]["clusterIPs"] = json!([wanted]);
        for (field, default) in [("ipFamilies", json!(["IPv4"])), ("ipFamilyPolicy", json!("SingleStack"))] {
            if new["spec"].get(field).is_none_or(Value::is_null) {
                new["spec"][field] = default;
            }
        }
        Ok(())
    }

    fn free_address(&mut self) -> Option<Ipv4Addr> {
        let (first, last) = (u32::from(self.range.network()), u32::from(self.range.broadcast()));
        let size = last - first;
        for step in 0..size {
            let offset = (self.next + step) % size;
            let address = Ipv4Addr::from(first + offset);
            if offset >= RESERVED && !self.addresses.contains(&address) {
                self.next = offset + 1;
                return Some(address);
            }
        }
        None
    }

    fn assign_ports(
        &mut self,
        old: Option<&Value>,
        new: &mut Value,
        taken: &mut Taken,
    ) -> Result<(), Box<FieldError>> {
        let kind = new.pointer("/spec/type").and_then(Value::as_str).unwrap_or_default();
        let before: BTreeSet<u16> = old.map(|old| ports(old).collect()).unwrap_or_default();
        let wants = matches!(kind, "NodePort" | "LoadBalancer")
            && new.pointer("/spec/allocateLoadBalancerNodePorts") != Some(&json!(false));
        let old_ports = old.and_then(|old| old.pointer("/spec/ports")).and_then(Value::as_array).cloned();
        let Some(list) = new.pointer_mut("/spec/ports").and_then(Value::as_array_mut) else { return Ok(()) };
        for (index, port) in list.iter_mut().enumerate() {
            let given = port.get("nodePort").and_then(Value::as_u64).filter(|number| *number != 0);
            if !wants && given.is_none() {
                continue;
            }
            let same = |other: &&Value| {
                other.get("port") == port.get("port") && other.get("protocol") == port.get("protocol")
            };
            let kept = old_ports
                .iter()
                .flatten()
                .find(same)
                .and_then(|old| old.get("nodePort"))
                .and_then(Value::as_u64);
            let number = match given.or(kept) {
                Some(number) => {
                    u16::try_from(number).ok().filter(|n| self.node_ports.contains(n)).ok_or_else(|| {
                        let why = format!("provided port is not in the valid range {:?}", self.node_ports);
                        FieldError::invalid(format!("spec.ports[{index}].nodePort"), number, why)
                    })?
                }
                None => self.node_ports.clone().find(|n| !self.ports.contains(n)).ok_or_else(|| {
                    FieldError::invalid(format!("spec.ports[{index}].nodePort"), 0, "no node port is free")
                })?,
            };
            if !before.contains(&number) {
                if !self.ports.insert(number) {
                    let why = "provided port is already allocated";
                    return invalid(format!("spec.ports[{index}].nodePort"), number, why);
                }
                taken.ports.push(number);
            }
            port["nodePort"] = json!(number);
        }
        Ok(())
    }

    fn give_back(&mut self, addresses: &[Ipv4Addr], ports: &[u16]) {
        for address in addresses {
            self.addresses.remove(address);
        }
        for port in ports {
            self.ports.remove(port);
        }
    }

    fn release(&mut self, old: &Value, new: Option<&Value>) {
        let kept: BTreeSet<Ipv4Addr> = new.into_iter().flat_map(addresses).collect();
        let kept_ports: BTreeSet<u16> = new.into_iter().flat_map(ports).collect();
        for address in addresses(old).filter(|address| !kept.contains(address)) {
            self.addresses.remove(&address);
        }
        for port in ports(old).filter(|port| !kept_ports.contains(port)) {
            self.ports.remove(&port);
        }
    }
}

fn invalid(
    path: impl Into<String>,
    value: impl Into<Value>,
    why: impl Into<String>,
) -> Result<(), Box<FieldError>> {
    Err(Box::new(FieldError::invalid(path, value, why)))
}

fn addresses(service: &Value) -> impl Iterator<Item = Ipv4Addr> {
    service.pointer("/spec/clusterIP").and_then(Value::as_str).and_then(|text| text.parse().ok()).into_iter()
}

fn ports(service: &Value) -> impl Iterator<Item = u16> {
    let list = service.pointer("/spec/ports").and_then(Value::as_array).into_iter().flatten();
    list.filter_map(|port| {
        port.get("nodePort")?.as_u64().and_then(|n| u16::try_from(n).ok()).filter(|n| *n != 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(directory: &std::path::Path) -> Addresses {
        let store = Store::open(&directory.join("store.db"), crate::store::Window::default()).unwrap();
        Addresses::new(&store, "10.96.0.0/24".parse().unwrap(), 30000..=30002)
    }

    fn service(spec: Value) -> Value {
        json!({"spec": spec})
    }

    fn node_port() -> Value {
        service(json!({"type": "NodePort", "ports": [{"port": 80, "protocol": "TCP"}]}))
    }

    #[test]
    fn addresses_and_ports_are_given_once() {
        let directory = tempfile::tempdir().unwrap();
        let addresses = addresses(directory.path());
        let (mut first, mut second) = (node_port(), node_port());
        addresses.assign(None, &mut first).unwrap().keep();
        addresses.assign(None, &mut second).unwrap().keep();
        assert_ne!(first["spec"]["clusterIP"], second["spec"]["clusterIP"]);
        assert_eq!(first["spec"]["ports"][0]["nodePort"], json!(30000));
        assert_eq!(second["spec"]["ports"][0]["nodePort"], json!(30001));
    }

    #[tokio::test]
    async fn services_follow_the_range() {
        let directory = tempfile::tempdir().unwrap();
        let window = crate::store::Window::default();
        let store = Store::open(&directory.path().join("store.db"), window).unwrap();
        let made = [("dns", "10.104.0.10"), ("far", "10.104.7.7"), ("here", "10.98.7.7"), ("none", "None")];
        for (name, address) in made {
            let service = service(json!({"clusterIP": address, "clusterIPs": [address]}));
            store.create(SERVICES, "ns", name, service, Vec::new()).await.unwrap();
        }
        let range: Ipv4Net = "10.98.0.0/16".parse().unwrap();
        assert_eq!(renumber(&store, range).await.unwrap(), 2);
        let address = |name: &str| {
            let service = store.get(SERVICES, "ns", name).unwrap();
            assert_eq!(service.value["spec"]["clusterIPs"][0], service.value["spec"]["clusterIP"]);
            service.value["spec"]["clusterIP"].as_str().unwrap().to_owned()
        };
        assert_eq!(address("dns"), "10.98.0.10");
        assert_eq!(address("far"), "10.98.0.16", "its place was taken");
        assert_eq!((address("here").as_str(), address("none").as_str()), ("10.98.7.7", "None"));
        assert_eq!(renumber(&store, range).await.unwrap(), 0);
    }

    #[test]
    fn what_a_service_had_is_free_when_it_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let addresses = addresses(directory.path());
        let mut first = node_port();
        addresses.assign(None, &mut first).unwrap().keep();
        let mut same = service(json!({"clusterIP": first["spec"]["clusterIP"], "ports": []}));
        assert!(addresses.assign(None, &mut same).is_err());
        addresses.release(&first, None);
        assert!(addresses.assign(None, &mut same).is_ok());
    }

    #[test]
    fn what_is_not_kept_is_given_back() {
        let directory = tempfile::tempdir().unwrap();
        let addresses = addresses(directory.path());
        let mut first = node_port();
        drop(addresses.assign(None, &mut first).unwrap());
        let mut same = service(
            json!({"type": "NodePort", "clusterIP": first["spec"]["clusterIP"], "ports": first["spec"]["ports"]}),
        );
        assert!(addresses.assign(None, &mut same).is_ok());
    }

    #[test]
    fn a_port_that_is_refused_frees_the_address_taken_before_it() {
        let directory = tempfile::tempdir().unwrap();
        let addresses = addresses(directory.path());
        let mut wrong = service(
            json!({"clusterIP": "10.96.0.77", "type": "NodePort", "ports": [{"port": 80, "nodePort": 1}]}),
        );
        assert!(addresses.assign(None, &mut wrong).is_err());
        let mut right = service(json!({"clusterIP": "10.96.0.77", "ports": []}));
        assert!(addresses.assign(None, &mut right).is_ok());
    }

    #[test]
    fn an_update_keeps_what_the_service_had() {
        let directory = tempfile::tempdir().unwrap();
        let addresses = addresses(directory.path());
        let load_balancer =
            || service(json!({"type": "LoadBalancer", "ports": [{"port": 80, "protocol": "TCP"}]}));
        let (mut old, mut new) = (load_balancer(), load_balancer());
        addresses.assign(None, &mut old).unwrap().keep();
        addresses.assign(Some(&old), &mut new).unwrap().keep();
        assert_eq!(old["spec"]["clusterIP"], new["spec"]["clusterIP"]);
        assert_eq!(old["spec"]["ports"], new["spec"]["ports"]);
    }
}
