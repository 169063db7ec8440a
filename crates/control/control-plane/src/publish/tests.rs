//! The publisher as streams see it: who is woken by what, and what is left when they go.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Service};
use portolan_mesh::{Inputs, ObjectKey};
use portolan_translate::Limitation;
use portolan_xds::type_url;
use serde_json::{Value, json};

use super::*;

/// A change reaches its readers at once or not at all: nothing runs in the background here.
const SOON: Duration = Duration::from_millis(1);

fn service(name: &str, ip: &str) -> Value {
    json!({"kind": "Service", "metadata": {"name": name, "namespace": "shop"},
        "spec": {"clusterIP": ip, "selector": {"app": name}, "ports": [{"name": "http", "port": 80}]}})
}

fn pod(name: &str, ip: &str, labels: Value) -> Value {
    json!({"kind": "Pod", "metadata": {"name": name, "namespace": "shop", "labels": labels},
        "spec": {"serviceAccountName": "x", "nodeName": "n", "containers": []},
        "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}]}})
}

fn publisher(objects: impl IntoIterator<Item = Value>) -> Arc<Publisher> {
    let mut inputs = Inputs::default();
    for object in objects {
        inputs.insert(object).unwrap();
    }
    let publisher = Arc::new(Publisher::new(Mesh::from(&inputs), Arc::default()));
    publisher.publish(None);
    publisher
}

fn sidecar(name: &str, ip: &str) -> Arc<ProxyNode> {
    let metadata = json!({"NAMESPACE": "shop", "LABELS": {"app": name}});
    Arc::new(
        ProxyNode::parse(&format!("sidecar~{ip}~{name}.shop~shop.svc.cluster.local"), &metadata).unwrap(),
    )
}

fn set<T: portolan_mesh::Kind + serde::de::DeserializeOwned>(publisher: &Publisher, object: Value) {
    let name = object["metadata"]["name"].as_str().unwrap().to_owned();
    let typed: T = serde_json::from_value(object).unwrap();
    publisher.change(|mesh| mesh.set(ObjectKey::new("shop", name), Some(Arc::new(typed))));
}

async fn is_woken(subscription: &Subscription) -> bool {
    tokio::time::timeout(SOON, subscription.changed()).await.is_ok()
}

/// Names of a type on all boards.
fn names(subscription: &Subscription, type_url: &str) -> Vec<String> {
    let boards = subscription.boards();
    let all = boards.iter().flat_map(|board| board.all(type_url));
    let mut names: Vec<String> = all.map(|resource| resource.name.to_string()).collect();
    names.sort();
    names
}

/// What differs on all boards since the generations given.
fn differing(subscription: &Subscription, since: &[u64], type_url: &str) -> Vec<String> {
    let boards = subscription.boards();
    let of_board = |(board, since): (&Arc<Board>, &u64)| match board.since(*since).1.remove(type_url) {
        Some(Difference::Names(names)) => names.iter().map(ToString::to_string).collect(),
        Some(Difference::Unknown) => vec!["?".to_owned()],
        None => vec![],
    };
    let mut names: Vec<String> = boards.iter().zip(since).flat_map(of_board).collect();
    names.sort();
    names
}

fn generations(subscription: &Subscription) -> Vec<u64> {
    subscription.boards().iter().map(|board| board.generation()).collect()
}

/// How often pieces were made.
fn pieces(publisher: &Publisher) -> u64 {
    let kinds = ["cds", "eds", "lds", "rds", "vhds", "sds", "nds", "gateway"];
    kinds.iter().filter_map(|kind| publisher.counts().get(kind).map(|counts| counts.made)).sum()
}

/// Values that are held, by kind.
fn live(publisher: &Publisher) -> BTreeMap<&'static str, u64> {
    publisher.counts().into_iter().map(|(kind, counts)| (kind, counts.live)).filter(|(_, n)| *n > 0).collect()
}

#[tokio::test]
async fn proxies_of_a_namespace_share_boards_and_each_is_woken_once() {
    let publisher = publisher([service("a", "10.0.0.1"), pod("p", "10.1.0.1", json!({"app": "p"}))]);
    let first = publisher.subscribe(sidecar("p", "10.1.0.1")).unwrap();
    let second = publisher.subscribe(sidecar("q", "10.1.0.2")).unwrap();
    let shared = first.boards().iter().filter(|a| second.boards().iter().any(|b| Arc::ptr_eq(a, b))).count();
    assert_eq!((first.boards().len(), shared), (6, 5), "all but its own");
    assert!(names(&first, type_url::CLUSTER).contains(&"outbound|80||a.shop.svc.cluster.local".to_owned()));
    assert!(!is_woken(&first).await && !is_woken(&second).await, "nothing has changed");

    let (since, made) = (generations(&first), pieces(&publisher));
    set::<Service>(&publisher, service("b", "10.0.0.2"));
    publisher.publish(None);
    let clusters = differing(&first, &since, type_url::CLUSTER);
    assert_eq!(clusters, ["outbound|80||b.shop.svc.cluster.local"]);
    assert_eq!(clusters, differing(&second, &since, type_url::CLUSTER));
    for subscription in [&first, &second] {
        assert!(is_woken(subscription).await);
        assert!(!is_woken(subscription).await, "once");
    }
    let work = pieces(&publisher) - made;
    assert!(work < 10, "{work} pieces were made for one service");

    // What changes nothing wakes nobody.
    publisher.publish(None);
    set::<Service>(&publisher, service("b", "10.0.0.2"));
    publisher.publish(None);
    assert!(!is_woken(&first).await);
}

#[tokio::test]
async fn a_label_moves_a_proxy_to_other_boards() {
    let sidecar_object = json!({"kind": "Sidecar", "metadata": {"name": "narrow", "namespace": "shop"},
        "spec": {"workloadSelector": {"labels": {"size": "small"}}, "egress": [{"hosts": ["./a.shop.svc.cluster.local"]}]}});
    let publisher = publisher([
        service("a", "10.0.0.1"),
        service("b", "10.0.0.2"),
        sidecar_object,
        pod("p", "10.1.0.1", json!({"app": "p"})),
        pod("q", "10.1.0.2", json!({"app": "q"})),
    ]);
    let moving = publisher.subscribe(sidecar("p", "10.1.0.1")).unwrap();
    let staying = publisher.subscribe(sidecar("q", "10.1.0.2")).unwrap();
    let (before, others) = (moving.boards(), staying.boards());
    let b = "outbound|80||b.shop.svc.cluster.local".to_owned();
    assert!(names(&moving, type_url::CLUSTER).contains(&b));

    set::<Pod>(&publisher, pod("p", "10.1.0.1", json!({"app": "p", "size": "small"})));
    publisher.publish(None);
    assert!(is_woken(&moving).await && !is_woken(&staying).await);
    assert!(!Arc::ptr_eq(&before, &moving.boards()) && Arc::ptr_eq(&others, &staying.boards()));
    assert!(!names(&moving, type_url::CLUSTER).contains(&b), "{:?}", names(&moving, type_url::CLUSTER));
    assert!(names(&staying, type_url::CLUSTER).contains(&b));

    // It hears of what is on its boards now, and of the others no longer.
    set::<Service>(&publisher, service("c", "10.0.0.3"));
    publisher.publish(None);
    assert!(is_woken(&staying).await);
    assert!(!is_woken(&moving).await);
}

#[tokio::test]
async fn the_last_stream_takes_everything_with_it() {
    let publisher = publisher([service("a", "10.0.0.1"), pod("p", "10.1.0.1", json!({"app": "p"}))]);
    let nothing = live(&publisher);
    assert!(!nothing.contains_key("cds"));
    let first = publisher.subscribe(sidecar("p", "10.1.0.1")).unwrap();
    let one = live(&publisher);
    let again = publisher.subscribe(sidecar("p", "10.1.0.1")).unwrap();
    assert_eq!(live(&publisher), one, "the same proxy");
    assert!(Arc::ptr_eq(&first.boards(), &again.boards()));
    let other = publisher.subscribe(sidecar("q", "10.1.0.2")).unwrap();
    assert_ne!(live(&publisher), one);
    drop(other);
    publisher.publish(None);
    assert_eq!(live(&publisher), one);

    drop(first);
    publisher.publish(None);
    assert_eq!(live(&publisher), one, "the other stream still reads");
    set::<Service>(&publisher, service("b", "10.0.0.2"));
    publisher.publish(None);
    assert!(is_woken(&again).await);
    publisher.change(|mesh| mesh.set::<Service>(ObjectKey::new("shop", "b"), None));
    drop(again);
    publisher.publish(None);
    assert_eq!(live(&publisher), nothing);
}

#[tokio::test]
async fn a_proxy_that_comes_back_finds_what_it_had() {
    let publisher = publisher([service("a", "10.0.0.1")]);
    let subscription = publisher.subscribe(sidecar("p", "10.1.0.1")).unwrap();
    let made = pieces(&publisher);
    drop(subscription);
    let _again = publisher.subscribe(sidecar("p", "10.1.0.1")).unwrap();
    assert_eq!(pieces(&publisher), made);
}

#[tokio::test]
async fn what_a_proxy_cannot_do_is_told() {
    let publisher = publisher([pod("p", "10.1.0.1", json!({"app": "p"}))]);
    let subscription = publisher.subscribe(sidecar("p", "10.1.0.1")).unwrap();
    let mut limitations = subscription.limitations();
    assert!(limitations.has_changed().unwrap());
    assert!(limitations.borrow_and_update().is_empty());
    let custom = json!({"metadata": {"name": "ask", "namespace": "shop"},
        "spec": {"action": "CUSTOM", "provider": {"name": "x"}, "rules": [{}]}});
    set::<portolan_resources::AuthorizationPolicy>(&publisher, custom);
    publisher.publish(None);
    assert!(is_woken(&subscription).await);
    let found = limitations.borrow_and_update().clone();
    assert_eq!(*found, [Limitation::Custom(ObjectKey::new("shop", "ask"))]);
}

/// Panics when there is a service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Broken;

impl Derived for Broken {
    type Value = usize;
    fn derive(&self, read: &portolan_derive::Reader<'_>) -> usize {
        let services = Model::new(read).services().len();
        assert_eq!(services, 0, "a defect");
        services
    }
}

#[tokio::test]
async fn a_defect_costs_what_it_is_about_and_nothing_else() {
    let metrics = Arc::new(Metrics::default());
    let publisher = Arc::new(Publisher::new(Mesh::default(), metrics.clone()));
    let values = publisher.follow(Broken);
    publisher.publish(None);
    assert_eq!((*values.borrow(), publisher.last().generation), (Some(0), 1));
    let subscription = publisher.subscribe(sidecar("p", "10.1.0.1")).unwrap();
    set::<Service>(&publisher, service("a", "10.0.0.1"));
    publisher.publish(None);
    assert_eq!((*values.borrow(), publisher.last().generation), (Some(0), 2), "as it was");
    assert!(is_woken(&subscription).await, "proxies get what is sound");
    assert!(metrics.page().contains("\npilot_total_xds_internal_errors 1\n"));
    // Work that panics is counted too, and others work on.
    let failed: Option<usize> =
        publisher.blocking(|publisher| publisher.read(|m| m.reader().get(&Other))).await;
    assert_eq!(failed, None);
    assert_eq!(publisher.blocking(|publisher| publisher.read(|m| m.services().len())).await, Some(1));
}

/// Panics always.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Other;

impl Derived for Other {
    type Value = usize;
    fn derive(&self, read: &portolan_derive::Reader<'_>) -> usize {
        assert!(Model::new(read).services().is_empty(), "another defect");
        0
    }
}
