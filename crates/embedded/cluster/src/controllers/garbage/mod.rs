//! Garbage collection: what is owned goes with its owner (background, foreground, orphan).
//!
//! Watches the metadata of every kind that can be listed and deleted; new kinds (CRDs) are found by looking
//! at discovery again. [`graph`] decides, this file carries it out.

mod graph;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::core::{ApiResource, DynamicObject, PartialObjectMeta};
use kube::discovery::{Scope, verbs};
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Discovery};
use serde_json::json;
use tokio::task::JoinSet;

use super::meta;
use super::queue::{Next, WorkQueue};
use graph::{Action, Graph, Owner, Place, Uid};

/// How often discovery is asked for new kinds.
const REDISCOVER: Duration = Duration::from_secs(15);
/// An object whose owner exists after all is looked at again after this time.
const DOUBT: Duration = Duration::from_secs(2);
/// Kinds whose objects neither own nor are owned, and change often.
const SKIPPED: [(&str, &str); 3] =
    [("", "Event"), ("events.k8s.io", "Event"), ("coordination.k8s.io", "Lease")];

#[derive(Debug, Clone)]
struct Kind {
    resource: ApiResource,
    namespaced: bool,
}

/// The controller.
pub(crate) struct Collector {
    client: Client,
    kinds: Mutex<Vec<Kind>>,
    graph: Mutex<Graph>,
    queue: Arc<WorkQueue<Uid>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Collector {
    pub(crate) fn new(client: Client) -> Arc<Self> {
        Arc::new(Self { client, kinds: Mutex::default(), graph: Mutex::default(), queue: WorkQueue::new() })
    }

    /// Runs for ever.
    pub(crate) async fn run(self: Arc<Self>) {
        let decider = Arc::clone(&self);
        let queue = Arc::clone(&self.queue);
        let work = queue.run("garbage", move |uid| {
            let collector = Arc::clone(&decider);
            async move { collector.reconcile(&uid).await }
        });
        tokio::join!(work, Arc::clone(&self).discover());
    }

    /// Starts a watch for every kind, and for each that appears later; ends that of a kind that is gone.
    async fn discover(self: Arc<Self>) {
        let mut watches = JoinSet::new();
        let mut running: HashMap<String, tokio::task::AbortHandle> = HashMap::new();
        loop {
            match Discovery::new(self.client.clone()).run().await {
                Ok(discovery) => {
                    let mut present = HashSet::new();
                    for (resource, capabilities) in
                        discovery.groups().flat_map(kube::discovery::ApiGroup::recommended_resources)
                    {
                        let skipped = SKIPPED.contains(&(resource.group.as_str(), resource.kind.as_str()));
                        let usable = [verbs::LIST, verbs::WATCH, verbs::DELETE]
                            .iter()
                            .all(|verb| capabilities.supports_operation(verb));
                        if skipped || !usable {
                            continue;
                        }
                        let id = format!("{}/{}", resource.group, resource.plural);
                        present.insert(id.clone());
                        running.entry(id).or_insert_with(|| {
                            let namespaced = capabilities.scope == Scope::Namespaced;
                            let kind = {
                                let mut kinds = lock(&self.kinds);
                                kinds.push(Kind { resource: resource.clone(), namespaced });
                                kinds.len() - 1
                            };
                            watches.spawn(Arc::clone(&self).watch(kind, resource))
                        });
                    }
                    running.retain(|id, task| {
                        let keep = present.contains(id);
                        if !keep {
                            task.abort();
                        }
                        keep
                    });
                }
                Err(error) => tracing::debug!(%error, "discovery failed, will be asked again"),
            }
            tokio::time::sleep(REDISCOVER).await;
        }
    }

    async fn watch(self: Arc<Self>, kind: usize, resource: ApiResource) {
        let api: Api<PartialObjectMeta<DynamicObject>> = Api::all_with(self.client.clone(), &resource);
        let mut events = std::pin::pin!(watcher(api, watcher::Config::default()).default_backoff());
        // Uids met while a kind is listed anew: the others of the kind are gone.
        let mut listed: HashSet<Uid> = HashSet::new();
        while let Some(event) = events.next().await {
            let affected = match event {
                Ok(Event::Init) => {
                    listed.clear();
                    Vec::new()
                }
                Ok(Event::InitApply(object)) => {
                    listed.extend(object.metadata.uid.clone());
                    self.set(kind, &object)
                }
                Ok(Event::InitDone) => {
                    let mut graph = lock(&self.graph);
                    let gone: Vec<Uid> =
                        graph.of_kind(kind).into_iter().filter(|uid| !listed.contains(uid)).collect();
                    gone.iter().flat_map(|uid| graph.remove(uid)).collect()
                }
                Ok(Event::Apply(object)) => self.set(kind, &object),
                Ok(Event::Delete(object)) => {
                    let uid = object.metadata.uid.clone().unwrap_or_default();
                    lock(&self.graph).remove(&uid)
                }
                Err(error) => {
                    tracing::debug!(kind = %resource.kind, %error, "watch broke off, will be resumed");
                    Vec::new()
                }
            };
            for uid in affected {
                self.queue.add(uid);
            }
        }
    }

    fn set(&self, kind: usize, object: &PartialObjectMeta<DynamicObject>) -> Vec<Uid> {
        let place = Place {
            kind,
            namespace: object.metadata.namespace.clone(),
            name: object.metadata.name.clone().unwrap_or_default(),
        };
        lock(&self.graph).set(place, &object.metadata)
    }

    async fn reconcile(&self, uid: &Uid) -> kube::Result<Next> {
        let actions = lock(&self.graph).decide(uid);
        let mut next = Next::Idle;
        for action in actions {
            match action {
                Action::Delete { uid, place } => self.delete(&uid, &place).await?,
                Action::Verify { uid, place, owners } => {
                    let mut exists = false;
                    for owner in &owners {
                        exists |= self.exists(owner, &place).await?;
                    }
                    if exists {
                        next = Next::After(DOUBT);
                    } else {
                        self.delete(&uid, &place).await?;
                    }
                }
                Action::Disown { place, owners, uid } => {
                    self.edit(&place, &uid, |meta| {
                        meta.owner_references
                            .get_or_insert_default()
                            .retain(|owner| !owners.contains(&owner.uid));
                    })
                    .await?;
                }
                Action::Release { place, finalizer, uid } => {
                    self.edit(&place, &uid, |meta| {
                        meta.finalizers.get_or_insert_default().retain(|found| found != finalizer);
                    })
                    .await?;
                }
            }
        }
        Ok(next)
    }

    fn api(&self, place: &Place) -> Option<Api<PartialObjectMeta<DynamicObject>>> {
        let kind = lock(&self.kinds).get(place.kind)?.clone();
        Some(match &place.namespace {
            Some(namespace) if kind.namespaced => {
                Api::namespaced_with(self.client.clone(), namespace, &kind.resource)
            }
            _ => Api::all_with(self.client.clone(), &kind.resource),
        })
    }

    async fn delete(&self, uid: &Uid, place: &Place) -> kube::Result<()> {
        let Some(kind) = lock(&self.kinds).get(place.kind).cloned() else { return Ok(()) };
        let api: Api<DynamicObject> = match &place.namespace {
            Some(namespace) if kind.namespaced => {
                Api::namespaced_with(self.client.clone(), namespace, &kind.resource)
            }
            _ => Api::all_with(self.client.clone(), &kind.resource),
        };
        let only_this = Preconditions { uid: Some(uid.clone()), ..Preconditions::default() };
        match api.delete(&place.name, &DeleteParams::background().preconditions(only_this)).await {
            // Another object of the same name: the one that was meant is gone.
            Err(kube::Error::Api(status)) if status.is_conflict() => Ok(()),
            other => meta::gone_is_fine(other),
        }
    }

    /// Does the owner exist, as the API has it now? Owners of unknown kinds count as existing.
    async fn exists(&self, owner: &Owner, dependent: &Place) -> kube::Result<bool> {
        let kind = lock(&self.kinds)
            .iter()
            .find(|kind| {
                let group = owner.api_version.rsplit_once('/').map_or("", |(group, _)| group);
                kind.resource.kind == owner.kind && kind.resource.group == group
            })
            .cloned();
        let Some(kind) = kind else { return Ok(true) };
        let api: Api<PartialObjectMeta<DynamicObject>> = match &dependent.namespace {
            Some(namespace) if kind.namespaced => {
                Api::namespaced_with(self.client.clone(), namespace, &kind.resource)
            }
            _ => Api::all_with(self.client.clone(), &kind.resource),
        };
        Ok(api
            .get_opt(&owner.name)
            .await?
            .is_some_and(|found| found.metadata.uid.as_ref() == Some(&owner.uid)))
    }

    async fn edit(
        &self,
        place: &Place,
        uid: &Uid,
        change: impl Fn(&mut kube::api::ObjectMeta),
    ) -> kube::Result<()> {
        let Some(api) = self.api(place) else { return Ok(()) };
        let Some(mut object) = api.get_opt(&place.name).await? else { return Ok(()) };
        if object.metadata.uid.as_ref() != Some(uid) {
            return Ok(());
        }
        change(&mut object.metadata);
        let patch = json!({"metadata": {
            "resourceVersion": object.metadata.resource_version,
            "ownerReferences": object.metadata.owner_references,
            "finalizers": object.metadata.finalizers,
        }});
        meta::gone_is_fine(api.patch(&place.name, &PatchParams::default(), &Patch::Merge(&patch)).await)
    }
}
