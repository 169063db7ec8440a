//! From changes to publications: gathers what the watches say, sets facts, waits for quiet, and publishes.
//!
//! A change waits until nothing has happened for a while (100 ms), at most a fixed time (10 s); changes of endpoints
//! wait for nothing. While something is being published further changes gather, so that under load pushes get rarer, not
//! longer.
//! (Istio: PILOT_DEBOUNCE_AFTER, PILOT_DEBOUNCE_MAX.)

mod sizes;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use k8s_openapi::api::core::v1::ConfigMap;
use portolan_mesh::{FederationInputs, Mesh};
use portolan_names::names;
use portolan_resources::{MeshConfig, validation::Report};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};

use crate::{
    mesh_settings::MeshSettings,
    metrics::{Metric, Metrics},
    publish::Publisher,
    settings::Settings,
    validate,
    watch::{Change, Events, Kind, Update},
};

use sizes::Sizes;

/// Changes taken out of the queue in one go.
const BATCH: usize = 256;

/// How long changes are gathered.
#[derive(Clone, Copy, Debug)]
pub struct Debounce {
    /// Quiet time.
    pub after: Duration,
    /// Longest wait.
    pub max: Duration,
}

/// The push loop.
pub struct Pusher {
    /// Settings, shared with readers.
    pub settings: Arc<Settings>,
    /// The model and where it goes.
    pub publisher: Arc<Publisher>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Gathering.
    pub debounce: Debounce,
}

/// What has gathered since the last publication.
#[derive(Default)]
struct Pending {
    kinds: BTreeMap<Kind, u64>,
    since: Option<Instant>,
    last: Option<Instant>,
}

impl Pending {
    fn add(&mut self, kind: Kind, now: Instant) {
        *self.kinds.entry(kind).or_default() += 1;
        self.since.get_or_insert(now);
        self.last = Some(now);
    }

    /// When the push is due.
    fn due(&self, debounce: Debounce) -> Option<Instant> {
        let (since, last) = (self.since?, self.last?);
        if self.kinds.contains_key(&Kind::EndpointSlice) {
            return Some(since);
        }
        Some((last + debounce.after).min(since + debounce.max))
    }
}

/// What is set in the model.
enum Fact {
    Object(Update),
    Mesh(Arc<MeshConfig>),
    Federation(Box<FederationInputs>),
}

impl Fact {
    fn kind(&self) -> Kind {
        match self {
            Self::Object(update) => update.kind(),
            Self::Mesh(_) => Kind::MeshConfig,
            Self::Federation(_) => Kind::Federation,
        }
    }

    /// What happens to objects; settings are counted where they are read.
    fn events(&self, mesh: &Mesh) -> Events {
        match self {
            Self::Object(update) => update.events(mesh),
            Self::Mesh(_) | Self::Federation(_) => Events::default(),
        }
    }

    /// Whether anything is different now.
    fn apply(self, mesh: &mut Mesh) -> bool {
        match self {
            Self::Object(update) => update.apply(mesh),
            Self::Mesh(config) => mesh.set_mesh_config(config),
            Self::Federation(inputs) => mesh.set_federation(&inputs),
        }
    }
}

impl Pusher {
    /// Runs until the queue of updates is closed.
    pub async fn run(
        self,
        mut updates: mpsc::Receiver<Update>,
        mut federation: watch::Receiver<FederationInputs>,
    ) {
        let mut listed: BTreeSet<Kind> = BTreeSet::new();
        let mut pending = Pending::default();
        let mut batch = Vec::new();
        let mut imports_known = false;
        let Some(sizes) = self.publisher.blocking(|publisher| publisher.follow(Sizes)).await else { return };
        loop {
            let ready = listed.len() == Kind::WATCHED.len();
            let due = pending.due(self.debounce).filter(|_| ready);
            tokio::select! {
                taken = updates.recv_many(&mut batch, BATCH) => {
                    if taken == 0 {
                        return;
                    }
                    listed.extend(batch.iter().map(Update::kind));
                    let facts = batch.drain(..).filter_map(|update| self.take(update)).collect();
                    self.set(facts, &mut pending).await;
                    if !ready && listed.len() == Kind::WATCHED.len() {
                        tracing::info!("all kinds are listed; proxies are served from now on");
                        pending.add(Kind::MeshConfig, Instant::now());
                    }
                }
                Ok(()) = federation.changed() => {
                    let inputs = federation.borrow_and_update().clone();
                    self.set(vec![Fact::Federation(Box::new(inputs))], &mut pending).await;
                    // Even if that is nothing, somebody waits for it.
                    if !imports_known {
                        pending.add(Kind::Federation, Instant::now());
                    }
                    imports_known = true;
                }
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    let gathered = std::mem::take(&mut pending);
                    if self.push(gathered, &sizes).await && imports_known {
                        self.publisher.imports_are_known();
                    }
                }
            }
        }
    }

    /// What is to be set for an update. Keeps the settings as they are now.
    fn take(&self, update: Update) -> Option<Fact> {
        if let Update::Namespace(change) = &update {
            self.settings.take_namespaces(change);
        }
        match update {
            Update::MeshConfig(change) => {
                self.count(Kind::MeshConfig, Update::MeshConfig(change.clone()).events(&Mesh::default()));
                self.take_settings(change).map(Fact::Mesh)
            }
            other => Some(Fact::Object(other)),
        }
    }

    /// Counts what happened to objects of a kind.
    fn count(&self, kind: Kind, events: Events) {
        let metric = match kind {
            Kind::Service | Kind::EndpointSlice | Kind::Pod | Kind::Namespace | Kind::Node => {
                Metric::RegistryEvents
            }
            _ => Metric::ConfigEvents,
        };
        let name = kind.to_string();
        for (event, number) in [("add", events.add), ("update", events.update), ("delete", events.delete)] {
            if number > 0 {
                self.metrics.add(metric, &[("type", &name), ("event", event)], number);
            }
        }
    }

    /// Mesh settings that can't be read leave the last good ones in force.
    fn take_settings(&self, change: Change<ConfigMap>) -> Option<Arc<MeshConfig>> {
        match MeshSettings::read(change) {
            Ok(settings) => {
                let mesh = Arc::new(settings.mesh);
                self.tell(&settings.report);
                self.settings.set_mesh(mesh.clone(), settings.default_config);
                Some(mesh)
            }
            Err(error) => {
                tracing::error!(%error, "the mesh's settings can't be read; the last good ones stay in force");
                self.metrics.count(Metric::ObjectErrors, &[("type", "MeshConfig")]);
                None
            }
        }
    }

    /// Settings that do not work: whoever runs the mesh may have missed the webhook's answer.
    fn tell(&self, report: &Report) {
        for (state, findings) in [("refused", &report.errors), ("warning", &report.warnings)] {
            let number = u64::try_from(findings.len()).unwrap_or(u64::MAX);
            self.metrics.set(Metric::SettingsWithoutEffect, &[("state", state)], number);
            for finding in validate::warnings(findings) {
                tracing::warn!("ConfigMap {}: {finding}", names::MESH_CONFIG_MAP);
            }
        }
    }

    /// Sets facts; what is different then is to be published.
    async fn set(&self, facts: Vec<Fact>, pending: &mut Pending) {
        let heard = Instant::now();
        let set = move |publisher: &Arc<Publisher>| -> Vec<(Kind, Events, bool)> {
            publisher.change(|mesh| {
                let set = |fact: Fact| (fact.kind(), fact.events(mesh), fact.apply(mesh));
                facts.into_iter().map(set).collect()
            })
        };
        for (kind, events, different) in self.publisher.blocking(set).await.unwrap_or_default() {
            self.count(kind, events);
            if !different {
                continue;
            }
            let update_type = match kind {
                Kind::EndpointSlice | Kind::Pod => "eds",
                Kind::Service => "svc",
                _ => "config",
            };
            self.metrics.count(Metric::InboundUpdates, &[("type", update_type)]);
            pending.add(kind, heard);
        }
    }

    /// Whether that could be done.
    async fn push(&self, pending: Pending, sizes: &watch::Receiver<Option<(usize, usize)>>) -> bool {
        for kind in pending.kinds.keys() {
            self.metrics.count(Metric::PushTriggers, &[("type", trigger(*kind))]);
        }
        let since = pending.since;
        let done = self.publisher.blocking(move |publisher| publisher.publish(since)).await;
        if let Some((services, virtual_services)) = *sizes.borrow() {
            self.metrics.set(Metric::Services, &[], services as u64);
            self.metrics.set(Metric::VirtualServices, &[], virtual_services as u64);
        }
        done.is_some()
    }
}

/// The reason of a push as the metric names it.
fn trigger(kind: Kind) -> &'static str {
    match kind {
        Kind::EndpointSlice => "endpoint",
        Kind::Service => "service",
        Kind::Pod | Kind::Namespace | Kind::Node => "proxy",
        Kind::MeshConfig => "global",
        _ => "config",
    }
}

/// The trust domain that the mesh's settings name, for the time before the watches run.
pub fn trust_domain(map: Option<ConfigMap>) -> String {
    let change = Change::Replace(map.into_iter().map(Arc::new).collect());
    let settings = MeshSettings::read(change).map(|settings| settings.mesh);
    settings.unwrap_or_default().trust_domain
}
