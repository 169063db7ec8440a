//! Addresses of Services of type LoadBalancer, out of the cluster's pool.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Service;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;

use crate::plan::Plan;

/// Namespace and name of a Service.
pub(crate) type ServiceKey = (String, String);

/// Who has which address, and whose status has to be changed.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Assigned {
    pub(crate) addresses: BTreeMap<ServiceKey, Ipv4Addr>,
    /// Services whose status says something else; `None` means that they must have no address.
    pub(crate) publish: Vec<(ServiceKey, Option<Ipv4Addr>)>,
}

pub(crate) fn key(service: &Service) -> ServiceKey {
    (service.namespace().unwrap_or_default(), service.name_any())
}

fn is_load_balancer(service: &Service) -> bool {
    service.spec.as_ref().and_then(|s| s.type_.as_deref()) == Some("LoadBalancer")
        && service.metadata.deletion_timestamp.is_none()
}

fn current(service: &Service) -> Vec<String> {
    let ingress =
        service.status.as_ref().and_then(|s| s.load_balancer.as_ref()).and_then(|l| l.ingress.as_ref());
    ingress.map(|list| list.iter().filter_map(|i| i.ip.clone()).collect()).unwrap_or_default()
}

/// Keeps the addresses that are published, honours `spec.loadBalancerIP`, and gives the rest the lowest free ones, oldest
/// Service first.
pub(crate) fn assign(plan: &Plan, services: &[Arc<Service>]) -> Assigned {
    let pool: BTreeSet<Ipv4Addr> = plan.lb_pool().collect();
    let mut free = pool.clone();
    let mut assigned = Assigned::default();
    let mut balancers: Vec<&Arc<Service>> = services.iter().filter(|s| is_load_balancer(s)).collect();
    balancers.sort_by_key(|s| (s.metadata.creation_timestamp.clone(), key(s)));

    for service in &balancers {
        let published = current(service).first().and_then(|ip| ip.parse().ok());
        if let Some(address) = published.filter(|a| free.remove(a)) {
            assigned.addresses.insert(key(service), address);
        }
    }
    for service in &balancers {
        let key = key(service);
        if assigned.addresses.contains_key(&key) {
            continue;
        }
        #[allow(deprecated)] // Deprecated in the API, still the way to ask for an address.
        let asked = service.spec.as_ref().and_then(|s| s.load_balancer_ip.as_deref());
        let address = match asked.and_then(|ip| ip.parse::<Ipv4Addr>().ok()) {
            Some(address) => free.contains(&address).then_some(address),
            None => free.first().copied(),
        };
        match address {
            Some(address) => {
                free.remove(&address);
                assigned.addresses.insert(key, address);
            }
            None => tracing::warn!(
                namespace = key.0,
                service = key.1,
                "no LoadBalancer address is free (or the one asked for is not in the pool)"
            ),
        }
    }
    for service in services {
        let key = key(service);
        let want = assigned.addresses.get(&key).copied();
        let have = current(service);
        if have != want.iter().map(ToString::to_string).collect::<Vec<_>>() {
            assigned.publish.push((key, want));
        }
    }
    assigned
}

/// Writes the statuses; `false` if one failed.
pub(crate) async fn publish(client: &Client, assigned: &Assigned) -> bool {
    let mut all = true;
    for ((namespace, name), address) in &assigned.publish {
        let ingress: Vec<_> =
            address.iter().map(|ip| json!({ "ip": ip.to_string(), "ipMode": "VIP" })).collect();
        let patch = json!({ "status": { "loadBalancer": { "ingress": ingress } } });
        let api: Api<Service> = Api::namespaced(client.clone(), namespace);
        match api.patch_status(name, &PatchParams::default(), &Patch::Merge(&patch)).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => {
                all = false;
                tracing::warn!(namespace, name, %error, "LoadBalancer status not written");
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(name: &str, kind: &str, published: Option<&str>, asked: Option<&str>) -> Arc<Service> {
        let ingress: Vec<_> = published.iter().map(|ip| json!({ "ip": ip })).collect();
        let object = json!({
            "metadata": { "namespace": "ns", "name": name },
            "spec": { "type": kind, "loadBalancerIP": asked },
            "status": { "loadBalancer": { "ingress": ingress } }
        });
        Arc::new(serde_json::from_value(object).unwrap())
    }

    #[test]
    fn assigns() {
        let plan = Plan::new("c", 0).unwrap();
        let services = [
            service("a", "LoadBalancer", None, None),
            service("b", "LoadBalancer", Some("172.31.242.1"), None),
            service("c", "LoadBalancer", None, Some("172.31.242.9")),
            service("d", "ClusterIP", Some("172.31.242.3"), None),
            service("e", "LoadBalancer", Some("1.2.3.4"), None),
            service("f", "LoadBalancer", None, Some("9.9.9.9")),
        ];
        let assigned = assign(&plan, &services);
        let of = |n: &str| assigned.addresses.get(&("ns".into(), n.into())).map(ToString::to_string);
        assert_eq!(of("a").as_deref(), Some("172.31.242.2"));
        assert_eq!(of("b").as_deref(), Some("172.31.242.1"));
        assert_eq!(of("c").as_deref(), Some("172.31.242.9"));
        assert_eq!(of("d"), None);
        assert_eq!(of("e").as_deref(), Some("172.31.242.3"));
        assert_eq!(of("f"), None);
        let published: Vec<_> = assigned.publish.iter().map(|((_, n), _)| n.as_str()).collect();
        assert_eq!(published, ["a", "c", "d", "e"]);
    }

    #[test]
    fn pool_has_an_end() {
        let plan = Plan::new("c", 0).unwrap();
        let services: Vec<_> =
            (0..20).map(|n| service(&format!("s{n:02}"), "LoadBalancer", None, None)).collect();
        assert_eq!(assign(&plan, &services).addresses.len(), 14);
    }
}
