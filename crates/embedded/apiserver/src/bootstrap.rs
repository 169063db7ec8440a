//! What every cluster has from its first start on: namespaces, default roles, the Service `kubernetes`.

use std::net::{Ipv4Addr, SocketAddr};

use ipnet::Ipv4Net;
use portolan_apimachinery::rbac;
use serde_json::{Value, json};

use crate::api::Api;
use crate::error::ServerError;
use crate::store::StoreError;
use crate::write;
use crate::writing::Writing;

const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];
const MANAGER: &str = "portolan-apiserver";

/// The address of the Service `kubernetes`: the first of the range.
pub(crate) fn kubernetes_address(range: Ipv4Net) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(range.network()).wrapping_add(1))
}

pub(crate) async fn run(api: &Api, range: Ipv4Net, advertise: SocketAddr) -> Result<(), ServerError> {
    for name in NAMESPACES {
        ensure(api, json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})).await?;
    }
    for object in rbac::default_objects() {
        ensure(api, object).await?;
    }
    let port = json!({"name": "https", "protocol": "TCP", "port": 443, "targetPort": advertise.port()});
    ensure(
        api,
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "kubernetes", "namespace": "default",
                "labels": {"component": "apiserver", "provider": "kubernetes"}},
            "spec": {"clusterIP": kubernetes_address(range).to_string(), "ports": [port]},
        }),
    )
    .await?;
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "kubernetes", "namespace": "default",
            "labels": {"kubernetes.io/service-name": "kubernetes"}},
        "endpoints": [{"addresses": [advertise.ip().to_string()], "conditions": {"ready": true}}],
        "ports": [{"name": "https", "protocol": "TCP", "port": advertise.port()}],
    });
    replace(api, slice).await?;
    replace(
        api,
        json!({
            "apiVersion": "v1", "kind": "Endpoints",
            // Its slice is made above.
            "metadata": {"name": "kubernetes", "namespace": "default",
                "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
            "subsets": [{"addresses": [{"ip": advertise.ip().to_string()}],
                "ports": [{"name": "https", "protocol": "TCP", "port": advertise.port()}]}],
        }),
    )
    .await
}

/// Creates the object unless it exists.
async fn ensure(api: &Api, object: Value) -> Result<(), ServerError> {
    let failed = |error: &dyn std::fmt::Display| ServerError::Bootstrap(error.to_string());
    let writing = Writing::internal(api, &object, MANAGER).map_err(|error| failed(&error.message))?;
    if api.store.get(&writing.key, &writing.namespace, &name(&object)).is_some() {
        return Ok(());
    }
    write::create(api, &writing, object).await.map(drop).map_err(|error| failed(&error.message))
}

/// Writes the object whatever is there: addresses may differ from those of the last start.
async fn replace(api: &Api, object: Value) -> Result<(), ServerError> {
    let failed = |error: &dyn std::fmt::Display| ServerError::Bootstrap(error.to_string());
    let writing = Writing::internal(api, &object, MANAGER).map_err(|error| failed(&error.message))?;
    let name = name(&object);
    if let Some(old) = api.store.get(&writing.key, &writing.namespace, &name) {
        match api.store.delete(&writing.key, &writing.namespace, &name, old.revision).await {
            Ok(_) | Err(StoreError::NotFound) => {}
            Err(error) => return Err(error.into()),
        }
    }
    write::create(api, &writing, object).await.map(drop).map_err(|error| failed(&error.message))
}

fn name(object: &Value) -> String {
    object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned()
}
