//! HTTP probes of the application go through the agent, so that the kubelet, which has no mesh certificate, reaches
//! them under strict mTLS.

use portolan_names::names;
use serde_json::{Map, Value, json};

use super::InjectError;

/// The original probes by rewritten path: content of `ISTIO_KUBE_APP_PROBERS`.
pub(super) type AppProbes = Map<String, Value>;

const KINDS: [(&str, &str); 3] =
    [("livenessProbe", "livez"), ("readinessProbe", "readyz"), ("startupProbe", "startupz")];

/// Points all HTTP probes of the application at the agent.
pub(super) fn rewrite(pod: &mut Value, status_port: u16) -> Result<AppProbes, InjectError> {
    let mut originals = AppProbes::new();
    let Some(containers) = pod["spec"]["containers"].as_array_mut() else { return Ok(originals) };
    for container in containers {
        let Some(name) = container["name"].as_str().map(str::to_owned) else { continue };
        if name == names::PROXY_CONTAINER {
            continue;
        }
        let ports = container.get("ports").cloned().unwrap_or(Value::Null);
        for (kind, suffix) in KINDS {
            let Some(probe) = container.get_mut(kind) else { continue };
            let Some(get) = probe.get("httpGet").filter(|get| get.is_object()).cloned() else { continue };
            let Some(port) = port_number(&get["port"], &ports) else {
                // A port that no container has: the probe fails with or without us.
                continue;
            };
            let path = format!("/app-health/{name}/{suffix}");
            let mut original = json!({ "httpGet": get.clone() });
            original["httpGet"]["port"] = port.into();
            if let Some(timeout) = probe.get("timeoutSeconds") {
                original["timeoutSeconds"] = timeout.clone();
            }
            let mut rewritten = get;
            rewritten["path"] = path.clone().into();
            rewritten["port"] = status_port.into();
            if let Some(fields) = rewritten.as_object_mut() {
                // The agent itself speaks plain HTTP and dials the application with the original scheme.
                fields.remove("scheme");
            }
            probe["httpGet"] = rewritten;
            originals.insert(path, original);
        }
    }
    Ok(originals)
}

fn port_number(port: &Value, ports: &Value) -> Option<u16> {
    if let Some(number) = port.as_u64() {
        return u16::try_from(number).ok();
    }
    let name = port.as_str()?;
    if let Ok(number) = name.parse() {
        return Some(number);
    }
    let found = ports.as_array()?.iter().find(|candidate| candidate["name"] == name)?;
    u16::try_from(found["containerPort"].as_u64()?).ok()
}
