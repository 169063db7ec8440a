use std::sync::Mutex;

use portolan_dataplane::{DataPlane, DataPlaneOptions};
use portolan_xds::wire::Any;

use super::*;
use crate::certificates::SecretHub;

/// Takes what is good, and remembers it.
#[derive(Default)]
struct Sink(Mutex<Vec<Vec<u8>>>);

impl Sink {
    fn take(&self, body: &[u8]) -> Result<(), String> {
        if body == b"bad" {
            return Err("it is bad".to_owned());
        }
        self.0.lock().unwrap().push(body.to_vec());
        Ok(())
    }
}

impl RootsSink for Sink {
    fn name(&self) -> &str {
        "roots"
    }

    fn set_roots(&self, body: &[u8]) -> Result<(), String> {
        self.take(body)
    }

    fn clear_roots(&self) {
        self.0.lock().unwrap().clear();
    }
}

impl NameTableSink for Sink {
    fn set_table(&self, body: &[u8]) -> Result<(), String> {
        self.take(body)
    }
}

struct Bed {
    client: XdsClient,
    sink: Arc<Sink>,
    _data_plane: DataPlane,
}

fn bed() -> Bed {
    let options = DataPlaneOptions { concurrency: 1, ..DataPlaneOptions::default() };
    let data_plane = DataPlane::start(options).unwrap();
    let sink = Arc::new(Sink::default());
    let hub = Arc::new(SecretHub::default());
    let client = XdsClient {
        upstream: Upstream::istiod("istiod:15010", "".as_ref(), "".as_ref(), hub),
        store: data_plane.config(),
        roots: Some(sink.clone()),
        names: Some(sink.clone()),
        wildcards: vec![ResourceKind::Cluster],
        exclude: Arc::new(|kind, name| kind == ResourceKind::Secret && name == "default"),
        status: Arc::default(),
    };
    Bed { client, sink, _data_plane: data_plane }
}

fn upsert(name: &str, body: &'static [u8]) -> Upsert {
    let body = Any { type_url: String::new(), value: body.into() };
    Upsert { name: name.to_owned(), version: "1".to_owned(), body }
}

#[test]
fn secrets_are_asked_for_by_need_without_those_of_others_and_with_the_roots() {
    let bed = bed();
    let mut machine = DeltaClient::new(Node::default());
    let _ = Machine::connected(&mut machine);
    let mut needs = bed.client.store.needs().borrow().clone();
    needs.secrets.extend(["default".to_owned(), "kubernetes://cert".to_owned()]);
    let requests = bed.client.subscribe(&mut machine, &needs);
    let [request] = requests.as_slice() else { panic!("{requests:?}") };
    assert_eq!(request.type_url, ResourceKind::Secret.type_url());
    assert_eq!(request.resource_names_subscribe, ["kubernetes://cert", "roots"]);
}

#[test]
fn roots_go_to_their_sink_and_not_to_the_data_path() {
    let bed = bed();
    let secrets = ResourceKind::Secret.type_url();
    assert_eq!(bed.client.apply(secrets, &[upsert("roots", b"good")], &[]), []);
    assert_eq!(*bed.sink.0.lock().unwrap(), [b"good".to_vec()]);
    assert_eq!(bed.client.apply(secrets, &[], &["roots".to_owned()]), []);
    assert!(bed.sink.0.lock().unwrap().is_empty());
}

#[test]
fn what_a_sink_refuses_is_rejected_with_its_reason() {
    let bed = bed();
    for (type_url, name) in [(ResourceKind::Secret.type_url(), "roots"), (NAME_TABLE, "")] {
        let rejected = bed.client.apply(type_url, &[upsert(name, b"bad")], &[]);
        assert_eq!(rejected, [Rejection { name: name.to_owned(), reason: "it is bad".to_owned() }]);
    }
}

#[test]
fn what_the_data_path_refuses_is_rejected_and_counted() {
    let bed = bed();
    let rejected = bed.client.apply(ResourceKind::Cluster.type_url(), &[upsert("a", b"\xff")], &[]);
    assert_eq!(rejected.iter().map(|r| r.name.as_str()).collect::<Vec<_>>(), ["a"]);
    let counts = bed.client.status.of(ResourceKind::Cluster);
    assert_eq!(counts.update_rejected.load(Ordering::Relaxed), 1);
    assert_eq!(counts.update_success.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn a_control_plane_that_reads_nothing_is_given_up() {
    let (sender, _receiver) = mpsc::channel(1);
    send(&sender, 1).await.unwrap();
    assert!(matches!(send(&sender, 2).await, Err(StreamError::Stuck)));
}
