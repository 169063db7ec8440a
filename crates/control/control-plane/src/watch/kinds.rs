//! The watched kinds and where they go in the model's inputs.

use std::{collections::BTreeMap, fmt, sync::Arc};

use k8s_openapi::api::{
    core::v1::{ConfigMap, Namespace, Pod, Service},
    discovery::v1::EndpointSlice,
};
use kube::{Api, Client, ResourceExt, runtime::watcher};
use portolan_mesh::{Inputs, ObjectKey};
use portolan_resources::{
    AuthorizationPolicy, DestinationRule, Gateway, PeerAuthentication, RequestAuthentication, ServiceEntry,
    Sidecar, VirtualService, WorkloadEntry,
};
use tokio::sync::mpsc;

use super::follow::{Change, follow, key};

macro_rules! kinds {
    ($($variant:ident: $type:ty => $field:ident;)*) => {
        /// A watched kind.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Kind {
            $(#[doc = stringify!($variant)] $variant,)*
            /// The ConfigMap with the mesh's settings.
            MeshConfig,
            /// What federation adds; not watched but handed in.
            Federation,
        }

        impl Kind {
            /// Kinds that have to be listed before the first proxy is served.
            pub const WATCHED: &'static [Kind] = &[$(Kind::$variant,)* Kind::MeshConfig];
        }

        /// A change out of the queue.
        #[derive(Clone, Debug)]
        pub enum Update {
            $(#[doc = stringify!($variant)] $variant(Change<$type>),)*
            /// The ConfigMap with the mesh's settings.
            MeshConfig(Change<ConfigMap>),
        }

        impl Update {
            /// The kind that changed.
            pub fn kind(&self) -> Kind {
                match self {
                    $(Update::$variant(_) => Kind::$variant,)*
                    Update::MeshConfig(_) => Kind::MeshConfig,
                }
            }

            /// For the metric of configuration events: what happened.
            pub fn event(&self) -> &'static str {
                match self {
                    $(Update::$variant(change) => change.event(),)*
                    Update::MeshConfig(change) => change.event(),
                }
            }

            /// Takes the change into the inputs. Returns whether anything is different now; changes of the mesh's
            /// settings are the caller's.
            pub fn apply(self, inputs: &mut Inputs) -> bool {
                match self {
                    $(Update::$variant(change) => take(change, &mut inputs.$field),)*
                    Update::MeshConfig(_) => false,
                }
            }
        }

        pub(super) fn start_all(client: &Client, queue: &mpsc::Sender<Update>) {
            $(
                let api: Api<$type> = Api::all(client.clone());
                tokio::spawn(follow(
                    api, watcher::Config::default(), Kind::$variant, queue.clone(), Update::$variant,
                ));
            )*
        }
    };
}

kinds! {
    Namespace: Namespace => namespaces;
    Service: Service => services;
    Pod: Pod => pods;
    EndpointSlice: EndpointSlice => endpoint_slices;
    VirtualService: VirtualService => virtual_services;
    DestinationRule: DestinationRule => destination_rules;
    Gateway: Gateway => gateways;
    ServiceEntry: ServiceEntry => service_entries;
    WorkloadEntry: WorkloadEntry => workload_entries;
    Sidecar: Sidecar => sidecars;
    PeerAuthentication: PeerAuthentication => peer_authentications;
    AuthorizationPolicy: AuthorizationPolicy => authorization_policies;
    RequestAuthentication: RequestAuthentication => request_authentications;
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl<T> Change<T> {
    fn event(&self) -> &'static str {
        match self {
            Change::Replace(_) => "sync",
            Change::Apply(_) => "update",
            Change::Delete(_) => "delete",
        }
    }
}

fn take<T: ResourceExt + PartialEq>(change: Change<T>, map: &mut BTreeMap<ObjectKey, Arc<T>>) -> bool {
    match change {
        Change::Replace(objects) => {
            let mut next: BTreeMap<ObjectKey, Arc<T>> =
                objects.into_iter().map(|object| (key(&*object), object)).collect();
            // What is equal keeps its old pointer, so that caches by pointer stay warm over a relist.
            for (key, object) in &mut next {
                if let Some(old) = map.get(key)
                    && old == object
                {
                    *object = old.clone();
                }
            }
            let same = next.len() == map.len()
                && next.iter().zip(map.iter()).all(|((a, x), (b, y))| a == b && Arc::ptr_eq(x, y));
            *map = next;
            !same
        }
        Change::Apply(object) => match map.entry(key(&*object)) {
            std::collections::btree_map::Entry::Occupied(slot) if *slot.get() == object => false,
            std::collections::btree_map::Entry::Occupied(mut slot) => {
                slot.insert(object);
                true
            }
            std::collections::btree_map::Entry::Vacant(slot) => {
                slot.insert(object);
                true
            }
        },
        Change::Delete(key) => map.remove(&key).is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, ip: &str) -> Arc<Pod> {
        let mut pod = Pod::default();
        pod.metadata.name = Some(name.into());
        pod.metadata.namespace = Some("default".into());
        pod.status = Some(Default::default());
        pod.status.as_mut().unwrap().pod_ip = Some(ip.into());
        Arc::new(pod)
    }

    #[test]
    fn only_differences_count_as_changes() {
        let mut inputs = Inputs::default();
        assert!(Update::Pod(Change::Replace(vec![pod("a", "1"), pod("b", "1")])).apply(&mut inputs));
        let before = inputs.pods.values().next().unwrap().clone();
        assert!(!Update::Pod(Change::Replace(vec![pod("b", "1"), pod("a", "1")])).apply(&mut inputs));
        assert!(Arc::ptr_eq(&before, inputs.pods.values().next().unwrap()));
        assert!(!Update::Pod(Change::Apply(pod("a", "1"))).apply(&mut inputs));
        assert!(Update::Pod(Change::Apply(pod("a", "2"))).apply(&mut inputs));
        assert!(Update::Pod(Change::Delete(ObjectKey::new("default", "b"))).apply(&mut inputs));
        assert!(!Update::Pod(Change::Delete(ObjectKey::new("default", "b"))).apply(&mut inputs));
        assert_eq!(inputs.pods.len(), 1);
    }
}
