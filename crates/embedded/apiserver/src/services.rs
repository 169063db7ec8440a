//! Addresses and node ports of Services.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use ipnet::Ipv4Net;
use portolan_apimachinery::status::FieldError;
use serde_json::{Value, json};

use crate::api::SERVICES;
use crate::store::Store;

/// The first addresses of the range are handed out by name only: kubernetes is .1, DNS is .10.
const RESERVED: u32 = 16;

/// Knows which addresses and ports are taken.
pub(crate) struct Allocator {
    range: Ipv4Net,
    node_ports: RangeInclusive<u16>,
    addresses: BTreeSet<Ipv4Addr>,
    ports: BTreeSet<u16>,
    /// Where the search goes on, so that an address is not used again at once.
    next: u32,
}

/// What one write has taken; given back when the write fails.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    addresses: Vec<Ipv4Addr>,
    ports: Vec<u16>,
}

impl Allocator {
    pub(crate) fn new(store: &Store, range: Ipv4Net, node_ports: RangeInclusive<u16>) -> Allocator {
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

    /// Fills in what `new` wants and does not have, keeping what `old` had.
    pub(crate) fn assign(&mut self, old: Option<&Value>, new: &mut Value) -> Result<Taken, Vec<FieldError>> {
        let mut taken = Taken::default();
        let outcome =
            self.assign_address(old, new, &mut taken).and_then(|()| self.assign_ports(old, new, &mut taken));
        match outcome {
            Ok(()) => Ok(taken),
            Err(error) => {
                self.give_back(&taken);
                Err(vec![*error])
            }
        }
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

    /// The write did not happen.
    pub(crate) fn give_back(&mut self, taken: &Taken) {
        for address in &taken.addresses {
            self.addresses.remove(address);
        }
        for port in &taken.ports {
            self.ports.remove(port);
        }
    }

    /// The object is gone, or was replaced by `new`.
    pub(crate) fn release(&mut self, old: &Value, new: Option<&Value>) {
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

    fn allocator(directory: &std::path::Path) -> Allocator {
        let store = Store::open(&directory.join("store.db"), crate::store::Window::default()).unwrap();
        Allocator::new(&store, "10.96.0.0/24".parse().unwrap(), 30000..=30002)
    }

    fn service(spec: Value) -> Value {
        json!({"spec": spec})
    }

    #[test]
    fn addresses_and_ports_are_given_once() {
        let directory = tempfile::tempdir().unwrap();
        let mut allocator = allocator(directory.path());
        let mut first = service(json!({"type": "NodePort", "ports": [{"port": 80, "protocol": "TCP"}]}));
        let mut second = first.clone();
        allocator.assign(None, &mut first).unwrap();
        allocator.assign(None, &mut second).unwrap();
        assert_ne!(first["spec"]["clusterIP"], second["spec"]["clusterIP"]);
        assert_eq!(first["spec"]["ports"][0]["nodePort"], json!(30000));
        assert_eq!(second["spec"]["ports"][0]["nodePort"], json!(30001));
        let mut same = service(json!({"clusterIP": first["spec"]["clusterIP"], "ports": []}));
        assert!(allocator.assign(None, &mut same).is_err());
        allocator.release(&first, None);
        assert!(allocator.assign(None, &mut same).is_ok());
    }

    #[test]
    fn an_update_keeps_what_the_service_had() {
        let directory = tempfile::tempdir().unwrap();
        let mut allocator = allocator(directory.path());
        let mut old = service(json!({"type": "LoadBalancer", "ports": [{"port": 80, "protocol": "TCP"}]}));
        allocator.assign(None, &mut old).unwrap();
        let mut new = service(json!({"type": "LoadBalancer", "ports": [{"port": 80, "protocol": "TCP"}]}));
        allocator.assign(Some(&old), &mut new).unwrap();
        assert_eq!(old["spec"]["clusterIP"], new["spec"]["clusterIP"]);
        assert_eq!(old["spec"]["ports"], new["spec"]["ports"]);
    }
}
