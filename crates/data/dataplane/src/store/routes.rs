//! Route configurations, the virtual hosts that come for them, and the tables that both make.
//!
//! A route configuration with `vhds` is warming until its first virtual host is there, in whichever order they come; a
//! table that was in force before serves meanwhile. Virtual hosts are the subscription's and not the route
//! configuration's: a server does not repeat what it has sent, so they stay when their route configuration goes, for the
//! one that may come back.

use std::collections::HashMap;
use std::sync::Arc;

use crate::route::{HostChanges, RouteConfig, RouteTable, VirtualHosts};
use crate::value::Invalid;

/// Virtual hosts that may wait for route configurations which are not here. As many as the names that a server takes
/// for one type.
const MAX_WAITING_HOSTS: usize = 100_000;

/// Tables by the name of their route configuration.
pub(super) type Tables = HashMap<Arc<str>, Arc<RouteTable>>;

#[derive(Debug, Default)]
pub(super) struct Routes {
    configs: HashMap<Arc<str>, Entry>,
    /// By the name of their route configuration, whether it is here or not.
    hosts: HashMap<Arc<str>, VirtualHosts>,
    /// In force.
    tables: Tables,
}

#[derive(Debug)]
struct Entry {
    config: RouteConfig,
    /// What it says is in force.
    warm: bool,
}

impl Routes {
    /// What is in force.
    pub(super) fn tables(&self) -> &Tables {
        &self.tables
    }

    /// Takes a new or changed route configuration over.
    pub(super) fn set(&mut self, name: &str, config: RouteConfig) {
        let was_warm = self.configs.get(name).is_some_and(|old| old.config.has_vhds() && old.warm);
        let warm = !config.has_vhds() || was_warm;
        self.configs.insert(name.into(), Entry { config, warm });
        self.assemble(name);
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.configs.remove(name);
        self.tables.remove(name);
    }

    /// Takes over what one response says of the virtual hosts of one route configuration. Returns what is refused.
    pub(super) fn update_hosts(&mut self, name: &str, mut changes: HostChanges) -> Vec<(Arc<str>, Invalid)> {
        let config = self.configs.get(name).map(|entry| &entry.config).filter(|config| config.has_vhds());
        let mut refused = Vec::new();
        if config.is_none() {
            let hosts = self.hosts.get(name);
            let mut room = MAX_WAITING_HOSTS.saturating_sub(self.waiting());
            changes.changed.retain(|host, _| {
                if hosts.is_some_and(|hosts| hosts.has(host)) {
                    return true;
                }
                let fits = room > 0;
                room = room.saturating_sub(1);
                if !fits {
                    let reason = format!(
                        "more than {MAX_WAITING_HOSTS} virtual hosts wait for route configurations that are not here"
                    );
                    refused.push((host.clone(), Invalid(reason)));
                }
                fits
            });
        }
        let hosts = self.hosts.entry(name.into()).or_default();
        refused.extend(hosts.update(config, changes));
        if hosts.is_empty() {
            self.hosts.remove(name);
        }
        self.assemble(name);
        refused
    }

    /// Whether virtual hosts have to be subscribed to.
    pub(super) fn want_virtual_hosts(&self) -> bool {
        self.configs.values().any(|entry| entry.config.has_vhds())
    }

    /// Whether a route configuration gets virtual hosts as resources of their own.
    pub(super) fn has_vhds(&self, name: &str) -> bool {
        self.configs.get(name).is_some_and(|entry| entry.config.has_vhds())
    }

    /// Whether a route configuration waits for its virtual hosts.
    pub(super) fn is_warming(&self, name: &str) -> bool {
        self.configs.get(name).is_some_and(|entry| !entry.warm)
    }

    /// What keeps the routes of this name from being there; nothing when they are.
    pub(super) fn lacks(&self, name: &str) -> Option<String> {
        if self.tables.contains_key(name) {
            None
        } else if self.is_warming(name) {
            Some(format!("virtual hosts of route configuration {name}"))
        } else {
            Some(format!("route configuration {name}"))
        }
    }

    /// Virtual hosts whose route configuration is not here, or wants none.
    fn waiting(&self) -> usize {
        let waiting = self.hosts.iter().filter(|(name, _)| !self.has_vhds(name));
        waiting.map(|(_, hosts)| hosts.len()).sum()
    }

    /// Puts a table together and into force, if it is there whole.
    fn assemble(&mut self, name: &str) {
        let Some(entry) = self.configs.get_mut(name) else { return };
        let hosts = self.hosts.get(name).filter(|_| entry.config.has_vhds());
        entry.warm |= hosts.is_some();
        if entry.warm {
            let more = hosts.into_iter().flat_map(VirtualHosts::iter);
            self.tables.insert(name.into(), Arc::new(entry.config.table(more)));
        }
    }
}

#[cfg(test)]
mod tests;
