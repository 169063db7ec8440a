//! The scheduler: there is one node.

use std::collections::{HashMap, HashSet};
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;
use tokio::task::{AbortHandle, Id, JoinSet};

use super::events::Events;

/// A binding that failed is tried again this soon, then less often, for as long as the Pod is there.
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_LIMIT: Duration = Duration::from_secs(10);

/// Assigns Pods to this node, each in a task of its own.
pub(super) struct Scheduler {
    client: Client,
    events: Events,
    node: String,
    tasks: JoinSet<()>,
    /// Pods that are being bound, by uid.
    under_way: HashMap<String, AbortHandle>,
    uids: HashMap<Id, String>,
}

impl Scheduler {
    pub(super) fn new(client: Client, events: Events, node: String) -> Scheduler {
        Scheduler {
            client,
            events,
            node,
            tasks: JoinSet::new(),
            under_way: HashMap::new(),
            uids: HashMap::new(),
        }
    }

    /// A Pod has no node yet.
    pub(super) fn offer(&mut self, uid: &str, pod: &Arc<Pod>) {
        if !schedulable(pod) || self.under_way.contains_key(uid) {
            return;
        }
        let (client, events, node, pod) =
            (self.client.clone(), self.events.clone(), self.node.clone(), pod.clone());
        let task = self.tasks.spawn(async move {
            if bind(&client, &pod, &node).await {
                let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
                let message = format!("Successfully assigned {namespace}/{name} to {node}");
                events.normal(&pod, None, "Scheduled", message);
            }
        });
        self.uids.insert(task.id(), uid.to_owned());
        self.under_way.insert(uid.to_owned(), task);
    }

    /// A Pod is gone.
    pub(super) fn gone(&mut self, uid: &str) {
        if let Some(task) = self.under_way.get(uid) {
            task.abort();
        }
    }

    /// Only these Pods exist.
    pub(super) fn retain(&mut self, listed: &HashSet<String>) {
        self.under_way.iter().filter(|(uid, _)| !listed.contains(*uid)).for_each(|(_, task)| task.abort());
    }

    /// Waits until a binding has ended, one way or the other.
    pub(super) async fn bound(&mut self) {
        let id = match self.tasks.join_next_with_id().await {
            None => return pending().await,
            Some(Ok((id, ()))) => id,
            Some(Err(error)) => error.id(),
        };
        if let Some(uid) = self.uids.remove(&id) {
            self.under_way.remove(&uid);
        }
    }
}

fn schedulable(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_none()
        && pod.spec.as_ref().is_some_and(|s| s.scheduling_gates.iter().flatten().next().is_none())
}

/// Binds a Pod, however long the API server takes to agree; `false` if it is gone or somebody else was faster.
async fn bind(client: &Client, pod: &Pod, node: &str) -> bool {
    let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
    let api: Api<Pod> = Api::namespaced(client.clone(), &namespace);
    let binding = json!({
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": { "name": name, "namespace": namespace, "uid": pod.uid() },
        "target": { "apiVersion": "v1", "kind": "Node", "name": node }
    });
    let mut wait = RETRY_FIRST;
    loop {
        let answer: Result<serde_json::Value, _> =
            api.create_subresource("binding", &name, &PostParams::default(), &binding).await;
        match answer {
            Ok(_) => return true,
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {
                // Gone, or bound by somebody else; or it has only just changed.
                match api.get_opt(&name).await {
                    Ok(Some(now)) if now.uid() == pod.uid() && !is_assigned(&now) => {}
                    Ok(_) => return false,
                    Err(error) => {
                        tracing::warn!(namespace, name, %error, "looking for a Pod that was not bound")
                    }
                }
            }
            Err(error) => tracing::warn!(namespace, name, %error, "binding the Pod"),
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(RETRY_LIMIT);
    }
}

fn is_assigned(pod: &Pod) -> bool {
    pod.spec.as_ref().and_then(|s| s.node_name.as_deref()).is_some_and(|node| !node.is_empty())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http::{Method, Request, Response};
    use kube::client::Body;

    use super::*;

    fn pod() -> Pod {
        serde_json::from_value(json!({ "metadata": { "name": "p", "namespace": "ns", "uid": "u" }, "spec": { "containers": [] } }))
            .unwrap()
    }

    /// An API server that answers by the number of the call and its method.
    fn client(answer: impl Fn(usize, &Method) -> (u16, serde_json::Value) + Send + Sync + 'static) -> Client {
        let answer = Arc::new((AtomicUsize::new(0), answer));
        let service = tower::service_fn(move |request: Request<Body>| {
            let (count, answer) = &*answer;
            let (code, body) = answer(count.fetch_add(1, Ordering::Relaxed), request.method());
            let answer = Response::builder().status(code).body(Body::from(body.to_string().into_bytes()));
            async move { answer }
        });
        Client::new(service, "default")
    }

    fn failure(code: u16) -> (u16, serde_json::Value) {
        (code, json!({ "kind": "Status", "status": "Failure", "code": code, "message": "", "reason": "" }))
    }

    #[tokio::test(start_paused = true)]
    async fn an_api_server_that_is_away_for_long_is_asked_again() {
        let calls = 100;
        let client = client(
            move |call, _| if call < calls { failure(500) } else { (201, json!({ "kind": "Status" })) },
        );
        assert!(bind(&client, &pod(), "node").await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pod_that_somebody_else_has_bound_is_left_alone() {
        let client = client(|_, method| {
            let mut bound = serde_json::to_value(pod()).unwrap();
            bound["spec"]["nodeName"] = json!("other");
            if method == Method::POST { failure(409) } else { (200, bound) }
        });
        assert!(!bind(&client, &pod(), "node").await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_conflict_with_another_change_is_no_end() {
        let client = client(|call, method| match (call, method) {
            (0, _) => failure(409),
            (_, &Method::GET) => (200, serde_json::to_value(pod()).unwrap()),
            _ => (201, json!({ "kind": "Status" })),
        });
        assert!(bind(&client, &pod(), "node").await);
    }

    #[tokio::test]
    async fn a_pod_that_is_gone_is_no_longer_bound() {
        let mut tasks = JoinSet::new();
        let client = client(|_, _| failure(500));
        let events = Events::start(client.clone(), "node".into(), &mut tasks);
        let mut scheduler = Scheduler::new(client, events, "node".into());
        scheduler.offer("u", &Arc::new(pod()));
        scheduler.gone("u");
        scheduler.bound().await;
        assert!(scheduler.under_way.is_empty() && scheduler.uids.is_empty());
    }
}
