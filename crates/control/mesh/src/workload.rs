//! Workloads: Pods as the mesh sees them.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use k8s_openapi::api::core::v1::Pod;
use portolan_derive::{Derived, Reader};
use portolan_names::{labels, names};

use crate::{
    facts::{Fact, NodeFact, Origin, PodFact, Tag, pod_addresses},
    object::ObjectKey,
    service::Locality,
    settings,
};

/// A Pod.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// Pod name.
    pub pod: String,
    /// Namespace.
    pub namespace: String,
    /// Name of what made the Pod (Deployment, Job, ...).
    pub name: String,
    /// Addresses.
    pub addresses: Vec<IpAddr>,
    /// Labels.
    pub labels: Arc<BTreeMap<String, String>>,
    /// Service account name.
    pub service_account: String,
    /// SPIFFE id with `spiffe://`.
    pub identity: String,
    /// It terminates mesh mTLS.
    pub mesh_tls: bool,
    /// Where it runs.
    pub locality: Locality,
    /// Network; empty is the cluster's own.
    pub network: String,
    /// Named container ports.
    pub named_ports: BTreeMap<String, u16>,
}

impl Workload {
    /// The workload of a Pod.
    pub fn of(pod: &Pod, trust_domain: &str) -> Self {
        let meta = &pod.metadata;
        let labels = meta.labels.clone().unwrap_or_default();
        let namespace = meta.namespace.clone().unwrap_or_default();
        let spec = pod.spec.as_ref();
        let account = spec.and_then(|s| s.service_account_name.clone()).filter(|s| !s.is_empty());
        let service_account = account.unwrap_or_else(|| "default".to_owned());
        let named_ports = spec
            .map(|s| {
                s.containers
                    .iter()
                    .flat_map(|c| c.ports.iter().flatten())
                    .filter_map(|p| Some((p.name.clone()?, u16::try_from(p.container_port).ok()?)))
                    .collect()
            })
            .unwrap_or_default();
        Self {
            pod: meta.name.clone().unwrap_or_default(),
            name: workload_name(pod),
            addresses: pod_addresses(pod),
            identity: identity(trust_domain, &namespace, &service_account),
            service_account,
            mesh_tls: labels.get(labels::TLS_MODE).is_some_and(|v| v == labels::TLS_MODE_ISTIO),
            locality: locality(&labels),
            network: labels.get(labels::NETWORK).cloned().unwrap_or_default(),
            labels: Arc::new(labels),
            namespace,
            named_ports,
        }
    }

    /// Canonical service name: the label, else the application's name, else the workload's.
    pub fn canonical_name(&self) -> &str {
        canonical_name(&self.labels, &self.name)
    }
    /// Canonical revision: the label, else the version, else `latest`.
    pub fn canonical_revision(&self) -> &str {
        canonical_revision(&self.labels)
    }
}

/// The workload of a Pod; nothing for a finished one, which keeps its address in its status although it may be given to
/// another Pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct WorkloadOf(pub(crate) ObjectKey);

impl Derived for WorkloadOf {
    type Value = Option<Arc<Workload>>;
    fn derive(&self, read: &Reader<'_>) -> Self::Value {
        let pod = read.fact(&PodFact::of(Origin::Cluster, self.0.clone()))?;
        let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or_default();
        if matches!(phase, "Succeeded" | "Failed") {
            return None;
        }
        let mut workload = Workload::of(&pod, &settings::trust_domain(read));
        if workload.locality.is_empty()
            && let Some(node) = pod.spec.as_ref().and_then(|s| s.node_name.clone())
        {
            workload.locality = read.get(&LocalityOf(node));
        }
        Some(Arc::new(workload))
    }
}

/// Where a Node is, by its topology labels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct LocalityOf(String);

impl Derived for LocalityOf {
    type Value = Locality;
    fn derive(&self, read: &Reader<'_>) -> Locality {
        let node = read.fact(&NodeFact::of(Origin::Cluster, ObjectKey::new("", &self.0)));
        node.and_then(|node| node.metadata.labels.as_ref().map(topology)).unwrap_or_default()
    }
}

/// The workload with an address. Pods on their node's network share its address and are not found by it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct WorkloadAt(pub(crate) IpAddr);

impl Derived for WorkloadAt {
    type Value = Option<Arc<Workload>>;
    fn derive(&self, read: &Reader<'_>) -> Self::Value {
        let pods = read.tagged::<PodFact>(&Tag::Address(self.0));
        pods.iter().rev().find_map(|pod| {
            let on_host = read.fact(pod)?.spec.as_ref().and_then(|s| s.host_network).unwrap_or_default();
            if on_host { None } else { read.get(&WorkloadOf(pod.key.clone())) }
        })
    }
}

/// The workloads of a namespace, by Pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct WorkloadsIn(pub(crate) String);

impl Derived for WorkloadsIn {
    type Value = Arc<[Arc<Workload>]>;
    fn derive(&self, read: &Reader<'_>) -> Self::Value {
        let pods = read.tagged::<PodFact>(&Tag::Namespace(self.0.clone()));
        pods.iter().filter_map(|pod| read.get(&WorkloadOf(pod.key.clone()))).collect()
    }
}

/// SPIFFE id of a service account.
pub(crate) fn identity(trust_domain: &str, namespace: &str, account: &str) -> String {
    format!("{}{trust_domain}/ns/{namespace}/sa/{account}", names::SPIFFE_PREFIX)
}

/// Canonical service name of a workload with these labels.
pub(crate) fn canonical_name<'a>(labels: &'a BTreeMap<String, String>, workload: &'a str) -> &'a str {
    [labels::CANONICAL_NAME, labels::APP_KUBERNETES_NAME, labels::APP]
        .iter()
        .find_map(|key| labels.get(*key))
        .map_or(workload, String::as_str)
}

/// Canonical revision of a workload with these labels.
pub(crate) fn canonical_revision(labels: &BTreeMap<String, String>) -> &str {
    [labels::CANONICAL_REVISION, labels::APP_KUBERNETES_VERSION, labels::VERSION]
        .iter()
        .find_map(|key| labels.get(*key))
        .map_or("latest", String::as_str)
}

/// Locality by label: the Pod's own, else the node labels that were copied to it
/// (Istio 1.9 reference, Locality Load Balancing).
fn locality(map: &BTreeMap<String, String>) -> Locality {
    match map.get(labels::LOCALITY) {
        Some(text) => Locality::parse(&text.replace('.', "/")),
        None => topology(map),
    }
}

/// Locality by the topology labels of Kubernetes and of Istio.
fn topology(map: &BTreeMap<String, String>) -> Locality {
    let get = |keys: &[&str]| keys.iter().find_map(|k| map.get(*k)).cloned().unwrap_or_default();
    Locality {
        region: get(&[labels::REGION, labels::REGION_LEGACY]),
        zone: get(&[labels::ZONE, labels::ZONE_LEGACY]),
        subzone: get(&[labels::SUBZONE]),
    }
}

/// Name of the controller; a ReplicaSet stands for its Deployment.
fn workload_name(pod: &Pod) -> String {
    let name = pod.metadata.name.clone().unwrap_or_default();
    let owners = pod.metadata.owner_references.as_deref().unwrap_or_default();
    let Some(owner) = owners.iter().find(|o| o.controller == Some(true)).or(owners.first()) else {
        return name;
    };
    if owner.kind == "ReplicaSet"
        && let Some(hash) = pod.metadata.labels.as_ref().and_then(|l| l.get(labels::POD_TEMPLATE_HASH))
        && let Some(deployment) = owner.name.strip_suffix(&format!("-{hash}"))
    {
        return deployment.to_owned();
    }
    owner.name.clone()
}
