//! The virtual hosts of one route configuration that come as resources of their own (VHDS).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::config::RouteConfig;
use super::domain::Domain;
use super::table::VirtualHost;
use crate::value::{Invalid, Valid};

/// Route configuration and virtual host that a resource's name `<route configuration>/<virtual host>` stands for.
///
/// # Errors
/// When it does not have that form.
pub fn resource_name(name: &str) -> Valid<(&str, &str)> {
    name.split_once('/')
        .filter(|(config, host)| !config.is_empty() && !host.is_empty())
        .ok_or_else(|| Invalid::new("the name is not of the form <route configuration>/<virtual host>"))
}

/// What one response says of the virtual hosts of one route configuration, by the names that they have in it.
#[derive(Debug, Default)]
pub struct HostChanges {
    /// Those that are gone.
    pub removed: BTreeSet<Arc<str>>,
    /// New ones and new versions. One that is removed as well is new.
    pub changed: BTreeMap<Arc<str>, Arc<VirtualHost>>,
}

/// Compiled virtual hosts by name. No two have a domain in common.
#[derive(Debug, Default)]
pub struct VirtualHosts {
    by_name: BTreeMap<Arc<str>, Arc<VirtualHost>>,
    /// Whose a domain is.
    owners: HashMap<Domain, Arc<str>>,
}

/// One update under way.
struct Update<'a> {
    hosts: &'a mut VirtualHosts,
    /// The versions before it of what it changes.
    before: BTreeMap<Arc<str>, Arc<VirtualHost>>,
    refused: Vec<(Arc<str>, Invalid)>,
}

impl VirtualHosts {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether there is one of this name.
    pub fn has(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<VirtualHost>> {
        self.by_name.values()
    }

    /// Takes a response over, whole: a domain may leave one host for another in it. Refused is what has a domain that
    /// is taken: by a host in the route configuration's own message, by a host that the response leaves as it is, or by
    /// one before it in the order of names. The last version of what is refused stays. Returns what is refused.
    pub fn update(&mut self, config: Option<&RouteConfig>, changes: HostChanges) -> Vec<(Arc<str>, Invalid)> {
        for name in &changes.removed {
            self.take(name);
        }
        let mut before = BTreeMap::new();
        for name in changes.changed.keys() {
            before.extend(self.take(name).map(|host| (name.clone(), host)));
        }
        let mut update = Update { hosts: self, before, refused: Vec::new() };
        for (name, host) in changes.changed {
            match update.hosts.conflict(config, &host) {
                None => update.hosts.put(name, host),
                Some(reason) => update.refuse(name, reason),
            }
        }
        update.refused
    }

    /// Why a host cannot be put beside the others.
    fn conflict(&self, config: Option<&RouteConfig>, host: &VirtualHost) -> Option<Invalid> {
        host.domains.iter().find_map(|domain| {
            if config.is_some_and(|config| config.has(domain)) {
                return Some(Invalid(format!(
                    "domain {domain:?} is listed in the route configuration itself too"
                )));
            }
            let owner = self.owners.get(domain)?;
            Some(Invalid(format!("domain {domain:?} is listed in virtual host {owner:?} too")))
        })
    }

    fn put(&mut self, name: Arc<str>, host: Arc<VirtualHost>) {
        self.owners.extend(host.domains.iter().map(|domain| (domain.clone(), name.clone())));
        self.by_name.insert(name, host);
    }

    fn take(&mut self, name: &str) -> Option<Arc<VirtualHost>> {
        let host = self.by_name.remove(name)?;
        for domain in &host.domains {
            self.owners.remove(domain);
        }
        Some(host)
    }
}

impl Update<'_> {
    /// Refuses a new version and puts the last one back. Versions of this response that took a domain of that one are
    /// refused as well, and so on: what was there before fits together, so this ends there at the latest.
    fn refuse(&mut self, name: Arc<str>, reason: Invalid) {
        let mut names = vec![name.clone()];
        self.refused.push((name, reason));
        while let Some(name) = names.pop() {
            let Some(host) = self.before.remove(&name) else { continue };
            for domain in &host.domains {
                let Some(other) = self.hosts.owners.get(domain).cloned() else { continue };
                self.hosts.take(&other);
                let reason = format!(
                    "domain {domain:?} stays with virtual host {name:?}, whose new version is refused"
                );
                self.refused.push((other.clone(), Invalid(reason)));
                names.push(other);
            }
            self.hosts.put(name, host);
        }
    }
}

#[cfg(test)]
mod tests;
