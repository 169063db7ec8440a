//! Pods: the STATUS cell condenses phase, conditions and container states as kubectl users know it.

use serde_json::{Value, json};

use super::util::{age, condition, list, number, text, text_or_none};
use crate::time;

pub(super) fn pod(pod: &Value, now: i64) -> Vec<Value> {
    let summary = Summary::of(pod);
    let restarts = match summary.last_restart {
        Some(then) if summary.restarts > 0 => {
            format!("{} ({} ago)", summary.restarts, time::human_duration(now - then))
        }
        _ => summary.restarts.to_string(),
    };
    let gates = list(pod, "/spec/readinessGates");
    let gates = if gates.is_empty() {
        "<none>".to_owned()
    } else {
        let met = gates.iter().filter(|g| {
            condition(pod, text(g, "/conditionType")).is_some_and(|c| text(c, "/status") == "True")
        });
        format!("{}/{}", met.count(), gates.len())
    };
    let address =
        list(pod, "/status/podIPs").first().map_or(text(pod, "/status/podIP"), |ip| text(ip, "/ip"));
    vec![
        json!(format!("{}/{}", summary.ready, summary.total)),
        json!(summary.status),
        json!(restarts),
        age(pod, now),
        json!(if address.is_empty() { "<none>" } else { address }),
        json!(text_or_none(pod, "/spec/nodeName")),
        json!(text_or_none(pod, "/status/nominatedNodeName")),
        json!(gates),
    ]
}

struct Summary {
    ready: usize,
    total: usize,
    status: String,
    restarts: i64,
    last_restart: Option<i64>,
}

impl Summary {
    fn of(pod: &Value) -> Self {
        let init_specs = list(pod, "/spec/initContainers");
        let is_sidecar = |name: &str| {
            init_specs.iter().any(|c| text(c, "/name") == name && text(c, "/restartPolicy") == "Always")
        };
        let sidecars = init_specs.iter().filter(|c| text(c, "/restartPolicy") == "Always").count();
        let reason = text(pod, "/status/reason");
        let mut out = Self {
            ready: 0,
            total: list(pod, "/spec/containers").len() + sidecars,
            status: if reason.is_empty() { text(pod, "/status/phase") } else { reason }.to_owned(),
            restarts: 0,
            last_restart: None,
        };
        if out.status.is_empty() {
            out.status = "Unknown".into();
        }
        if condition(pod, "PodScheduled").is_some_and(|c| text(c, "/reason") == "SchedulingGated") {
            out.status = "SchedulingGated".into();
        }
        let mut initializing = false;
        let mut sidecar_restarts = 0;
        for (i, container) in list(pod, "/status/initContainerStatuses").iter().enumerate() {
            out.count_restarts(container);
            let sidecar = is_sidecar(text(container, "/name"));
            if sidecar {
                sidecar_restarts += number(container, "/restartCount");
            }
            let waiting = text(container, "/state/waiting/reason");
            let terminated = container.pointer("/state/terminated");
            match terminated {
                Some(t) if number(t, "/exitCode") == 0 => continue,
                _ if sidecar && container.get("started") == Some(&Value::Bool(true)) => {
                    out.ready += usize::from(container.get("ready") == Some(&Value::Bool(true)));
                    continue;
                }
                Some(t) => out.status = format!("Init:{}", termination(t)),
                None if !waiting.is_empty() && waiting != "PodInitializing" => {
                    out.status = format!("Init:{waiting}")
                }
                None => out.status = format!("Init:{i}/{}", init_specs.len()),
            }
            initializing = true;
            break;
        }
        let initialized = condition(pod, "Initialized").is_some_and(|c| text(c, "/status") == "True");
        if !initializing || initialized {
            out.restarts = sidecar_restarts;
            out.containers(pod);
        }
        let finished = matches!(text(pod, "/status/phase"), "Succeeded" | "Failed");
        if pod.pointer("/metadata/deletionTimestamp").is_some() {
            if reason == "NodeLost" {
                out.status = "Unknown".into();
            } else if !finished {
                out.status = "Terminating".into();
            }
        }
        out
    }

    fn containers(&mut self, pod: &Value) {
        let mut running = false;
        for container in list(pod, "/status/containerStatuses").iter().rev() {
            self.count_restarts(container);
            let waiting = text(container, "/state/waiting/reason");
            if !waiting.is_empty() {
                self.status = waiting.to_owned();
            } else if let Some(t) = container.pointer("/state/terminated") {
                self.status = termination(t);
            } else if container.get("ready") == Some(&Value::Bool(true))
                && container.pointer("/state/running").is_some()
            {
                running = true;
                self.ready += 1;
            }
        }
        if self.status == "Completed" && running {
            let ready = condition(pod, "Ready").is_some_and(|c| text(c, "/status") == "True");
            self.status = if ready { "Running" } else { "NotReady" }.into();
        }
    }

    fn count_restarts(&mut self, container: &Value) {
        self.restarts += number(container, "/restartCount");
        let finished = time::parse(text(container, "/lastState/terminated/finishedAt"));
        self.last_restart = self.last_restart.max(finished);
    }
}

fn termination(terminated: &Value) -> String {
    match text(terminated, "/reason") {
        "" if number(terminated, "/signal") != 0 => format!("Signal:{}", number(terminated, "/signal")),
        "" => format!("ExitCode:{}", number(terminated, "/exitCode")),
        reason => reason.to_owned(),
    }
}
