//! The downward API: `fieldRef` and `resourceFieldRef` values.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::Ipv4Addr;

use k8s_openapi::api::core::v1::{Container, Pod, ResourceFieldSelector};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt as _;

/// What a container is told it has when it sets no limit: there are none on this machine, so it gets the machine's size.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Capacity {
    pub(crate) cpus: u64,
    pub(crate) memory_bytes: u64,
}

impl Capacity {
    pub(crate) fn of_machine() -> Capacity {
        let cpus = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
        let memory_bytes = std::fs::read_to_string("/proc/meminfo")
            .ok()
            .and_then(|text| {
                let kib = text.lines().find_map(|l| l.strip_prefix("MemTotal:"))?;
                kib.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
            })
            .map_or(1 << 30, |kib| kib * 1024);
        Capacity { cpus, memory_bytes }
    }
}

/// Addresses that are known once the sandbox exists.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Addresses {
    pub(crate) pod: Ipv4Addr,
    pub(crate) host: Ipv4Addr,
}

/// A field that cannot be resolved.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum FieldError {
    #[error("fieldPath \"{0}\" is not supported")]
    Path(String),
    #[error(
        "resource \"{0}\" is not supported, use limits.* or requests.* of cpu, memory or ephemeral-storage"
    )]
    Resource(String),
    #[error("container {0} not found")]
    Container(String),
    #[error("quantity \"{0}\" is not understood")]
    Quantity(String),
}

/// `fieldRef.fieldPath`.
pub(crate) fn field(pod: &Pod, path: &str, addresses: Option<Addresses>) -> Result<String, FieldError> {
    let spec = pod.spec.as_ref();
    let subscript = |map: &BTreeMap<String, String>, prefix: &str| {
        let key = path.strip_prefix(prefix)?.strip_suffix("']")?;
        Some(map.get(key).cloned().unwrap_or_default())
    };
    let unknown = || FieldError::Path(path.to_owned());
    Ok(match path {
        "metadata.name" => pod.name_any(),
        "metadata.namespace" => pod.namespace().unwrap_or_default(),
        "metadata.uid" => pod.uid().unwrap_or_default(),
        "metadata.labels" => lines(pod.labels()),
        "metadata.annotations" => lines(pod.annotations()),
        "spec.nodeName" => spec.and_then(|s| s.node_name.clone()).unwrap_or_default(),
        "spec.serviceAccountName" => service_account(pod).to_owned(),
        "status.hostIP" | "status.hostIPs" => addresses.ok_or_else(unknown)?.host.to_string(),
        "status.podIP" | "status.podIPs" => addresses.ok_or_else(unknown)?.pod.to_string(),
        _ => subscript(pod.labels(), "metadata.labels['")
            .or_else(|| subscript(pod.annotations(), "metadata.annotations['"))
            .ok_or_else(unknown)?,
    })
}

/// The service account of a Pod; `default` when it names none.
pub(crate) fn service_account(pod: &Pod) -> &str {
    let name = pod.spec.as_ref().and_then(|s| s.service_account_name.as_deref());
    name.filter(|n| !n.is_empty()).unwrap_or("default")
}

/// Labels or annotations in the form that the kubelet writes: `key="value"`, one a line, the value quoted as in Go.
fn lines(map: &BTreeMap<String, String>) -> String {
    let mut out = String::new();
    for (i, (key, value)) in map.iter().enumerate() {
        if i > 0 {
            out.push('\n');
        }
        let _ = write!(out, "{key}=\"");
        for c in value.chars() {
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                c if c.is_control() => {
                    let _ = write!(out, "\\u{:04x}", c as u32);
                }
                c => out.push(c),
            }
        }
        out.push('"');
    }
    out
}

/// `resourceFieldRef`; `container` is the one that the reference is in, for references that name none.
pub(crate) fn resource(
    pod: &Pod,
    container: Option<&Container>,
    selector: &ResourceFieldSelector,
    capacity: Capacity,
) -> Result<String, FieldError> {
    let container = match selector.container_name.as_deref().filter(|n| !n.is_empty()) {
        None => container.ok_or_else(|| FieldError::Container(String::new()))?,
        Some(name) => {
            let spec = pod.spec.as_ref();
            spec.into_iter()
                .flat_map(|s| s.containers.iter().chain(s.init_containers.iter().flatten()))
                .find(|c| c.name == name)
                .ok_or_else(|| FieldError::Container(name.to_owned()))?
        }
    };
    let unknown = || FieldError::Resource(selector.resource.clone());
    let (kind, name) = selector.resource.split_once('.').ok_or_else(unknown)?;
    let resources = container.resources.as_ref();
    let list = match kind {
        "limits" => resources.and_then(|r| r.limits.as_ref()),
        "requests" => resources.and_then(|r| r.requests.as_ref()),
        _ => return Err(unknown()),
    };
    let set = list.and_then(|l| l.get(name));
    let nano = match (set, kind, name) {
        (Some(quantity), ..) => nanos(&quantity.0)?,
        (None, "requests", "cpu" | "memory" | "ephemeral-storage") => 0,
        (None, _, "cpu") => i128::from(capacity.cpus) * NANO,
        (None, _, "memory" | "ephemeral-storage") => i128::from(capacity.memory_bytes) * NANO,
        _ => return Err(unknown()),
    };
    let divisor = match selector.divisor.as_ref() {
        Some(Quantity(text)) if !text.is_empty() && text != "0" => nanos(text)?,
        _ => NANO,
    };
    // Rounded up, as Kubernetes does: half a core is one thread.
    Ok(((nano + divisor - 1) / divisor.max(1)).to_string())
}

const NANO: i128 = 1_000_000_000;

/// A quantity in billionths.
pub(crate) fn nanos(text: &str) -> Result<i128, FieldError> {
    let bad = || FieldError::Quantity(text.to_owned());
    let end = text.find(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | '+' | '-')).unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let scale: i128 = match suffix {
        "n" => 1,
        "u" => 1_000,
        "m" => 1_000_000,
        "" => NANO,
        "k" => NANO * 1_000,
        "M" => NANO * 1_000_000,
        "G" => NANO * 1_000_000_000,
        "T" => NANO * 1_000_000_000_000,
        "Ki" => NANO << 10,
        "Mi" => NANO << 20,
        "Gi" => NANO << 30,
        "Ti" => NANO << 40,
        exponent => {
            let power: u32 =
                exponent.strip_prefix(['e', 'E']).and_then(|e| e.parse().ok()).ok_or_else(bad)?;
            10i128.checked_pow(power).and_then(|p| p.checked_mul(NANO)).ok_or_else(bad)?
        }
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| bad())? };
    let mut value = whole.checked_mul(scale).ok_or_else(bad)?;
    if !fraction.is_empty() {
        let digits: i128 = fraction.parse().map_err(|_| bad())?;
        let power = u32::try_from(fraction.len()).ok().and_then(|n| 10i128.checked_pow(n)).ok_or_else(bad)?;
        value += digits.checked_mul(scale).ok_or_else(bad)? / power;
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod() -> Pod {
        serde_json::from_value(json!({
            "metadata": { "name": "p", "namespace": "n", "uid": "u", "labels": { "app": "x", "b": "a\"c" } },
            "spec": { "nodeName": "node", "containers": [
                { "name": "c", "resources": { "limits": { "cpu": "1500m", "memory": "64Mi" } } }] }
        }))
        .unwrap()
    }

    #[test]
    fn fields() {
        let pod = pod();
        let addresses = Some(Addresses { pod: Ipv4Addr::new(1, 2, 3, 4), host: Ipv4Addr::new(5, 6, 7, 8) });
        for (path, value) in [
            ("metadata.name", "p"),
            ("metadata.labels['app']", "x"),
            ("metadata.annotations['none']", ""),
            ("metadata.labels", "app=\"x\"\nb=\"a\\\"c\""),
            ("spec.serviceAccountName", "default"),
            ("status.podIP", "1.2.3.4"),
            ("status.hostIP", "5.6.7.8"),
        ] {
            assert_eq!(field(&pod, path, addresses).as_deref(), Ok(value), "{path}");
        }
        assert!(field(&pod, "spec.volumes", addresses).is_err());
    }

    #[test]
    fn resources() {
        let pod = pod();
        let container = &pod.spec.as_ref().unwrap().containers[0];
        let capacity = Capacity { cpus: 4, memory_bytes: 1 << 30 };
        for (name, divisor, value) in [
            ("limits.cpu", None, "2"),
            ("limits.cpu", Some("1m"), "1500"),
            ("limits.memory", Some("1Mi"), "64"),
            ("limits.memory", None, "67108864"),
            ("requests.cpu", None, "0"),
            ("limits.ephemeral-storage", Some("1Gi"), "1"),
        ] {
            let selector = ResourceFieldSelector {
                resource: name.into(),
                divisor: divisor.map(|d| Quantity(d.into())),
                container_name: None,
            };
            assert_eq!(resource(&pod, Some(container), &selector, capacity).as_deref(), Ok(value), "{name}");
        }
        assert_eq!(nanos("1.5"), Ok(1_500_000_000));
        assert_eq!(nanos("2e3"), Ok(2_000 * NANO));
        assert!(nanos("1x").is_err());
    }
}
