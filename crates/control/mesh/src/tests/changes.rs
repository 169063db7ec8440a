//! A mesh that goes along with changes: what it says, and how much it works for that.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::core::v1::{Node, Pod, Service as KubeService};
use portolan_resources::{DestinationRule, VirtualService};

use super::*;

fn object<T: serde::de::DeserializeOwned>(value: Value) -> Option<Arc<T>> {
    Some(Arc::new(serde_json::from_value(value).unwrap()))
}

fn mesh() -> Mesh {
    Mesh::from(&inputs(SHOP))
}

/// How often each kind of value was made by what is done.
fn made(mesh: &mut Mesh, work: impl FnOnce(&mut Mesh)) -> BTreeMap<&'static str, u64> {
    let before = mesh.counts();
    work(mesh);
    mesh.settle();
    let old = |kind| before.get(kind).map_or(0, |counts| counts.made);
    let all = mesh.counts();
    all.into_iter().map(|(kind, c)| (kind, c.made - old(kind))).filter(|(_, n)| *n > 0).collect()
}

/// What is asked of the model here, as something that can be held.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Question {
    Port(&'static str),
    Endpoints(&'static str),
    Rule(&'static str),
    Names,
}

impl portolan_derive::Derived for Question {
    type Value = String;
    fn derive(&self, read: &portolan_derive::Reader<'_>) -> String {
        let model = Model::new(read);
        let scope = model.scope(model.scope_of(&sidecar("shop", json!({}))));
        match self {
            Self::Port(host) => format!("{:?}", scope.visible_service(host).map(|s| s.ports.clone())),
            Self::Endpoints(host) => format!("{:?}", model.endpoints_of(host)),
            Self::Rule(host) => format!(
                "{:?} {:?}",
                scope.destination_rule(host),
                scope.virtual_service_for(host).map(|v| v.meta.clone())
            ),
            Self::Names => format!("{:?}", scope.hosts()),
        }
    }
}

fn service(name: &str, port: u16) -> Option<Arc<KubeService>> {
    object(json!({"metadata": {"name": name, "namespace": "shop"},
        "spec": {"clusterIP": "10.96.0.9", "ports": [{"name": "http", "port": port}]}}))
}

#[test]
fn a_service_that_changes_does_not_concern_readers_of_others() {
    let mut mesh = mesh();
    for asked in
        [Question::Port(REVIEWS), Question::Endpoints(REVIEWS), Question::Rule(REVIEWS), Question::Names]
    {
        mesh.hold(&asked);
    }
    mesh.settle();
    let key = ObjectKey::new("shop", "other");
    let told = |mesh: &mut Mesh| mesh.settle().of::<Question>().cloned().collect::<Vec<_>>();
    mesh.set(key.clone(), service("other", 80));
    assert_eq!(told(&mut mesh), [Question::Names]);
    mesh.set(key.clone(), service("other", 81));
    assert!(told(&mut mesh).is_empty());
    let work = made(&mut mesh, |mesh| assert!(mesh.set(key.clone(), service("other", 82))));
    assert_eq!(work.get("Question"), None, "{work:?}");
    assert_eq!(work["KubeServiceOf"], 1, "{work:?}");
    assert_eq!(made(&mut mesh, |mesh| assert!(!mesh.set(key, service("other", 82)))), BTreeMap::new());
}

#[test]
fn a_pod_that_changes_moves_the_endpoints_of_its_services_only() {
    let mut mesh = mesh();
    let key = ObjectKey::new("shop", "reviews-v1-abc-x");
    mesh.set(ObjectKey::new("shop", "other"), service("other", 80));
    for host in [REVIEWS, "other.shop.svc.cluster.local"] {
        mesh.hold(&Question::Endpoints(host));
    }
    mesh.settle();
    let pod = mesh.get::<Pod>(&key).unwrap();
    let mut other = (*pod).clone();
    other.spec.as_mut().unwrap().service_account_name = Some("someone".to_owned());
    mesh.set(key.clone(), Some(Arc::new(other.clone())));
    assert_eq!(mesh.settle().of::<Question>().collect::<Vec<_>>(), [&Question::Endpoints(REVIEWS)]);
    // What the model does not read of a Pod goes no further than its workload.
    other.status.as_mut().unwrap().message = Some("running".to_owned());
    let work = made(&mut mesh, |mesh| assert!(mesh.set(key, Some(Arc::new(other)))));
    assert_eq!(work.get("KubeEndpointsOf"), None, "{work:?}");
    assert_eq!(work["WorkloadOf"], 1);
}

#[test]
fn a_workload_is_where_its_node_is_unless_it_says_so_itself() {
    let mut mesh = mesh();
    let key = ObjectKey::new("shop", "reviews-v1-abc-x");
    let pod = mesh.get::<Pod>(&key).unwrap();
    let mut placed = (*pod).clone();
    placed.spec.as_mut().unwrap().node_name = Some("n1".to_owned());
    mesh.set(key.clone(), Some(Arc::new(placed.clone())));
    let locality = |mesh: &Mesh| {
        let endpoints = mesh.model().endpoints_of(REVIEWS).unwrap();
        endpoints.port(80)[0].locality.to_string()
    };
    assert_eq!(locality(&mesh), "");
    for (labels, expected) in [
        (json!({"topology.kubernetes.io/region": "r", "topology.kubernetes.io/zone": "z"}), "r/z"),
        (json!({"topology.kubernetes.io/region": "q"}), "q"),
        (json!({}), ""),
        (json!({"failure-domain.beta.kubernetes.io/region": "r", "topology.istio.io/subzone": "s"}), "r//s"),
    ] {
        mesh.set::<Node>(
            ObjectKey::new("", "n1"),
            object(json!({"metadata": {"name": "n1", "labels": labels}})),
        );
        assert_eq!(locality(&mesh), expected);
    }
    placed.metadata.labels.as_mut().unwrap().insert("istio-locality".to_owned(), "a.b".to_owned());
    mesh.set(key, Some(Arc::new(placed)));
    assert_eq!(locality(&mesh), "a/b");
}

#[test]
fn a_host_keeps_its_address_while_others_come_and_go() {
    let mut mesh = Mesh::default();
    let entry = |host: &str| {
        object::<portolan_resources::ServiceEntry>(json!({
            "metadata": {"name": "e", "namespace": "shop"},
            "spec": {"hosts": [host], "resolution": "STATIC", "location": "MESH_INTERNAL",
                "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}]}}))
    };
    let address = |mesh: &Mesh, host: &str| mesh.model().service(host).unwrap().auto_address.unwrap();
    // Hosts until two want the same address.
    let mut seen: BTreeMap<_, String> = BTreeMap::new();
    let (first, second) = (0..)
        .find_map(|i| {
            let host = format!("h{i}.example");
            let alone = Mesh::default();
            let mut alone = alone;
            alone.set(ObjectKey::new("shop", "e"), entry(&host));
            seen.insert(address(&alone, &host), host.clone()).map(|other| (other, host))
        })
        .unwrap();
    mesh.set(ObjectKey::new("shop", "a"), entry(&second));
    mesh.settle();
    let kept = address(&mesh, &second);
    mesh.set(ObjectKey::new("shop", "b"), entry(&first));
    mesh.settle();
    assert_eq!(address(&mesh, &second), kept);
    assert_ne!(address(&mesh, &first), kept);
    mesh.set::<portolan_resources::ServiceEntry>(ObjectKey::new("shop", "a"), None);
    mesh.settle();
    assert_ne!(address(&mesh, &first), kept, "it does not move when the other one goes");
}

/// One change of one object.
#[derive(Clone, Debug)]
struct Change {
    name: u8,
    kind: u8,
    variant: u8,
    remove: bool,
}

fn apply(mesh: &mut Mesh, change: &Change) {
    let Change { name, kind, variant, remove } = change;
    let (name, v) = (["reviews", "ratings", "details"][usize::from(*name)], *variant);
    let namespace = if v % 2 == 0 { "shop" } else { "bank" };
    let key = ObjectKey::new(namespace, name);
    let meta = json!({"name": name, "namespace": namespace, "labels": {"app": name}});
    let export = json!([["*"], ["."], ["bank"], ["~"]][usize::from(v / 2)]);
    let hosts = json!(
        [["reviews.shop.svc.cluster.local"], ["*.shop.svc.cluster.local"], ["ratings"], ["*"]]
            [usize::from(v / 2)]
    );
    let mode = ["STRICT", "PERMISSIVE", "DISABLE", "UNSET"][usize::from(v / 2)];
    let let_through = ["./*", "./reviews.shop.svc.cluster.local", "./x", "./*.local"][usize::from(v / 2)];
    macro_rules! set {
        ($type:ty, $spec:expr) => {{
            let value = json!({"metadata": meta, "spec": $spec});
            mesh.set::<$type>(key, if *remove { None } else { object(value) });
        }};
    }
    match kind {
        0 => set!(
            KubeService,
            json!({"clusterIP": format!("10.96.0.{v}"), "selector": {"app": name},
            "ports": [{"name": "http", "port": 80 + u16::from(v)}]})
        ),
        1 => set!(
            VirtualService,
            json!({"hosts": hosts, "exportTo": export,
            "http": [{"route": [{"destination": {"host": "ratings"}}]}]})
        ),
        2 => set!(DestinationRule, json!({"host": hosts[0], "exportTo": export})),
        3 => set!(
            portolan_resources::ServiceEntry,
            json!({"hosts": hosts, "exportTo": export,
            "resolution": "STATIC", "addresses": [format!("10.97.0.{v}")],
            "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
            "workloadSelector": {"labels": {"app": name}}})
        ),
        4 => set!(portolan_resources::Sidecar, json!({"egress": [{"hosts": [let_through]}]})),
        5 => {
            let value = json!({"metadata": meta, "spec": {"containers": [], "serviceAccountName": name},
                "status": {"phase": if v > 5 { "Failed" } else { "Running" }, "podIP": format!("10.64.0.{}", v % 3)}});
            mesh.set::<Pod>(key, if *remove { None } else { object(value) });
        }
        6 => {
            let value = json!({"metadata": {"name": format!("{name}-x"), "namespace": namespace,
                    "labels": {"kubernetes.io/service-name": name}},
                "addressType": "IPv4", "ports": [{"name": "http", "port": 8080}],
                "endpoints": [{"addresses": [format!("10.64.0.{}", v % 3)], "conditions": {"ready": v < 6}}]});
            mesh.set::<k8s_openapi::api::discovery::v1::EndpointSlice>(
                key,
                if *remove { None } else { object(value) },
            );
        }
        _ => set!(
            portolan_resources::PeerAuthentication,
            json!({
            "mtls": {"mode": mode}})
        ),
    }
}

/// Everything that the model says of this little mesh.
fn all(mesh: &Mesh) -> String {
    let model = mesh.model();
    let mut out = format!(
        "{:#?}\n{:#?}\n{:?}\n{:?}\n",
        model.services(),
        model.endpoints(),
        model.virtual_services(),
        model.destination_rules()
    );
    let labels = Arc::new(BTreeMap::from([("app".to_owned(), "reviews".to_owned())]));
    for namespace in ["shop", "bank", "third"] {
        let node = sidecar(namespace, json!({"app": "reviews"}));
        let scope = model.scope(model.scope_of(&node));
        out += &format!("{namespace} {:?} {:?}\n", scope.key(), scope.services());
        out += &format!("{:?}\n{:?}\n", model.instances_of(&node), model.mtls_modes(namespace, &labels));
        for host in scope.hosts().iter().map(String::as_str).chain([REVIEWS, "x.shop.svc.cluster.local", "y"])
        {
            out += &format!("{host} {}\n", said_of(&scope, host));
        }
        assert_apart(&scope);
    }
    out
}

/// What a scope says of a host.
fn said_of(scope: &Scope<'_>, host: &str) -> String {
    format!(
        "{:?} {:?} {:?} {:?}",
        scope.visible_exact(host),
        scope.visible_service(host),
        scope.virtual_service_for(host),
        scope.destination_rule(host)
    )
}

/// A scope says of all hosts what its common one says, but of those of which it says that it may not.
fn assert_apart(scope: &Scope<'_>) {
    let Some(apart) = scope.apart() else { return };
    let common = scope.model().scope(scope.key().common().unwrap());
    assert_eq!(scope.allow_any(), common.allow_any());
    let (own, shared) = (scope.hosts(), common.hosts());
    let more = own.iter().filter(|host| !shared.contains(host));
    assert!(more.eq(&apart.services), "{apart:?} {own:?} {shared:?}");
    assert!(shared.iter().all(|host| own.contains(host)));
    let others = [REVIEWS, "x.shop.svc.cluster.local", "y", "a.example", "*.example"];
    for host in own.iter().map(String::as_str).chain(others) {
        if !apart.hosts().any(|apart| host_matches(apart, host)) {
            assert_eq!(said_of(scope, host), said_of(&common, host), "{host} {:?} {apart:?}", scope.key());
        }
    }
}

/// The whole model as something that is held, so that it lives on from change to change.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Everything;

impl portolan_derive::Derived for Everything {
    type Value = String;
    fn derive(&self, read: &portolan_derive::Reader<'_>) -> String {
        let model = Model::new(read);
        format!(
            "{:?} {:?} {:?}",
            model.services(),
            model.endpoints(),
            model.scope_of(&sidecar("shop", json!({})))
        )
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_mesh_that_went_along_says_what_a_new_one_says(
        changes in prop::collection::vec(
            (0..3_u8, 0..8_u8, 0..8_u8, any::<bool>())
                .prop_map(|(name, kind, variant, remove)| Change { name, kind, variant, remove }),
            1..40,
        ),
    ) {
        let mut old = Mesh::default();
        for asked in [Question::Port(REVIEWS), Question::Endpoints(REVIEWS), Question::Rule(REVIEWS), Question::Names] {
            old.hold(&asked);
        }
        old.hold(&Everything);
        for (done, change) in changes.iter().enumerate() {
            apply(&mut old, change);
            if done % 3 == 0 {
                old.settle();
            }
        }
        old.settle();
        let mut new = Mesh::default();
        changes.iter().for_each(|change| apply(&mut new, change));
        prop_assert_eq!(all(&old), all(&new));
        new.hold(&Everything);
        new.settle();
        prop_assert_eq!(old.held(&Everything), new.held(&Everything));
    }
}
