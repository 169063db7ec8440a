//! Everything else: services, configuration, access control, the cluster itself.

use serde_json::{Value, json};

use super::util::{NONE, age, condition, entries, list, number, pairs, selector, since, text, text_or_none};

/// Endpoints that are named before `+ n more...`.
const SHOWN_ENDPOINTS: usize = 3;

pub(super) fn only_age(object: &Value, now: i64) -> Vec<Value> {
    vec![age(object, now)]
}

pub(super) fn created_at(object: &Value, _now: i64) -> Vec<Value> {
    vec![json!(text(object, "/metadata/creationTimestamp"))]
}

pub(super) fn service(object: &Value, now: i64) -> Vec<Value> {
    let kind = text(object, "/spec/type");
    let mut external: Vec<&str> =
        list(object, "/spec/externalIPs").iter().filter_map(Value::as_str).collect();
    let ingress = list(object, "/status/loadBalancer/ingress");
    let addresses = ingress.iter().map(|i| match text(i, "/ip") {
        "" => text(i, "/hostname"),
        ip => ip,
    });
    let external = match kind {
        "ExternalName" => text(object, "/spec/externalName").to_owned(),
        "LoadBalancer" => {
            external.extend(addresses);
            if external.is_empty() { "<pending>".into() } else { external.join(",") }
        }
        _ if external.is_empty() => NONE.into(),
        _ => external.join(","),
    };
    let ports: Vec<String> = list(object, "/spec/ports")
        .iter()
        .map(|p| {
            let protocol = if text(p, "/protocol").is_empty() { "TCP" } else { text(p, "/protocol") };
            match number(p, "/nodePort") {
                0 => format!("{}/{protocol}", number(p, "/port")),
                node => format!("{}:{node}/{protocol}", number(p, "/port")),
            }
        })
        .collect();
    vec![
        json!(if kind.is_empty() { "ClusterIP" } else { kind }),
        json!(text_or_none(object, "/spec/clusterIP")),
        json!(external),
        json!(if ports.is_empty() { NONE.to_owned() } else { ports.join(",") }),
        age(object, now),
        json!(pairs(object, "/spec/selector")),
    ]
}

pub(super) fn endpoints(object: &Value, now: i64) -> Vec<Value> {
    let mut shown = Vec::new();
    for subset in list(object, "/subsets") {
        for address in list(subset, "/addresses") {
            let ip = text(address, "/ip");
            let ports = list(subset, "/ports");
            if ports.is_empty() {
                shown.push(ip.to_owned());
            }
            shown.extend(ports.iter().map(|p| format!("{ip}:{}", number(p, "/port"))));
        }
    }
    vec![json!(shorten(&shown)), age(object, now)]
}

pub(super) fn endpoint_slice(object: &Value, now: i64) -> Vec<Value> {
    let ports: Vec<String> = list(object, "/ports")
        .iter()
        .map(|p| p.get("port").map_or_else(|| text(p, "/name").to_owned(), Value::to_string))
        .collect();
    let addresses: Vec<String> = list(object, "/endpoints")
        .iter()
        .flat_map(|e| list(e, "/addresses"))
        .filter_map(|a| a.as_str().map(str::to_owned))
        .collect();
    let ports = if ports.is_empty() { "<unset>".to_owned() } else { shorten(&ports) };
    let addresses = if addresses.is_empty() { "<unset>".to_owned() } else { shorten(&addresses) };
    vec![json!(text(object, "/addressType")), json!(ports), json!(addresses), age(object, now)]
}

fn shorten(items: &[String]) -> String {
    match items {
        [] => NONE.into(),
        _ if items.len() > SHOWN_ENDPOINTS => {
            let shown = items.iter().take(SHOWN_ENDPOINTS).cloned().collect::<Vec<_>>().join(",");
            format!("{shown} + {} more...", items.len() - SHOWN_ENDPOINTS)
        }
        _ => items.join(","),
    }
}

pub(super) fn namespace(object: &Value, now: i64) -> Vec<Value> {
    vec![json!(text(object, "/status/phase")), age(object, now)]
}

pub(super) fn node(object: &Value, now: i64) -> Vec<Value> {
    let mut status = match condition(object, "Ready").map(|c| text(c, "/status")) {
        Some("True") => "Ready".to_owned(),
        Some(_) => "NotReady".to_owned(),
        None => "Unknown".to_owned(),
    };
    if object.pointer("/spec/unschedulable") == Some(&Value::Bool(true)) {
        status.push_str(",SchedulingDisabled");
    }
    let labels = object.pointer("/metadata/labels").and_then(Value::as_object);
    let roles: Vec<&str> = labels
        .into_iter()
        .flat_map(|l| l.keys())
        .filter_map(|k| k.strip_prefix("node-role.kubernetes.io/"))
        .filter(|r| !r.is_empty())
        .collect();
    let address = |kind: &str| {
        let found = list(object, "/status/addresses").iter().find(|a| text(a, "/type") == kind);
        found.map_or(NONE, |a| text(a, "/address")).to_owned()
    };
    let info = |field: &str| match text(object, &format!("/status/nodeInfo/{field}")) {
        "" => "<unknown>".to_owned(),
        text => text.to_owned(),
    };
    vec![
        json!(status),
        json!(if roles.is_empty() { NONE.to_owned() } else { roles.join(",") }),
        age(object, now),
        json!(text(object, "/status/nodeInfo/kubeletVersion")),
        json!(address("InternalIP")),
        json!(address("ExternalIP")),
        json!(info("osImage")),
        json!(info("kernelVersion")),
        json!(info("containerRuntimeVersion")),
    ]
}

pub(super) fn config_map(object: &Value, now: i64) -> Vec<Value> {
    vec![json!(entries(object, "/data") + entries(object, "/binaryData")), age(object, now)]
}

pub(super) fn secret(object: &Value, now: i64) -> Vec<Value> {
    vec![json!(text(object, "/type")), json!(entries(object, "/data")), age(object, now)]
}

pub(super) fn service_account(object: &Value, now: i64) -> Vec<Value> {
    vec![json!(list(object, "/secrets").len()), age(object, now)]
}

pub(super) fn event(object: &Value, now: i64) -> Vec<Value> {
    let first_of = |pointers: &[&str]| {
        pointers
            .iter()
            .find(|p| !text(object, p).is_empty())
            .map_or("<unknown>".to_owned(), |p| since(object, p, now))
    };
    // events.k8s.io has other names for the same things.
    let about = if object.get("regarding").is_some() { "/regarding" } else { "/involvedObject" };
    let kind = text(object, &format!("{about}/kind")).to_lowercase();
    let target = format!("{kind}/{}", text(object, &format!("{about}/name")));
    let message = match text(object, "/message") {
        "" => text(object, "/note"),
        message => message,
    };
    let source =
        ["/source/component", "/deprecatedSource/component", "/reportingComponent", "/reportingController"];
    let source = source.iter().map(|p| text(object, p)).find(|t| !t.is_empty()).unwrap_or_default();
    let host = text(object, "/source/host");
    let source = if host.is_empty() { source.to_owned() } else { format!("{source}, {host}") };
    let count = ["/count", "/series/count", "/deprecatedCount"].iter().map(|p| number(object, p)).max();
    vec![
        json!(first_of(&[
            "/series/lastObservedTime",
            "/lastTimestamp",
            "/deprecatedLastTimestamp",
            "/eventTime",
            "/firstTimestamp"
        ])),
        json!(text(object, "/type")),
        json!(text(object, "/reason")),
        json!(target),
        json!(text(object, &format!("{about}/fieldPath"))),
        json!(source),
        json!(message.trim()),
        json!(first_of(&["/firstTimestamp", "/deprecatedFirstTimestamp", "/eventTime"])),
        json!(count.unwrap_or(0).max(1)),
        json!(text(object, "/metadata/name")),
    ]
}

pub(super) fn persistent_volume(object: &Value, now: i64) -> Vec<Value> {
    let claim = match text(object, "/spec/claimRef/name") {
        "" => String::new(),
        name => format!("{}/{name}", text(object, "/spec/claimRef/namespace")),
    };
    vec![
        json!(text(object, "/spec/capacity/storage")),
        json!(access_modes(object, "/spec/accessModes")),
        json!(text(object, "/spec/persistentVolumeReclaimPolicy")),
        json!(text(object, "/status/phase")),
        json!(claim),
        json!(text(object, "/spec/storageClassName")),
        age(object, now),
    ]
}

pub(super) fn persistent_volume_claim(object: &Value, now: i64) -> Vec<Value> {
    vec![
        json!(text(object, "/status/phase")),
        json!(text(object, "/spec/volumeName")),
        json!(text(object, "/status/capacity/storage")),
        json!(access_modes(object, "/status/accessModes")),
        json!(text(object, "/spec/storageClassName")),
        age(object, now),
    ]
}

fn access_modes(object: &Value, pointer: &str) -> String {
    let modes = list(object, pointer).iter().filter_map(Value::as_str);
    let short = modes.map(|m| match m {
        "ReadWriteOnce" => "RWO",
        "ReadOnlyMany" => "ROX",
        "ReadWriteMany" => "RWX",
        "ReadWriteOncePod" => "RWOP",
        other => other,
    });
    short.collect::<Vec<_>>().join(",")
}

pub(super) fn role_binding(object: &Value, now: i64) -> Vec<Value> {
    let role = format!("{}/{}", text(object, "/roleRef/kind"), text(object, "/roleRef/name"));
    let subjects = |kind: &str| {
        let names = list(object, "/subjects").iter().filter(|s| text(s, "/kind") == kind).map(|s| {
            match (kind, text(s, "/namespace")) {
                ("ServiceAccount", namespace) => format!("{namespace}/{}", text(s, "/name")),
                _ => text(s, "/name").to_owned(),
            }
        });
        json!(names.collect::<Vec<_>>().join(", "))
    };
    vec![json!(role), age(object, now), subjects("User"), subjects("Group"), subjects("ServiceAccount")]
}

pub(super) fn webhooks(object: &Value, now: i64) -> Vec<Value> {
    vec![json!(list(object, "/webhooks").len()), age(object, now)]
}

pub(super) fn lease(object: &Value, now: i64) -> Vec<Value> {
    vec![json!(text(object, "/spec/holderIdentity")), age(object, now)]
}

pub(super) fn ingress(object: &Value, now: i64) -> Vec<Value> {
    let hosts: Vec<&str> =
        list(object, "/spec/rules").iter().map(|r| text(r, "/host")).filter(|h| !h.is_empty()).collect();
    let addresses: Vec<&str> = list(object, "/status/loadBalancer/ingress")
        .iter()
        .map(|i| if text(i, "/ip").is_empty() { text(i, "/hostname") } else { text(i, "/ip") })
        .collect();
    vec![
        json!(text_or_none(object, "/spec/ingressClassName")),
        json!(if hosts.is_empty() { "*".to_owned() } else { hosts.join(",") }),
        json!(addresses.join(",")),
        json!(if list(object, "/spec/tls").is_empty() { "80" } else { "80, 443" }),
        age(object, now),
    ]
}

pub(super) fn ingress_class(object: &Value, now: i64) -> Vec<Value> {
    let parameters = match text(object, "/spec/parameters/kind") {
        "" => NONE.to_owned(),
        kind => format!("{kind}/{}", text(object, "/spec/parameters/name")),
    };
    vec![json!(text(object, "/spec/controller")), json!(parameters), age(object, now)]
}

pub(super) fn network_policy(object: &Value, now: i64) -> Vec<Value> {
    vec![json!(selector(object, "/spec/podSelector")), age(object, now)]
}

pub(super) fn storage_class(object: &Value, now: i64) -> Vec<Value> {
    vec![
        json!(text(object, "/provisioner")),
        json!(text_or_none(object, "/reclaimPolicy")),
        json!(text_or_none(object, "/volumeBindingMode")),
        age(object, now),
    ]
}

pub(super) fn priority_class(object: &Value, now: i64) -> Vec<Value> {
    let global = object.get("globalDefault") == Some(&Value::Bool(true));
    vec![json!(number(object, "/value")), json!(global.to_string()), age(object, now)]
}

pub(super) fn api_service(object: &Value, now: i64) -> Vec<Value> {
    let service = match text(object, "/spec/service/name") {
        "" => "Local".to_owned(),
        name => format!("{}/{name}", text(object, "/spec/service/namespace")),
    };
    let available = condition(object, "Available").map_or("Unknown", |c| text(c, "/status"));
    vec![json!(service), json!(available), age(object, now)]
}
