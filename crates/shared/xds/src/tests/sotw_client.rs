//! A client of state-of-the-world xDS.

use std::collections::BTreeSet;

use portolan_envoy_api::pb::{
    envoy::{
        config::{cluster::v3::Cluster, core::v3::Node},
        service::discovery::v3::{DiscoveryResponse, Resource},
    },
    google::protobuf,
};
use prost::{Message, Name};

use crate::{
    client::{Rejection, ResponseError},
    sotw_client::{SotwClient, SotwUpdate},
    type_url::{CLUSTER, ENDPOINT, NAME_TABLE, ROUTE},
};

fn client() -> SotwClient {
    let mut client = SotwClient::new(Node { id: "n".into(), ..Node::default() });
    assert!(client.connected().is_empty());
    client
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|n| (*n).to_owned()).collect()
}

/// The body of a resource: all types have their name in the field that a cluster has it in.
fn body(name: &str, generation: &str) -> Vec<u8> {
    Cluster { name: name.into(), alt_stat_name: generation.into(), ..Default::default() }.encode_to_vec()
}

fn response(type_url: &str, version: &str, resources: &[(&str, &str)]) -> DiscoveryResponse {
    let any = |(name, generation): &(&str, &str)| protobuf::Any {
        type_url: type_url.into(),
        value: body(name, generation),
    };
    DiscoveryResponse {
        version_info: version.into(),
        nonce: format!("n{version}"),
        type_url: type_url.into(),
        resources: resources.iter().map(any).collect(),
        ..Default::default()
    }
}

fn take(client: &mut SotwClient, response: DiscoveryResponse) -> SotwUpdate {
    let update = client.on_response(response).unwrap();
    client.finish(&update, &[]);
    update
}

fn held(client: &SotwClient, type_url: &str) -> Vec<String> {
    client.held(type_url).map(str::to_owned).collect()
}

#[test]
fn everything_is_asked_for_once() {
    let mut client = client();
    let first = client.subscribe_all(CLUSTER).unwrap();
    assert_eq!((first.type_url.as_str(), first.node.unwrap().id.as_str()), (CLUSTER, "n"));
    assert_eq!(client.subscribe_all(CLUSTER), None);
    assert!(client.set_names(ROUTE, set(&["a"])).unwrap().node.is_none());
}

#[test]
fn everything_may_be_asked_for_after_names() {
    let mut client = client();
    client.set_names(CLUSTER, set(&["a"]));
    assert_eq!(client.subscribe_all(CLUSTER).unwrap().resource_names, ["a"]);
}

#[test]
fn nothing_is_asked_without_a_stream() {
    let mut client = SotwClient::new(Node::default());
    assert_eq!(client.subscribe_all(CLUSTER), None);
    assert_eq!(client.set_names(ROUTE, set(&["a"])), None);
    assert_eq!(client.set_names(ENDPOINT, set(&["x"])), None);
    assert_eq!(client.set_names(ENDPOINT, set(&[])), None);
    let asked: Vec<_> = client.connected().into_iter().map(|r| (r.type_url, r.resource_names)).collect();
    assert_eq!(asked, [(CLUSTER.to_owned(), vec![]), (ROUTE.to_owned(), vec!["a".to_owned()])]);
    client.disconnected();
    assert_eq!(client.set_names(ROUTE, set(&["b"])), None);
}

#[test]
fn giving_up_all_names_is_said() {
    let mut client = client();
    client.set_names(ROUTE, set(&["a"]));
    assert_eq!(client.set_names(ROUTE, set(&[])).unwrap().resource_names, [""; 0]);
}

/// Resources from elsewhere (another protocol, a file) are gone when the server does not list them.
#[test]
fn what_was_held_before_is_removed_when_it_is_not_listed() {
    let mut client = client();
    client.assume_held(CLUSTER, ["a".to_owned(), "b".to_owned()]);
    client.subscribe_all(CLUSTER);
    let update = take(&mut client, response(CLUSTER, "1", &[("b", "x")]));
    assert_eq!(update.removed, ["a"]);
    assert_eq!(update.upserts.len(), 1, "what is held is not known, so it is handed on");
    assert_eq!(held(&client, CLUSTER), ["b"]);
}

#[test]
fn what_was_not_asked_for_is_no_answer() {
    let mut client = client();
    let refused = |type_url: &str| Err(ResponseError::NotSubscribed(type_url.to_owned()));
    assert_eq!(client.on_response(response(CLUSTER, "1", &[])), refused(CLUSTER));
    client.assume_held(CLUSTER, ["a".to_owned()]);
    assert_eq!(client.on_response(response(CLUSTER, "1", &[])), refused(CLUSTER));
}

#[test]
fn an_update_says_what_it_is() {
    let mut client = client();
    client.subscribe_all(CLUSTER);
    let update = client.on_response(response(CLUSTER, "7", &[("a", "x")])).unwrap();
    let upsert = &update.upserts[0];
    assert_eq!(
        (update.type_url.as_str(), upsert.name.as_str(), upsert.version.as_str()),
        (CLUSTER, "a", "7")
    );
    assert_eq!((upsert.body.type_url.as_str(), &upsert.body.value[..]), (CLUSTER, &body("a", "x")[..]));
}

#[test]
fn a_refused_removal_leaves_the_resource() {
    let mut client = client();
    client.subscribe_all(CLUSTER);
    take(&mut client, response(CLUSTER, "1", &[("a", "x"), ("b", "x")]));
    let update = client.on_response(response(CLUSTER, "2", &[("b", "x")])).unwrap();
    let rejected = [Rejection { name: "a".into(), reason: "in use".into() }];
    let nack = client.finish(&update, &rejected).unwrap();
    assert_eq!((nack.version_info.as_str(), nack.response_nonce.as_str()), ("1", "n2"));
    let detail = nack.error_detail.unwrap();
    assert_eq!((detail.code, detail.message.as_str()), (3, "a: in use"));
    assert_eq!(held(&client, CLUSTER), ["a", "b"]);
}

#[test]
fn a_stream_that_is_gone_is_told_nothing() {
    let mut client = client();
    client.subscribe_all(CLUSTER);
    let update = client.on_response(response(CLUSTER, "1", &[("a", "x")])).unwrap();
    client.disconnected();
    assert_eq!(client.finish(&update, &[]), None);
    assert_eq!(held(&client, CLUSTER), ["a"]);
    assert_eq!(held(&client, ROUTE), [""; 0]);
}

#[test]
fn a_new_stream_starts_without_a_nonce_and_says_who_asks() {
    let mut client = client();
    client.subscribe_all(CLUSTER);
    take(&mut client, response(CLUSTER, "1", &[]));
    client.disconnected();
    let request = client.connected().pop().unwrap();
    assert_eq!((request.version_info.as_str(), request.response_nonce.as_str()), ("1", ""));
    assert!(request.node.is_some());
}

fn wrapped(resource: Resource) -> protobuf::Any {
    protobuf::Any { type_url: Resource::type_url(), value: resource.encode_to_vec() }
}

#[test]
fn a_wrapped_resource_has_the_name_beside_it_or_its_own() {
    let inner = || Some(protobuf::Any { type_url: CLUSTER.into(), value: body("inner", "x") });
    for (name, expected) in [("", "inner"), ("outer", "outer")] {
        let mut client = client();
        client.subscribe_all(CLUSTER);
        let mut odd = response(CLUSTER, "1", &[]);
        odd.resources.push(wrapped(Resource { name: name.into(), resource: inner(), ..Default::default() }));
        let update = client.on_response(odd).unwrap();
        assert_eq!(update.upserts[0].name, expected);
        assert_eq!(update.upserts[0].body.type_url, CLUSTER);
    }
}

#[test]
fn resources_that_are_none_are_refused_by_their_place() {
    let mut client = client();
    client.subscribe_all(CLUSTER);
    let mut odd = response(CLUSTER, "1", &[("good", "x")]);
    odd.resources.push(wrapped(Resource::default()));
    odd.resources.push(protobuf::Any { type_url: ROUTE.into(), value: body("a", "x") });
    odd.resources.push(protobuf::Any { type_url: CLUSTER.into(), value: vec![0xff] });
    odd.resources.push(protobuf::Any { type_url: Resource::type_url(), value: vec![0xff] });
    let update = client.on_response(odd).unwrap();
    assert_eq!(update.upserts.len(), 1);
    let nack = client.finish(&update, &[]).unwrap();
    assert_eq!(nack.version_info, "");
    let text = nack.error_detail.unwrap().message;
    for part in [
        "resources[1]: the wrapped resource has no body".to_owned(),
        format!("resources[2]: the body is of type {ROUTE}, expected {CLUSTER}"),
        "resources[3]: not a valid message".to_owned(),
        "resources[4]: not a valid Resource".to_owned(),
    ] {
        assert!(text.contains(&part), "{part} in {text}");
    }
}

/// The one resource without a name: a map is where others have theirs.
#[test]
fn the_table_of_names_has_no_name() {
    let mut client = client();
    client.subscribe_all(NAME_TABLE);
    let mut table = response(NAME_TABLE, "1", &[]);
    table.resources.push(protobuf::Any { type_url: NAME_TABLE.into(), value: vec![0x0a, 0x00] });
    let update = client.on_response(table).unwrap();
    assert_eq!((update.upserts[0].name.as_str(), &update.upserts[0].body.value[..]), ("", &[0x0a, 0x00][..]));
}
