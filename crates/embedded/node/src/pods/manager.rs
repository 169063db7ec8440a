//! Watches Pods: the unassigned go to the scheduler, those that are assigned here get a worker each.

use std::collections::HashSet;
use std::sync::Arc;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, ResourceExt as _};
use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;

use super::roster::{Place, Roster};
use super::scheduler::Scheduler;
use super::volumes::Kind;
use super::worker::Worker;
use super::{Change, Context};

/// Pods that run at the same time; more wait until one of them has ended.
const MAX_PODS: usize = 250;

/// Runs until `shutdown` becomes true and all Pods have stopped.
pub(crate) async fn run(ctx: Arc<Context>, mut shutdown: watch::Receiver<bool>) {
    let api: Api<Pod> = Api::all(ctx.client.clone());
    let mut events = std::pin::pin!(watcher(api, watcher::Config::default()).default_backoff());
    let node = ctx.network.plan().node_name();
    let mut scheduler = Scheduler::new(ctx.client.clone(), ctx.events.clone(), node.clone());
    let stopping = shutdown.clone();
    let context = ctx.clone();
    let mut roster = Roster::new(MAX_PODS, move |pod, desired| {
        let worker = Worker { ctx: context.clone(), desired, shutdown: stopping.clone() };
        async move { worker.run(pod).await }
    });
    let mut listed: Option<HashSet<String>> = None;
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            () = roster.ended() => continue,
            () = scheduler.bound() => continue,
            _ = shutdown.wait_for(|s| *s) => break,
        };
        match event {
            None => break,
            Some(Err(error)) => tracing::warn!(%error, "watching Pods"),
            Some(Ok(watcher::Event::Init)) => listed = Some(HashSet::new()),
            Some(Ok(watcher::Event::InitDone)) => {
                if let Some(listed) = listed.take() {
                    scheduler.retain(&listed);
                    roster.retain(&listed);
                }
            }
            Some(Ok(watcher::Event::Delete(pod))) => {
                let uid = pod.uid().unwrap_or_default();
                scheduler.gone(&uid);
                roster.gone(&uid);
            }
            Some(Ok(watcher::Event::InitApply(pod) | watcher::Event::Apply(pod))) => {
                let pod = Arc::new(pod);
                let uid = pod.uid().unwrap_or_default();
                let assigned = pod.spec.as_ref().and_then(|s| s.node_name.as_deref()).unwrap_or_default();
                if assigned.is_empty() {
                    scheduler.offer(&uid, &pod);
                } else if assigned == node && roster.exists(&uid, &pod) == Place::Waits {
                    let message = format!(
                        "{MAX_PODS} Pods are running on this node: this one starts when one has ended"
                    );
                    ctx.events.warning(&pod, None, "OutOfpods", message);
                }
                if let Some(listed) = listed.as_mut() {
                    listed.insert(uid);
                }
            }
        }
    }
    drop(scheduler);
    roster.drain().await;
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
