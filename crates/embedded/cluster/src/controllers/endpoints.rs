//! EndpointSlices (and the older Endpoints) of Services, from the Pods that their selectors match.
//!
//! A Pod is an endpoint from the moment it has an address; whether it gets traffic is in its conditions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{
    EndpointAddress, EndpointPort as OldPort, EndpointSubset, Endpoints, ObjectReference, Pod, Service,
    ServicePort,
};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::{DeleteParams, PostParams};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Api, Client, ResourceExt};

use super::meta::{self, MANAGED_BY, SERVICE_NAME, is_finished, is_ready, short_hash};
use super::mirror;
use super::queue::{Key, Next};

/// Our value of [`MANAGED_BY`] (the one of the Kubernetes controller).
const MANAGER: &str = "endpointslice-controller.k8s.io";
/// Marks slices and Endpoints of Services without a virtual address.
const HEADLESS: &str = "service.kubernetes.io/headless";
/// Endpoints in one slice, as the Kubernetes controller has it.
const MAX_PER_SLICE: usize = 100;

/// A port of an endpoint, ordered so that sets of ports can be grouped.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Port {
    name: String,
    number: i32,
    protocol: String,
    app_protocol: Option<String>,
}

/// The Pods behind a Service, by the ports on which they serve it.
fn group(service: &Service, pods: &[Arc<Pod>]) -> BTreeMap<Vec<Port>, Vec<Endpoint>> {
    let mut groups: BTreeMap<Vec<Port>, Vec<Endpoint>> = BTreeMap::new();
    let publish_all =
        service.spec.as_ref().and_then(|spec| spec.publish_not_ready_addresses).unwrap_or(false);
    let ports = service.spec.as_ref().and_then(|spec| spec.ports.clone()).unwrap_or_default();
    let mut pods: Vec<&Arc<Pod>> = pods.iter().collect();
    pods.sort_by_key(|pod| pod.name_any());
    for pod in pods {
        let Some(address) = pod.status.as_ref().and_then(|status| status.pod_ip.clone()) else { continue };
        if address.is_empty() || is_finished(pod) {
            continue;
        }
        let served: Vec<Port> = ports.iter().filter_map(|port| resolve(port, pod)).collect();
        if served.is_empty() && !ports.is_empty() {
            continue;
        }
        let serving = is_ready(pod);
        let terminating = pod.metadata.deletion_timestamp.is_some();
        let spec = pod.spec.as_ref();
        let hostname = spec
            .filter(|spec| spec.subdomain.is_some() && spec.subdomain == service.metadata.name)
            .and_then(|spec| spec.hostname.clone());
        groups.entry(served).or_default().push(Endpoint {
            addresses: vec![address],
            conditions: Some(EndpointConditions {
                ready: Some(publish_all || (serving && !terminating)),
                serving: Some(publish_all || serving),
                terminating: Some(terminating),
            }),
            hostname,
            node_name: spec.and_then(|spec| spec.node_name.clone()),
            target_ref: Some(ObjectReference {
                kind: Some("Pod".to_owned()),
                name: pod.metadata.name.clone(),
                namespace: pod.metadata.namespace.clone(),
                uid: pod.metadata.uid.clone(),
                ..ObjectReference::default()
            }),
            ..Endpoint::default()
        });
    }
    groups
}

/// The port on which a Pod serves a Service's port; a name is looked up among the containers' ports.
fn resolve(port: &ServicePort, pod: &Pod) -> Option<Port> {
    let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
    let number = match &port.target_port {
        None => port.port,
        Some(IntOrString::Int(0)) => port.port,
        Some(IntOrString::Int(number)) => *number,
        Some(IntOrString::String(name)) => {
            let spec = pod.spec.as_ref()?;
            let sidecars = spec.init_containers.iter().flatten();
            sidecars.chain(&spec.containers).flat_map(|container| container.ports.iter().flatten()).find_map(
                |found| {
                    let same = found.name.as_deref() == Some(name)
                        && found.protocol.as_deref().unwrap_or("TCP") == protocol;
                    same.then_some(found.container_port)
                },
            )?
        }
    };
    Some(Port {
        name: port.name.clone().unwrap_or_default(),
        number,
        protocol,
        app_protocol: port.app_protocol.clone(),
    })
}

fn is_headless(service: &Service) -> bool {
    service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()) == Some("None")
}

/// Labels of the Service, plus ours.
fn labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels = service.labels().clone();
    labels.remove(HEADLESS);
    if is_headless(service) {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    labels
}

/// The slices that a Service shall have. Names are derived from the content's ports, so that they are stable.
pub(crate) fn desired_slices(service: &Service, pods: &[Arc<Pod>]) -> Vec<EndpointSlice> {
    let mut groups = group(service, pods);
    if groups.is_empty() {
        // An empty slice says: known, and nobody there.
        groups.insert(Vec::new(), Vec::new());
    }
    let name = service.name_any();
    let mut labels = labels(service);
    labels.insert(SERVICE_NAME.to_owned(), name.clone());
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    let mut slices = Vec::new();
    for (ports, endpoints) in groups {
        let mut parts: Vec<Vec<Endpoint>> = endpoints.chunks(MAX_PER_SLICE).map(<[_]>::to_vec).collect();
        if parts.is_empty() {
            parts.push(Vec::new());
        }
        for (index, endpoints) in parts.into_iter().enumerate() {
            let hash = short_hash(&format!("{ports:?}{index}"));
            slices.push(EndpointSlice {
                metadata: ObjectMeta {
                    name: Some(format!("{name}-{}", &hash[..5])),
                    namespace: service.namespace(),
                    labels: Some(labels.clone()),
                    owner_references: Some(vec![meta::owner_reference("v1", "Service", &service.metadata)]),
                    ..ObjectMeta::default()
                },
                address_type: "IPv4".to_owned(),
                endpoints: Some(endpoints),
                ports: Some(
                    ports
                        .iter()
                        .map(|port| EndpointPort {
                            name: Some(port.name.clone()),
                            port: Some(port.number),
                            protocol: Some(port.protocol.clone()),
                            app_protocol: port.app_protocol.clone(),
                        })
                        .collect(),
                ),
            });
        }
    }
    slices
}

/// The Endpoints object that a Service shall have.
pub(crate) fn desired_endpoints(service: &Service, pods: &[Arc<Pod>]) -> Endpoints {
    let subsets: Vec<EndpointSubset> = group(service, pods)
        .into_iter()
        .map(|(ports, endpoints)| {
            let pick = |ready: bool| -> Option<Vec<EndpointAddress>> {
                let list: Vec<_> = endpoints
                    .iter()
                    .filter(|endpoint| {
                        endpoint.conditions.as_ref().and_then(|conditions| conditions.ready) == Some(ready)
                    })
                    // Leaving Pods are in no list of the old form.
                    .filter(|endpoint| {
                        ready || endpoint.conditions.as_ref().and_then(|c| c.terminating) != Some(true)
                    })
                    .map(|endpoint| EndpointAddress {
                        ip: endpoint.addresses.first().cloned().unwrap_or_default(),
                        hostname: endpoint.hostname.clone(),
                        node_name: endpoint.node_name.clone(),
                        target_ref: endpoint.target_ref.clone(),
                    })
                    .collect();
                (!list.is_empty()).then_some(list)
            };
            EndpointSubset {
                addresses: pick(true),
                not_ready_addresses: pick(false),
                ports: Some(
                    ports
                        .iter()
                        .map(|port| OldPort {
                            name: (!port.name.is_empty()).then(|| port.name.clone()),
                            port: port.number,
                            protocol: Some(port.protocol.clone()),
                            app_protocol: port.app_protocol.clone(),
                        })
                        .collect(),
                ),
            }
        })
        .filter(|subset| subset.addresses.is_some() || subset.not_ready_addresses.is_some())
        .collect();
    Endpoints {
        metadata: ObjectMeta {
            name: service.metadata.name.clone(),
            namespace: service.namespace(),
            labels: Some(labels(service)),
            owner_references: Some(vec![meta::owner_reference("v1", "Service", &service.metadata)]),
            ..ObjectMeta::default()
        },
        subsets: (!subsets.is_empty()).then_some(subsets),
    }
}

/// The controller.
pub(crate) struct Controller {
    pub(crate) client: Client,
    pub(crate) services: Store<Service>,
    pub(crate) pods: Store<Pod>,
    pub(crate) slices: Store<EndpointSlice>,
    pub(crate) endpoints: Store<Endpoints>,
}

impl Controller {
    /// Makes the slices and Endpoints of one Service true.
    pub(crate) async fn reconcile(&self, key: Key) -> kube::Result<Next> {
        let reference = ObjectRef::new(&key.name).within(&key.namespace);
        let Some(service) = self.services.get(&reference) else { return self.forget_mirrored(&key).await };
        self.mirror(&key, &service).await?;
        let spec = service.spec.clone().unwrap_or_default();
        let selector = spec.selector.filter(|selector| !selector.is_empty());
        // Without a selector somebody else keeps the endpoints; an ExternalName has none.
        let (Some(selector), None) = (selector, service.metadata.deletion_timestamp.as_ref()) else {
            return Ok(Next::Idle);
        };
        if spec.type_.as_deref() == Some("ExternalName") {
            return Ok(Next::Idle);
        }
        let pods = self.pods.state_filter(|pod| {
            pod.namespace().as_deref() == Some(&key.namespace)
                && selector.iter().all(|(name, value)| pod.labels().get(name) == Some(value))
        });
        self.keep_slices(&key, MANAGER, desired_slices(&service, &pods)).await?;
        self.keep_endpoints(&key, desired_endpoints(&service, &pods)).await?;
        Ok(Next::Idle)
    }

    /// Slices of the Endpoints that a person wrote for the Service.
    async fn mirror(&self, key: &Key, service: &Service) -> kube::Result<()> {
        let written = self.endpoints.get(&ObjectRef::new(&key.name).within(&key.namespace));
        let desired = match written {
            Some(endpoints) if mirror::is_hand_written(service) => mirror::desired(&endpoints),
            _ => Vec::new(),
        };
        self.keep_slices(key, mirror::MANAGER, desired).await
    }

    /// Endpoints that were mirrored for a Service go with it. Those that wait for their Service were not, and stay.
    async fn forget_mirrored(&self, key: &Key) -> kube::Result<Next> {
        if self.slices_of(key, mirror::MANAGER).is_empty() {
            return Ok(Next::Idle);
        }
        let api: Api<Endpoints> = Api::namespaced(self.client.clone(), &key.namespace);
        meta::gone_is_fine(api.delete(&key.name, &DeleteParams::background()).await)?;
        self.keep_slices(key, mirror::MANAGER, Vec::new()).await?;
        Ok(Next::Idle)
    }

    /// The slices of a Service that `manager` keeps.
    fn slices_of(&self, key: &Key, manager: &str) -> Vec<Arc<EndpointSlice>> {
        self.slices.state_filter(|slice| {
            slice.namespace().as_deref() == Some(&key.namespace)
                && slice.labels().get(SERVICE_NAME) == Some(&key.name)
                && slice.labels().get(MANAGED_BY).map(String::as_str) == Some(manager)
        })
    }

    async fn keep_slices(&self, key: &Key, manager: &str, desired: Vec<EndpointSlice>) -> kube::Result<()> {
        let api: Api<EndpointSlice> = Api::namespaced(self.client.clone(), &key.namespace);
        let existing = self.slices_of(key, manager);
        let names: BTreeSet<String> = desired.iter().map(ResourceExt::name_any).collect();
        for mut slice in desired {
            let name = slice.name_any();
            match existing.iter().find(|old| old.name_any() == name) {
                None => {
                    api.create(&PostParams::default(), &slice).await?;
                }
                Some(old) if same_slice(old, &slice) => {}
                Some(old) => {
                    slice.metadata.resource_version = old.resource_version();
                    api.replace(&name, &PostParams::default(), &slice).await?;
                }
            }
        }
        for old in existing.iter().filter(|old| !names.contains(&old.name_any())) {
            meta::gone_is_fine(api.delete(&old.name_any(), &DeleteParams::background()).await)?;
        }
        Ok(())
    }

    async fn keep_endpoints(&self, key: &Key, mut desired: Endpoints) -> kube::Result<()> {
        let api: Api<Endpoints> = Api::namespaced(self.client.clone(), &key.namespace);
        match self.endpoints.get(&ObjectRef::new(&key.name).within(&key.namespace)) {
            None => {
                api.create(&PostParams::default(), &desired).await?;
            }
            Some(old) if old.subsets == desired.subsets && old.labels() == desired.labels() => {}
            Some(old) => {
                desired.metadata.resource_version = old.resource_version();
                api.replace(&key.name, &PostParams::default(), &desired).await?;
            }
        }
        Ok(())
    }

    /// The Services that select a Pod. A Pod whose labels changed away from a Service is found through the
    /// slices that still name it.
    pub(crate) fn affected(
        services: &Store<Service>,
        slices: &Store<EndpointSlice>,
        pod: &Pod,
    ) -> BTreeSet<Key> {
        let namespace = pod.namespace();
        let mut keys: BTreeSet<Key> = services
            .state_filter(|service| {
                service.namespace() == namespace
                    && service.spec.as_ref().and_then(|spec| spec.selector.as_ref()).is_some_and(|selector| {
                        !selector.is_empty()
                            && selector.iter().all(|(name, value)| pod.labels().get(name) == Some(value))
                    })
            })
            .iter()
            .map(|service| Key::of(&**service))
            .collect();
        let named = slices.state_filter(|slice| {
            slice.namespace() == namespace
                && slice.endpoints.iter().flatten().any(|endpoint| {
                    endpoint.target_ref.as_ref().and_then(|target| target.uid.as_ref())
                        == pod.metadata.uid.as_ref()
                })
        });
        keys.extend(named.iter().filter_map(|slice| {
            let service = slice.labels().get(SERVICE_NAME)?;
            Some(Key::new(slice.namespace().unwrap_or_default(), service.clone()))
        }));
        keys
    }
}

fn same_slice(old: &EndpointSlice, new: &EndpointSlice) -> bool {
    let list = |slice: &EndpointSlice| slice.endpoints.clone().unwrap_or_default();
    let ports = |slice: &EndpointSlice| slice.ports.clone().unwrap_or_default();
    list(old) == list(new) && ports(old) == ports(new) && old.labels() == new.labels()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn service(spec: Value) -> Service {
        serde_json::from_value(
            json!({"metadata": {"name": "web", "namespace": "x", "uid": "s", "labels": {"a": "b"}}, "spec": spec}),
        )
        .unwrap()
    }

    fn pod(name: &str, ip: &str, ready: bool, leaving: bool, ports: Value) -> Arc<Pod> {
        Arc::new(
            serde_json::from_value(json!({
                "metadata": {"name": name, "namespace": "x", "uid": name,
                             "deletionTimestamp": leaving.then_some("2024-01-01T00:00:00Z")},
                "spec": {"nodeName": "node", "hostname": name, "subdomain": "web",
                         "containers": [{"name": "c", "ports": ports}]},
                "status": {"podIP": ip, "phase": "Running",
                           "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]},
            }))
            .unwrap(),
        )
    }

    fn conditions(slice: &EndpointSlice) -> Vec<(String, bool, bool, bool)> {
        slice
            .endpoints
            .iter()
            .flatten()
            .map(|endpoint| {
                let c = endpoint.conditions.clone().unwrap();
                (endpoint.addresses[0].clone(), c.ready.unwrap(), c.serving.unwrap(), c.terminating.unwrap())
            })
            .collect()
    }

    #[test]
    fn readiness_and_leaving_show_in_the_conditions() {
        let pods = [
            pod("c", "10.0.0.3", true, true, json!([])),
            pod("a", "10.0.0.1", true, false, json!([])),
            pod("b", "10.0.0.2", false, false, json!([])),
            pod("none", "", false, false, json!([])),
        ];
        let slices = desired_slices(&service(json!({"ports": [{"name": "http", "port": 80}]})), &pods);
        assert_eq!(slices.len(), 1);
        assert_eq!(
            conditions(&slices[0]),
            [
                ("10.0.0.1".to_owned(), true, true, false),
                ("10.0.0.2".to_owned(), false, false, false),
                ("10.0.0.3".to_owned(), false, true, true),
            ]
        );
        let labels = slices[0].metadata.labels.as_ref().unwrap();
        assert_eq!(labels[SERVICE_NAME], "web");
        assert_eq!(labels["a"], "b");
        let first = &slices[0].endpoints.as_ref().unwrap()[0];
        assert_eq!(first.hostname.as_deref(), Some("a"));
        assert_eq!(first.node_name.as_deref(), Some("node"));
        assert_eq!(first.target_ref.as_ref().unwrap().name.as_deref(), Some("a"));
        let old = desired_endpoints(&service(json!({"ports": [{"port": 80}]})), &pods).subsets.unwrap();
        assert_eq!(old[0].addresses.as_ref().unwrap().len(), 1);
        assert_eq!(old[0].not_ready_addresses.as_ref().unwrap().len(), 1);
    }

    #[test]
    fn unready_addresses_can_be_published() {
        let pods = [pod("b", "10.0.0.2", false, false, json!([]))];
        let service = service(json!({"publishNotReadyAddresses": true, "clusterIP": "None"}));
        let slices = desired_slices(&service, &pods);
        assert_eq!(conditions(&slices[0]), [("10.0.0.2".to_owned(), true, true, false)]);
        assert!(slices[0].metadata.labels.as_ref().unwrap().contains_key(HEADLESS));
    }

    #[test]
    fn target_port_names_are_resolved_per_pod() {
        let pods = [
            pod("a", "10.0.0.1", true, false, json!([{"name": "web", "containerPort": 8080}])),
            pod("b", "10.0.0.2", true, false, json!([{"name": "web", "containerPort": 9090}])),
            pod("c", "10.0.0.3", true, false, json!([{"name": "other", "containerPort": 1}])),
        ];
        let service = service(json!({"ports": [{"name": "http", "port": 80, "targetPort": "web"}]}));
        let slices = desired_slices(&service, &pods);
        let mut found: Vec<i32> =
            slices.iter().map(|slice| slice.ports.as_ref().unwrap()[0].port.unwrap()).collect();
        found.sort();
        assert_eq!(found, [8080, 9090]);
        assert_ne!(slices[0].metadata.name, slices[1].metadata.name);
    }

    #[test]
    fn nobody_gives_one_empty_slice_and_many_give_several() {
        let service = service(json!({"ports": [{"port": 80}]}));
        let slices = desired_slices(&service, &[]);
        assert_eq!((slices.len(), slices[0].endpoints.as_ref().unwrap().len()), (1, 0));
        let pods: Vec<_> =
            (0..150).map(|n| pod(&format!("p{n}"), &format!("10.0.1.{n}"), true, false, json!([]))).collect();
        assert_eq!(desired_slices(&service, &pods).len(), 2);
    }
}
