//! EndpointSlices of Endpoints that a person wrote, for Services without a selector: what reads slices only sees them, too
//! (Kubernetes documentation, "EndpointSlices", "EndpointSlice mirroring").

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{EndpointAddress, EndpointSubset, Endpoints, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt as _;

use super::meta::{self, MANAGED_BY, SERVICE_NAME, short_hash};

/// Value of [`MANAGED_BY`] on these slices (the one of the Kubernetes controller).
pub(super) const MANAGER: &str = "endpointslicemirroring-controller.k8s.io";
/// Label of Endpoints that are not mirrored: whoever writes them writes slices as well.
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
/// Annotation of Endpoints that are a lock of an old leader election.
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
/// Addresses of one subset that are mirrored, as Kubernetes has it.
const MAX_ADDRESSES: usize = 1000;
/// Endpoints in one slice.
const MAX_PER_SLICE: usize = 100;

/// Whether endpoints of the Service are what people write.
pub(super) fn is_hand_written(service: &Service) -> bool {
    let spec = service.spec.as_ref();
    spec.and_then(|spec| spec.type_.as_deref()) != Some("ExternalName")
        && spec.and_then(|spec| spec.selector.as_ref()).is_none_or(BTreeMap::is_empty)
}

/// The slices that stand for `endpoints`. Names are derived from place and form, so that they are stable.
pub(super) fn desired(endpoints: &Endpoints) -> Vec<EndpointSlice> {
    if endpoints.labels().get(SKIP).is_some_and(|skip| skip == "true")
        || endpoints.annotations().contains_key(LEADER)
    {
        return Vec::new();
    }
    let name = endpoints.name_any();
    let mut labels = endpoints.labels().clone();
    labels.insert(SERVICE_NAME.to_owned(), name.clone());
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    let mut slices = Vec::new();
    for (place, subset) in endpoints.subsets.iter().flatten().enumerate() {
        for (family, list) in by_family(subset) {
            for (part, list) in list.chunks(MAX_PER_SLICE).enumerate() {
                let hash = short_hash(&format!("{place} {family} {part}"));
                slices.push(EndpointSlice {
                    metadata: ObjectMeta {
                        name: Some(format!("{name}-{}", &hash[..5])),
                        namespace: endpoints.namespace(),
                        labels: Some(labels.clone()),
                        owner_references: Some(vec![meta::owner_reference(
                            "v1",
                            "Endpoints",
                            &endpoints.metadata,
                        )]),
                        ..ObjectMeta::default()
                    },
                    address_type: family.to_owned(),
                    endpoints: Some(list.to_vec()),
                    ports: Some(ports(subset)),
                });
            }
        }
    }
    slices
}

fn by_family(subset: &EndpointSubset) -> BTreeMap<&'static str, Vec<Endpoint>> {
    let mut families: BTreeMap<&'static str, Vec<Endpoint>> = BTreeMap::new();
    let ready = subset.addresses.iter().flatten().map(|address| (address, true));
    let waiting = subset.not_ready_addresses.iter().flatten().map(|address| (address, false));
    for (address, ready) in ready.chain(waiting).take(MAX_ADDRESSES) {
        let family = match address.ip.parse() {
            Ok(IpAddr::V4(_)) => "IPv4",
            Ok(IpAddr::V6(_)) => "IPv6",
            Err(_) => continue,
        };
        families.entry(family).or_default().push(endpoint(address, ready));
    }
    families
}

fn endpoint(address: &EndpointAddress, ready: bool) -> Endpoint {
    Endpoint {
        addresses: vec![address.ip.clone()],
        conditions: Some(EndpointConditions { ready: Some(ready), ..EndpointConditions::default() }),
        hostname: address.hostname.clone(),
        node_name: address.node_name.clone(),
        target_ref: address.target_ref.clone(),
        ..Endpoint::default()
    }
}

fn ports(subset: &EndpointSubset) -> Vec<EndpointPort> {
    let ports = subset.ports.iter().flatten();
    ports
        .map(|port| EndpointPort {
            name: Some(port.name.clone().unwrap_or_default()),
            port: Some(port.port),
            protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".to_owned())),
            app_protocol: port.app_protocol.clone(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn endpoints(metadata: Value) -> Endpoints {
        let mut object = json!({"metadata": {"name": "db", "namespace": "ns", "uid": "u"}, "subsets": [
            {"addresses": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}], "notReadyAddresses": [{"ip": "10.0.0.2"}],
                "ports": [{"port": 5432}]},
            {"addresses": (0..150).map(|n| json!({"ip": format!("10.1.0.{n}")})).collect::<Vec<_>>(),
                "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}]});
        for (key, value) in metadata.as_object().unwrap() {
            object["metadata"][key] = value.clone();
        }
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn written_endpoints_have_slices() {
        let slices = desired(&endpoints(json!({"labels": {"a": "b"}})));
        let sizes: Vec<_> = slices
            .iter()
            .map(|slice| (slice.address_type.as_str(), slice.endpoints.as_ref().unwrap().len()))
            .collect();
        assert_eq!(sizes, [("IPv4", 2), ("IPv6", 1), ("IPv4", 100), ("IPv4", 50)]);
        let names: std::collections::BTreeSet<_> = slices.iter().map(|slice| slice.name_any()).collect();
        assert_eq!(names.len(), 4);
        let first = &slices[0];
        assert_eq!(first.labels()[SERVICE_NAME], "db");
        assert_eq!((first.labels()["a"].as_str(), first.labels()[MANAGED_BY].as_str()), ("b", MANAGER));
        let ready: Vec<_> =
            first.endpoints.iter().flatten().map(|e| e.conditions.as_ref().unwrap().ready).collect();
        assert_eq!(ready, [Some(true), Some(false)]);
        assert_eq!(first.ports.as_ref().unwrap()[0].port, Some(5432));
    }

    #[test]
    fn some_endpoints_are_not_mirrored() {
        assert!(desired(&endpoints(json!({"labels": {SKIP: "true"}}))).is_empty());
        assert!(desired(&endpoints(json!({"annotations": {LEADER: "{}"}}))).is_empty());
    }

    #[test]
    fn only_services_without_a_selector_are_written_by_hand() {
        let service =
            |spec: Value| serde_json::from_value(json!({"metadata": {"name": "s"}, "spec": spec})).unwrap();
        assert!(is_hand_written(&service(json!({"clusterIP": "None"}))));
        assert!(is_hand_written(&service(json!({"selector": {}}))));
        assert!(!is_hand_written(&service(json!({"selector": {"a": "b"}}))));
        assert!(!is_hand_written(&service(json!({"type": "ExternalName", "externalName": "x"}))));
    }
}
