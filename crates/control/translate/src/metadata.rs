//! Metadata that Istio's tools and statistics read (docs/reference/xds.md).

use portolan_mesh::{ObjectKey, Service};

use crate::pb::*;

/// Key of Istio's metadata.
const ISTIO: &str = "istio";
/// Key that transport sockets are chosen by.
const TRANSPORT_SOCKET_MATCH: &str = "envoy.transport_socket_match";

fn metadata<const N: usize>(entries: [(&str, Struct); N]) -> core::Metadata {
    core::Metadata {
        filter_metadata: entries.into_iter().map(|(k, v)| (k.to_owned(), v)).collect(),
        ..Default::default()
    }
}

fn config_path(kind: &str, key: &ObjectKey) -> Value {
    text(format!("/apis/networking.istio.io/v1alpha3/namespaces/{}/{kind}/{}", key.namespace, key.name))
}

/// Metadata of a route: the VirtualService that made it.
pub(crate) fn route(virtual_service: &ObjectKey) -> core::Metadata {
    metadata([(ISTIO, structure([("config", config_path("virtual-service", virtual_service))]))])
}

/// Metadata of an outbound or inbound cluster: services, DestinationRule, subset.
pub(crate) fn cluster(services: &[&Service], rule: Option<&ObjectKey>, subset: &str) -> core::Metadata {
    let services = services
        .iter()
        .map(|s| {
            object(structure([
                ("host", text(&s.host)),
                ("name", text(&s.name)),
                ("namespace", text(&s.namespace)),
            ]))
        })
        .collect();
    let mut fields = structure([("services", list(services))]);
    if let Some(rule) = rule {
        fields.fields.insert("config".to_owned(), config_path("destination-rule", rule));
    }
    if !subset.is_empty() {
        fields.fields.insert("subset".to_owned(), text(subset));
    }
    metadata([(ISTIO, fields)])
}

/// Metadata of an endpoint: which transport socket, and the workload for statistics.
pub(crate) fn endpoint(mesh_tls: bool, workload: String) -> core::Metadata {
    metadata([
        (TRANSPORT_SOCKET_MATCH, tls_mode(mesh_tls)),
        (ISTIO, structure([("workload", text(workload))])),
    ])
}

/// What transport sockets are chosen by.
pub(crate) fn tls_mode(mesh_tls: bool) -> Struct {
    structure([("tlsMode", text(if mesh_tls { "istio" } else { "disabled" }))])
}
