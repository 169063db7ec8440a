//! The built-in controllers. Each is a file: a pure decision, and a `reconcile` that carries it out.
//!
//! All wiring is in [`start`]: one watch per kind, shared; which change makes which controller look at what.

mod deployment;
mod endpoints;
mod garbage;
mod informer;
mod meta;
mod namespace;
mod queue;
mod replicaset;

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{ConfigMap, Endpoints, Namespace, Pod, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::reflector::Store;
use kube::runtime::watcher::Config;
use kube::{Api, Client};
use tokio::task::JoinSet;

use informer::{Change, Unlisted, inform};
use queue::{Key, WorkQueue};

type Queue = Arc<WorkQueue<Key>>;

/// Starts all controllers; they run until the returned set is dropped or aborted.
/// `root_ca` is the PEM of the authority that signs the API server's certificate.
pub fn start(client: &Client, root_ca: String) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let unlisted = Unlisted::new();
    let all = Config::default;
    let queues = Queues {
        deployments: WorkQueue::new(),
        sets: WorkQueue::new(),
        services: WorkQueue::new(),
        namespaces: WorkQueue::new(),
    };

    let q = queues.clone();
    let deployments =
        inform(&mut tasks, &unlisted, Api::<Deployment>::all(client.clone()), all(), move |change, store| {
            each(&change, store, |object| q.deployments.add(Key::of(object)));
        });
    let q = queues.clone();
    let sets =
        inform(&mut tasks, &unlisted, Api::<ReplicaSet>::all(client.clone()), all(), move |change, store| {
            each(&change, store, |set| {
                q.sets.add(Key::of(set));
                if let Some(owner) = meta::controller_of(&set.metadata) {
                    q.deployments.add(Key::new(
                        set.metadata.namespace.clone().unwrap_or_default(),
                        owner.name.clone(),
                    ));
                }
            });
        });
    let q = queues.clone();
    let services =
        inform(&mut tasks, &unlisted, Api::<Service>::all(client.clone()), all(), move |change, store| {
            each(&change, store, |service| q.services.add(Key::of(service)));
        });
    let q = queues.clone();
    let slices = inform(
        &mut tasks,
        &unlisted,
        Api::<EndpointSlice>::all(client.clone()),
        all(),
        move |change, store| {
            each(&change, store, |slice| {
                if let Some(service) =
                    slice.metadata.labels.as_ref().and_then(|l| l.get(endpoints::SERVICE_NAME))
                {
                    q.services
                        .add(Key::new(slice.metadata.namespace.clone().unwrap_or_default(), service.clone()));
                }
            });
        },
    );
    let q = queues.clone();
    let old_endpoints =
        inform(&mut tasks, &unlisted, Api::<Endpoints>::all(client.clone()), all(), move |change, store| {
            each(&change, store, |object| q.services.add(Key::of(object)));
        });
    let q = queues.clone();
    let (sets_of_pod, services_of_pod, slices_of_pod) = (sets.clone(), services.clone(), slices.clone());
    let pods = inform(&mut tasks, &unlisted, Api::<Pod>::all(client.clone()), all(), move |change, store| {
        if matches!(change, Change::Listed) {
            // A Pod may have vanished unseen: everything that counts Pods must count anew.
            sets_of_pod.state().iter().for_each(|set| q.sets.add(Key::of(&**set)));
            services_of_pod.state().iter().for_each(|service| q.services.add(Key::of(&**service)));
        }
        each(&change, store, |pod| {
            replicaset::Controller::candidates(&sets_of_pod, pod).into_iter().for_each(|key| q.sets.add(key));
            let affected = endpoints::Controller::affected(&services_of_pod, &slices_of_pod, pod);
            affected.into_iter().for_each(|key| q.services.add(key));
        });
    });
    let q = queues.clone();
    let namespaces =
        inform(&mut tasks, &unlisted, Api::<Namespace>::all(client.clone()), all(), move |change, store| {
            each(&change, store, |namespace| q.namespaces.add(Key::of(namespace)));
        });
    let q = queues.clone();
    let named = |name: &str| all().fields(&format!("metadata.name={name}"));
    let accounts = inform(
        &mut tasks,
        &unlisted,
        Api::<ServiceAccount>::all(client.clone()),
        named(namespace::DEFAULT_ACCOUNT),
        move |change, store| {
            each(&change, store, |account| {
                q.namespaces.add(Key::new("", account.metadata.namespace.clone().unwrap_or_default()));
            });
        },
    );
    let q = queues.clone();
    let root_cas = inform(
        &mut tasks,
        &unlisted,
        Api::<ConfigMap>::all(client.clone()),
        named(namespace::ROOT_CA),
        move |change, store| {
            each(&change, store, |map| {
                q.namespaces.add(Key::new("", map.metadata.namespace.clone().unwrap_or_default()));
            });
        },
    );

    let controller = Arc::new(deployment::Controller {
        client: client.clone(),
        deployments: deployments.clone(),
        sets: sets.clone(),
    });
    let (queue, listed) = (queues.deployments, unlisted.clone());
    tasks.spawn(async move {
        listed.none().await;
        queue.run("deployment", |key| Arc::clone(&controller).reconcile_owned(key)).await;
    });

    let controller = Arc::new(replicaset::Controller::new(client.clone(), sets.clone(), pods.clone()));
    let (queue, listed) = (queues.sets, unlisted.clone());
    tasks.spawn(async move {
        listed.none().await;
        queue.run("replicaset", |key| Arc::clone(&controller).reconcile_owned(key)).await;
    });

    let controller = Arc::new(endpoints::Controller {
        client: client.clone(),
        services: services.clone(),
        pods: pods.clone(),
        slices: slices.clone(),
        endpoints: old_endpoints.clone(),
    });
    let (queue, listed) = (queues.services, unlisted.clone());
    tasks.spawn(async move {
        listed.none().await;
        queue.run("endpoints", |key| Arc::clone(&controller).reconcile_owned(key)).await;
    });

    let controller = Arc::new(namespace::Controller {
        client: client.clone(),
        namespaces: namespaces.clone(),
        accounts: accounts.clone(),
        root_cas: root_cas.clone(),
        root_ca,
    });
    let (queue, listed) = (queues.namespaces, unlisted);
    tasks.spawn(async move {
        listed.none().await;
        queue.run("namespace", |key| Arc::clone(&controller).reconcile_owned(key)).await;
    });

    tasks.spawn(garbage::Collector::new(client.clone()).run());
    tasks
}

#[derive(Clone)]
struct Queues {
    deployments: Queue,
    sets: Queue,
    services: Queue,
    namespaces: Queue,
}

/// Calls `act` for the object of a change, or for all when the kind was listed anew.
fn each<K>(change: &Change<'_, K>, store: &Store<K>, act: impl Fn(&K))
where
    K: kube::runtime::reflector::Lookup + Clone + 'static,
    K::DynamicType: Eq + std::hash::Hash + Clone,
{
    match change {
        Change::Set(object) | Change::Gone(object) => act(object),
        Change::Listed => store.state().iter().for_each(|object| act(object)),
    }
}

/// `reconcile` for a shared controller, so that the future owns what it needs.
macro_rules! reconcile_owned {
    ($($controller:ty),*) => {$(
        impl $controller {
            async fn reconcile_owned(self: Arc<Self>, key: Key) -> kube::Result<queue::Next> {
                self.reconcile(key).await
            }
        }
    )*};
}

reconcile_owned!(
    deployment::Controller,
    replicaset::Controller,
    endpoints::Controller,
    namespace::Controller
);
