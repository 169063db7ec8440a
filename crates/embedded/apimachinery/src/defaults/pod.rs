//! Pods and pod templates.

use serde_json::{Map, Value, json};

use super::{each, set, set_in};

/// Mode of projected files: 0644.
const FILE_MODE: i64 = 420;
/// Life of a projected service account token in seconds.
const TOKEN_SECONDS: i64 = 3600;
/// Life of the token that every Pod gets; one hour and the seven seconds by which clients recognise it.
const MOUNTED_TOKEN_SECONDS: i64 = 3607;
/// Where every container finds its service account's token.
const TOKEN_PATH: &str = portolan_names::paths::SERVICE_ACCOUNT_DIR;

pub(super) fn pod(object: &mut Value) {
    set(object, "/spec", "enableServiceLinks", true);
    for list in ["/spec/containers", "/spec/initContainers"] {
        for container in each(object, list) {
            requests_from_limits(container);
        }
    }
    spec(object.get_mut("spec"));
    set(object, "/status", "phase", "Pending");
    let class = quality_of_service(object);
    set(object, "/status", "qosClass", class);
}

/// A pod template (`metadata` and `spec`).
pub(super) fn template(template: Option<&mut Value>) {
    if let Some(template) = template {
        spec(template.get_mut("spec"));
    }
}

fn spec(spec: Option<&mut Value>) {
    let Some(spec) = spec else { return };
    let Some(map) = spec.as_object_mut() else { return };
    set_in(map, "restartPolicy", "Always");
    set_in(map, "dnsPolicy", "ClusterFirst");
    set_in(map, "schedulerName", "default-scheduler");
    set_in(map, "terminationGracePeriodSeconds", 30);
    set_in(map, "securityContext", json!({}));
    // The old name of the field is kept equal to the new one.
    let account = ["serviceAccountName", "serviceAccount"]
        .iter()
        .find_map(|k| map.get(*k).and_then(Value::as_str).filter(|a| !a.is_empty()))
        .map(str::to_owned);
    if let Some(account) = account {
        map.insert("serviceAccountName".into(), json!(account));
        map.insert("serviceAccount".into(), json!(account));
    }
    let host_network = map.get("hostNetwork") == Some(&Value::Bool(true));
    for list in ["/containers", "/initContainers", "/ephemeralContainers"] {
        for item in each(spec, list) {
            container(item, host_network);
        }
    }
    for item in each(spec, "/volumes") {
        volume(item);
    }
    for constraint in each(spec, "/topologySpreadConstraints") {
        set_in(constraint, "nodeAffinityPolicy", "Honor");
        set_in(constraint, "nodeTaintsPolicy", "Ignore");
    }
}

fn container(container: &mut Map<String, Value>, host_network: bool) {
    let image = container.get("image").and_then(Value::as_str).unwrap_or_default();
    let name = image.rsplit('/').next().unwrap_or_default();
    let latest = !image.contains('@') && name.split_once(':').is_none_or(|(_, tag)| tag == "latest");
    set_in(container, "imagePullPolicy", if latest { "Always" } else { "IfNotPresent" });
    set_in(container, "terminationMessagePath", "/dev/termination-log");
    set_in(container, "terminationMessagePolicy", "File");
    set_in(container, "resources", json!({}));
    for port in objects(container.get_mut("ports")) {
        set_in(port, "protocol", "TCP");
        if host_network && let Some(number) = port.get("containerPort").cloned() {
            set_in(port, "hostPort", number);
        }
    }
    for env in objects(container.get_mut("env")) {
        field_reference(env.get_mut("valueFrom"));
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(probe) = container.get_mut(probe).and_then(Value::as_object_mut) else { continue };
        for (key, value) in
            [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)]
        {
            set_in(probe, key, value);
        }
        http_get(probe.get_mut("httpGet"));
        if let Some(grpc) = probe.get_mut("grpc").and_then(Value::as_object_mut)
            && !grpc.contains_key("service")
        {
            grpc.insert("service".into(), json!(""));
        }
    }
    for hook in ["postStart", "preStop"] {
        http_get(
            container.get_mut("lifecycle").and_then(|l| l.get_mut(hook)).and_then(|h| h.get_mut("httpGet")),
        );
    }
}

fn http_get(action: Option<&mut Value>) {
    if let Some(action) = action.and_then(Value::as_object_mut) {
        set_in(action, "path", "/");
        set_in(action, "scheme", "HTTP");
    }
}

fn field_reference(holder: Option<&mut Value>) {
    if let Some(reference) = holder.and_then(|h| h.get_mut("fieldRef")).and_then(Value::as_object_mut) {
        set_in(reference, "apiVersion", "v1");
    }
}

fn volume(volume: &mut Map<String, Value>) {
    if volume.len() == 1 && volume.contains_key("name") {
        volume.insert("emptyDir".into(), json!({}));
    }
    for kind in ["configMap", "secret", "downwardAPI", "projected"] {
        if let Some(source) = volume.get_mut(kind).and_then(Value::as_object_mut) {
            set_in(source, "defaultMode", FILE_MODE);
        }
    }
    downward_items(volume.get_mut("downwardAPI"));
    if let Some(path) = volume.get_mut("hostPath").and_then(Value::as_object_mut)
        && !path.contains_key("type")
    {
        path.insert("type".into(), json!(""));
    }
    for source in objects(volume.get_mut("projected").and_then(|p| p.get_mut("sources"))) {
        downward_items(source.get_mut("downwardAPI"));
        if let Some(token) = source.get_mut("serviceAccountToken").and_then(Value::as_object_mut) {
            set_in(token, "expirationSeconds", TOKEN_SECONDS);
        }
    }
}

fn downward_items(source: Option<&mut Value>) {
    for item in objects(source.and_then(|s| s.get_mut("items"))) {
        if let Some(reference) = item.get_mut("fieldRef").and_then(Value::as_object_mut) {
            set_in(reference, "apiVersion", "v1");
        }
    }
}

fn objects(list: Option<&mut Value>) -> impl Iterator<Item = &mut Map<String, Value>> {
    list.and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut)
}

fn requests_from_limits(container: &mut Map<String, Value>) {
    let Some(resources) = container.get_mut("resources").and_then(Value::as_object_mut) else { return };
    let Some(limits) = resources.get("limits").and_then(Value::as_object).cloned() else { return };
    let requests = resources.entry("requests").or_insert_with(|| json!({}));
    if let Some(requests) = requests.as_object_mut() {
        for (name, limit) in limits {
            set_in(requests, &name, limit);
        }
    }
}

fn quality_of_service(pod: &Value) -> &'static str {
    let lists = ["/spec/containers", "/spec/initContainers"];
    let containers = || lists.iter().filter_map(|l| pod.pointer(l)).filter_map(Value::as_array).flatten();
    let amounts = |container: &Value, kind: &str| {
        let amounts = container.pointer(&format!("/resources/{kind}")).and_then(Value::as_object).cloned();
        let mut amounts = amounts.unwrap_or_default();
        amounts.retain(|name, _| name == "cpu" || name == "memory");
        amounts
    };
    let empty = containers().all(|c| amounts(c, "limits").is_empty() && amounts(c, "requests").is_empty());
    let guaranteed = containers().all(|c| {
        let limits = amounts(c, "limits");
        limits.len() == 2 && limits == amounts(c, "requests")
    });
    match (empty, guaranteed) {
        (true, _) => "BestEffort",
        (_, true) => "Guaranteed",
        _ => "Burstable",
    }
}

/// What the ServiceAccount admission step does to a new Pod: the account `default`, and the projected volume
/// `kube-api-access-<suffix>` with token, CA and namespace, mounted into every container that mounts nothing there.
/// `automount` is the account's `automountServiceAccountToken`; the Pod's own setting goes before it.
/// Call it after [`super::apply`] and before the admission webhooks.
pub fn admit_service_account(pod: &mut Value, automount: Option<bool>, suffix: &str) {
    let Some(spec) = pod.get_mut("spec").and_then(Value::as_object_mut) else { return };
    set_in(spec, "serviceAccountName", "default");
    let account = spec.get("serviceAccountName").cloned().unwrap_or_default();
    spec.insert("serviceAccount".into(), account);
    let own = spec.get("automountServiceAccountToken").and_then(Value::as_bool);
    if !own.or(automount).unwrap_or(true) {
        return;
    }
    let volumes = spec.get("volumes").and_then(Value::as_array).cloned().unwrap_or_default();
    let existing =
        volumes.iter().filter_map(|v| v.get("name")?.as_str()).find(|n| n.starts_with("kube-api-access-"));
    let name = existing.map_or_else(|| format!("kube-api-access-{suffix}"), str::to_owned);
    let mut used = existing.is_some();
    for list in ["containers", "initContainers"] {
        for container in objects(spec.get_mut(list)) {
            let mounts = container.entry("volumeMounts").or_insert_with(|| json!([]));
            let Some(mounts) = mounts.as_array_mut() else { continue };
            if mounts.iter().any(|m| m.get("mountPath").and_then(Value::as_str) == Some(TOKEN_PATH)) {
                continue;
            }
            mounts.push(json!({"name": name, "readOnly": true, "mountPath": TOKEN_PATH}));
            used |= true;
        }
    }
    if !used || existing.is_some() {
        return;
    }
    let volume = json!({"name": name, "projected": {"defaultMode": FILE_MODE, "sources": [
        {"serviceAccountToken": {"expirationSeconds": MOUNTED_TOKEN_SECONDS, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace",
            "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
    ]}});
    if let Some(volumes) = spec.entry("volumes").or_insert_with(|| json!([])).as_array_mut() {
        volumes.push(volume);
    }
}
