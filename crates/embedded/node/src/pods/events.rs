//! Events of Pods, for `kubectl describe` and `kubectl get events`.

use std::collections::HashMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Events that wait to be written; more are dropped, they are a help and not a record.
const QUEUE: usize = 512;
/// Events whose repetitions are counted instead of written anew.
const MAX_KNOWN: usize = 1024;
/// Longest message, the API's limit.
const MAX_MESSAGE: usize = 1024;

/// What makes two events the same: Pod, container, reason, message.
type Key = (Option<String>, Option<String>, &'static str, String);

struct Record {
    about: ObjectReference,
    warning: bool,
    reason: &'static str,
    message: String,
}

/// Writes events in the background. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Events(mpsc::Sender<Record>);

impl Events {
    pub(crate) fn start(client: Client, node: String, tasks: &mut JoinSet<()>) -> Events {
        let (tx, rx) = mpsc::channel(QUEUE);
        tasks.spawn(write(client, node, rx));
        Events(tx)
    }

    /// Something that is as it should be.
    pub(crate) fn normal(
        &self,
        pod: &Pod,
        container: Option<&str>,
        reason: &'static str,
        message: impl Into<String>,
    ) {
        self.emit(pod, container, false, reason, message.into());
    }

    /// Something that needs attention.
    pub(crate) fn warning(
        &self,
        pod: &Pod,
        container: Option<&str>,
        reason: &'static str,
        message: impl Into<String>,
    ) {
        self.emit(pod, container, true, reason, message.into());
    }

    fn emit(
        &self,
        pod: &Pod,
        container: Option<&str>,
        warning: bool,
        reason: &'static str,
        mut message: String,
    ) {
        if message.len() > MAX_MESSAGE {
            let cut = (0..=MAX_MESSAGE).rev().find(|i| message.is_char_boundary(*i)).unwrap_or(0);
            message.truncate(cut);
        }
        let field_path = container.map(|name| {
            let init =
                pod.spec.iter().flat_map(|s| s.init_containers.iter().flatten()).any(|c| c.name == name);
            format!("spec.{}{{{name}}}", if init { "initContainers" } else { "containers" })
        });
        let about = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            namespace: pod.namespace(),
            name: Some(pod.name_any()),
            uid: pod.uid(),
            field_path,
            ..ObjectReference::default()
        };
        let _ = self.0.try_send(Record { about, warning, reason, message });
    }
}

async fn write(client: Client, node: String, mut queue: mpsc::Receiver<Record>) {
    let mut known: HashMap<Key, (String, i32)> = HashMap::new();
    let mut serial: u64 = Timestamp::now().as_nanosecond() as u64;
    while let Some(record) = queue.recv().await {
        let namespace = record.about.namespace.clone().unwrap_or_default();
        let api: Api<Event> = Api::namespaced(client.clone(), &namespace);
        let key = (
            record.about.uid.clone(),
            record.about.field_path.clone(),
            record.reason,
            record.message.clone(),
        );
        let now = Time(Timestamp::now());
        if let Some((name, count)) = known.get_mut(&key) {
            *count += 1;
            let patch = json!({ "count": *count, "lastTimestamp": now });
            if api.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await.is_ok() {
                continue;
            }
            known.remove(&key);
        }
        serial = serial.wrapping_add(1);
        let name = format!("{}.{serial:x}", record.about.name.as_deref().unwrap_or_default());
        let event = Event {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                namespace: Some(namespace),
                ..ObjectMeta::default()
            },
            involved_object: record.about,
            reason: Some(record.reason.to_owned()),
            message: Some(record.message),
            type_: Some(if record.warning { "Warning" } else { "Normal" }.to_owned()),
            source: Some(EventSource { component: Some("kubelet".to_owned()), host: Some(node.clone()) }),
            first_timestamp: Some(now.clone()),
            last_timestamp: Some(now),
            count: Some(1),
            reporting_component: Some("kubelet".to_owned()),
            reporting_instance: Some(node.clone()),
            ..Event::default()
        };
        match api.create(&PostParams::default(), &event).await {
            Ok(_) => {
                if known.len() >= MAX_KNOWN {
                    known.clear();
                }
                known.insert(key, (name, 1));
            }
            Err(error) => tracing::debug!(%error, "event not written"),
        }
    }
}
