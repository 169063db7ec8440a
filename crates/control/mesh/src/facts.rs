//! The facts that the model follows from: objects of the cluster and of federation, and the mesh's settings.

use std::{net::IpAddr, sync::Arc};

use k8s_openapi::api::{
    core::v1::{Namespace, Node, Pod, Service as KubeService},
    discovery::v1::EndpointSlice,
};
use portolan_derive::Input;
use portolan_names::labels;
use portolan_resources::{
    AuthorizationPolicy, DestinationRule, Gateway, MeshConfig, PeerAuthentication, RequestAuthentication,
    ServiceEntry, Sidecar, VirtualService, WorkloadEntry,
};

use crate::{
    inputs::{ClusterContext, TrustBundles},
    object::ObjectKey,
    service::{Service, ServiceEndpoints},
};

/// Where an object comes from. Objects of federation exist in memory only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Origin {
    /// The Kubernetes API.
    #[default]
    Cluster,
    /// What federation adds (docs/reference/federation.md).
    Federation,
}

/// How objects are found but by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Tag {
    /// By their namespace.
    Namespace(String),
    /// Pods by their addresses.
    Address(IpAddr),
    /// EndpointSlices by the Service that they belong to.
    Service(ObjectKey),
    /// ServiceEntries by the hosts that they name.
    Host(String),
}

/// The key of a fact that is an object.
pub(crate) trait Fact: Input<Value = Arc<Self::Form>, Tag = Tag> {
    /// How an object is written.
    type Form: Clone + PartialEq + Send + Sync + 'static;
    /// The key of an object.
    fn of(origin: Origin, key: ObjectKey) -> Self;
    /// Namespace and name.
    fn key(&self) -> &ObjectKey;
    /// Where it comes from.
    fn origin(&self) -> Origin;
}

macro_rules! objects {
    ($($(#[$doc:meta])* $name:ident: $form:ty, $more:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(crate) struct $name { pub(crate) origin: Origin, pub(crate) key: ObjectKey }

        impl Input for $name {
            type Value = Arc<$form>;
            type Tag = Tag;
            fn tags(&self, value: &Arc<$form>) -> Vec<Tag> {
                let more: fn(&$form) -> Vec<Tag> = $more;
                let mut tags = more(value);
                tags.push(Tag::Namespace(self.key.namespace.clone()));
                tags
            }
        }

        impl Fact for $name {
            type Form = $form;
            fn of(origin: Origin, key: ObjectKey) -> Self {
                Self { origin, key }
            }
            fn key(&self) -> &ObjectKey {
                &self.key
            }
            fn origin(&self) -> Origin {
                self.origin
            }
        }
    )*};
}

objects! {
    /// A Kubernetes Service.
    ServiceFact: KubeService, |_| Vec::new();
    /// A Pod.
    PodFact: Pod, |pod| pod_addresses(pod).into_iter().map(Tag::Address).collect();
    /// An EndpointSlice.
    SliceFact: EndpointSlice, |slice| slice_service(slice).into_iter().map(Tag::Service).collect();
    /// A Namespace.
    NamespaceFact: Namespace, |_| Vec::new();
    /// A Node.
    NodeFact: Node, |_| Vec::new();
    /// A VirtualService.
    VirtualServiceFact: VirtualService, |_| Vec::new();
    /// A DestinationRule.
    DestinationRuleFact: DestinationRule, |_| Vec::new();
    /// A Gateway.
    GatewayFact: Gateway, |_| Vec::new();
    /// A ServiceEntry.
    ServiceEntryFact: ServiceEntry, |entry| {
        entry.spec.hosts.iter().map(|host| Tag::Host(host.to_ascii_lowercase())).collect()
    };
    /// A WorkloadEntry.
    WorkloadEntryFact: WorkloadEntry, |_| Vec::new();
    /// A Sidecar.
    SidecarFact: Sidecar, |_| Vec::new();
    /// A PeerAuthentication.
    PeerAuthenticationFact: PeerAuthentication, |_| Vec::new();
    /// An AuthorizationPolicy.
    AuthorizationPolicyFact: AuthorizationPolicy, |_| Vec::new();
    /// A RequestAuthentication.
    RequestAuthenticationFact: RequestAuthentication, |_| Vec::new();
}

/// The addresses of a Pod, the main one first.
pub(crate) fn pod_addresses(pod: &Pod) -> Vec<IpAddr> {
    let status = pod.status.as_ref();
    let mut addresses: Vec<IpAddr> = status
        .and_then(|s| s.pod_ips.as_ref())
        .map(|ips| ips.iter().filter_map(|ip| ip.ip.parse().ok()).collect())
        .unwrap_or_default();
    if let Some(ip) = status.and_then(|s| s.pod_ip.as_ref()).and_then(|ip| ip.parse().ok())
        && !addresses.contains(&ip)
    {
        addresses.insert(0, ip);
    }
    addresses
}

fn slice_service(slice: &EndpointSlice) -> Option<ObjectKey> {
    let meta = &slice.metadata;
    let name = meta.labels.as_ref()?.get(labels::SERVICE_NAME)?;
    Some(ObjectKey::new(meta.namespace.clone().unwrap_or_default(), name))
}

/// There are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum NoTag {}

macro_rules! settings {
    ($($(#[$doc:meta])* $name:ident $(($key:ty))?: $value:ty;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(crate) struct $name $((pub(crate) $key))?;

        impl Input for $name {
            type Value = $value;
            type Tag = NoTag;
            fn tags(&self, _: &$value) -> Vec<NoTag> {
                Vec::new()
            }
        }
    )*};
}

settings! {
    /// Facts of the cluster.
    ClusterFact: Arc<ClusterContext>;
    /// Settings of the mesh.
    MeshConfigFact: Arc<MeshConfig>;
    /// Root certificates of our own trust domain.
    RootsFact: Arc<str>;
    /// The JSON Web Key Set of a URI or issuer.
    JwksFact(String): Arc<str>;
    /// Roots of other trust domains and who gets them.
    TrustFact: Arc<TrustBundles>;
    /// A service of federation, by host.
    ImportFact(String): Arc<Service>;
    /// Endpoints of a service of federation, by host.
    ImportEndpointsFact(String): Arc<ServiceEndpoints>;
    /// The address that was chosen for a host before: it keeps it.
    ChosenFact(String): std::net::Ipv4Addr;
}
