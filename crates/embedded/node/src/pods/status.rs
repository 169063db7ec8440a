//! The status of a Pod that follows from what was observed of it, as the kubelet writes it.

use std::net::Ipv4Addr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
    ContainerStatus, HostIP, Pod, PodCondition, PodIP, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::observed::{Entry, Facts, State, Terminated};

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
    let list = |init: bool| -> Vec<ContainerStatus> {
        facts.entries.iter().filter(|e| e.init == init).map(container_status).collect()
    };
    let init = list(true);
    PodStatus {
        phase: Some(phase.to_owned()),
        conditions: Some(conditions(pod, facts, phase, before)),
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

/// Why a condition does not hold: reason and message.
type WhyNot = Option<(&'static str, String)>;

/// Our conditions, with the time of their last change, and those that other controllers wrote.
fn conditions(pod: &Pod, facts: &Facts, phase: &str, before: &[PodCondition]) -> Vec<PodCondition> {
    let now = Timestamp::now();
    let condition = |(type_, why_not): (&str, Result<(), WhyNot>)| {
        let status = if why_not.is_ok() { "True" } else { "False" };
        let same = before.iter().find(|c| c.type_ == type_ && c.status == status);
        let since = same.and_then(|c| c.last_transition_time.clone()).unwrap_or(Time(now));
        let (reason, message) = why_not.err().flatten().unzip();
        PodCondition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: reason.map(str::to_owned),
            message: message.filter(|m: &String| !m.is_empty()),
            last_transition_time: Some(since),
            ..PodCondition::default()
        }
    };
    let mut conditions: Vec<PodCondition> = own_conditions(pod, facts, phase).map(condition).into();
    let foreign = pod.status.iter().flat_map(|s| s.conditions.iter().flatten());
    for condition in foreign {
        if conditions.iter().all(|c| c.type_ != condition.type_) {
            conditions.push(condition.clone());
        }
    }
    conditions
}

/// The kubelet's conditions: which hold, and why the others do not.
fn own_conditions(pod: &Pod, facts: &Facts, phase: &str) -> [(&'static str, Result<(), WhyNot>); 5] {
    let done = matches!(phase, "Succeeded" | "Failed");
    let unready = |init: bool| {
        let names = facts.entries.iter().filter(|e| e.init == init && !e.ready).map(|e| e.name.as_str());
        names.collect::<Vec<_>>().join(" ")
    };
    let holds = |holds: bool, why_not: &dyn Fn() -> WhyNot| if holds { Ok(()) } else { Err(why_not()) };
    let not_initialized = || {
        let message = format!("containers with incomplete status: [{}]", unready(true));
        Some(("ContainersNotInitialized", message))
    };
    let not_ready = || {
        let message = format!("containers with unready status: [{}]", unready(false));
        Some(if done { ("PodCompleted", String::new()) } else { ("ContainersNotReady", message) })
    };
    let gate_closed =
        || Some(("ReadinessGatesNotReady", "a readiness gate of the Pod is not True".to_owned()));
    let counted = || facts.entries.iter().filter(|e| !e.init || e.sidecar);
    let containers_ready = holds(facts.initialized && counted().all(|e| e.ready) && !done, &not_ready);
    let gates_open = pod.spec.iter().flat_map(|s| s.readiness_gates.iter().flatten()).all(|gate| {
        let mut conditions = pod.status.iter().flat_map(|s| s.conditions.iter().flatten());
        conditions.any(|c| c.type_ == gate.condition_type && c.status == "True")
    });
    [
        ("PodReadyToStartContainers", holds(facts.addresses.is_some() && !done, &|| None)),
        ("Initialized", holds(facts.initialized, &not_initialized)),
        ("Ready", containers_ready.clone().and_then(|()| holds(gates_open, &gate_closed))),
        ("ContainersReady", containers_ready),
        ("PodScheduled", Ok(())),
    ]
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

    use super::super::observed::Observed;
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
            let observed = Observed::new(&pod);
            observed.update(|f| f.initialized = true);
            observed.container("a", |e| e.state = a.clone());
            observed.container("b", |e| e.state = b.clone());
            assert_eq!(phase(&pod, &observed.facts()), expected, "{policy} {a:?} {b:?}");
        }
    }

    #[test]
    fn conditions_keep_their_time() {
        let pod = pod("Always");
        let observed = Observed::new(&pod);
        let host = Ipv4Addr::new(1, 2, 3, 4);
        let mut first = status(&pod, &observed.facts(), host, &[]).conditions.unwrap();
        for c in &mut first {
            c.last_transition_time = Some(Time(Timestamp::UNIX_EPOCH));
        }
        observed.update(|f| f.initialized = true);
        observed.container("a", |e| e.ready = true);
        observed.container("b", |e| e.ready = true);
        let second = status(&pod, &observed.facts(), host, &first).conditions.unwrap();
        let of = |t: &str| second.iter().find(|c| c.type_ == t).unwrap();
        assert_eq!(of("Ready").status, "True");
        assert_ne!(of("Ready").last_transition_time, Some(Time(Timestamp::UNIX_EPOCH)));
        assert_eq!(of("PodScheduled").last_transition_time, Some(Time(Timestamp::UNIX_EPOCH)));
    }
}
