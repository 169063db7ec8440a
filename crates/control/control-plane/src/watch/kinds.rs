//! The watched kinds and how they go into the model.

use std::fmt;

use k8s_openapi::api::{
    core::v1::{ConfigMap, Namespace, Node, Pod, Service},
    discovery::v1::EndpointSlice,
};
use kube::{Api, Client, ResourceExt, runtime::watcher};
use portolan_mesh::{self as mesh, Mesh};
use portolan_resources::{
    AuthorizationPolicy, DestinationRule, Gateway, PeerAuthentication, RequestAuthentication, ServiceEntry,
    Sidecar, VirtualService, WorkloadEntry,
};
use tokio::sync::mpsc;

use super::follow::{Change, follow, key};

macro_rules! kinds {
    ($($variant:ident: $type:ty;)*) => {
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

            /// For the metrics of events: what happens to the objects in `mesh` when the change is taken.
            pub fn events(&self, mesh: &Mesh) -> Events {
                match self {
                    $(Update::$variant(change) => events(change, mesh),)*
                    Update::MeshConfig(Change::Delete(_)) => Events { delete: 1, ..Events::default() },
                    Update::MeshConfig(_) => Events { update: 1, ..Events::default() },
                }
            }

            /// Takes the change into the model. Returns whether anything is different now; changes of the mesh's
            /// settings are the caller's.
            pub fn apply(self, mesh: &mut Mesh) -> bool {
                match self {
                    $(Update::$variant(change) => take(change, mesh),)*
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
    Namespace: Namespace;
    Service: Service;
    Pod: Pod;
    EndpointSlice: EndpointSlice;
    Node: Node;
    VirtualService: VirtualService;
    DestinationRule: DestinationRule;
    Gateway: Gateway;
    ServiceEntry: ServiceEntry;
    WorkloadEntry: WorkloadEntry;
    Sidecar: Sidecar;
    PeerAuthentication: PeerAuthentication;
    AuthorizationPolicy: AuthorizationPolicy;
    RequestAuthentication: RequestAuthentication;
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// How many objects come, change and go, as istiod's metrics `pilot_k8s_cfg_events` and `pilot_k8s_reg_events` say it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Events {
    /// Objects that were not there.
    pub add: u64,
    /// Objects that were there; of a list, which says nothing of changes, none.
    pub update: u64,
    /// Objects that are gone.
    pub delete: u64,
}

fn events<T: ResourceExt + mesh::Kind>(change: &Change<T>, mesh: &Mesh) -> Events {
    match change {
        Change::Apply(object) if mesh.get::<T>(&key(&**object)).is_some() => {
            Events { update: 1, ..Events::default() }
        }
        Change::Apply(_) => Events { add: 1, ..Events::default() },
        Change::Delete(_) => Events { delete: 1, ..Events::default() },
        Change::Replace(objects) => {
            let known = mesh.all::<T>().len() as u64;
            let kept =
                objects.iter().filter(|object| mesh.get::<T>(&key(&***object)).is_some()).count() as u64;
            Events { add: objects.len() as u64 - kept, update: 0, delete: known.saturating_sub(kept) }
        }
    }
}

fn take<T: ResourceExt + mesh::Kind>(change: Change<T>, mesh: &mut Mesh) -> bool {
    match change {
        Change::Replace(objects) => {
            mesh.replace(objects.into_iter().map(|object| (key(&*object), object)).collect())
        }
        Change::Apply(object) => mesh.set(key(&*object), Some(object)),
        Change::Delete(key) => mesh.set::<T>(key, None),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use portolan_mesh::ObjectKey;

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
    fn events_say_what_happens_to_objects() {
        let mut mesh = Mesh::default();
        let mut take = |update: Update| {
            let events = update.events(&mesh);
            update.apply(&mut mesh);
            (events.add, events.update, events.delete)
        };
        assert_eq!(take(Update::Pod(Change::Replace(vec![pod("a", "1"), pod("b", "1")]))), (2, 0, 0));
        assert_eq!(take(Update::Pod(Change::Apply(pod("c", "1")))), (1, 0, 0));
        assert_eq!(take(Update::Pod(Change::Apply(pod("c", "2")))), (0, 1, 0));
        assert_eq!(take(Update::Pod(Change::Delete(ObjectKey::new("default", "c")))), (0, 0, 1));
        assert_eq!(take(Update::Pod(Change::Replace(vec![pod("b", "1"), pod("d", "1")]))), (1, 0, 1));
    }

    #[test]
    fn only_differences_count_as_changes() {
        let mut mesh = Mesh::default();
        let first = |mesh: &Mesh| mesh.all::<Pod>()[0].1.clone();
        assert!(Update::Pod(Change::Replace(vec![pod("a", "1"), pod("b", "1")])).apply(&mut mesh));
        let before = first(&mesh);
        assert!(!Update::Pod(Change::Replace(vec![pod("b", "1"), pod("a", "1")])).apply(&mut mesh));
        assert!(Arc::ptr_eq(&before, &first(&mesh)));
        assert!(!Update::Pod(Change::Apply(pod("a", "1"))).apply(&mut mesh));
        assert!(Update::Pod(Change::Apply(pod("a", "2"))).apply(&mut mesh));
        assert!(Update::Pod(Change::Delete(ObjectKey::new("default", "b"))).apply(&mut mesh));
        assert!(!Update::Pod(Change::Delete(ObjectKey::new("default", "b"))).apply(&mut mesh));
        assert_eq!(mesh.all::<Pod>().len(), 1);
    }
}
