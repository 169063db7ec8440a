//! The synthetic mesh: services with an HTTP and a TCP port and three Pods each, spread over namespaces, and one gateway.
//! Everything follows from the numbers, so that two runs write the same objects.

use serde_json::{Value, json};

use super::objects::Object;
use super::options::Scenario;

/// Pods of each service.
pub(crate) const REPLICAS: usize = 3;
/// Namespace of the control plane and of the gateway.
pub(crate) const ROOT: &str = "istio-system";
/// Name of the gateway: its Pod's app, its service and its service account.
pub(crate) const GATEWAY: &str = "ingress";
/// The Secret that the gateway's server names.
pub(crate) const CREDENTIAL: &str = "bench-cert";
/// Service ports, and the Pods' ports behind them.
const PORTS: [(&str, u16, u16); 2] = [("http", 80, 8080), ("tcp", 9000, 9001)];
/// Services whose endpoints change in turn.
const ROTATION: usize = 60;
/// VirtualServices of the scenario `real`.
const VIRTUAL_SERVICES: usize = 200;
/// API versions.
pub(crate) const NETWORKING: &str = "networking.istio.io/v1beta1";
pub(crate) const SECURITY: &str = "security.istio.io/v1beta1";

/// The mesh.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mesh {
    pub(crate) services: usize,
    pub(crate) namespaces: usize,
    pub(crate) scenario: Scenario,
    /// Pods that are ready but behind no service yet: each change of an endpoint takes the next.
    pub(crate) spares: usize,
}

/// A proxy, as its node says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Proxy {
    pub(crate) gateway: bool,
    pub(crate) pod: String,
    pub(crate) namespace: String,
    /// Name of its service, its service account and its label `app`.
    pub(crate) app: String,
    pub(crate) address: String,
}

impl Mesh {
    /// Name of a service.
    pub(crate) fn name(service: usize) -> String {
        format!("service-{service:04}")
    }

    /// Namespace of a service.
    pub(crate) fn namespace(&self, service: usize) -> String {
        namespace(service % self.namespaces)
    }

    /// Host of a service.
    pub(crate) fn host(&self, service: usize) -> String {
        format!("{}.{}.svc.cluster.local", Self::name(service), self.namespace(service))
    }

    /// Whether a Sidecar resource keeps what is outside of the service's namespace from its proxies.
    fn restricted(&self, service: usize) -> bool {
        self.scenario == Scenario::Real && (service % self.namespaces).is_multiple_of(2)
    }

    /// The services whose namespaces have no Sidecar resource, of the first ones; the very first is the gateway's.
    fn open(&self) -> impl Iterator<Item = usize> + '_ {
        (1..self.services).filter(|service| !self.restricted(*service)).take(ROTATION)
    }

    /// The service that single changes are about. Its Pods are among the first proxies.
    pub(crate) fn target(&self) -> usize {
        self.open().next().unwrap_or_default()
    }

    /// Whether a proxy sees the services of namespaces without a Sidecar resource.
    pub(crate) fn sees_open(&self, proxy: &Proxy) -> bool {
        let restricted = (0..self.namespaces).filter(|n| self.restricted(*n)).map(namespace);
        proxy.gateway || !restricted.into_iter().any(|name| name == proxy.namespace)
    }

    /// The first proxies: Pods in order, and the gateway last.
    pub(crate) fn proxies(&self, count: usize) -> Vec<Proxy> {
        let sidecars = (0..count.saturating_sub(1)).map(|index| {
            let service = index / REPLICAS;
            Proxy {
                gateway: false,
                pod: pod_name(service, index % REPLICAS),
                namespace: self.namespace(service),
                app: Self::name(service),
                address: pod_address(service, index % REPLICAS),
            }
        });
        let gateway = Proxy {
            gateway: true,
            pod: format!("{GATEWAY}-0"),
            namespace: ROOT.to_owned(),
            app: GATEWAY.to_owned(),
            address: "10.127.0.1".to_owned(),
        };
        sidecars.chain([gateway]).collect()
    }

    /// All objects, in groups: those of a group need the groups before it.
    pub(crate) fn objects(&self) -> Vec<Vec<Object>> {
        let mut first: Vec<Object> = (0..self.namespaces).map(|n| Object::namespace(&namespace(n))).collect();
        first.push(Object::namespace(ROOT));
        let account =
            |namespace: &str, name: &str| Object::new("v1", "ServiceAccount", namespace, name, json!({}));
        let mut accounts: Vec<Object> = (0..self.services)
            .map(|service| account(&self.namespace(service), &Self::name(service)))
            .collect();
        accounts.push(account(ROOT, GATEWAY));
        let mut rest = Vec::new();
        for service in 0..self.services {
            rest.push(self.service(&self.namespace(service), &Self::name(service)));
            for replica in 0..REPLICAS {
                let address = pod_address(service, replica);
                rest.push(self.pod(service, &pod_name(service, replica), &address));
            }
            let pods = (0..REPLICAS).map(|r| (pod_name(service, r), pod_address(service, r)));
            rest.push(self.slice(service, &Self::name(service), pods));
        }
        rest.extend(
            (0..self.spares).map(|spare| {
                self.pod(self.service_of_change(spare), &spare_name(spare), &spare_address(spare))
            }),
        );
        rest.extend(gateway());
        if self.scenario == Scenario::Real {
            rest.extend(self.real());
        }
        vec![first, accounts, rest]
    }

    /// What a real mesh has beside services.
    fn real(&self) -> Vec<Object> {
        let sidecars = (0..self.namespaces).filter(|n| self.restricted(*n)).map(|n| {
            let egress = json!({"spec": {"egress": [{"hosts": ["./*", format!("{ROOT}/*")]}]}});
            Object::new(NETWORKING, "Sidecar", &namespace(n), "default", egress)
        });
        let first = self.services - VIRTUAL_SERVICES.min(self.services / 5);
        let routes = (first..self.services).map(|service| {
            let host = self.host(service);
            let to = json!([{"destination": {"host": host, "port": {"number": 80}}}]);
            let spec = json!({"spec": {"hosts": [host], "http": [
                {"match": [{"uri": {"prefix": "/v2"}, "headers": {"end-user": {"exact": "tester"}}}],
                 "route": to, "timeout": "5s", "retries": {"attempts": 3, "perTryTimeout": "2s"}},
                {"route": to},
            ]}});
            Object::new(NETWORKING, "VirtualService", &self.namespace(service), &Self::name(service), spec)
        });
        sidecars.chain(routes).collect()
    }

    /// A Service with the usual ports.
    pub(crate) fn service(&self, namespace: &str, name: &str) -> Object {
        let ports: Vec<Value> = PORTS
            .iter()
            .map(|(name, port, target)| json!({"name": name, "port": port, "targetPort": target, "protocol": "TCP"}))
            .collect();
        Object::new(
            "v1",
            "Service",
            namespace,
            name,
            json!({"spec": {"selector": {"app": name}, "ports": ports}}),
        )
    }

    /// A Pod that runs, of a service.
    fn pod(&self, service: usize, name: &str, address: &str) -> Object {
        pod(&self.namespace(service), &Self::name(service), name, address)
    }

    /// The EndpointSlice of a service of that name, with these Pods of `service`.
    pub(crate) fn slice(
        &self,
        service: usize,
        name: &str,
        pods: impl Iterator<Item = (String, String)>,
    ) -> Object {
        let namespace = self.namespace(service);
        let endpoints: Vec<Value> = pods
            .map(|(pod, address)| {
                json!({
                    "addresses": [address], "conditions": {"ready": true},
                    "targetRef": {"kind": "Pod", "name": pod, "namespace": namespace},
                })
            })
            .collect();
        let ports: Vec<Value> = PORTS
            .iter()
            .map(|(name, _, target)| json!({"name": name, "port": target, "protocol": "TCP"}))
            .collect();
        let rest = json!({"addressType": "IPv4", "endpoints": endpoints, "ports": ports});
        Object::new("discovery.k8s.io/v1", "EndpointSlice", &namespace, name, rest)
            .labelled(json!({"kubernetes.io/service-name": name}))
    }

    /// The service whose endpoints the change of that number changes.
    fn service_of_change(&self, change: usize) -> usize {
        let open = self.open().count().max(1);
        self.open().nth(change % open).unwrap_or_default()
    }

    /// The EndpointSlice after the change of that number: a spare Pod has taken the place of the service's last. Also
    /// the address that was in nothing before.
    pub(crate) fn endpoint_change(&self, change: usize) -> (Object, String) {
        let service = self.service_of_change(change);
        let stay = (0..REPLICAS - 1).map(|r| (pod_name(service, r), pod_address(service, r)));
        let spare = [(spare_name(change), spare_address(change))];
        (self.slice(service, &Self::name(service), stay.chain(spare)), spare_address(change))
    }

    /// The EndpointSlice of a service that is new: the Pods of the target stand behind it.
    pub(crate) fn slice_of_new(&self, name: &str) -> Object {
        let target = self.target();
        self.slice(target, name, (0..REPLICAS).map(|r| (pod_name(target, r), pod_address(target, r))))
    }
}

fn namespace(number: usize) -> String {
    format!("ns-{number:02}")
}

fn pod_name(service: usize, replica: usize) -> String {
    format!("{}-{replica}", Mesh::name(service))
}

fn pod_address(service: usize, replica: usize) -> String {
    let number = service * REPLICAS + replica + 1;
    format!("10.{}.{}.{}", 128 + (number >> 16), (number >> 8) & 255, number & 255)
}

fn spare_name(spare: usize) -> String {
    format!("spare-{spare:05}")
}

/// Three digits everywhere, so that no address is the beginning of another one.
fn spare_address(spare: usize) -> String {
    format!("172.{}.{}.{}", 100 + spare / 22_500, 100 + spare / 150 % 150, 100 + spare % 150)
}

fn pod(namespace: &str, app: &str, name: &str, address: &str) -> Object {
    let ports: Vec<Value> =
        PORTS.iter().map(|(name, _, target)| json!({"name": name, "containerPort": target})).collect();
    let rest = json!({
        "spec": {
            "serviceAccountName": app,
            "containers": [{"name": "app", "image": "bench/app", "ports": ports}],
        },
        "status": {
            "phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "hostIP": "192.0.2.1",
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    });
    Object::new("v1", "Pod", namespace, name, rest)
        .labelled(json!({"app": app, "version": "v1", "security.istio.io/tlsMode": "istio"}))
}

/// The gateway, what it serves, and the right to read its Secret.
fn gateway() -> Vec<Object> {
    let rbac = "rbac.authorization.k8s.io/v1";
    let mut pod = pod(ROOT, GATEWAY, &format!("{GATEWAY}-0"), "10.127.0.1");
    pod.value["metadata"]["labels"]["istio"] = json!("ingressgateway");
    let service = json!({"spec": {
        "selector": {"app": GATEWAY}, "ports": [{"name": "https", "port": 443, "targetPort": 8443, "protocol": "TCP"}],
    }});
    let server = json!({"spec": {"selector": {"istio": "ingressgateway"}, "servers": [{
        "port": {"number": 443, "name": "https", "protocol": "HTTPS"}, "hosts": ["bench.example"],
        "tls": {"mode": "SIMPLE", "credentialName": CREDENTIAL},
    }]}});
    let to = Mesh::name(0);
    let route = json!({"spec": {"hosts": ["bench.example"], "gateways": ["bench"], "http": [
        {"route": [{"destination": {"host": format!("{to}.{}.svc.cluster.local", namespace(0)), "port": {"number": 80}}}]},
    ]}});
    let role =
        json!({"rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list", "watch"]}]});
    let binding = json!({
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": GATEWAY},
        "subjects": [{"kind": "ServiceAccount", "name": GATEWAY, "namespace": ROOT}],
    });
    vec![
        pod,
        Object::new("v1", "Service", ROOT, GATEWAY, service),
        Object::new(NETWORKING, "Gateway", ROOT, "bench", server),
        Object::new(NETWORKING, "VirtualService", ROOT, "bench", route),
        Object::new(rbac, "Role", ROOT, GATEWAY, role),
        Object::new(rbac, "RoleBinding", ROOT, GATEWAY, binding),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn mesh(scenario: Scenario) -> Mesh {
        Mesh { services: 100, namespaces: 20, scenario, spares: 130 }
    }

    fn count(mesh: &Mesh, kind: &str) -> usize {
        mesh.objects().iter().flatten().filter(|object| object.value["kind"] == kind).count()
    }

    #[test]
    fn the_numbers_are_those_that_were_asked_for() {
        let plain = mesh(Scenario::Plain);
        assert_eq!(count(&plain, "Namespace"), 21);
        assert_eq!(count(&plain, "Service"), 101);
        assert_eq!(count(&plain, "ServiceAccount"), 101);
        assert_eq!(count(&plain, "EndpointSlice"), 100);
        assert_eq!(count(&plain, "Pod"), 300 + 130 + 1);
        assert_eq!(count(&plain, "Sidecar"), 0);
        let real = mesh(Scenario::Real);
        assert_eq!(count(&real, "Sidecar"), 10);
        assert_eq!(count(&real, "VirtualService"), 1 + 20);
    }

    #[test]
    fn no_two_objects_share_a_path_and_no_two_pods_an_address() {
        let objects: Vec<Object> = mesh(Scenario::Real).objects().concat();
        let paths: BTreeSet<String> = objects.iter().map(Object::path).collect();
        assert_eq!(paths.len(), objects.len());
        let pods = objects.iter().filter(|object| object.value["kind"] == "Pod");
        let addresses: BTreeSet<&str> =
            pods.filter_map(|pod| pod.value["status"]["podIP"].as_str()).collect();
        assert_eq!(addresses.len(), 300 + 130 + 1);
    }

    #[test]
    fn proxies_stand_for_pods_and_the_last_is_the_gateway() {
        let mesh = mesh(Scenario::Plain);
        let objects: Vec<Object> = mesh.objects().concat();
        for proxy in mesh.proxies(50) {
            let pod = objects.iter().find(|object| {
                let meta = &object.value["metadata"];
                object.value["kind"] == "Pod"
                    && meta["name"] == proxy.pod
                    && meta["namespace"] == proxy.namespace
            });
            let pod = &pod.unwrap_or_else(|| panic!("{proxy:?} has no Pod")).value;
            assert_eq!(pod["status"]["podIP"], proxy.address);
            assert_eq!(pod["spec"]["serviceAccountName"], proxy.app);
        }
        assert!(mesh.proxies(50)[49].gateway);
        assert_eq!(mesh.proxies(50).iter().filter(|proxy| proxy.gateway).count(), 1);
    }

    #[test]
    fn the_target_is_seen_by_all_but_those_behind_a_sidecar_resource() {
        let seen = |mesh: Mesh| {
            let proxies = mesh.proxies(61);
            let target = Mesh::name(mesh.target());
            assert_eq!(proxies.iter().filter(|proxy| proxy.app == target).count(), REPLICAS);
            proxies.iter().filter(|proxy| mesh.sees_open(proxy)).count()
        };
        assert_eq!(seen(mesh(Scenario::Plain)), 61);
        assert_eq!(seen(mesh(Scenario::Real)), 31);
    }

    #[test]
    fn each_change_of_an_endpoint_brings_a_pod_of_the_same_service() {
        let mesh = mesh(Scenario::Real);
        let objects: Vec<Object> = mesh.objects().concat();
        let mut markers = BTreeSet::new();
        for change in 0..mesh.spares {
            let (slice, marker) = mesh.endpoint_change(change);
            let endpoints = slice.value["endpoints"].as_array().unwrap().clone();
            assert_eq!(endpoints.len(), REPLICAS);
            assert_eq!(endpoints[REPLICAS - 1]["addresses"][0], marker);
            let name = &endpoints[REPLICAS - 1]["targetRef"]["name"];
            let pod = objects.iter().find(|o| o.value["metadata"]["name"] == *name).unwrap();
            assert_eq!(pod.value["spec"]["serviceAccountName"], slice.value["metadata"]["name"]);
            assert_eq!(pod.value["metadata"]["namespace"], slice.value["metadata"]["namespace"]);
            assert!(markers.insert(marker));
        }
        assert!(markers.iter().all(|a| markers.iter().filter(|b| b.starts_with(a.as_str())).count() == 1));
    }
}
