//! What the runtime knows about one Pod, and the status that follows from it.

use std::net::Ipv4Addr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
    ContainerStatus, HostIP, Pod, PodCondition, PodIP, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
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

/// Shared between the Pod's tasks; whoever changes it wakes the status writer.
#[derive(Debug, Default)]
pub(crate) struct Board {
    facts: Mutex<Facts>,
    pub(crate) changed: Notify,
}

impl Board {
    /// A board for `pod`; restart counts go on from what its status says.
    pub(crate) fn new(pod: &Pod) -> Board {
        let mut entries = Vec::new();
        let status = pod.status.as_ref();
        if let Some(spec) = &pod.spec {
            let earlier = |name: &str, init: bool| {
                let list = status.and_then(|s| {
                    if init { s.init_container_statuses.as_ref() } else { s.container_statuses.as_ref() }
                });
                list.and_then(|l| l.iter().find(|c| c.name == name)).cloned()
            };
            let mut add = |c: &Container, init: bool| {
                let earlier = earlier(&c.name, init);
                // A container that ran before this start of the runtime died with the last one.
                let ran = earlier.as_ref().is_some_and(|c| c.container_id.is_some());
                entries.push(Entry {
                    name: c.name.clone(),
                    image: c.image.clone().unwrap_or_default(),
                    init,
                    sidecar: init && c.restart_policy.as_deref() == Some("Always"),
                    state: State::Waiting {
                        reason: if init || spec.init_containers.iter().flatten().next().is_none() {
                            "ContainerCreating"
                        } else {
                            "PodInitializing"
                        },
                        message: None,
                    },
                    last: None,
                    restarts: earlier.map_or(0, |c| c.restart_count) + i32::from(ran),
                    ready: false,
                    started: false,
                    id: None,
                });
            };
            spec.init_containers.iter().flatten().for_each(|c| add(c, true));
            spec.containers.iter().for_each(|c| add(c, false));
        }
        let start_time = status.and_then(|s| s.start_time.as_ref()).map_or_else(Timestamp::now, |t| t.0);
        Board {
            facts: Mutex::new(Facts { entries, start_time: Some(start_time), ..Facts::default() }),
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

/// The phase that follows from the containers (as the kubelet has it).
pub(crate) fn phase(pod: &Pod, facts: &Facts) -> &'static str {
    if facts.failed.is_some() {
        return "Failed";
    }
    if !facts.initialized {
        return "Pending";
    }
    let policy = pod.spec.as_ref().and_then(|s| s.restart_policy.as_deref()).unwrap_or("Always");
    let (mut waiting, mut running, mut succeeded, mut failed) = (0, 0, 0, 0);
    for entry in facts.entries.iter().filter(|e| !e.init) {
        match (&entry.state, &entry.last) {
            (State::Running { .. }, _) => running += 1,
            (State::Terminated(t), _) if t.exit_code == 0 => succeeded += 1,
            (State::Terminated(_), _) => failed += 1,
            // Between two attempts.
            (State::Waiting { .. }, Some(_)) => running += 1,
            (State::Waiting { .. }, None) => waiting += 1,
        }
    }
    match (waiting, running) {
        (1.., _) => "Pending",
        (_, 1..) => "Running",
        _ if policy == "Always" && !facts.stopping => "Running",
        _ if failed == 0 && succeeded > 0 => "Succeeded",
        _ if policy == "OnFailure" && !facts.stopping => "Running",
        _ => "Failed",
    }
}

/// The whole status. `before`: the conditions as they were written last, for their transition times.
pub(crate) fn status(pod: &Pod, facts: &Facts, host: Ipv4Addr, before: &[PodCondition]) -> PodStatus {
    let phase = phase(pod, facts);
    let done = matches!(phase, "Succeeded" | "Failed");
    let all_ready =
        facts.initialized && facts.entries.iter().filter(|e| !e.init || e.sidecar).all(|e| e.ready) && !done;
    let not_ready: Vec<&str> =
        facts.entries.iter().filter(|e| !e.init && !e.ready).map(|e| e.name.as_str()).collect();
    let gates_open = pod.spec.iter().flat_map(|s| s.readiness_gates.iter().flatten()).all(|gate| {
        let conditions = pod.status.iter().flat_map(|s| s.conditions.iter().flatten());
        conditions.into_iter().any(|c| c.type_ == gate.condition_type && c.status == "True")
    });
    let why_not = || {
        let (reason, message) = if done {
            ("PodCompleted", String::new())
        } else {
            ("ContainersNotReady", format!("containers with unready status: [{}]", not_ready.join(" ")))
        };
        Some((reason, message))
    };
    let ours = [
        ("PodReadyToStartContainers", facts.addresses.is_some() && !done, None),
        (
            "Initialized",
            facts.initialized,
            (!facts.initialized).then(|| {
                let names: Vec<&str> =
                    facts.entries.iter().filter(|e| e.init && !e.ready).map(|e| e.name.as_str()).collect();
                (
                    "ContainersNotInitialized",
                    format!("containers with incomplete status: [{}]", names.join(" ")),
                )
            }),
        ),
        (
            "Ready",
            all_ready && gates_open,
            if all_ready && !gates_open {
                Some(("ReadinessGatesNotReady", "a readiness gate of the Pod is not True".to_owned()))
            } else if all_ready {
                None
            } else {
                why_not()
            },
        ),
        ("ContainersReady", all_ready, if all_ready { None } else { why_not() }),
        ("PodScheduled", true, None),
    ];
    let now = Timestamp::now();
    let mut conditions: Vec<PodCondition> = ours
        .into_iter()
        .map(|(type_, holds, why)| {
            let status = if holds { "True" } else { "False" };
            let same = before.iter().find(|c| c.type_ == type_ && c.status == status);
            let since = same.and_then(|c| c.last_transition_time.clone()).unwrap_or(Time(now));
            let (reason, message) = why.map_or((None, None), |(r, m)| (Some(r.to_owned()), Some(m)));
            PodCondition {
                type_: type_.to_owned(),
                status: status.to_owned(),
                reason,
                message: message.filter(|m| !m.is_empty()),
                last_transition_time: Some(since),
                ..PodCondition::default()
            }
        })
        .collect();
    // What other controllers wrote stays.
    let foreign = pod.status.iter().flat_map(|s| s.conditions.iter().flatten());
    for condition in foreign {
        if conditions.iter().all(|c| c.type_ != condition.type_) {
            conditions.push(condition.clone());
        }
    }

    let list = |init: bool| -> Vec<ContainerStatus> {
        facts.entries.iter().filter(|e| e.init == init).map(container_status).collect()
    };
    let init = list(true);
    PodStatus {
        phase: Some(phase.to_owned()),
        conditions: Some(conditions),
        host_ip: Some(host.to_string()),
        host_ips: Some(vec![HostIP { ip: host.to_string() }]),
        pod_ip: facts.addresses.map(|a| a.pod.to_string()),
        pod_ips: facts.addresses.map(|a| vec![PodIP { ip: a.pod.to_string() }]),
        start_time: facts.start_time.map(Time),
        init_container_statuses: (!init.is_empty()).then_some(init),
        container_statuses: Some(list(false)),
        qos_class: Some(qos_class(pod).to_owned()),
        reason: facts.failed.as_ref().map(|(r, _)| (*r).to_owned()),
        message: facts.failed.as_ref().map(|(_, m)| m.clone()),
        ..PodStatus::default()
    }
}

fn container_status(entry: &Entry) -> ContainerStatus {
    let terminated = |t: &Terminated| ContainerStateTerminated {
        container_id: Some(t.id.clone()),
        exit_code: t.exit_code,
        signal: t.signal,
        reason: Some(t.reason.to_owned()),
        message: t.message.clone(),
        started_at: Some(Time(t.started_at)),
        finished_at: Some(Time(t.finished_at)),
    };
    let state = match &entry.state {
        State::Waiting { reason, message } => ContainerState {
            waiting: Some(ContainerStateWaiting {
                reason: Some((*reason).to_owned()),
                message: message.clone(),
            }),
            ..ContainerState::default()
        },
        State::Running { since } => ContainerState {
            running: Some(ContainerStateRunning { started_at: Some(Time(*since)) }),
            ..ContainerState::default()
        },
        State::Terminated(t) => {
            ContainerState { terminated: Some(terminated(t)), ..ContainerState::default() }
        }
    };
    ContainerStatus {
        name: entry.name.clone(),
        image: entry.image.clone(),
        image_id: entry.id.as_ref().map(|_| format!("portolan://{}", entry.image)).unwrap_or_default(),
        container_id: entry.id.clone(),
        ready: entry.ready,
        started: Some(entry.started),
        restart_count: entry.restarts,
        state: Some(state),
        last_state: entry
            .last
            .as_ref()
            .map(|t| ContainerState { terminated: Some(terminated(t)), ..ContainerState::default() }),
        ..ContainerStatus::default()
    }
}

fn qos_class(pod: &Pod) -> &'static str {
    if let Some(class) = pod.status.as_ref().and_then(|s| s.qos_class.as_deref()) {
        return match class {
            "Guaranteed" => "Guaranteed",
            "Burstable" => "Burstable",
            _ => "BestEffort",
        };
    }
    let containers: Vec<&Container> =
        pod.spec.iter().flat_map(|s| s.containers.iter().chain(s.init_containers.iter().flatten())).collect();
    let any = containers.iter().any(|c| {
        c.resources.as_ref().is_some_and(|r| {
            [&r.limits, &r.requests].iter().any(|m| m.as_ref().is_some_and(|m| !m.is_empty()))
        })
    });
    let guaranteed = containers.iter().all(|c| {
        c.resources.as_ref().is_some_and(|r| {
            let limits = r.limits.clone().unwrap_or_default();
            let requests = r.requests.clone().unwrap_or_default();
            ["cpu", "memory"].iter().all(|k| {
                limits.contains_key(*k) && requests.get(*k).is_none_or(|q| Some(q) == limits.get(*k))
            })
        })
    });
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(policy: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": { "name": "p" },
            "spec": { "restartPolicy": policy, "containers": [{ "name": "a" }, { "name": "b" }] }
        }))
        .unwrap()
    }

    fn ended(exit_code: i32) -> State {
        State::Terminated(Terminated {
            exit_code,
            signal: None,
            reason: "x",
            message: None,
            started_at: Timestamp::UNIX_EPOCH,
            finished_at: Timestamp::UNIX_EPOCH,
            id: String::new(),
        })
    }

    #[test]
    fn phases() {
        let running = || State::Running { since: Timestamp::UNIX_EPOCH };
        let waiting = || State::Waiting { reason: "x", message: None };
        for (policy, a, b, expected) in [
            ("Always", waiting(), running(), "Pending"),
            ("Always", running(), running(), "Running"),
            ("Always", ended(0), ended(1), "Running"),
            ("Never", ended(0), ended(0), "Succeeded"),
            ("Never", ended(0), ended(1), "Failed"),
            ("Never", ended(1), running(), "Running"),
            ("OnFailure", ended(0), ended(0), "Succeeded"),
            ("OnFailure", ended(0), ended(1), "Running"),
        ] {
            let pod = pod(policy);
            let board = Board::new(&pod);
            board.update(|f| f.initialized = true);
            board.container("a", |e| e.state = a.clone());
            board.container("b", |e| e.state = b.clone());
            assert_eq!(phase(&pod, &board.facts()), expected, "{policy} {a:?} {b:?}");
        }
    }

    #[test]
    fn conditions_keep_their_time() {
        let pod = pod("Always");
        let board = Board::new(&pod);
        let host = Ipv4Addr::new(1, 2, 3, 4);
        let mut first = status(&pod, &board.facts(), host, &[]).conditions.unwrap();
        for c in &mut first {
            c.last_transition_time = Some(Time(Timestamp::UNIX_EPOCH));
        }
        board.update(|f| f.initialized = true);
        board.container("a", |e| e.ready = true);
        board.container("b", |e| e.ready = true);
        let second = status(&pod, &board.facts(), host, &first).conditions.unwrap();
        let of = |t: &str| second.iter().find(|c| c.type_ == t).unwrap();
        assert_eq!(of("Ready").status, "True");
        assert_ne!(of("Ready").last_transition_time, Some(Time(Timestamp::UNIX_EPOCH)));
        assert_eq!(of("PodScheduled").last_transition_time, Some(Time(Timestamp::UNIX_EPOCH)));
    }
}
