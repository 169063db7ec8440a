//! Where a Service is reached: its ready endpoints, from the EndpointSlices.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::keys::{SERVICES, SLICES};
use crate::store::Store;

/// The address of a ready endpoint of a Service's port: by number or name, the first one without either.
pub(crate) fn ready_endpoint(
    store: &Store,
    namespace: &str,
    name: &str,
    port: Option<&str>,
) -> Option<SocketAddr> {
    let service = store.get(SERVICES, namespace, name)?;
    let ports = service.value.pointer("/spec/ports")?.as_array()?;
    let wanted = ports.iter().find(|candidate| {
        port.is_none_or(|port| {
            candidate.get("name").and_then(Value::as_str) == Some(port)
                || candidate.get("port").and_then(Value::as_u64).map(|number| number.to_string()).as_deref()
                    == Some(port)
        })
    })?;
    let port_name = wanted.get("name").and_then(Value::as_str).unwrap_or_default();
    let mut found = Vec::new();
    for slice in store.list(SLICES, Some(namespace)).1 {
        if slice.value.pointer("/metadata/labels/kubernetes.io~1service-name").and_then(Value::as_str)
            != Some(name)
        {
            continue;
        }
        let number =
            slice.value.get("ports").and_then(Value::as_array).into_iter().flatten().find_map(|port| {
                let same = port.get("name").and_then(Value::as_str).unwrap_or_default() == port_name;
                same.then(|| u16::try_from(port.get("port")?.as_u64()?).ok()).flatten()
            });
        let Some(number) = number else { continue };
        for endpoint in slice.value.get("endpoints").and_then(Value::as_array).into_iter().flatten() {
            if endpoint.pointer("/conditions/ready") == Some(&json!(false)) {
                continue;
            }
            let addresses = endpoint.get("addresses").and_then(Value::as_array).into_iter().flatten();
            found.extend(
                addresses
                    .filter_map(|address| Some(SocketAddr::new(address.as_str()?.parse().ok()?, number))),
            );
        }
    }
    if found.is_empty() { None } else { found.get(fastrand::usize(..found.len())).copied() }
}
