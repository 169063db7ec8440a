//! Workloads: Pods as the mesh sees them.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use k8s_openapi::api::core::v1::Pod;
use portolan_names::{labels, names};

use crate::{
    object::{ObjectKey, share},
    service::Locality,
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
        let status = pod.status.as_ref();
        let mut addresses: Vec<IpAddr> = status
            .and_then(|s| s.pod_ips.as_ref())
            .map(|ips| ips.iter().filter_map(|ip| ip.ip.parse().ok()).collect())
            .unwrap_or_default();
        if let Some(ip) = status.and_then(|s| s.pod_ip.as_ref()).and_then(|ip| ip.parse().ok())
            && !addresses.contains(&ip)
        {
            addresses.insert(0, ip);
        }
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
            addresses,
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

/// Pods by namespace and name, and by address.
#[derive(Clone, Debug, Default)]
pub(crate) struct Workloads {
    pub(crate) by_pod: BTreeMap<(String, String), Arc<Workload>>,
    pub(crate) by_address: BTreeMap<IpAddr, Arc<Workload>>,
}

impl Workloads {
    /// The table of all Pods. `before` is the last one: what did not change is shared with it.
    pub(crate) fn build(
        pods: &BTreeMap<ObjectKey, Arc<Pod>>,
        trust_domain: &str,
        before: Option<&Workloads>,
    ) -> Self {
        let mut out = Self::default();
        for (key, pod) in pods {
            // Finished Pods keep their address in status although it may be given to another Pod.
            let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or_default();
            if matches!(phase, "Succeeded" | "Failed") {
                continue;
            }
            let id = (key.namespace.clone(), key.name.clone());
            let old = before.and_then(|b| b.by_pod.get(&id));
            let workload = share(Workload::of(pod, trust_domain), old);
            let host_network = pod.spec.as_ref().and_then(|s| s.host_network).unwrap_or_default();
            if !host_network {
                for address in &workload.addresses {
                    out.by_address.insert(*address, workload.clone());
                }
            }
            out.by_pod.insert(id, workload);
        }
        out
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
    if let Some(text) = map.get(labels::LOCALITY) {
        return Locality::parse(&text.replace('.', "/"));
    }
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
