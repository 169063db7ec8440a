//! The client's half of state-of-the-world xDS, for control planes that do not speak delta (Istio before 1.22).
//!
//! A response lists everything of a wildcard type, so what is missing in it is gone; of a type that is asked for by
//! name it lists what changed. The bodies that were accepted are kept, so that only changes are handed on.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use portolan_envoy_api::pb::{
    envoy::{
        config::core::v3::Node,
        service::discovery::v3::{DiscoveryRequest, DiscoveryResponse},
    },
    google::rpc::Status,
};
use prost::Message;

use crate::client::{Rejection, ResponseError, Upsert, rejection_text};
use crate::type_url::NAME_TABLE;
use crate::wire::Any;

/// gRPC code INVALID_ARGUMENT, which a rejection carries.
const INVALID_ARGUMENT: i32 = 3;

/// Type of resources that carry their name beside the body.
const WRAPPED: &str = "type.googleapis.com/envoy.service.discovery.v3.Resource";

/// The field that all xDS resources have their name in (`cluster_name` of a ClusterLoadAssignment).
#[derive(Clone, PartialEq, Message)]
struct Named {
    #[prost(string, tag = "1")]
    name: String,
}

/// A response, compared with what is held. Apply it, then call [`SotwClient::finish`].
#[derive(Clone, Debug, PartialEq)]
pub struct SotwUpdate {
    /// Type of all resources here.
    pub type_url: String,
    /// New and changed resources.
    pub upserts: Vec<Upsert>,
    /// Names that a wildcard response no longer lists.
    pub removed: Vec<String>,
    version: String,
    nonce: String,
    malformed: Vec<Rejection>,
}

#[derive(Debug, Default)]
struct Subscription {
    wildcard: bool,
    names: BTreeSet<String>,
    /// Accepted resources: name -> body.
    held: BTreeMap<String, Bytes>,
    /// Version of the last response that was accepted.
    version: String,
    /// Nonce of the last response on the present stream.
    nonce: String,
    announced: bool,
}

/// Subscriptions of one client over all its streams.
#[derive(Debug, Default)]
pub struct SotwClient {
    types: Vec<(String, Subscription)>,
    node: Option<Node>,
    connected: bool,
    node_sent: bool,
}

impl SotwClient {
    /// A client without subscriptions.
    pub fn new(node: Node) -> Self {
        Self { node: Some(node), ..Self::default() }
    }

    /// Says that resources of these names are held from elsewhere: a wildcard response without them removes them.
    pub fn assume_held(&mut self, type_url: &str, names: impl IntoIterator<Item = String>) {
        self.entry(type_url).held.extend(names.into_iter().map(|name| (name, Bytes::new())));
    }

    /// Subscribes to everything of a type. Returns the request to send; nothing while there is no stream.
    pub fn subscribe_all(&mut self, type_url: &str) -> Option<DiscoveryRequest> {
        let subscription = self.entry(type_url);
        if std::mem::replace(&mut subscription.wildcard, true) && subscription.announced {
            return None;
        }
        self.request(type_url)
    }

    /// Makes the subscription by name exactly `names`. Returns the request to send, if any.
    pub fn set_names(&mut self, type_url: &str, names: BTreeSet<String>) -> Option<DiscoveryRequest> {
        let subscription = self.entry(type_url);
        if subscription.names == names {
            return None;
        }
        subscription.held.retain(|name, _| names.contains(name));
        subscription.names = names;
        // An empty list in a first request would mean "everything".
        if !subscription.announced && subscription.names.is_empty() && !subscription.wildcard {
            return None;
        }
        self.request(type_url)
    }

    /// A new stream is open: returns the requests that restore all subscriptions on it.
    pub fn connected(&mut self) -> Vec<DiscoveryRequest> {
        self.connected = true;
        self.node_sent = false;
        for (_, subscription) in &mut self.types {
            subscription.announced = false;
            subscription.nonce.clear();
        }
        let types: Vec<String> = self
            .types
            .iter()
            .filter(|(_, s)| s.wildcard || !s.names.is_empty())
            .map(|(type_url, _)| type_url.clone())
            .collect();
        types.iter().filter_map(|type_url| self.request(type_url)).collect()
    }

    /// The stream is gone; subscriptions and what is held stay.
    pub fn disconnected(&mut self) {
        self.connected = false;
    }

    /// Names of the accepted resources of a type.
    pub fn held(&self, type_url: &str) -> impl Iterator<Item = &str> {
        let subscription = self.types.iter().find(|(t, _)| t == type_url).map(|(_, s)| s);
        subscription.into_iter().flat_map(|s| s.held.keys().map(String::as_str))
    }

    /// Nothing of this type is held any more; the subscription stays as it is.
    pub fn forget(&mut self, type_url: &str) {
        if let Some(subscription) = self.find(type_url) {
            subscription.held.clear();
        }
    }

    /// Takes a response in.
    pub fn on_response(&mut self, response: DiscoveryResponse) -> Result<SotwUpdate, ResponseError> {
        let Some(subscription) = self.find(&response.type_url).filter(|s| s.announced) else {
            return Err(ResponseError::NotSubscribed(response.type_url));
        };
        subscription.nonce.clone_from(&response.nonce);
        let mut update = SotwUpdate {
            type_url: response.type_url,
            upserts: Vec::new(),
            removed: Vec::new(),
            version: response.version_info,
            nonce: response.nonce,
            malformed: Vec::new(),
        };
        let mut listed = BTreeSet::new();
        for (index, any) in response.resources.into_iter().enumerate() {
            match open(any.type_url, any.value.into(), &update.type_url) {
                Ok((name, body)) => {
                    listed.insert(name.clone());
                    let wanted = subscription.wildcard || subscription.names.contains(&name);
                    if wanted && subscription.held.get(&name) != Some(&body.value) {
                        update.upserts.push(Upsert { name, version: update.version.clone(), body });
                    }
                }
                Err(reason) => {
                    update.malformed.push(Rejection { name: format!("resources[{index}]"), reason })
                }
            }
        }
        if subscription.wildcard {
            update.removed =
                subscription.held.keys().filter(|name| !listed.contains(*name)).cloned().collect();
        }
        Ok(update)
    }

    /// Concludes an update: what was not rejected is held from now on. Returns the ACK or NACK; nothing when the
    /// stream is gone.
    pub fn finish(&mut self, update: &SotwUpdate, rejected: &[Rejection]) -> Option<DiscoveryRequest> {
        let refused: BTreeSet<&str> = rejected.iter().map(|r| r.name.as_str()).collect();
        let subscription = self.find(&update.type_url)?;
        for upsert in update.upserts.iter().filter(|u| !refused.contains(u.name.as_str())) {
            subscription.held.insert(upsert.name.clone(), upsert.body.value.clone());
        }
        for name in update.removed.iter().filter(|name| !refused.contains(name.as_str())) {
            subscription.held.remove(name);
        }
        let text = rejection_text(update.malformed.iter().chain(rejected));
        if text.is_none() {
            subscription.version.clone_from(&update.version);
        }
        let mut request = self.request(&update.type_url)?;
        request.response_nonce.clone_from(&update.nonce);
        request.error_detail =
            text.map(|message| Status { code: INVALID_ARGUMENT, message, details: Vec::new() });
        Some(request)
    }

    fn find(&mut self, type_url: &str) -> Option<&mut Subscription> {
        self.types.iter_mut().find(|(t, _)| t == type_url).map(|(_, s)| s)
    }

    fn entry(&mut self, type_url: &str) -> &mut Subscription {
        let index = match self.types.iter().position(|(t, _)| t == type_url) {
            Some(index) => index,
            None => {
                self.types.push((type_url.to_owned(), Subscription::default()));
                self.types.len() - 1
            }
        };
        &mut self.types[index].1
    }

    fn request(&mut self, type_url: &str) -> Option<DiscoveryRequest> {
        if !self.connected {
            return None;
        }
        let node = if std::mem::replace(&mut self.node_sent, true) { None } else { self.node.clone() };
        let subscription = self.entry(type_url);
        subscription.announced = true;
        Some(DiscoveryRequest {
            node,
            type_url: type_url.to_owned(),
            version_info: subscription.version.clone(),
            response_nonce: subscription.nonce.clone(),
            resource_names: subscription.names.iter().cloned().collect(),
            ..Default::default()
        })
    }
}

/// Name and body of a resource, which may be wrapped.
fn open(type_url: String, value: Bytes, expected: &str) -> Result<(String, Any), String> {
    if type_url == WRAPPED {
        let wrapped = portolan_envoy_api::pb::envoy::service::discovery::v3::Resource::decode(value)
            .map_err(|error| format!("not a valid Resource: {error}"))?;
        let inner = wrapped.resource.ok_or("the wrapped resource has no body")?;
        let (name, body) = open(inner.type_url, inner.value.into(), expected)?;
        return Ok((if wrapped.name.is_empty() { name } else { wrapped.name }, body));
    }
    if type_url != expected {
        return Err(format!("the body is of type {type_url}, expected {expected}"));
    }
    // The one resource without a name: a map is where others have theirs.
    if type_url == NAME_TABLE {
        return Ok((String::new(), Any { type_url, value }));
    }
    let named = Named::decode(value.clone()).map_err(|error| format!("not a valid message: {error}"))?;
    Ok((named.name, Any { type_url, value }))
}

#[cfg(test)]
mod tests {
    use portolan_envoy_api::pb::google::protobuf;

    use super::*;
    use crate::type_url::{CLUSTER, ENDPOINT};

    fn body(name: &str, extra: u8) -> Vec<u8> {
        let mut value = Named { name: name.into() }.encode_to_vec();
        // Field 4 as a varint: makes two bodies of one name differ.
        value.extend([0x20, extra]);
        value
    }

    fn response(type_url: &str, version: &str, resources: &[(&str, u8)]) -> DiscoveryResponse {
        DiscoveryResponse {
            version_info: version.into(),
            nonce: format!("n{version}"),
            type_url: type_url.into(),
            resources: resources
                .iter()
                .map(|(name, extra)| protobuf::Any { type_url: type_url.into(), value: body(name, *extra) })
                .collect(),
            ..Default::default()
        }
    }

    fn names(update: &SotwUpdate) -> (Vec<&str>, Vec<&str>) {
        let upserts = update.upserts.iter().map(|u| u.name.as_str()).collect();
        (upserts, update.removed.iter().map(String::as_str).collect())
    }

    #[test]
    fn only_changes_of_the_world_are_handed_on() {
        let mut client = SotwClient::new(Node { id: "n".into(), ..Node::default() });
        client.subscribe_all(CLUSTER);
        let first = client.connected();
        assert_eq!(first.len(), 1);
        assert!(first[0].node.is_some() && first[0].resource_names.is_empty());

        let update = client.on_response(response(CLUSTER, "1", &[("a", 1), ("b", 1)])).unwrap();
        assert_eq!(names(&update), (vec!["a", "b"], vec![]));
        let ack = client.finish(&update, &[]).unwrap();
        assert_eq!((ack.version_info.as_str(), ack.response_nonce.as_str()), ("1", "n1"));
        assert!(ack.error_detail.is_none() && ack.node.is_none());

        let update = client.on_response(response(CLUSTER, "2", &[("b", 2), ("c", 1)])).unwrap();
        assert_eq!(names(&update), (vec!["b", "c"], vec!["a"]));
        let rejected = [Rejection { name: "c".into(), reason: "no good".into() }];
        let nack = client.finish(&update, &rejected).unwrap();
        assert_eq!((nack.version_info.as_str(), nack.response_nonce.as_str()), ("1", "n2"));
        assert_eq!(nack.error_detail.unwrap().message, "c: no good");

        // The rejected one is tried again when it comes again.
        let update = client.on_response(response(CLUSTER, "3", &[("b", 2), ("c", 1)])).unwrap();
        assert_eq!(names(&update), (vec!["c"], vec![]));

        client.disconnected();
        let again = client.connected();
        assert_eq!((again[0].version_info.as_str(), again[0].response_nonce.as_str()), ("1", ""));
    }

    #[test]
    fn names_change_with_one_request_and_absence_is_no_removal() {
        let mut client = SotwClient::new(Node::default());
        client.connected();
        let set = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<BTreeSet<_>>();
        assert!(client.set_names(ENDPOINT, set(&[])).is_none());
        assert_eq!(client.set_names(ENDPOINT, set(&["a", "b"])).unwrap().resource_names, ["a", "b"]);
        assert!(client.set_names(ENDPOINT, set(&["a", "b"])).is_none());
        let update = client.on_response(response(ENDPOINT, "1", &[("a", 1), ("b", 1), ("x", 1)])).unwrap();
        assert_eq!(names(&update), (vec!["a", "b"], vec![]));
        client.finish(&update, &[]);
        let update = client.on_response(response(ENDPOINT, "2", &[("b", 2)])).unwrap();
        assert_eq!(names(&update), (vec!["b"], vec![]));
        let request = client.set_names(ENDPOINT, set(&["b"])).unwrap();
        assert_eq!((request.resource_names, request.response_nonce.as_str()), (vec!["b".to_owned()], "n2"));
        assert_eq!(client.held(ENDPOINT).collect::<Vec<_>>(), ["b"]);
    }

    #[test]
    fn wrapped_and_wrong_resources() {
        let inner = protobuf::Any { type_url: CLUSTER.into(), value: body("a", 1) };
        let wrapped = portolan_envoy_api::pb::envoy::service::discovery::v3::Resource {
            name: "a".into(),
            resource: Some(inner),
            ..Default::default()
        };
        let (name, any) = open(WRAPPED.into(), wrapped.encode_to_vec().into(), CLUSTER).unwrap();
        assert_eq!((name.as_str(), any.type_url.as_str()), ("a", CLUSTER));
        assert!(open(ENDPOINT.into(), body("a", 1).into(), CLUSTER).is_err());
        assert!(open(CLUSTER.into(), Bytes::from_static(b"\xff"), CLUSTER).is_err());
    }
}
