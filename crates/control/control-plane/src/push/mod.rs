//! From changes to snapshots: gathers what the watches say, waits for quiet, builds the model anew, and publishes it to
//! all streams.
//!
//! A change waits until nothing has happened for a while (100 ms), at most a fixed time (10 s); changes of endpoints
//! wait for nothing. While a snapshot is being built further changes gather, so that under load pushes get rarer, not
//! longer.
//! (Istio: PILOT_DEBOUNCE_AFTER, PILOT_DEBOUNCE_MAX.)

mod change;
mod settings;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use parking_lot::RwLock;
use portolan_mesh::{FederationInputs, Inputs, Snapshot};
use serde_json::Value;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};

use crate::{
    metrics::{Metric, Metrics},
    watch::{Kind, Update},
};

pub use change::Changed;
use settings::MeshSettings;

/// Changes that are remembered for streams that lag behind; whoever is further behind looks at everything.
const HISTORY: usize = 64;

/// Changes taken out of the queue in one go.
const BATCH: usize = 256;

/// What streams see of the model.
#[derive(Clone, Debug, Default)]
pub struct Published {
    /// Counts snapshots; 0 before the first.
    pub generation: u64,
    /// The model; nothing until everything has been listed once.
    pub snapshot: Option<Arc<Snapshot>>,
    /// When the snapshot was published.
    pub at: Option<Instant>,
    /// The first word of federation is in the snapshot. Before that a proxy that comes back would be told that
    /// everything imported is gone.
    pub imports_known: bool,
    history: Arc<VecDeque<(u64, Changed)>>,
}

impl Published {
    /// What changed since a generation that a stream has worked off.
    pub fn since(&self, generation: u64) -> Changed {
        if generation >= self.generation {
            return Changed::Nothing;
        }
        let oldest = self.history.front().map_or(u64::MAX, |(first, _)| *first);
        if generation + 1 < oldest {
            return Changed::Everything;
        }
        let later = self.history.iter().filter(|(number, _)| *number > generation);
        later.fold(Changed::Nothing, |all, (_, changed)| all.and(changed))
    }

    /// Has all streams look again although the model is the same.
    pub fn touch(&mut self) {
        self.add(Changed::Everything);
    }

    fn add(&mut self, changed: Changed) {
        self.generation += 1;
        let mut history = (*self.history).clone();
        history.push_back((self.generation, changed));
        while history.len() > HISTORY {
            history.pop_front();
        }
        self.history = Arc::new(history);
    }

    /// The version that responses state, for people.
    pub fn version(&self) -> String {
        self.generation.to_string()
    }
}

/// The inputs as they are now. Written by the push loop only; read by injection and the debug endpoints.
#[derive(Debug, Default)]
pub struct Model {
    /// Objects.
    pub inputs: RwLock<Inputs>,
    /// `defaultConfig` as the user wrote it, for injection.
    pub default_config: RwLock<Arc<Value>>,
}

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
    /// Objects, shared with readers.
    pub model: Arc<Model>,
    /// Where snapshots go.
    pub published: Arc<watch::Sender<Published>>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Gathering.
    pub debounce: Debounce,
}

/// What has gathered since the last snapshot.
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
        loop {
            let ready = listed.len() == Kind::WATCHED.len();
            let due = pending.due(self.debounce).filter(|_| ready);
            tokio::select! {
                taken = updates.recv_many(&mut batch, BATCH) => {
                    if taken == 0 {
                        return;
                    }
                    for update in batch.drain(..) {
                        listed.insert(update.kind());
                        self.take(update, &mut pending);
                    }
                    if !ready && listed.len() == Kind::WATCHED.len() {
                        tracing::info!("all kinds are listed; proxies are served from now on");
                        pending.add(Kind::MeshConfig, Instant::now());
                    }
                }
                Ok(()) = federation.changed() => {
                    self.model.inputs.write().federation = federation.borrow_and_update().clone();
                    pending.add(Kind::Federation, Instant::now());
                    imports_known = true;
                }
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    let gathered = std::mem::take(&mut pending);
                    self.push(gathered).await;
                    if imports_known {
                        self.published.send_if_modified(|published| {
                            !std::mem::replace(&mut published.imports_known, true)
                        });
                    }
                }
            }
        }
    }

    fn take(&self, update: Update, pending: &mut Pending) {
        let kind = update.kind();
        let (name, event) = (kind.to_string(), update.event());
        match kind {
            Kind::Service | Kind::EndpointSlice | Kind::Pod | Kind::Namespace => {
                self.metrics.count(Metric::RegistryEvents, &[("type", &name), ("event", event)]);
            }
            _ => self.metrics.count(Metric::ConfigEvents, &[("type", &name), ("event", event)]),
        }
        let changed = match update {
            Update::MeshConfig(change) => self.take_settings(change),
            other => other.apply(&mut self.model.inputs.write()),
        };
        if changed {
            let update_type = match kind {
                Kind::EndpointSlice | Kind::Pod => "eds",
                Kind::Service => "svc",
                _ => "config",
            };
            self.metrics.count(Metric::InboundUpdates, &[("type", update_type)]);
            pending.add(kind, Instant::now());
        }
    }

    /// Mesh settings that can't be read leave the last good ones in force.
    fn take_settings(&self, change: crate::watch::Change<k8s_openapi::api::core::v1::ConfigMap>) -> bool {
        match MeshSettings::read(change) {
            Ok(settings) => {
                *self.model.default_config.write() = settings.default_config;
                let mut inputs = self.model.inputs.write();
                let changed = *inputs.mesh_config != settings.mesh;
                inputs.mesh_config = Arc::new(settings.mesh);
                changed
            }
            Err(error) => {
                tracing::error!(%error, "the mesh's settings can't be read; the last good ones stay in force");
                self.metrics.count(Metric::ObjectErrors, &[("type", "MeshConfig")]);
                false
            }
        }
    }

    async fn push(&self, pending: Pending) {
        let before = self.published.borrow().snapshot.clone();
        let model = self.model.clone();
        let previous = before.clone();
        let built = tokio::task::spawn_blocking(move || {
            Arc::new(Snapshot::build(&model.inputs.read(), previous.as_deref()))
        })
        .await;
        let snapshot = match built {
            Ok(snapshot) => snapshot,
            Err(error) => {
                // A defect in the model must not end the control plane: proxies keep what they have.
                tracing::error!(%error, "the model can't be built; proxies keep the last configuration");
                self.metrics.count(Metric::InternalErrors, &[]);
                return;
            }
        };
        for kind in pending.kinds.keys() {
            self.metrics.count(Metric::PushTriggers, &[("type", change::trigger(*kind))]);
        }
        self.metrics.set(Metric::Services, &[], snapshot.model().services().len() as u64);
        self.metrics.set(Metric::VirtualServices, &[], snapshot.model().virtual_services().len() as u64);
        let kinds: BTreeSet<Kind> = pending.kinds.into_keys().collect();
        let changed = Changed::between(before.as_deref().map(Snapshot::model), snapshot.model(), &kinds);
        if matches!(changed, Changed::Nothing) {
            return;
        }
        self.published.send_modify(|published| {
            published.add(changed);
            published.snapshot = Some(snapshot);
            published.at = pending.since.or_else(|| Some(Instant::now()));
        });
    }
}

/// The trust domain that the mesh's settings name, for the time before the watches run.
pub fn trust_domain(map: Option<k8s_openapi::api::core::v1::ConfigMap>) -> String {
    let change = crate::watch::Change::Replace(map.into_iter().map(Arc::new).collect());
    let settings = MeshSettings::read(change).map(|settings| settings.mesh);
    settings.unwrap_or_default().trust_domain
}
