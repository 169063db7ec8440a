use std::sync::Mutex;

use portolan_dataplane::{DataPlane, DataPlaneOptions};
use portolan_envoy_api::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use portolan_xds::type_url::{LISTENER, ROUTE, VIRTUAL_HOST};
use portolan_xds::wire::{Any, DeltaDiscoveryResponse, DeltaResource};
use serde_json::{Value, json};

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
    assert_eq!(bed.client.apply::<DeltaClient>(secrets, &[upsert("roots", b"good")], &[]), []);
    assert_eq!(*bed.sink.0.lock().unwrap(), [b"good".to_vec()]);
    assert_eq!(bed.client.apply::<DeltaClient>(secrets, &[], &["roots".to_owned()]), []);
    assert!(bed.sink.0.lock().unwrap().is_empty());
}

#[test]
fn what_a_sink_refuses_is_rejected_with_its_reason() {
    let bed = bed();
    for (type_url, name) in [(ResourceKind::Secret.type_url(), "roots"), (NAME_TABLE, "")] {
        let rejected = bed.client.apply::<DeltaClient>(type_url, &[upsert(name, b"bad")], &[]);
        assert_eq!(rejected, [Rejection { name: name.to_owned(), reason: "it is bad".to_owned() }]);
    }
}

#[test]
fn what_the_data_path_refuses_is_rejected_and_counted() {
    let bed = bed();
    let rejected =
        bed.client.apply::<DeltaClient>(ResourceKind::Cluster.type_url(), &[upsert("a", b"\xff")], &[]);
    assert_eq!(rejected.iter().map(|r| r.name.as_str()).collect::<Vec<_>>(), ["a"]);
    let counts = bed.client.status.of(ResourceKind::Cluster);
    assert_eq!(counts.update_rejected.load(Ordering::Relaxed), 1);
    assert_eq!(counts.update_success.load(Ordering::Relaxed), 0);
}

fn encode(type_url: &str, name: &str, message: Value) -> Upsert {
    let value = portolan_xds::json::from_json(type_url, &message).unwrap();
    Upsert {
        name: name.to_owned(),
        version: "1".to_owned(),
        body: Any { type_url: type_url.to_owned(), value },
    }
}

/// A route configuration that gets virtual hosts, or has none.
fn routes(vhds: bool) -> Upsert {
    let mut message = json!({"name": "80"});
    if vhds {
        message["vhds"] = json!({"config_source": {"ads": {}, "resource_api_version": "V3"}});
    }
    encode(ROUTE, "80", message)
}

/// A client whose data path holds a listener that waits for route configuration `80`.
fn bed_with_listener() -> Bed {
    let bed = bed();
    let manager = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
    let router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
    let listener = json!({
        "name": "l",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 80}},
        "bind_to_port": false,
        "filter_chains": [{"filters": [{"name": "http", "typed_config": {
            "@type": manager,
            "stat_prefix": "x",
            "rds": {"route_config_name": "80", "config_source": {"ads": {}}},
            "http_filters": [{"name": "router", "typed_config": {"@type": router}}],
        }}]}],
    });
    assert_eq!(bed.client.apply::<DeltaClient>(LISTENER, &[encode(LISTENER, "l", listener)], &[]), []);
    bed
}

impl Bed {
    /// What the client asks for now.
    fn ask<M: Machine>(&self, machine: &mut M) -> Vec<M::Request> {
        let needs = self.client.store.needs().borrow().clone();
        self.client.subscribe(machine, &needs)
    }

    /// Takes a response in, as it comes on a delta stream. Returns what is refused.
    fn take(&self, machine: &mut DeltaClient, upserts: &[Upsert], removed: &[&str]) -> Vec<String> {
        let type_url = upserts.first().map_or(VIRTUAL_HOST, |upsert| upsert.body.type_url.as_str());
        let resources = upserts.iter().map(|upsert| DeltaResource {
            name: upsert.name.clone(),
            version: upsert.version.clone(),
            resource: Some(upsert.body.clone()),
        });
        let response = DeltaDiscoveryResponse {
            type_url: type_url.to_owned(),
            resources: resources.collect(),
            removed_resources: removed.iter().map(|name| (*name).to_owned()).collect(),
            ..Default::default()
        };
        let update = machine.on_response(response).unwrap();
        let (type_url, upserts, removed) = DeltaClient::changes(&update);
        let refused = self.client.apply::<DeltaClient>(type_url, upserts, removed);
        Machine::finish(machine, &update, &refused);
        refused.into_iter().map(|one| one.name).collect()
    }

    /// The virtual hosts of route configuration `80` that the data path holds.
    fn hosts(&self) -> Vec<String> {
        use prost::Message;
        let dump = self.client.store.dump();
        let Some(entry) = dump.iter().find(|entry| entry.name == "80") else { return Vec::new() };
        let message =
            portolan_envoy_api::pb::envoy::config::route::v3::RouteConfiguration::decode(&*entry.body)
                .unwrap();
        message.virtual_hosts.into_iter().map(|host| host.name).collect()
    }
}

fn host(name: &str) -> Upsert {
    encode(VIRTUAL_HOST, &format!("80/{name}"), json!({"name": name, "domains": [name]}))
}

fn types(requests: &[DeltaDiscoveryRequest]) -> Vec<&str> {
    requests.iter().map(|request| request.type_url.as_str()).collect()
}

#[test]
fn virtual_hosts_are_asked_for_as_long_as_a_route_configuration_wants_them() {
    let bed = bed_with_listener();
    let mut machine = DeltaClient::new(Node::default());
    let _ = Machine::connected(&mut machine);
    assert!(!types(&bed.ask(&mut machine)).contains(&VIRTUAL_HOST));
    bed.take(&mut machine, &[routes(true)], &[]);
    let requests = bed.ask(&mut machine);
    assert_eq!(types(&requests), [VIRTUAL_HOST]);
    assert!(requests[0].resource_names_subscribe.is_empty(), "a wildcard");
    bed.take(&mut machine, &[host("a"), host("b")], &[]);
    assert_eq!(bed.hosts(), ["a", "b"]);
    bed.take(&mut machine, &[], &["80/a"]);
    assert_eq!(bed.hosts(), ["b"]);

    bed.take(&mut machine, &[routes(false)], &[]);
    let requests = bed.ask(&mut machine);
    assert_eq!(types(&requests), [VIRTUAL_HOST]);
    assert_eq!(requests[0].resource_names_unsubscribe, ["*"]);
    // None is left for a route configuration that wants some again.
    bed.take(&mut machine, &[routes(true)], &[]);
    assert_eq!(bed.hosts(), [""; 0]);
}

#[test]
fn a_new_stream_says_which_virtual_hosts_are_here() {
    let bed = bed_with_listener();
    let mut machine = DeltaClient::new(Node::default());
    let _ = Machine::connected(&mut machine);
    bed.ask(&mut machine);
    bed.take(&mut machine, &[routes(true)], &[]);
    bed.ask(&mut machine);
    let bad = encode(VIRTUAL_HOST, "80/bad", json!({"name": "bad", "domains": ["x"], "routes": [{}]}));
    assert_eq!(bed.take(&mut machine, &[host("a"), bad, host("b")], &[]), ["80/bad"]);

    machine.disconnected();
    bed.ask(&mut machine);
    let requests = Machine::connected(&mut machine);
    let last = requests.last().unwrap();
    assert_eq!(last.type_url, VIRTUAL_HOST, "the server hears of the route configurations before it");
    assert!(last.resource_names_subscribe.is_empty());
    assert_eq!(last.initial_resource_versions.keys().collect::<Vec<_>>(), ["80/a", "80/b"]);
    // What changed meanwhile comes, what is gone goes, the rest stays.
    bed.take(&mut machine, &[host("c")], &["80/a"]);
    assert_eq!(bed.hosts(), ["b", "c"]);
}

#[test]
fn a_server_without_delta_is_never_asked_for_virtual_hosts() {
    let bed = bed_with_listener();
    let mut machine = SotwClient::new(Node::default());
    let _ = Machine::connected(&mut machine);
    let rejected = bed.client.apply::<SotwClient>(ROUTE, &[routes(true)], &[]);
    assert_eq!(rejected[0].reason, "vhds works only over a delta ADS stream");
    assert!(bed.ask(&mut machine).iter().all(|request| request.type_url != VIRTUAL_HOST));
}

#[test]
fn virtual_hosts_of_a_server_that_lost_delta_go_with_the_last_route_configuration_that_wants_them() {
    let bed = bed_with_listener();
    let mut delta = DeltaClient::new(Node::default());
    let _ = Machine::connected(&mut delta);
    bed.ask(&mut delta);
    bed.take(&mut delta, &[routes(true)], &[]);
    bed.ask(&mut delta);
    bed.take(&mut delta, &[host("a")], &[]);

    let mut sotw = SotwClient::new(Node::default());
    for kind in ResourceKind::ALL {
        sotw.assume_held(kind.type_url(), Machine::held(&delta, kind.type_url()));
    }
    bed.ask(&mut sotw);
    let asked: Vec<String> = Machine::connected(&mut sotw).into_iter().map(|r| r.type_url).collect();
    assert!(!asked.iter().any(|type_url| type_url == VIRTUAL_HOST), "{asked:?}");
    assert_eq!(bed.hosts(), ["a"], "what there is serves on");
    bed.client.apply::<SotwClient>(ROUTE, &[routes(false)], &[]);
    bed.ask(&mut sotw);
    bed.take(&mut delta, &[routes(true)], &[]);
    assert_eq!(bed.hosts(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_control_plane_that_reads_nothing_is_given_up() {
    let (sender, _receiver) = mpsc::channel(1);
    send(&sender, 1).await.unwrap();
    assert!(matches!(send(&sender, 2).await, Err(StreamError::Stuck)));
}
