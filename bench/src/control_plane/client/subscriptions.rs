//! What one proxy is subscribed to and holds: the client's half of delta xDS, in numbers instead of texts.

use hashbrown::{HashMap, HashSet};
use portolan_envoy_api::pb::envoy::config::core::v3::Node;
use portolan_envoy_api::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;

use super::interner::{Interner, ResourceId, VersionId};
use super::kind::Kind;

/// In the place of a version: asked for, and not answered yet.
const UNANSWERED: VersionId = VersionId::MAX;
/// In the place of a version: the control plane has no such resource.
const ABSENT: VersionId = VersionId::MAX - 1;

/// One type.
#[derive(Debug, Default)]
struct Subscription {
    /// It was asked for on this stream.
    announced: bool,
    /// It was answered on this stream.
    answered: bool,
    /// Held resources; of those by name, everything that is asked for.
    held: HashMap<ResourceId, VersionId>,
}

/// All types of one proxy.
#[derive(Debug)]
pub(crate) struct Subscriptions {
    types: [Subscription; Kind::ALL.len()],
    virtual_hosts: bool,
}

/// A response with its texts turned into numbers.
#[derive(Debug)]
pub(crate) struct Update {
    pub(crate) kind: Kind,
    pub(crate) nonce: String,
    pub(crate) upserts: Vec<(ResourceId, VersionId)>,
    pub(crate) removed: Vec<ResourceId>,
}

impl Subscriptions {
    /// Nothing is held.
    pub(crate) fn new() -> Self {
        Subscriptions { types: Default::default(), virtual_hosts: false }
    }

    /// The requests that open a stream; the first says who the proxy is.
    pub(crate) fn connected(&mut self, node: &Node, interner: &Interner) -> Vec<DeltaDiscoveryRequest> {
        for subscription in &mut self.types {
            subscription.announced = false;
            subscription.answered = false;
        }
        let mut requests: Vec<_> =
            Kind::ALL.into_iter().filter_map(|kind| self.announce(kind, interner)).collect();
        if let Some(first) = requests.first_mut() {
            first.node = Some(node.clone());
        }
        requests
    }

    /// Whether everything that was asked for on this stream is answered.
    pub(crate) fn is_synchronous(&self) -> bool {
        self.types[Kind::Cluster as usize].announced
            && self
                .types
                .iter()
                .all(|s| !s.announced || (s.answered && s.held.values().all(|v| *v != UNANSWERED)))
    }

    /// Takes an update in. Returns the acknowledgement and the requests that follow from it.
    pub(crate) fn take(&mut self, update: &Update, interner: &Interner) -> Vec<DeltaDiscoveryRequest> {
        let subscription = &mut self.types[update.kind as usize];
        subscription.answered = true;
        let mut needs_differ = false;
        let by_name = !update.kind.is_wildcard();
        for (resource, version) in &update.upserts {
            if by_name && !subscription.held.contains_key(resource) {
                // It has crossed with an unsubscription.
                continue;
            }
            let before = subscription.held.insert(*resource, *version).filter(|before| *before < ABSENT);
            let (now, old) = (interner.get(*version), before.map(|before| interner.get(before)));
            needs_differ |= old.map_or(!now.needs.is_empty(), |old| old.needs != now.needs);
            self.virtual_hosts |= now.virtual_hosts;
        }
        for resource in &update.removed {
            if by_name {
                subscription.held.entry(*resource).and_modify(|version| *version = ABSENT);
            } else {
                needs_differ |= subscription.held.remove(resource).is_some();
            }
        }
        let mut ack = request(update.kind);
        ack.response_nonce.clone_from(&update.nonce);
        let mut requests = vec![ack];
        if needs_differ {
            let named = Kind::ALL.into_iter().filter(|kind| kind.named_by() == Some(update.kind));
            requests.extend(named.filter_map(|kind| self.follow(kind, update.kind, interner)));
        }
        if self.virtual_hosts && !self.types[Kind::VirtualHost as usize].announced {
            requests.extend(self.announce(Kind::VirtualHost, interner));
        }
        requests
    }

    /// Makes the subscription to `kind` what the held resources of `by` name.
    fn follow(&mut self, kind: Kind, by: Kind, interner: &Interner) -> Option<DeltaDiscoveryRequest> {
        let versions = self.types[by as usize].held.values();
        let needs = versions.flat_map(|version| &interner.get(*version).needs);
        let wanted: HashSet<ResourceId> = needs.filter(|(k, _)| *k == kind).map(|(_, id)| *id).collect();
        let subscription = &mut self.types[kind as usize];
        let held = &subscription.held;
        let added: Vec<ResourceId> = wanted.iter().filter(|id| !held.contains_key(*id)).copied().collect();
        let dropped: Vec<ResourceId> = held.keys().filter(|id| !wanted.contains(*id)).copied().collect();
        if added.is_empty() && dropped.is_empty() {
            return None;
        }
        subscription.held.extend(added.iter().map(|id| (*id, UNANSWERED)));
        for id in &dropped {
            subscription.held.remove(id);
        }
        if !subscription.announced {
            return self.announce(kind, interner);
        }
        let names = |ids: Vec<ResourceId>| ids.into_iter().map(|id| interner.name(id)).collect();
        Some(DeltaDiscoveryRequest {
            resource_names_subscribe: names(added),
            resource_names_unsubscribe: names(dropped),
            ..request(kind)
        })
    }

    /// The first request for a type on a stream, if there is anything to ask for.
    fn announce(&mut self, kind: Kind, interner: &Interner) -> Option<DeltaDiscoveryRequest> {
        let subscription = &mut self.types[kind as usize];
        let wanted = match kind {
            Kind::VirtualHost => self.virtual_hosts,
            _ => kind.is_wildcard() || !subscription.held.is_empty(),
        };
        if !wanted {
            return None;
        }
        subscription.announced = true;
        let mut made = request(kind);
        for (id, version) in &subscription.held {
            if !kind.is_wildcard() {
                made.resource_names_subscribe.push(interner.name(*id));
            }
            if *version < ABSENT {
                made.initial_resource_versions.insert(interner.name(*id), interner.version_text(*version));
            }
        }
        Some(made)
    }
}

fn request(kind: Kind) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest { type_url: kind.type_url().to_owned(), ..Default::default() }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use portolan_envoy_api::pb::envoy::config::cluster::v3::{Cluster, cluster};
    use portolan_envoy_api::pb::envoy::config::route::v3::{RouteConfiguration, Vhds};
    use prost::Message;

    use super::*;
    use crate::control_plane::client::wire::{Any, Resource};

    /// Clusters by name and version, each with endpoints; removed ones.
    fn clusters(
        interner: &mut Interner,
        upserts: &[(&'static str, &'static str)],
        removed: &[&str],
    ) -> Update {
        let body = Cluster {
            cluster_discovery_type: Some(cluster::ClusterDiscoveryType::Type(3)),
            ..Default::default()
        };
        update(interner, Kind::Cluster, upserts, &body, removed)
    }

    fn update(
        interner: &mut Interner,
        kind: Kind,
        upserts: &[(&'static str, &'static str)],
        body: &impl Message,
        removed: &[&str],
    ) -> Update {
        let value: Bytes = body.encode_to_vec().into();
        let upserts = upserts.iter().map(|(name, version)| {
            let resource = Resource {
                name: Bytes::from_static(name.as_bytes()),
                version: Bytes::from_static(version.as_bytes()),
                body: Some(Any { type_url: Bytes::new(), value: value.clone() }),
            };
            interner.version(kind, &resource, |_| Vec::new()).unwrap()
        });
        Update {
            kind,
            nonce: "n".to_owned(),
            upserts: upserts.collect(),
            removed: removed.iter().map(|name| interner.resource(kind, name.as_bytes())).collect(),
        }
    }

    fn empty(interner: &mut Interner, kind: Kind, names: &[&'static str]) -> Update {
        let named: Vec<_> = names.iter().map(|name| (*name, "1")).collect();
        update(interner, kind, &named, &RouteConfiguration::default(), &[])
    }

    #[test]
    fn endpoints_are_asked_for_by_the_names_of_clusters() {
        let (mut interner, mut proxy) = (Interner::default(), Subscriptions::new());
        let opening = proxy.connected(&Node::default(), &interner);
        assert_eq!(opening.len(), 2, "clusters and listeners");
        assert!(opening[0].node.is_some() && opening[1].node.is_none());
        assert!(opening.iter().all(|request| request.resource_names_subscribe.is_empty()));

        let both = clusters(&mut interner, &[("a", "1"), ("b", "1")], &[]);
        let requests = proxy.take(&both, &interner);
        assert_eq!(requests[0].response_nonce, "n");
        let mut names = requests[1].resource_names_subscribe.clone();
        names.sort();
        assert_eq!(names, ["a", "b"]);

        let newer = clusters(&mut interner, &[("a", "2")], &[]);
        assert_eq!(proxy.take(&newer, &interner).len(), 1, "the endpoints are the same");

        let fewer = clusters(&mut interner, &[("c", "1")], &["b"]);
        let requests = proxy.take(&fewer, &interner);
        assert_eq!(requests[1].resource_names_subscribe, ["c"]);
        assert_eq!(requests[1].resource_names_unsubscribe, ["b"]);
    }

    #[test]
    fn a_proxy_is_synchronous_when_everything_is_answered() {
        let (mut interner, mut proxy) = (Interner::default(), Subscriptions::new());
        proxy.connected(&Node::default(), &interner);
        let one = clusters(&mut interner, &[("a", "1")], &[]);
        proxy.take(&one, &interner);
        let none = empty(&mut interner, Kind::Listener, &[]);
        proxy.take(&none, &interner);
        assert!(!proxy.is_synchronous());
        let gone = update(&mut interner, Kind::Endpoint, &[], &RouteConfiguration::default(), &["a"]);
        proxy.take(&gone, &interner);
        assert!(proxy.is_synchronous(), "that there is none is an answer too");
    }

    #[test]
    fn virtual_hosts_are_asked_for_once_a_route_says_so() {
        let (mut interner, mut proxy) = (Interner::default(), Subscriptions::new());
        proxy.connected(&Node::default(), &interner);
        proxy.types[Kind::Route as usize].held.insert(interner.resource(Kind::Route, b"80"), UNANSWERED);
        let body = RouteConfiguration { vhds: Some(Vhds::default()), ..Default::default() };
        let routes = update(&mut interner, Kind::Route, &[("80", "1")], &body, &[]);
        let requests = proxy.take(&routes, &interner);
        assert_eq!(requests[1].type_url, Kind::VirtualHost.type_url());
        assert!(requests[1].resource_names_subscribe.is_empty());
        assert_eq!(proxy.take(&routes, &interner).len(), 1);
    }

    #[test]
    fn a_new_stream_says_what_is_held() {
        let (mut interner, mut proxy) = (Interner::default(), Subscriptions::new());
        proxy.connected(&Node::default(), &interner);
        let both = clusters(&mut interner, &[("a", "1"), ("b", "4")], &[]);
        proxy.take(&both, &interner);
        let endpoints = empty(&mut interner, Kind::Endpoint, &["a"]);
        proxy.take(&endpoints, &interner);
        let requests = proxy.connected(&Node::default(), &interner);
        assert_eq!(requests.len(), 3);
        assert_eq!(requests[0].initial_resource_versions["b"], "4");
        assert_eq!(requests[1].resource_names_subscribe.len(), 2);
        assert_eq!(requests[1].initial_resource_versions.len(), 1);
        assert!(!proxy.is_synchronous());
    }
}
