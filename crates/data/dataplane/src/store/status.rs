//! What the admin endpoints see of the configuration.

use std::borrow::Cow;
use std::sync::atomic::Ordering::Relaxed;

use super::api::{
    ClusterStatus, ConfigStatus, DrainKind, DumpEntry, DumpState, HostStatus, ListenerStatus, ResourceKind,
    ResourceState,
};
use super::handle::{ClusterEntry, ConfigStore, State, waits_for};
use super::raw::Raw;
use super::virtual_hosts::with_hosts;
use crate::upstream::config::Discovery;
use crate::upstream::host::Health;

impl ConfigStore {
    /// State of listeners, clusters and hosts.
    pub fn status(&self) -> ConfigStatus {
        let state = self.inner.state.lock();
        let listeners = state.listeners.iter().map(|(name, entry)| ListenerStatus {
            name: name.clone(),
            local_addresses: match (&entry.bound, &entry.active) {
                (Some(bound), _) => vec![bound.local],
                _ => Vec::new(),
            },
            state: if entry.active.is_some() { ResourceState::Active } else { ResourceState::Warming },
            waits_for: entry
                .warming
                .as_ref()
                .map(|listener| waits_for(listener, &state.routes))
                .unwrap_or_default(),
            bind_error: None,
        });
        ConfigStatus {
            listeners: listeners.collect(),
            clusters: state
                .clusters
                .iter()
                .map(|(name, entry)| cluster_status(&state, name, entry))
                .collect(),
            workers_started: self.workers_started(),
            draining: state.draining == Some(DrainKind::All),
        }
    }

    /// Whether every worker has taken over the first snapshot.
    pub(super) fn workers_started(&self) -> bool {
        self.inner.shared.started.load(Relaxed) >= self.inner.shared.workers
    }

    /// All resources as received, for `/config_dump`. Virtual hosts stand in their route configurations, as Envoy shows
    /// them, and so does what is wrong with one.
    pub fn dump(&self) -> Vec<DumpEntry> {
        let state = self.inner.state.lock();
        let alone = state.raw.iter().filter(|(kind, ..)| *kind != ResourceKind::VirtualHost);
        let entries = alone.map(|(kind, name, raw)| {
            let warming = match kind {
                ResourceKind::Cluster => state.clusters.get(name).is_some_and(|entry| entry.active.is_none()),
                ResourceKind::Listener => {
                    state.listeners.get(name).is_some_and(|entry| entry.warming.is_some())
                }
                ResourceKind::Routes => state.routes.is_warming(name),
                _ => false,
            };
            let raw = match kind {
                ResourceKind::Routes => Cow::Owned(whole(&state, name, raw)),
                _ => Cow::Borrowed(raw),
            };
            DumpEntry {
                kind,
                name: name.to_owned(),
                version: raw.version.clone(),
                state: match (raw.is_static, warming) {
                    (true, _) => DumpState::Static,
                    (false, true) => DumpState::Warming,
                    (false, false) => DumpState::Active,
                },
                last_updated: raw.updated,
                body: raw.body.clone(),
                error: raw.error.clone(),
            }
        });
        entries.collect()
    }
}

/// A route configuration with the virtual hosts that came for it.
fn whole(state: &State, name: &str, raw: &Raw) -> Raw {
    let mut whole = raw.clone();
    let hosts = || state.virtual_hosts(name);
    if hosts().next().is_none() {
        return whole;
    }
    whole.body = with_hosts(&raw.body, hosts().map(|(_, host)| &*host.body)).into();
    for (name, host) in hosts() {
        whole.updated = whole.updated.max(host.updated);
        if let Some((when, version, reason)) = &host.error
            && whole.error.as_ref().is_none_or(|(newest, ..)| newest < when)
        {
            whole.error = Some((*when, version.clone(), format!("virtual host {name:?}: {reason}")));
        }
    }
    whole
}

fn cluster_status(state: &State, name: &str, entry: &ClusterEntry) -> ClusterStatus {
    let config = &entry.config;
    let eds = match &config.discovery {
        Discovery::Eds { service_name } => Some(service_name.clone()),
        _ => None,
    };
    let mut waits = Vec::new();
    if entry.active.is_none() {
        if !config.tls_ready() {
            let mut secrets = std::collections::BTreeSet::new();
            config.secret_names(&mut secrets);
            waits.push(format!("secrets {}", secrets.into_iter().collect::<Vec<_>>().join(", ")));
        }
        if let Some(service) = eds.as_ref().filter(|service| !state.endpoints.contains_key(*service)) {
            waits.push(format!("endpoints {service}"));
        }
        for name in config.dns_names().iter().filter(|name| !state.resolved.contains_key(*name)) {
            waits.push(format!("address of {name}"));
        }
    }
    let hosts = entry.active.iter().flat_map(|active| active.hosts.iter()).map(|host| {
        let counters = &host.state;
        HostStatus {
            address: host.address.to_string(),
            hostname: host.hostname.clone(),
            weight: host.weight,
            priority: host.priority,
            locality: (*host.locality).clone(),
            eds_healthy: host.health != Health::Unhealthy,
            eds_degraded: host.health == Health::Degraded,
            ejected: counters.outlier.is_ejected(),
            rq_active: counters.rq_active.load(Relaxed),
            counters: vec![
                ("cx_active", counters.cx_active.load(Relaxed)),
                ("cx_connect_fail", counters.cx_connect_fail.load(Relaxed)),
                ("cx_total", counters.cx_total.load(Relaxed)),
                ("rq_active", counters.rq_active.load(Relaxed)),
                ("rq_error", counters.rq_error.load(Relaxed)),
                ("rq_success", counters.rq_success.load(Relaxed)),
                ("rq_timeout", counters.rq_timeout.load(Relaxed)),
                ("rq_total", counters.rq_total.load(Relaxed)),
            ],
        }
    });
    let limits =
        config.limits.map(|limits| [limits.connections, limits.pending, limits.requests, limits.retries]);
    ClusterStatus {
        name: name.to_owned(),
        state: if entry.active.is_some() { ResourceState::Active } else { ResourceState::Warming },
        waits_for: waits,
        added_via_api: state.raw.get(ResourceKind::Cluster, name).is_some_and(|raw| !raw.is_static),
        eds_service_name: eds,
        limits,
        hosts: hosts.collect(),
    }
}
