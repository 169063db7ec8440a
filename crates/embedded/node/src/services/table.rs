//! The nftables table: pure text from Services and EndpointSlices.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt as _;

use super::lb::{ServiceKey, key};
use crate::plan::{API_PORT, LINK_LEG, Plan};

/// The table in the node namespace.
const TABLE: &str = "ptl-services";
/// Endpoints of one service port beyond this are left out: the map is evaluated per connection, but written as text.
const MAX_ENDPOINTS: usize = 1000;

/// Reserved addresses (RFC 1112 4), which meshes give to names that only their proxies know. One that arrives here has
/// nobody behind it: its name was just taken back, or the proxy has no route for it yet.
const UNASSIGNED: &str = "240.0.0.0/4";

/// Protocols of service ports; SCTP is not carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Protocol {
    Tcp,
    Udp,
}

impl Protocol {
    fn parse(text: Option<&str>) -> Option<Protocol> {
        match text {
            None | Some("" | "TCP") => Some(Protocol::Tcp),
            Some("UDP") => Some(Protocol::Udp),
            Some(_) => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        }
    }
}

/// One port of one Service: where it is reached and where it leads.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Forward {
    pub(crate) name: String,
    pub(crate) addresses: Vec<Ipv4Addr>,
    pub(crate) protocol: Protocol,
    pub(crate) port: u16,
    pub(crate) endpoints: BTreeSet<(Ipv4Addr, u16)>,
}

/// What the table has to do.
pub(crate) fn compile(
    plan: &Plan,
    services: &[Arc<Service>],
    slices: &[Arc<EndpointSlice>],
    balancers: &BTreeMap<ServiceKey, Ipv4Addr>,
) -> Vec<Forward> {
    let mut by_service: BTreeMap<(String, &str), Vec<&EndpointSlice>> = BTreeMap::new();
    for slice in slices {
        if slice.address_type == "IPv4"
            && let Some(name) = slice.labels().get("kubernetes.io/service-name")
        {
            by_service.entry((slice.namespace().unwrap_or_default(), name)).or_default().push(slice);
        }
    }
    let mut sorted: Vec<&Arc<Service>> = services.iter().collect();
    sorted.sort_by_key(|s| key(s));
    let mut forwards = Vec::new();
    for service in sorted {
        let Some(spec) = &service.spec else { continue };
        let Some(Ok(cluster_ip)) = spec.cluster_ip.as_deref().map(str::parse::<Ipv4Addr>) else { continue };
        if service.metadata.deletion_timestamp.is_some() {
            continue;
        }
        let (namespace, name) = key(service);
        let mut addresses = vec![cluster_ip];
        addresses.extend(balancers.get(&(namespace.clone(), name.clone())));
        let slices = by_service.get(&(namespace.clone(), name.as_str()));
        for port in spec.ports.iter().flatten() {
            let Some(protocol) = Protocol::parse(port.protocol.as_deref()) else { continue };
            let Ok(number) = u16::try_from(port.port) else { continue };
            let port_name = port.name.as_deref().unwrap_or_default();
            let mut endpoints = BTreeSet::new();
            for slice in slices.into_iter().flatten() {
                ready_endpoints(slice, port_name, protocol, &mut endpoints);
            }
            if endpoints.is_empty() && namespace == "default" && name == "kubernetes" {
                // Nobody else needs to know where the embedded API server listens.
                endpoints.insert((plan.node_address(), API_PORT));
            }
            forwards.push(Forward {
                name: format!("{namespace}/{name}:{port_name}"),
                addresses: addresses.clone(),
                protocol,
                port: number,
                endpoints,
            });
        }
    }
    forwards
}

fn ready_endpoints(
    slice: &EndpointSlice,
    port_name: &str,
    protocol: Protocol,
    into: &mut BTreeSet<(Ipv4Addr, u16)>,
) {
    let port = slice.ports.iter().flatten().find(|p| {
        p.name.as_deref().unwrap_or_default() == port_name
            && Protocol::parse(p.protocol.as_deref()) == Some(protocol)
    });
    let Some(Ok(port)) = port.and_then(|p| p.port).map(u16::try_from) else { return };
    for endpoint in slice.endpoints.iter().flatten() {
        let ready = endpoint.conditions.as_ref().and_then(|c| c.ready).unwrap_or(true);
        if !ready {
            continue;
        }
        for address in &endpoint.addresses {
            if into.len() < MAX_ENDPOINTS
                && let Ok(address) = address.parse()
            {
                into.insert((address, port));
            }
        }
    }
}

/// The text for `nft -f -`; replaces the table in one transaction.
pub(crate) fn render(forwards: &[Forward], plan: &Plan) -> String {
    let mut out = format!("table ip {TABLE}\ndelete table ip {TABLE}\ntable ip {TABLE} {{\n");
    hairpins(forwards, &mut out);
    let dispatch = port_chains(forwards, &mut out);
    out.push_str("\tchain services {\n");
    if !dispatch.is_empty() {
        let _ = writeln!(
            out,
            "\t\tip daddr . meta l4proto . th dport vmap {{\n\t\t\t{}\n\t\t}}",
            dispatch.join(",\n\t\t\t")
        );
    }
    out.push_str("\t}\n");
    fixed_chains(plan, &mut out);
    out
}

/// Endpoints that may call themselves through their own Service.
fn hairpins(forwards: &[Forward], out: &mut String) {
    let hairpins: BTreeSet<Ipv4Addr> =
        forwards.iter().flat_map(|f| f.endpoints.iter().map(|(address, _)| *address)).collect();
    out.push_str("\tset hairpins {\n\t\ttype ipv4_addr . ipv4_addr\n");
    if !hairpins.is_empty() {
        let list: Vec<String> = hairpins.iter().map(|a| format!("{a} . {a}")).collect();
        let _ = writeln!(out, "\t\telements = {{ {} }}", list.join(", "));
    }
    out.push_str("\t}\n");
}

/// A chain per port that has endpoints; answers which address, protocol and port lead to which chain.
fn port_chains(forwards: &[Forward], out: &mut String) -> Vec<String> {
    let mut dispatch = Vec::new();
    let mut taken = BTreeSet::new();
    for (n, forward) in forwards.iter().enumerate() {
        if forward.endpoints.is_empty() {
            continue;
        }
        let protocol = forward.protocol.name();
        let targets: Vec<String> = forward
            .endpoints
            .iter()
            .enumerate()
            .map(|(i, (address, port))| format!("{i} : {address} . {port}"))
            .collect();
        let _ = writeln!(out, "\tchain port-{n} {{ # {}", forward.name);
        let _ = writeln!(
            out,
            "\t\tmeta l4proto {protocol} dnat ip to numgen random mod {} map {{ {} }}",
            targets.len(),
            targets.join(", ")
        );
        out.push_str("\t}\n");
        for address in &forward.addresses {
            // One address and port cannot lead to two places; the API server keeps ClusterIPs apart, the first one wins otherwise.
            if taken.insert((*address, forward.protocol, forward.port)) {
                dispatch.push(format!("{address} . {protocol} . {} : goto port-{n}", forward.port));
            }
        }
    }
    dispatch
}

/// What does not depend on the Services: refusals, source translation, and the border of the cluster.
fn fixed_chains(plan: &Plan, out: &mut String) {
    let node = plan.node_address();
    let pods = plan.pod_cidr();
    let services = plan.service_cidr();
    // A ClusterIP that was not translated has no endpoints or does not exist: refuse at once instead of a time-out.
    // By reset where it can be: the kernel sends few ICMP errors a second.
    let _ = write!(
        out,
        "\tchain refuse {{\n\
         \t\tip daddr {{ {services}, {UNASSIGNED} }} meta l4proto tcp reject with tcp reset\n\
         \t\tip daddr {{ {services}, {UNASSIGNED} }} reject with icmp type port-unreachable\n\
         \t}}\n\
         \tchain nat-prerouting {{\n\
         \t\ttype nat hook prerouting priority -100; policy accept;\n\
         \t\tjump services\n\
         \t}}\n\
         \tchain nat-output {{\n\
         \t\ttype nat hook output priority -100; policy accept;\n\
         \t\tjump services\n\
         \t}}\n\
         \tchain nat-postrouting {{\n\
         \t\ttype nat hook postrouting priority 100; policy accept;\n\
         \t\tip saddr . ip daddr @hairpins snat to {node}\n\
         \t\toifname \"{LINK_LEG}\" ip saddr {pods} snat to {node}\n\
         \t}}\n\
         \tchain filter-forward {{\n\
         \t\ttype filter hook forward priority 0; policy accept;\n\
         \t\tct state established,related accept\n\
         \t\tjump refuse\n\
         \t\tiifname \"{LINK_LEG}\" ct status dnat accept\n\
         \t\tiifname \"{LINK_LEG}\" drop\n\
         \t}}\n\
         \tchain filter-input {{\n\
         \t\ttype filter hook input priority 0; policy accept;\n\
         \t\tct state established,related accept\n\
         \t\tiifname \"{LINK_LEG}\" meta l4proto tcp reject with tcp reset\n\
         \t\tiifname \"{LINK_LEG}\" icmp type echo-request accept\n\
         \t\tiifname \"{LINK_LEG}\" reject with icmp type port-unreachable\n\
         \t}}\n\
         \tchain filter-output {{\n\
         \t\ttype filter hook output priority 0; policy accept;\n\
         \t\tct state established,related accept\n\
         \t\toifname \"{LINK_LEG}\" jump refuse\n\
         \t}}\n}}\n"
    );
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn objects() -> (Vec<Arc<Service>>, Vec<Arc<EndpointSlice>>) {
        let service = |v| Arc::new(serde_json::from_value(v).unwrap());
        let services = vec![
            service(json!({ "metadata": { "namespace": "default", "name": "kubernetes" },
                "spec": { "clusterIP": "10.96.0.1", "ports": [{ "name": "https", "port": 443 }] } })),
            service(json!({ "metadata": { "namespace": "a", "name": "web" },
                "spec": { "clusterIP": "10.96.0.7", "ports": [
                    { "name": "http", "port": 80, "targetPort": 8080 }, { "name": "dns", "port": 53, "protocol": "UDP" },
                    { "name": "sctp", "port": 99, "protocol": "SCTP" }] } })),
            service(json!({ "metadata": { "namespace": "a", "name": "headless" },
                "spec": { "clusterIP": "None", "ports": [{ "port": 80 }] } })),
        ];
        let slice = json!({ "metadata": { "namespace": "a", "name": "web-1", "labels": { "kubernetes.io/service-name": "web" } },
            "addressType": "IPv4", "ports": [{ "name": "http", "port": 8080, "protocol": "TCP" }],
            "endpoints": [
                { "addresses": ["10.64.0.2"], "conditions": { "ready": true } },
                { "addresses": ["10.64.0.3"], "conditions": { "ready": false } },
                { "addresses": ["10.64.0.4"] } ] });
        (services, vec![Arc::new(serde_json::from_value(slice).unwrap())])
    }

    #[test]
    fn compiles() {
        let plan = Plan::new("c", 0).unwrap();
        let (services, slices) = objects();
        let balancers =
            BTreeMap::from([(("a".to_owned(), "web".to_owned()), Ipv4Addr::new(172, 31, 242, 1))]);
        let forwards = compile(&plan, &services, &slices, &balancers);
        let names: Vec<_> =
            forwards.iter().map(|f| (f.name.as_str(), f.addresses.len(), f.endpoints.len())).collect();
        assert_eq!(names, [("a/web:http", 2, 2), ("a/web:dns", 2, 0), ("default/kubernetes:https", 1, 1)]);
        let text = render(&forwards, &plan);
        for line in [
            "10.96.0.7 . tcp . 80 : goto port-0",
            "172.31.242.1 . tcp . 80 : goto port-0",
            "numgen random mod 2 map { 0 : 10.64.0.2 . 8080, 1 : 10.64.0.4 . 8080 }",
            "0 : 172.31.241.10 . 6443",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        assert!(!text.contains("udp . 53"));
    }
}
