//! Messages of the discovery protocol (docs/reference/federation.md): JSON over HTTP.

use std::collections::BTreeSet;
use std::hash::Hasher;

use portolan_identity::SpiffeId;
use portolan_names::names::EXPORTS_SUFFIX;
use serde::{Deserialize, Serialize};
use twox_hash::XxHash64;

use crate::names::is_label;

/// Services that are taken from one peer; what is beyond is refused.
pub const MAX_SERVICES: usize = 10_000;
/// Ports of one service.
pub const MAX_PORTS: usize = 64;
/// Identities of one service's gateway.
pub const MAX_SERVICE_ACCOUNTS: usize = 64;
/// Bytes of one service list.
pub const MAX_LIST_BYTES: usize = 16 * 1024 * 1024;

/// Everything that a mesh exports to the one that asks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceList {
    /// Opaque: comparable only with other values of the same server.
    pub checksum: u64,
    /// By host name; absent when empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<ServiceMessage>,
}

/// One exported service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceMessage {
    /// Exported name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Exported namespace.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// `<name>.<namespace>.svc.<peer>-exports.local`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hostname: String,
    /// Ports.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub service_ports: Vec<ServicePortMessage>,
    /// SPIFFE ids of the exporter's ingress gateway.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub service_accounts: Vec<String>,
}

/// A port of an exported service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServicePortMessage {
    /// Name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Number.
    #[serde(skip_serializing_if = "is_zero")]
    pub port: u32,
    /// Istio's protocol text.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub protocol: String,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// What a watch event says of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It is exported from now on.
    Add,
    /// Something about it changed.
    Update,
    /// It is exported no more.
    Delete,
}

/// One event of the watch stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WatchEvent {
    /// What happened.
    pub action: Action,
    /// To which service; absent when only gateways changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceMessage>,
    /// Checksum of the list after the event.
    #[serde(default)]
    pub checksum: u64,
}

/// Why one service of a peer is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Name or namespace is no DNS label.
    #[error("{0:?} is not a valid service name or namespace")]
    Name(String),
    /// The host is not made of name, namespace and an exports domain: it could be somebody else's.
    #[error("host {0:?} is not <name>.<namespace>.svc.<mesh>{EXPORTS_SUFFIX}")]
    Host(String),
    /// A port is not 1 to 65535 or its name is no DNS label, or there are none or too many.
    #[error(
        "service {0} has no valid set of ports (1 to {MAX_PORTS}, numbers 1 to 65535, names are DNS labels)"
    )]
    Ports(String),
    /// An identity of another trust domain, or not an identity.
    #[error("service {host} names {identity:?}, which is not an identity of trust domain {trust_domain}")]
    Identity {
        /// Host of the service.
        host: String,
        /// What was sent.
        identity: String,
        /// The peer's trust domain.
        trust_domain: String,
    },
    /// No or too many identities: then nobody, or anybody, could answer for the service.
    #[error("service {0} names no identity, or more than {MAX_SERVICE_ACCOUNTS}")]
    Identities(String),
    /// The list is too long.
    #[error("more than {MAX_SERVICES} services; the rest is not taken")]
    TooMany,
    /// A host that the list has already named.
    #[error("host {0} is in the list twice")]
    Duplicate(String),
}

impl ServiceList {
    /// A list of these services with its checksum, in the order that the protocol wants.
    pub fn new(mut services: Vec<ServiceMessage>) -> Self {
        services.sort_by(|a, b| a.hostname.cmp(&b.hostname));
        let checksum = checksum(&services);
        ServiceList { checksum, services }
    }

    /// Takes what a peer sent: the services that are its to offer, and why the others are not taken.
    ///
    /// `trust_domain` is the peer's. Duplicated identities, which Service Mesh 2.1 sends, are dropped in silence.
    pub fn accept(self, trust_domain: &str) -> (Vec<ServiceMessage>, Vec<Refused>) {
        let (mut taken, mut refused) = (Vec::new(), Vec::new());
        let mut hosts = BTreeSet::new();
        for (at, service) in self.services.into_iter().enumerate() {
            if at == MAX_SERVICES {
                refused.push(Refused::TooMany);
                break;
            }
            match service.accept(trust_domain) {
                Ok(service) if !hosts.insert(service.hostname.clone()) => {
                    refused.push(Refused::Duplicate(service.hostname));
                }
                Ok(service) => taken.push(service),
                Err(why) => refused.push(why),
            }
        }
        (taken, refused)
    }
}

impl ServiceMessage {
    fn accept(mut self, trust_domain: &str) -> Result<Self, Refused> {
        for part in [&self.name, &self.namespace] {
            if !is_label(part) {
                return Err(Refused::Name(part.chars().take(80).collect()));
            }
        }
        let prefix = format!("{}.{}.svc.", self.name, self.namespace);
        let mesh = self.hostname.strip_prefix(&prefix).and_then(|rest| rest.strip_suffix(EXPORTS_SUFFIX));
        if !mesh.is_some_and(is_label) {
            return Err(Refused::Host(self.hostname.chars().take(300).collect()));
        }
        let valid = |port: &ServicePortMessage| {
            (1..=65535).contains(&port.port) && (port.name.is_empty() || is_label(&port.name))
        };
        let numbers: BTreeSet<u32> = self.service_ports.iter().map(|port| port.port).collect();
        if self.service_ports.is_empty()
            || self.service_ports.len() > MAX_PORTS
            || numbers.len() != self.service_ports.len()
            || !self.service_ports.iter().all(valid)
        {
            return Err(Refused::Ports(self.hostname));
        }
        if self.service_accounts.is_empty() || self.service_accounts.len() > MAX_SERVICE_ACCOUNTS {
            return Err(Refused::Identities(self.hostname));
        }
        for identity in &self.service_accounts {
            let own = identity.parse::<SpiffeId>().is_ok_and(|id| id.trust_domain() == trust_domain);
            if !own {
                return Err(Refused::Identity {
                    host: self.hostname,
                    identity: identity.chars().take(300).collect(),
                    trust_domain: trust_domain.to_owned(),
                });
            }
        }
        self.service_accounts.sort();
        self.service_accounts.dedup();
        Ok(self)
    }
}

/// A hash of the list that does not depend on the order of its parts. Only ever compared with our own.
fn checksum(services: &[ServiceMessage]) -> u64 {
    let mut total: u64 = 0;
    for service in services {
        let mut hash = XxHash64::with_seed(0);
        // Lengths keep neighbouring texts apart.
        let mut text = |value: &str| {
            hash.write_u64(value.len() as u64);
            hash.write(value.as_bytes());
        };
        text(&service.name);
        text(&service.namespace);
        text(&service.hostname);
        for port in &service.service_ports {
            text(&port.name);
            text(&port.port.to_string());
            text(&port.protocol);
        }
        for account in &service.service_accounts {
            text(account);
        }
        total = total.wrapping_add(hash.finish());
    }
    total
}

#[cfg(test)]
mod tests;
