//! The handle through which the control half configures the data path.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use portolan_dataplane_config::{Ignored, ignored};
use tokio::sync::{Notify, watch};

use super::Shared;
use super::api::{ConfigUpdate, DrainKind, Needs, Rejection, ResourceKind, Upsert};
use super::raw::RawResources;
use super::routes::Routes;
use super::snapshot::{ActiveListener, Snapshot};
use crate::external::load;
use crate::listener::Listener;
use crate::listener::bind::Bound;
use crate::listener::scopes::StatScopes;
use crate::pb::{cluster, endpoint, listener, route, tls};
use crate::route::RouteConfig;
use crate::tls::{SecretMap, SecretValue};
use crate::upstream::config::{ClusterConfig, Discovery};
use crate::upstream::environment::now;
use crate::upstream::{Cluster, ClusterShared};
use crate::value::{Direction, Invalid, Valid};

/// Handle to the configuration of a running data plane. Cheap to clone, usable from any thread except the
/// workers: `apply` compiles on the caller's thread under a lock that no worker ever takes.
#[derive(Debug, Clone)]
pub struct ConfigStore {
    pub(super) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) state: Mutex<State>,
    needs: watch::Sender<Needs>,
    snapshots: watch::Sender<Arc<Snapshot>>,
    pub(super) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(super) struct ClusterEntry {
    /// The latest accepted configuration.
    pub(super) config: Arc<ClusterConfig>,
    pub(super) shared: Arc<ClusterShared>,
    pub(super) active: Option<Arc<Cluster>>,
    /// The version that served until its hosts changed.
    previous_hosts: Option<Arc<Cluster>>,
}

#[derive(Debug, Default)]
pub(super) struct ListenerEntry {
    pub(super) active: Option<Arc<Listener>>,
    pub(super) warming: Option<Arc<Listener>>,
    pub(super) bound: Option<Arc<Bound>>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) raw: RawResources,
    secrets: SecretMap,
    pub(super) routes: Routes,
    pub(super) clusters: BTreeMap<String, ClusterEntry>,
    pub(super) endpoints: HashMap<String, endpoint::ClusterLoadAssignment>,
    pub(super) resolved: HashMap<String, Vec<IpAddr>>,
    pub(super) listeners: BTreeMap<String, ListenerEntry>,
    pub(super) scopes: StatScopes,
    generation: u64,
    pub(super) draining: Option<DrainKind>,
}

impl ConfigStore {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        ConfigStore {
            inner: Arc::new(Inner {
                state: Mutex::default(),
                needs: watch::channel(Needs::default()).0,
                snapshots: watch::channel(Arc::default()).0,
                shared,
            }),
        }
    }

    pub(crate) fn snapshots(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.inner.snapshots.subscribe()
    }

    /// Takes over new, changed and removed resources of one kind.
    ///
    /// Every resource is judged by itself: the good ones are in force (or warm) when this returns, the bad
    /// ones are listed in the error and leave their predecessors untouched. After an `Err` the whole
    /// response is to be NACKed with the joined reasons, as Envoy does.
    ///
    /// # Errors
    /// The resources that were not taken over, each with the reason.
    pub fn apply(&self, update: ConfigUpdate) -> Result<(), Vec<Rejection>> {
        let mut state = self.inner.state.lock();
        let mut rejections = match update.kind {
            ResourceKind::VirtualHost => state.apply_virtual_hosts(&update),
            _ => state.apply(&update, &self.inner.shared),
        };
        rejections.extend(state.activate(&self.inner.shared));
        if update.kind == ResourceKind::Listener {
            state.scopes.prune();
        }
        self.publish(&mut state);
        if rejections.is_empty() { Ok(()) } else { Err(rejections) }
    }

    /// The names to subscribe to; changes whenever listeners or clusters start or stop referring to them.
    pub fn needs(&self) -> watch::Receiver<Needs> {
        self.inner.needs.subscribe()
    }

    /// Starts to drain: affected listeners stop accepting, answers carry `connection: close` or GOAWAY, and
    /// connections that are left at the drain deadline are closed. Idempotent.
    pub fn drain(&self, kind: DrainKind) {
        let mut state = self.inner.state.lock();
        if state.draining == Some(DrainKind::All) {
            return;
        }
        state.draining = Some(kind);
        for entry in state.listeners.values_mut() {
            let Some(active) = &entry.active else { continue };
            if drains(kind, active) {
                entry.bound = None;
                active.all_chains().for_each(|chain| chain.drain.cancel());
            }
        }
        self.publish(&mut state);
    }

    /// Names that DNS clusters need, with their refresh intervals.
    pub(crate) fn dns_names(&self) -> BTreeMap<String, (std::time::Duration, Option<bool>)> {
        let state = self.inner.state.lock();
        let mut names = BTreeMap::new();
        for entry in state.clusters.values() {
            for name in entry.config.dns_names() {
                let wanted = (entry.config.dns_refresh, entry.config.dns_v6);
                names
                    .entry(name)
                    .and_modify(|old: &mut (_, _)| old.0 = wanted.0.min(old.0))
                    .or_insert(wanted);
            }
        }
        names
    }

    /// Takes over what a name resolves to. A name that stops resolving keeps its last addresses.
    pub(crate) fn resolved(&self, name: &str, addresses: Vec<IpAddr>) {
        let mut state = self.inner.state.lock();
        let known = state.resolved.get(name);
        if known == Some(&addresses) || (known.is_some() && addresses.is_empty()) {
            return;
        }
        state.resolved.insert(name.to_owned(), addresses);
        for entry in state.clusters.values_mut() {
            if entry.config.dns_names().contains(name) {
                entry.active_is_stale();
            }
        }
        state.activate(&self.inner.shared);
        self.publish(&mut state);
    }

    /// The clusters in use, for housekeeping.
    pub(crate) fn active_clusters(&self) -> Vec<Arc<Cluster>> {
        self.inner.state.lock().clusters.values().filter_map(|entry| entry.active.clone()).collect()
    }

    /// Tells when a host is to be looked at.
    pub(crate) fn watcher(&self) -> Arc<Notify> {
        self.inner.shared.watcher.clone()
    }

    /// Puts balancers for the present health of their hosts in place of older ones. They are built without the lock, so
    /// that a large ring holds up nobody; a cluster that changes meanwhile is looked at again.
    pub(crate) fn rebalance(&self) {
        loop {
            let stale: Vec<(Arc<Cluster>, Cluster)> = self
                .active_clusters()
                .into_iter()
                .filter(|cluster| cluster.is_stale())
                .map(|cluster| (cluster.clone(), cluster.rebalanced()))
                .collect();
            if stale.is_empty() {
                return;
            }
            let mut state = self.inner.state.lock();
            for (old, next) in stale {
                let entry = state.clusters.get_mut(&*old.name);
                let active = entry.and_then(|entry| entry.active.as_mut());
                if let Some(active) = active.filter(|active| Arc::ptr_eq(active, &old)) {
                    *active = Arc::new(next);
                }
            }
            self.publish(&mut state);
        }
    }

    fn publish(&self, state: &mut State) {
        state.generation += 1;
        let listeners = state.listeners.iter().filter_map(|(name, entry)| {
            let listener = entry.active.clone()?;
            Some((name.as_str().into(), ActiveListener { listener, bound: entry.bound.clone() }))
        });
        let unbound = state.listeners.values().filter_map(|entry| {
            let listener = entry.active.clone().filter(|listener| listener.bind.is_none())?;
            Some((listener.address, listener))
        });
        let clusters = state.clusters.values().filter_map(|entry| entry.active.clone());
        let snapshot = Snapshot {
            generation: state.generation,
            listeners: listeners.collect(),
            routes: state.routes.tables().clone(),
            clusters: clusters.map(|cluster| (cluster.name.clone(), cluster)).collect(),
            unbound: unbound.collect(),
        };
        self.inner.snapshots.send_replace(Arc::new(snapshot));
        let needs = state.needs();
        self.inner.needs.send_if_modified(|old| {
            let changed = *old != needs;
            *old = needs;
            changed
        });
    }
}

fn drains(kind: DrainKind, listener: &Listener) -> bool {
    kind == DrainKind::All || listener.direction == Direction::Inbound
}

/// Says which fields of a resource mean nothing here.
pub(super) fn tell(upsert: &Upsert, ignored: Vec<Ignored>) {
    for one in ignored {
        tracing::debug!(name = upsert.name, field = one.field, reason = one.reason, "a field is ignored");
    }
}

impl ClusterEntry {
    /// The next activation builds a new version.
    fn active_is_stale(&mut self) {
        if let Some(active) = self.active.take() {
            self.shared = active.shared.clone();
            self.previous_hosts = Some(active);
        }
    }
}

impl State {
    /// Takes over a response whose resources are judged each by itself. Returns what is refused.
    fn apply(&mut self, update: &ConfigUpdate, shared: &Arc<Shared>) -> Vec<Rejection> {
        let mut rejections = Vec::new();
        for name in &update.removed {
            self.remove(update.kind, name);
        }
        for upsert in &update.upserts {
            if self.raw.holds(update.kind, upsert) {
                continue;
            }
            match self.upsert(update, upsert, shared) {
                Ok(()) => self.raw.accept(update, upsert),
                Err(Invalid(reason)) => {
                    self.raw.refuse(update.kind, upsert, &reason);
                    rejections.push(Rejection { name: upsert.name.clone(), reason });
                }
            }
        }
        rejections
    }

    fn remove(&mut self, kind: ResourceKind, name: &str) {
        self.raw.remove(kind, name);
        match kind {
            ResourceKind::Cluster => {
                self.clusters.remove(name);
            }
            ResourceKind::Endpoints => {
                // The cluster keeps its last hosts: losing the resource says nothing about the hosts.
                self.endpoints.remove(name);
            }
            ResourceKind::Listener => {
                if let Some(entry) = self.listeners.remove(name) {
                    entry
                        .active
                        .iter()
                        .flat_map(|listener| listener.all_chains())
                        .for_each(|chain| chain.drain.cancel());
                }
            }
            ResourceKind::Routes => self.routes.remove(name),
            // Goes with the rest of its response.
            ResourceKind::VirtualHost => {}
            ResourceKind::Secret => {
                self.secrets.remove(name);
            }
        }
    }

    fn upsert(&mut self, update: &ConfigUpdate, upsert: &Upsert, shared: &Arc<Shared>) -> Valid<()> {
        fn decode<M: prost::Message + Default>(upsert: &Upsert) -> Valid<M> {
            M::decode(upsert.body.clone()).map_err(|error| Invalid(format!("cannot decode: {error}")))
        }
        let check = |name: &str| {
            if name == upsert.name { Ok(()) } else { Err(Invalid(format!("the message is named {name:?}"))) }
        };
        match update.kind {
            ResourceKind::Cluster => {
                let message: cluster::Cluster = decode(upsert)?;
                check(&message.name)?;
                tell(upsert, ignored::of_cluster(&message));
                let config = Arc::new(ClusterConfig::compile(&message)?);
                config.refresh_tls(&self.secrets)?;
                if config.discovery == Discovery::Static
                    && let Some(assignment) = &config.load_assignment
                {
                    config.hosts(assignment, None, &self.resolved, now())?;
                }
                let workers = shared.workers;
                match self.clusters.get_mut(&upsert.name) {
                    Some(entry) => entry.config = config,
                    None => {
                        let entry = ClusterEntry {
                            config,
                            shared: Arc::new(ClusterShared::new(workers, shared.watcher.clone())),
                            active: None,
                            previous_hosts: None,
                        };
                        self.clusters.insert(upsert.name.clone(), entry);
                    }
                }
            }
            ResourceKind::Endpoints => {
                let message: endpoint::ClusterLoadAssignment = decode(upsert)?;
                check(&message.cluster_name)?;
                let users = |entry: &&mut ClusterEntry| matches!(&entry.config.discovery, Discovery::Eds { service_name } if *service_name == upsert.name);
                for entry in self.clusters.values_mut().filter(users) {
                    entry.config.hosts(&message, None, &self.resolved, now())?;
                    entry.active_is_stale();
                }
                self.endpoints.insert(upsert.name.clone(), message);
            }
            ResourceKind::Routes => {
                let message: route::RouteConfiguration = decode(upsert)?;
                check(&message.name)?;
                tell(upsert, ignored::of_routes(&message));
                let config = RouteConfig::compile(&message, load)?;
                if config.has_vhds() && !update.vhds {
                    return Err(Invalid::new("vhds works only over a delta ADS stream"));
                }
                self.routes.set(&upsert.name, config);
            }
            // Never looked at one by one.
            ResourceKind::VirtualHost => {}
            ResourceKind::Secret => {
                let message: tls::Secret = decode(upsert)?;
                check(&message.name)?;
                let value = SecretValue::compile(&message)?;
                if let ("default", SecretValue::Certificate(key)) = (upsert.name.as_str(), &value) {
                    shared.node.set_principal(key);
                }
                self.secrets.insert(upsert.name.clone(), value);
                self.refresh_secret(&upsert.name);
            }
            ResourceKind::Listener => {
                let message: listener::Listener = decode(upsert)?;
                check(&message.name)?;
                tell(upsert, ignored::of_listener(&message));
                let previous = self.listeners.get(&upsert.name).and_then(|entry| entry.active.clone());
                let compiled =
                    Listener::compile(&message, shared.workers, &mut self.scopes, previous.as_deref())?;
                for chain in compiled.all_chains() {
                    if let Some(tls) = chain.tls.as_ref().filter(|tls| !tls.is_ready()) {
                        tls.refresh(&self.secrets).map_err(|Invalid(reason)| {
                            Invalid(format!("filter chain {:?}: {reason}", chain.name))
                        })?;
                    }
                }
                self.listeners.entry(upsert.name.clone()).or_default().warming = Some(Arc::new(compiled));
            }
        }
        Ok(())
    }

    /// Gives a new secret to whoever uses it. What it breaks keeps its old state.
    fn refresh_secret(&mut self, name: &str) {
        let uses = |names: &BTreeSet<String>| names.contains(name);
        for (cluster, entry) in &self.clusters {
            let mut names = BTreeSet::new();
            entry.config.secret_names(&mut names);
            if uses(&names)
                && let Err(Invalid(reason)) = entry.config.refresh_tls(&self.secrets)
            {
                tracing::warn!(cluster, reason, "cannot use the new secret");
            }
        }
        for (listener, entry) in &self.listeners {
            let chains = entry.active.iter().chain(&entry.warming).flat_map(|listener| listener.all_chains());
            for tls in chains.filter_map(|chain| chain.tls.as_ref()) {
                let mut names = BTreeSet::new();
                tls.secret_names(&mut names);
                if uses(&names)
                    && let Err(Invalid(reason)) = tls.refresh(&self.secrets)
                {
                    tracing::warn!(listener, reason, "cannot use the new secret");
                }
            }
        }
    }

    /// Puts into force what is warm. Returns listeners that cannot be bound.
    fn activate(&mut self, shared: &Arc<Shared>) -> Vec<Rejection> {
        for entry in self.clusters.values_mut() {
            let current =
                entry.active.as_ref().is_some_and(|active| Arc::ptr_eq(&active.config, &entry.config));
            if current || !entry.config.tls_ready() {
                continue;
            }
            let empty = endpoint::ClusterLoadAssignment::default();
            let assignment = match &entry.config.discovery {
                Discovery::Eds { service_name } => match self.endpoints.get(service_name) {
                    Some(assignment) => assignment,
                    None => {
                        // Without its endpoints a cluster warms; a version that served goes on.
                        if entry.active.is_none() {
                            entry.active = entry.previous_hosts.take();
                        }
                        continue;
                    }
                },
                Discovery::Dns { .. }
                    if !entry.config.dns_names().iter().all(|name| self.resolved.contains_key(name)) =>
                {
                    continue;
                }
                _ => entry.config.load_assignment.as_ref().unwrap_or(&empty),
            };
            let previous =
                entry.active.as_ref().or(entry.previous_hosts.as_ref()).map(|active| active.hosts.clone());
            match entry.config.hosts(
                assignment,
                previous.as_deref().map(|assignment| &assignment.hosts),
                &self.resolved,
                now(),
            ) {
                Ok(hosts) => {
                    let (config, shared) = (entry.config.clone(), entry.shared.clone());
                    entry.active = Some(Arc::new(Cluster::new(config, Arc::new(hosts), shared)));
                    entry.previous_hosts = None;
                }
                Err(Invalid(reason)) => {
                    tracing::warn!(cluster = %entry.config.name, reason, "cannot use the endpoints")
                }
            }
        }
        let mut rejections = Vec::new();
        let names: Vec<String> = self
            .listeners
            .iter()
            .filter(|(_, entry)| entry.warming.is_some())
            .map(|(name, _)| name.clone())
            .collect();
        for name in names {
            if let Err(reason) = self.activate_listener(&name, shared) {
                rejections.push(Rejection { name, reason });
            }
        }
        rejections
    }

    fn activate_listener(&mut self, name: &str, shared: &Shared) -> Result<(), String> {
        let draining = self.draining;
        let Some(entry) = self.listeners.get_mut(name) else { return Ok(()) };
        let Some(next) = entry.warming.clone() else { return Ok(()) };
        if !waits_for(&next, &self.routes).is_empty() {
            return Ok(());
        }
        entry.warming = None;
        let wanted = next.bind.filter(|_| !draining.is_some_and(|kind| drains(kind, &next)));
        let bound = match (wanted, entry.bound.take()) {
            (None, _) => None,
            (Some(options), Some(bound)) if bound.options == options => Some(bound),
            (Some(options), old) => match Bound::open(options, shared.workers) {
                Ok(bound) => Some(Arc::new(bound)),
                Err(error) => {
                    entry.bound = old;
                    if entry.active.is_none() {
                        self.listeners.remove(name);
                    }
                    return Err(format!("cannot listen on {}: {error}", options.address));
                }
            },
        };
        entry.bound = bound;
        if let Some(old) = entry.active.replace(next.clone()) {
            let kept = |chain: &&Arc<crate::listener::FilterChain>| {
                next.all_chains().any(|other| Arc::ptr_eq(other, chain))
            };
            old.all_chains().filter(|chain| !kept(chain)).for_each(|chain| chain.drain.cancel());
        }
        Ok(())
    }

    fn needs(&self) -> Needs {
        let mut needs = Needs { virtual_hosts: self.routes.want_virtual_hosts(), ..Needs::default() };
        for entry in self.listeners.values() {
            for listener in entry.active.iter().chain(&entry.warming) {
                listener.route_names(&mut needs.routes);
                listener.secret_names(&mut needs.secrets);
            }
        }
        for entry in self.clusters.values() {
            if let Discovery::Eds { service_name } = &entry.config.discovery {
                needs.endpoints.insert(service_name.clone());
            }
            entry.config.secret_names(&mut needs.secrets);
        }
        needs
    }
}

/// What a listener waits for before it can serve.
pub(super) fn waits_for(listener: &Listener, routes: &Routes) -> Vec<String> {
    let mut names = BTreeSet::new();
    listener.route_names(&mut names);
    let mut out: Vec<String> = names.iter().filter_map(|name| routes.lacks(name)).collect();
    for chain in listener.all_chains() {
        if let Some(tls) = chain.tls.as_ref().filter(|tls| !tls.is_ready()) {
            let mut secrets = BTreeSet::new();
            tls.secret_names(&mut secrets);
            let names: Vec<_> = secrets.into_iter().collect();
            out.push(format!("secrets {} of filter chain {:?}", names.join(", "), chain.name));
        }
    }
    out
}
