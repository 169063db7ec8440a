//! The client's half of delta xDS: what is subscribed, what has been accepted, what to say next.
//!
//! It keeps subscriptions and accepted versions across streams, so that after a reconnect the server sends only what
//! has changed meanwhile. The resources themselves are the caller's.

use std::collections::{BTreeMap, BTreeSet};

use portolan_envoy_api::pb::{
    envoy::{config::core::v3::Node, service::discovery::v3::DeltaDiscoveryRequest},
    google::rpc::Status,
};

use crate::wire::{Any, DeltaDiscoveryResponse};

/// gRPC code INVALID_ARGUMENT, which a rejection carries.
const INVALID_ARGUMENT: i32 = 3;

/// Longest text of a rejection that is sent.
pub const MAX_REJECTION_TEXT: usize = 8192;

/// A resource to take over.
#[derive(Clone, Debug, PartialEq)]
pub struct Upsert {
    /// Its name.
    pub name: String,
    /// Its version at the server.
    pub version: String,
    /// The encoded resource.
    pub body: Any,
}

/// A response, checked against the subscription. Apply it, then call [`DeltaClient::finish`].
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    /// Type of all resources here.
    pub type_url: String,
    /// Nonce to answer with.
    pub nonce: String,
    /// New and changed resources.
    pub upserts: Vec<Upsert>,
    /// Names that the server does not have (any more).
    pub removed: Vec<String>,
    /// The first response of this type since the client exists.
    pub first: bool,
    /// Resources that could not even be handed on.
    malformed: Vec<Rejection>,
}

/// A resource that was not taken over, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The resource's name.
    pub name: String,
    /// What is wrong with it.
    pub reason: String,
}

/// A response that does not belong to this client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResponseError {
    /// The type was never subscribed on this client.
    #[error("the server sent resources of {0}, which was not subscribed")]
    NotSubscribed(String),
}

/// The text of a NACK: each rejected resource with its reason; `None` when nothing was rejected.
pub(crate) fn rejection_text<'a>(rejections: impl Iterator<Item = &'a Rejection>) -> Option<String> {
    let mut message = String::new();
    for rejection in rejections {
        if message.len() > MAX_REJECTION_TEXT {
            message.push_str("; and more");
            break;
        }
        if !message.is_empty() {
            message.push_str("; ");
        }
        message.push_str(&rejection.name);
        message.push_str(": ");
        message.push_str(&rejection.reason);
    }
    if message.is_empty() { None } else { Some(message) }
}

#[derive(Debug, Default)]
struct Subscription {
    wildcard: bool,
    names: BTreeSet<String>,
    /// Accepted resources: name -> version.
    held: BTreeMap<String, String>,
    /// The server has heard of this type on the present stream.
    announced: bool,
    answered: bool,
}

/// Subscriptions of one client over all its streams.
#[derive(Debug, Default)]
pub struct DeltaClient {
    /// In the order of the first subscription, which is the order of requests after a reconnect.
    types: Vec<(String, Subscription)>,
    node: Option<Node>,
    connected: bool,
    node_sent: bool,
}

impl DeltaClient {
    /// A client without subscriptions.
    pub fn new(node: Node) -> Self {
        Self { node: Some(node), ..Self::default() }
    }

    /// Replaces what the client says about itself; said on the next stream.
    pub fn set_node(&mut self, node: Node) {
        self.node = Some(node);
    }

    /// Subscribes to everything of a type. Returns the request to send; nothing while there is no stream.
    pub fn subscribe_all(&mut self, type_url: &str) -> Option<DeltaDiscoveryRequest> {
        let subscription = self.entry(type_url);
        if std::mem::replace(&mut subscription.wildcard, true) && subscription.announced {
            return None;
        }
        if !subscription.announced {
            return self.announce(type_url);
        }
        self.request(type_url, vec!["*".to_owned()], Vec::new())
    }

    /// Subscribes to resources by name. Returns the request to send; nothing when nothing is new or there is no
    /// stream.
    pub fn subscribe<I>(&mut self, type_url: &str, names: I) -> Option<DeltaDiscoveryRequest>
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        let subscription = self.entry(type_url);
        let mut added = Vec::new();
        for name in names {
            let name = name.into();
            if subscription.names.insert(name.clone()) {
                added.push(name);
            }
        }
        if added.is_empty() {
            return None;
        }
        if !subscription.announced {
            return self.announce(type_url);
        }
        self.request(type_url, added, Vec::new())
    }

    /// Gives resources up. They no longer count as held; dropping them is the caller's.
    pub fn unsubscribe<'a>(
        &mut self,
        type_url: &str,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Option<DeltaDiscoveryRequest> {
        let subscription = self.find(type_url)?;
        let mut dropped = Vec::new();
        for name in names {
            if subscription.names.remove(name) {
                subscription.held.remove(name);
                dropped.push(name.to_owned());
            }
        }
        if dropped.is_empty() || !subscription.announced {
            return None;
        }
        self.request(type_url, Vec::new(), dropped)
    }

    /// Gives up everything of a type but what is asked for by name. It no longer counts as held; dropping it is the
    /// caller's. Returns the request to send; nothing when there was no such subscription or there is no stream.
    pub fn unsubscribe_all(&mut self, type_url: &str) -> Option<DeltaDiscoveryRequest> {
        let subscription = self.find(type_url)?;
        if !std::mem::replace(&mut subscription.wildcard, false) {
            return None;
        }
        let names = &subscription.names;
        subscription.held.retain(|name, _| names.contains(name));
        if !subscription.announced {
            return None;
        }
        self.request(type_url, Vec::new(), vec!["*".to_owned()])
    }

    /// Makes the subscription by name exactly `names`, in one request.
    pub fn set_names(&mut self, type_url: &str, names: BTreeSet<String>) -> Option<DeltaDiscoveryRequest> {
        let subscription = self.entry(type_url);
        let added: Vec<String> = names.difference(&subscription.names).cloned().collect();
        let dropped: Vec<String> = subscription.names.difference(&names).cloned().collect();
        if added.is_empty() && dropped.is_empty() {
            return None;
        }
        for name in &dropped {
            subscription.held.remove(name);
        }
        subscription.names = names;
        if !subscription.announced {
            return if subscription.names.is_empty() { None } else { self.announce(type_url) };
        }
        self.request(type_url, added, dropped)
    }

    /// A new stream is open: returns the requests that restore all subscriptions on it.
    pub fn connected(&mut self) -> Vec<DeltaDiscoveryRequest> {
        self.connected = true;
        self.node_sent = false;
        for (_, subscription) in &mut self.types {
            subscription.announced = false;
        }
        let types: Vec<String> = self.types.iter().map(|(type_url, _)| type_url.clone()).collect();
        types.iter().filter_map(|type_url| self.announce(type_url)).collect()
    }

    /// The stream is gone; subscriptions and what is held stay.
    pub fn disconnected(&mut self) {
        self.connected = false;
    }

    /// Takes a response in.
    pub fn on_response(&mut self, response: DeltaDiscoveryResponse) -> Result<Update, ResponseError> {
        let Some(subscription) = self.find(&response.type_url).filter(|s| s.announced) else {
            return Err(ResponseError::NotSubscribed(response.type_url));
        };
        let mut upserts = Vec::with_capacity(response.resources.len());
        let mut malformed = Vec::new();
        for resource in response.resources {
            let Some(body) = resource.resource else {
                malformed.push(Rejection { name: resource.name, reason: "the resource has no body".into() });
                continue;
            };
            if body.type_url != response.type_url {
                let reason = format!("the body is of type {}, expected {}", body.type_url, response.type_url);
                malformed.push(Rejection { name: resource.name, reason });
                continue;
            }
            // May cross with an unsubscription on the way.
            if subscription.wildcard || subscription.names.contains(&resource.name) {
                upserts.push(Upsert { name: resource.name, version: resource.version, body });
            }
        }
        let first = !std::mem::replace(&mut subscription.answered, true);
        Ok(Update {
            type_url: response.type_url,
            nonce: response.nonce,
            upserts,
            removed: response.removed_resources,
            first,
            malformed,
        })
    }

    /// Concludes an update: what was not rejected is held from now on. Returns the ACK, or the NACK that names each
    /// rejected resource; nothing when the stream is gone.
    pub fn finish(&mut self, update: &Update, rejected: &[Rejection]) -> Option<DeltaDiscoveryRequest> {
        let subscription = self.find(&update.type_url)?;
        let refused: BTreeSet<&str> = rejected.iter().map(|r| r.name.as_str()).collect();
        for upsert in update.upserts.iter().filter(|u| !refused.contains(u.name.as_str())) {
            subscription.held.insert(upsert.name.clone(), upsert.version.clone());
        }
        for name in update.removed.iter().filter(|name| !refused.contains(name.as_str())) {
            subscription.held.remove(name);
        }
        let mut request = self.request(&update.type_url, Vec::new(), Vec::new())?;
        request.response_nonce.clone_from(&update.nonce);
        request.error_detail = rejection_text(update.malformed.iter().chain(rejected))
            .map(|message| Status { code: INVALID_ARGUMENT, message, details: Vec::new() });
        Some(request)
    }

    /// Whether the server has ever answered for a type.
    pub fn answered(&self, type_url: &str) -> bool {
        self.types.iter().any(|(t, s)| t == type_url && s.answered)
    }

    /// Accepted resources of a type: name -> version.
    pub fn held(&self, type_url: &str) -> Option<&BTreeMap<String, String>> {
        self.types.iter().find(|(t, _)| t == type_url).map(|(_, s)| &s.held)
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

    /// The first request for a type on a stream.
    fn announce(&mut self, type_url: &str) -> Option<DeltaDiscoveryRequest> {
        if !self.connected {
            return None;
        }
        let subscription = self.find(type_url)?;
        if !subscription.wildcard && subscription.names.is_empty() {
            return None;
        }
        subscription.announced = true;
        let mut names: Vec<String> = subscription.names.iter().cloned().collect();
        // An empty list means "everything" too, but only as long as nothing is asked for by name beside it.
        if subscription.wildcard && !names.is_empty() {
            names.push("*".to_owned());
        }
        let versions = subscription.held.clone().into_iter().collect();
        let mut request = self.request(type_url, names, Vec::new())?;
        request.initial_resource_versions = versions;
        Some(request)
    }

    fn request(
        &mut self,
        type_url: &str,
        subscribe: Vec<String>,
        unsubscribe: Vec<String>,
    ) -> Option<DeltaDiscoveryRequest> {
        if !self.connected {
            return None;
        }
        let node = if std::mem::replace(&mut self.node_sent, true) { None } else { self.node.clone() };
        Some(DeltaDiscoveryRequest {
            node,
            type_url: type_url.to_owned(),
            resource_names_subscribe: subscribe,
            resource_names_unsubscribe: unsubscribe,
            ..Default::default()
        })
    }
}
