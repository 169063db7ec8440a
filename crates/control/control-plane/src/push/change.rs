//! How far a change reaches, so that a stream regenerates only what it must.

use std::{collections::BTreeSet, sync::Arc};

use portolan_mesh::{Model, ProxyNode};

use crate::watch::Kind;

/// The reach of one or more changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// No proxy sees a difference.
    Nothing,
    /// Workloads and endpoints came, went or changed; services and configuration did not.
    Workloads(Arc<Reach>),
    /// Anything.
    Everything,
}

/// What a change of workloads touches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Hosts with other endpoints.
    pub hosts: BTreeSet<String>,
    /// Clusters differ too: they list the identities of their endpoints.
    pub clusters: bool,
    /// Pods (namespace, name) that changed: everything may differ for their own proxies.
    pub pods: BTreeSet<(String, String)>,
}

impl Reach {
    /// Whether the proxy's own Pod is among those that changed.
    pub fn touches(&self, node: &ProxyNode) -> bool {
        self.pods.contains(&(node.namespace.clone(), node.name.clone()))
    }
}

impl Changed {
    /// Both changes.
    pub fn and(self, other: &Self) -> Self {
        match (self, other) {
            (Self::Everything, _) | (_, Self::Everything) => Self::Everything,
            (Self::Nothing, other) => other.clone(),
            (this, Self::Nothing) => this,
            (Self::Workloads(a), Self::Workloads(b)) => Self::Workloads(Arc::new(Reach {
                hosts: a.hosts.union(&b.hosts).cloned().collect(),
                clusters: a.clusters || b.clusters,
                pods: a.pods.union(&b.pods).cloned().collect(),
            })),
        }
    }

    /// Compares two models that differ in objects of these kinds.
    pub fn between(before: Option<Model<'_>>, after: Model<'_>, kinds: &BTreeSet<Kind>) -> Self {
        let Some(before) = before else { return Self::Everything };
        if kinds.iter().any(|kind| !matches!(kind, Kind::EndpointSlice | Kind::Pod)) {
            return Self::Everything;
        }
        let (services, endpoints) = (before.services(), before.endpoints());
        let (new_services, new_endpoints) = (after.services(), after.endpoints());
        if services.len() != new_services.len() || endpoints.len() != new_endpoints.len() {
            return Self::Everything;
        }
        let mut reach = Reach::default();
        for (host, service) in new_services.iter() {
            if !services.get(host).is_some_and(|old| Arc::ptr_eq(old, service)) {
                return Self::Everything;
            }
            let (Some(old), Some(new)) = (endpoints.get(host), new_endpoints.get(host)) else {
                continue;
            };
            if Arc::ptr_eq(old, new) {
                continue;
            }
            // Headless services have a listener per endpoint.
            if service.headless {
                return Self::Everything;
            }
            reach.clusters |= old.identities() != new.identities();
            reach.hosts.insert(host.clone());
        }
        if kinds.contains(&Kind::Pod) {
            reach.pods = changed_pods(before, after);
        }
        if reach == Reach::default() { Self::Nothing } else { Self::Workloads(Arc::new(reach)) }
    }
}

/// Pods that are new, gone or different. Unchanged ones are shared between the models.
fn changed_pods(before: Model<'_>, after: Model<'_>) -> BTreeSet<(String, String)> {
    let (before, after) = (before.workloads(), after.workloads());
    let pointers: BTreeSet<_> = before.iter().map(Arc::as_ptr).collect();
    let kept: BTreeSet<_> = after.iter().map(Arc::as_ptr).collect();
    let changed = after.iter().filter(|workload| !pointers.contains(&Arc::as_ptr(workload)));
    let gone = before.iter().filter(|workload| !kept.contains(&Arc::as_ptr(workload)));
    changed.chain(gone).map(|workload| (workload.namespace.clone(), workload.pod.clone())).collect()
}

/// The reason of a push as the metric names it.
pub(super) fn trigger(kind: Kind) -> &'static str {
    match kind {
        Kind::EndpointSlice => "endpoint",
        Kind::Service => "service",
        Kind::Pod | Kind::Namespace => "proxy",
        Kind::MeshConfig => "global",
        _ => "config",
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::{core::v1::Pod, discovery::v1::EndpointSlice};
    use portolan_mesh::{Inputs, ObjectKey, Snapshot};
    use serde_json::json;

    use super::*;

    fn inputs() -> Inputs {
        let mut inputs = Inputs::default();
        let service = json!({"metadata": {"name": "reviews", "namespace": "a"},
            "spec": {"clusterIP": "10.0.0.1", "ports": [{"name": "http", "port": 80}]}});
        inputs
            .services
            .insert(ObjectKey::new("a", "reviews"), Arc::new(serde_json::from_value(service).unwrap()));
        set_pod(&mut inputs, "p1", "10.1.0.1", "x");
        set_endpoints(&mut inputs, &["10.1.0.1"]);
        inputs
    }

    fn set_pod(inputs: &mut Inputs, name: &str, ip: &str, account: &str) {
        let pod = json!({"metadata": {"name": name, "namespace": "a"},
            "spec": {"serviceAccountName": account, "containers": []},
            "status": {"phase": "Running", "podIP": ip}});
        let pod: Pod = serde_json::from_value(pod).unwrap();
        inputs.pods.insert(ObjectKey::new("a", name), Arc::new(pod));
    }

    fn set_endpoints(inputs: &mut Inputs, ips: &[&str]) {
        let endpoints: Vec<_> =
            ips.iter().map(|ip| json!({"addresses": [ip], "conditions": {"ready": true}})).collect();
        let slice = json!({"metadata": {"name": "s", "namespace": "a",
                "labels": {"kubernetes.io/service-name": "reviews"}},
            "addressType": "IPv4", "ports": [{"name": "http", "port": 80}], "endpoints": endpoints});
        let slice: EndpointSlice = serde_json::from_value(slice).unwrap();
        inputs.endpoint_slices.insert(ObjectKey::new("a", "s"), Arc::new(slice));
    }

    fn reach(before: &Snapshot, inputs: &Inputs, kinds: &[Kind]) -> Changed {
        let after = Snapshot::build(inputs, Some(before));
        Changed::between(Some(before.model()), after.model(), &kinds.iter().copied().collect())
    }

    #[test]
    fn workloads_reach_no_further_than_they_must() {
        let mut inputs = inputs();
        let before = Snapshot::build(&inputs, None);
        assert_eq!(reach(&before, &inputs, &[Kind::Pod, Kind::EndpointSlice]), Changed::Nothing);
        assert_eq!(reach(&before, &inputs, &[Kind::Service]), Changed::Everything);

        set_pod(&mut inputs, "p2", "10.1.0.2", "x");
        let Changed::Workloads(new_pod) = reach(&before, &inputs, &[Kind::Pod]) else { panic!("too far") };
        assert_eq!(new_pod.pods, [("a".to_owned(), "p2".to_owned())].into());
        assert!(new_pod.hosts.is_empty() && !new_pod.clusters);

        set_endpoints(&mut inputs, &["10.1.0.1", "10.1.0.2"]);
        let kinds = [Kind::Pod, Kind::EndpointSlice];
        let Changed::Workloads(more) = reach(&before, &inputs, &kinds) else { panic!("too far") };
        assert_eq!(more.hosts, ["reviews.a.svc.cluster.local".to_owned()].into());
        assert!(!more.clusters, "the same identity");

        set_pod(&mut inputs, "p2", "10.1.0.2", "y");
        let Changed::Workloads(other) = reach(&before, &inputs, &kinds) else { panic!("too far") };
        assert!(other.clusters, "a new identity behind the service");

        let both = Changed::Workloads(new_pod).and(&Changed::Workloads(other.clone()));
        let Changed::Workloads(both) = both else { panic!("too far") };
        assert!(both.clusters && both.pods == other.pods);
    }
}
