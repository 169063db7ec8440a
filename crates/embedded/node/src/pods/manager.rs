//! Watches Pods: binds the unassigned, and keeps one worker for each that is assigned here.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::api::PostParams;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;

use super::volumes::Kind;
use super::worker::{Desired, Worker};
use super::{Change, Context};

/// Pods that run at the same time; more stay Pending.
const MAX_PODS: usize = 250;

struct Handle {
    desired: watch::Sender<Desired>,
}

/// Runs until `shutdown` becomes true and all Pods have stopped.
pub(crate) async fn run(ctx: Arc<Context>, mut shutdown: watch::Receiver<bool>) {
    let api: Api<Pod> = Api::all(ctx.client.clone());
    let mut events = std::pin::pin!(watcher(api, watcher::Config::default()).default_backoff());
    let mut workers: HashMap<String, Handle> = HashMap::new();
    let mut tasks: JoinSet<String> = JoinSet::new();
    let mut binding: JoinSet<()> = JoinSet::new();
    let mut bound: HashSet<String> = HashSet::new();
    let mut listed: Option<HashSet<String>> = None;
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            Some(ended) = tasks.join_next() => {
                if let Ok(uid) = ended {
                    workers.remove(&uid);
                }
                continue;
            }
            Some(_) = binding.join_next() => continue,
            _ = shutdown.wait_for(|s| *s) => break,
        };
        let pod = match event {
            None => break,
            Some(Err(error)) => {
                tracing::warn!(%error, "watching Pods");
                continue;
            }
            Some(Ok(watcher::Event::Init)) => {
                listed = Some(HashSet::new());
                continue;
            }
            Some(Ok(watcher::Event::InitDone)) => {
                if let Some(listed) = listed.take() {
                    bound.retain(|uid| listed.contains(uid));
                    for (_, handle) in workers.iter().filter(|(uid, _)| !listed.contains(*uid)) {
                        handle.desired.send_replace(Desired::Gone);
                    }
                }
                continue;
            }
            Some(Ok(watcher::Event::Delete(pod))) => {
                let uid = pod.uid().unwrap_or_default();
                bound.remove(&uid);
                if let Some(handle) = workers.get(&uid) {
                    handle.desired.send_replace(Desired::Gone);
                }
                continue;
            }
            Some(Ok(watcher::Event::InitApply(pod) | watcher::Event::Apply(pod))) => Arc::new(pod),
        };
        let Some(uid) = pod.uid() else { continue };
        if let Some(listed) = listed.as_mut() {
            listed.insert(uid.clone());
        }
        let node = pod.spec.as_ref().and_then(|s| s.node_name.clone()).unwrap_or_default();
        if node.is_empty() {
            if schedulable(&pod) && bound.insert(uid) {
                binding.spawn(bind(ctx.clone(), pod));
            }
            continue;
        }
        if node != ctx.network.plan().node_name() {
            continue;
        }
        if let Some(handle) = workers.get(&uid) {
            handle.desired.send_replace(Desired::Exists(pod));
        } else if workers.len() < MAX_PODS {
            let (desired, receiver) = watch::channel(Desired::Exists(pod.clone()));
            let worker = Worker { ctx: ctx.clone(), desired: receiver, shutdown: shutdown.clone() };
            workers.insert(uid.clone(), Handle { desired });
            tasks.spawn(async move {
                worker.run(pod).await;
                uid
            });
        } else {
            tracing::warn!(pod = pod.name_any(), "more than {MAX_PODS} Pods, this one stays Pending");
        }
    }
    drop(binding);
    while tasks.join_next().await.is_some() {}
}

fn schedulable(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_none()
        && pod.spec.as_ref().is_some_and(|s| s.scheduling_gates.iter().flatten().next().is_none())
}

/// The scheduler: there is one node.
async fn bind(ctx: Arc<Context>, pod: Arc<Pod>) {
    let node = ctx.network.plan().node_name();
    let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
    let api: Api<Pod> = Api::namespaced(ctx.client.clone(), &namespace);
    let binding = json!({
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": { "name": name, "namespace": namespace, "uid": pod.uid() },
        "target": { "apiVersion": "v1", "kind": "Node", "name": node }
    });
    let mut wait = std::time::Duration::from_millis(200);
    for _ in 0..20 {
        let answer: Result<serde_json::Value, _> =
            api.create_subresource("binding", &name, &PostParams::default(), &binding).await;
        match answer {
            Ok(_) => {
                let message = format!("Successfully assigned {namespace}/{name} to {node}");
                ctx.events.normal(&pod, None, "Scheduled", message);
                return;
            }
            // Gone, or bound by somebody else.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => return,
            Err(error) => tracing::warn!(namespace, name, %error, "binding the Pod"),
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(std::time::Duration::from_secs(10));
    }
}

/// Tells volumes about changes of ConfigMaps and Secrets.
pub(crate) fn watch_sources(client: &Client, changes: &broadcast::Sender<Change>, tasks: &mut JoinSet<()>) {
    tasks.spawn(report::<ConfigMap>(Api::all(client.clone()), Kind::ConfigMap, changes.clone()));
    tasks.spawn(report::<Secret>(Api::all(client.clone()), Kind::Secret, changes.clone()));
}

async fn report<K>(api: Api<K>, kind: Kind, changes: broadcast::Sender<Change>)
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
{
    let events = watcher(api, watcher::Config::default()).default_backoff().touched_objects();
    let mut events = std::pin::pin!(events);
    while let Some(event) = events.next().await {
        match event {
            Ok(object) => {
                let namespace = object.namespace().unwrap_or_default();
                // Nobody listens while no Pod runs.
                let _ = changes.send(Change { kind, namespace, name: object.name_any() });
            }
            Err(error) => tracing::warn!(?kind, %error, "watch"),
        }
    }
}
