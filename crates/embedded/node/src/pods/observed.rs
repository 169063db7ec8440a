//! What the runtime has observed of one Pod: shared by the tasks that see to it.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::fields::Addresses;

/// The state of one container.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum State {
    Waiting { reason: &'static str, message: Option<String> },
    Running { since: Timestamp },
    Terminated(Terminated),
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Terminated {
    pub(crate) exit_code: i32,
    pub(crate) signal: Option<i32>,
    pub(crate) reason: &'static str,
    pub(crate) message: Option<String>,
    pub(crate) started_at: Timestamp,
    pub(crate) finished_at: Timestamp,
    pub(crate) id: String,
}

/// One container. Written by its supervisor only.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) image: String,
    pub(crate) init: bool,
    /// An init container that runs along (restartPolicy Always).
    pub(crate) sidecar: bool,
    pub(crate) state: State,
    pub(crate) last: Option<Terminated>,
    pub(crate) restarts: i32,
    pub(crate) ready: bool,
    pub(crate) started: bool,
    pub(crate) id: Option<String>,
}

impl Entry {
    /// A container of `pod` that has not been started.
    fn new(pod: &Pod, container: &Container, init: bool) -> Entry {
        let statuses = pod.status.as_ref().and_then(|status| {
            if init { status.init_container_statuses.as_ref() } else { status.container_statuses.as_ref() }
        });
        let earlier = statuses.and_then(|list| list.iter().find(|c| c.name == container.name));
        // A container that ran before this start of the runtime died with the last one.
        let ran = earlier.is_some_and(|c| c.container_id.is_some());
        let waits_for_init =
            !init && pod.spec.iter().flat_map(|s| s.init_containers.iter().flatten()).next().is_some();
        Entry {
            name: container.name.clone(),
            image: container.image.clone().unwrap_or_default(),
            init,
            sidecar: init && container.restart_policy.as_deref() == Some("Always"),
            state: State::Waiting {
                reason: if waits_for_init { "PodInitializing" } else { "ContainerCreating" },
                message: None,
            },
            last: None,
            restarts: earlier.map_or(0, |c| c.restart_count) + i32::from(ran),
            ready: false,
            started: false,
            id: None,
        }
    }

    /// Changes the state; how the container ended before becomes its last state.
    pub(crate) fn enter(&mut self, state: State) {
        if let State::Terminated(ended) = std::mem::replace(&mut self.state, state) {
            self.last = Some(ended);
        }
    }
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    pub(crate) addresses: Option<Addresses>,
    pub(crate) start_time: Option<Timestamp>,
    pub(crate) initialized: bool,
    pub(crate) entries: Vec<Entry>,
    /// Set when the Pod fails as a whole: reason and message.
    pub(crate) failed: Option<(&'static str, String)>,
    /// The containers are being stopped because the Pod is deleted.
    pub(crate) stopping: bool,
}

/// The facts, shared between the Pod's tasks; whoever changes them wakes the status writer.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    facts: Mutex<Facts>,
    pub(crate) changed: Notify,
}

impl Observed {
    /// Nothing has happened yet to `pod`; restart counts go on from what its status says.
    pub(crate) fn new(pod: &Pod) -> Observed {
        let init = pod.spec.iter().flat_map(|s| s.init_containers.iter().flatten());
        let main = pod.spec.iter().flat_map(|s| s.containers.iter());
        let entries = init.map(|c| Entry::new(pod, c, true)).chain(main.map(|c| Entry::new(pod, c, false)));
        let start_time = pod.status.as_ref().and_then(|s| s.start_time.as_ref());
        let start_time = start_time.map_or_else(Timestamp::now, |time| time.0);
        Observed {
            facts: Mutex::new(Facts {
                entries: entries.collect(),
                start_time: Some(start_time),
                ..Facts::default()
            }),
            changed: Notify::new(),
        }
    }

    /// Changes something and wakes the status writer.
    pub(crate) fn update<T>(&self, change: impl FnOnce(&mut Facts) -> T) -> T {
        let result = change(&mut self.facts.lock());
        self.changed.notify_one();
        result
    }

    /// Changes one container.
    pub(crate) fn container<T: Default>(&self, name: &str, change: impl FnOnce(&mut Entry) -> T) -> T {
        self.update(|facts| facts.entries.iter_mut().find(|e| e.name == name).map(change).unwrap_or_default())
    }

    pub(crate) fn facts(&self) -> Facts {
        self.facts.lock().clone()
    }
}
