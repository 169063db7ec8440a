use portolan_mesh::{Protocol, ServicePort, Visibility};

use super::*;
use crate::fixture::{peer, service, yaml};

const IDENTITY: &str = "spiffe://west.local/ns/istio-system/sa/east-ingress-service-account";

/// Exports of a mesh with `services` to the peer east.
fn exported(services: Vec<Service>, rules: &str) -> BTreeMap<String, Export> {
    let services = services.into_iter().map(|s| (s.host.clone(), Arc::new(s))).collect();
    let set: ExportedServiceSetSpec = yaml(&format!("exportRules: {rules}"));
    exports(&services, &peer("east"), Some(&set), &[IDENTITY.to_owned()])
}

const EVERYTHING: &str = "[{type: NameSelector, nameSelector: {}}]";

#[test]
fn without_an_export_set_nothing_is_exported() {
    let ratings = service("ratings", "bookinfo");
    let services = BTreeMap::from([(ratings.host.clone(), Arc::new(ratings))]);
    assert!(exports(&services, &peer("east"), None, &[IDENTITY.to_owned()]).is_empty());
}

#[test]
fn what_may_be_exported() {
    let set = |namespaces: &[&str]| {
        Visibility::Namespaces(namespaces.iter().map(|name| (*name).to_owned()).collect())
    };
    type Change = Box<dyn Fn(&mut Service)>;
    let rows: Vec<(&str, Change, bool)> = vec![
        ("a service of the cluster", Box::new(|_| {}), true),
        ("a service entry of the mesh", Box::new(|s| s.registry = Registry::ServiceEntry), true),
        ("nothing of another peer: no transit", Box::new(|s| s.registry = Registry::Federation), false),
        ("nothing outside of the mesh", Box::new(|s| s.mesh_external = true), false),
        ("nothing without a name", Box::new(|s| s.name.clear()), false),
        ("nothing without a namespace", Box::new(|s| s.namespace.clear()), false),
        ("nothing without ports", Box::new(|s| s.ports.clear()), false),
        ("visible to nobody", Box::new(move |s| s.visibility = set(&[])), false),
        ("visible to another namespace only", Box::new(move |s| s.visibility = set(&["shop"])), false),
        (
            "visible to the peer's namespace",
            Box::new(move |s| s.visibility = set(&["shop", "istio-system"])),
            true,
        ),
        (
            "not our ingress gateway for the peer",
            Box::new(|s| (s.name, s.namespace) = ("east-ingress".into(), "istio-system".into())),
            false,
        ),
        (
            "not our egress gateway for the peer",
            Box::new(|s| (s.name, s.namespace) = ("east-egress".into(), "istio-system".into())),
            false,
        ),
        (
            "a service that is called like the gateway, elsewhere",
            Box::new(|s| s.name = "east-ingress".into()),
            true,
        ),
        ("another service beside the gateways", Box::new(|s| s.namespace = "istio-system".into()), true),
    ];
    for (what, change, expected) in rows {
        let mut ratings = service("ratings", "bookinfo");
        change(&mut ratings);
        assert_eq!(!exported(vec![ratings], EVERYTHING).is_empty(), expected, "{what}");
    }
}

#[test]
fn rules_decide_by_the_labels_of_each_service() {
    let mut ratings = service("ratings", "bookinfo");
    ratings.labels = yaml("{export: 'yes'}");
    let found = exported(
        vec![ratings, service("reviews", "bookinfo")],
        "[{type: LabelSelector, labelSelector: {selector: {matchLabels: {export: 'yes'}}}}]",
    );
    assert_eq!(found.keys().collect::<Vec<_>>(), ["ratings.bookinfo.svc.cluster.local"]);
}

#[test]
fn a_peer_is_told_exported_names_ports_and_our_gateways_identity() {
    let mut ratings = service("ratings", "bookinfo");
    ratings.ports.push(ServicePort { name: "admin".into(), number: 9081, protocol: Protocol::Tcp });
    let host = ratings.host.clone();
    let rules = "[{type: NameSelector, nameSelector: {alias: {name: stars, namespace: public}}}]";
    let expected = Export {
        name: "ratings".into(),
        namespace: "bookinfo".into(),
        host: host.clone(),
        message: yaml(&format!(
            "
            name: stars
            namespace: public
            hostname: stars.public.svc.east-exports.local
            servicePorts: [{{name: http, port: 9080, protocol: HTTP}}, {{name: admin, port: 9081, protocol: TCP}}]
            serviceAccounts: ['{IDENTITY}']
            "
        )),
    };
    assert_eq!(exported(vec![ratings], rules), BTreeMap::from([(host, expected)]));
}

#[test]
fn of_two_services_with_one_exported_name_the_first_host_has_it() {
    let found = exported(
        vec![service("b", "bookinfo"), service("a", "bookinfo"), service("c", "bookinfo")],
        "[{type: NameSelector, nameSelector: {name: c}}, {type: NameSelector, nameSelector: {alias: {name: same}}}]",
    );
    assert_eq!(
        found.keys().collect::<Vec<_>>(),
        ["a.bookinfo.svc.cluster.local", "c.bookinfo.svc.cluster.local"]
    );
}

/// The events from one list of exports to another, each list as `local=exported` with an optional `@port`.
fn events(before: &[&str], after: &[&str]) -> Vec<String> {
    let list = |entries: &[&str]| -> BTreeMap<String, Export> {
        let one = |entry: &&str| {
            let (local, rest) = entry.split_once('=').unwrap();
            let (name, port) = rest.split_once('@').unwrap_or((rest, "80"));
            let message = ServiceMessage {
                name: name.into(),
                hostname: name.into(),
                service_ports: vec![ServicePortMessage { port: port.parse().unwrap(), ..Default::default() }],
                ..ServiceMessage::default()
            };
            let export = Export { name: local.into(), namespace: "x".into(), host: local.into(), message };
            (local.to_owned(), export)
        };
        entries.iter().map(one).collect()
    };
    let after = list(after);
    let found = export_events(&list(before), &after);
    let expected = ServiceList::new(after.values().map(|export| export.message.clone()).collect());
    assert_eq!(found.list, expected);
    let text = |event: &WatchEvent| {
        assert_eq!(event.checksum, expected.checksum, "every event has the checksum of the list after it");
        let service = event.service.as_ref().unwrap();
        format!("{:?} {}@{}", event.action, service.hostname, service.service_ports[0].port)
    };
    found.events.iter().map(text).collect()
}

#[test]
fn events_lead_from_one_list_to_the_next() {
    type List = &'static [&'static str];
    let rows: [(&str, List, List, List); 7] = [
        ("nothing changed", &["a=x", "b=y"], &["a=x", "b=y"], &[]),
        ("the first export", &[], &["a=x"], &["Add x@80"]),
        ("one more", &["a=x"], &["a=x", "b=y"], &["Add y@80"]),
        ("one less", &["a=x", "b=y"], &["b=y"], &["Delete x@80"]),
        ("another port", &["a=x", "b=y"], &["a=x@81", "b=y"], &["Update x@81"]),
        ("a new name is a deletion and an addition", &["a=x"], &["a=y"], &["Delete x@80", "Add y@80"]),
        ("the end of all", &["a=x", "b=y"], &[], &["Delete x@80", "Delete y@80"]),
    ];
    for (what, before, after, expected) in rows {
        assert_eq!(events(before, after), expected, "{what}");
    }
}

#[test]
fn status_names_local_and_exported_services_in_order() {
    let found = exported(
        vec![service("b", "shop"), service("a", "shop"), service("c", "bookinfo")],
        "[{type: NameSelector, nameSelector: {name: c, alias: {name: stars}}}, {type: NameSelector, nameSelector: {}}]",
    );
    let status = serde_json::to_value(export_status(&found)).unwrap();
    let expected: serde_json::Value = yaml(
        "
        exportedServices:
        - localService: {name: c, namespace: bookinfo, hostname: c.bookinfo.svc.cluster.local}
          exportedName: stars.bookinfo.svc.east-exports.local
        - localService: {name: a, namespace: shop, hostname: a.shop.svc.cluster.local}
          exportedName: a.shop.svc.east-exports.local
        - localService: {name: b, namespace: shop, hostname: b.shop.svc.cluster.local}
          exportedName: b.shop.svc.east-exports.local
        ",
    );
    assert_eq!(status, expected);
}

#[test]
fn status_of_nothing_is_an_empty_list() {
    let status = serde_json::to_string(&export_status(&BTreeMap::new())).unwrap();
    assert_eq!(status, r#"{"exportedServices":[]}"#);
}
