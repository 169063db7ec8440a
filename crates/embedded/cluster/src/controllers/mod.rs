//! The built-in controllers. Each is a file: a pure decision, and a `reconcile` that carries it out.
//!
//! All wiring is the table in [`start`]: one watch per kind, shared; which change makes which controller look at what.

mod deployment;
mod endpoints;
mod garbage;
mod informer;
mod meta;
mod mirror;
mod namespace;
mod queue;
mod replicaset;
mod wiring;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{ConfigMap, Endpoints, Namespace, Pod, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::runtime::reflector::Store;
use tokio::task::JoinSet;

use informer::Change;
use queue::Key;
use wiring::Wiring;

/// Starts all controllers; they run until the returned set is dropped or aborted.
/// `root_ca` is the PEM of the authority that signs the API server's certificate.
pub fn start(client: &Client, root_ca: String) -> JoinSet<()> {
    let mut w = Wiring::new(client);
    let client = || client.clone();

    let deployments = w.watch(|q, deployment: &Deployment| q.deployments.add(Key::of(deployment)));
    let sets = w.watch(|q, set: &ReplicaSet| {
        q.sets.add(Key::of(set));
        owner(&set.metadata).into_iter().for_each(|key| q.deployments.add(key));
    });
    let services = w.watch(|q, service: &Service| q.services.add(Key::of(service)));
    let slices = w.watch(|q, slice: &EndpointSlice| {
        service(slice).into_iter().for_each(|key| q.services.add(key));
    });
    let old_endpoints = w.watch(|q, endpoints: &Endpoints| q.services.add(Key::of(endpoints)));
    let pods = watch_pods(&mut w, sets.clone(), services.clone(), slices.clone());
    let namespaces = w.watch(|q, namespace: &Namespace| q.namespaces.add(Key::of(namespace)));
    let accounts = w.watch_named(namespace::DEFAULT_ACCOUNT, |q, account: &ServiceAccount| {
        q.namespaces.add(namespace_of(&account.metadata));
    });
    let root_cas = w.watch_named(namespace::ROOT_CA, |q, map: &ConfigMap| {
        q.namespaces.add(namespace_of(&map.metadata));
    });

    let controller = deployment::Controller { client: client(), deployments, sets: sets.clone() };
    w.run("deployment", |q| &q.deployments, controller, |c, key| async move { c.reconcile(key).await });
    let controller = replicaset::Controller::new(client(), sets, pods.clone());
    w.run("replicaset", |q| &q.sets, controller, |c, key| async move { c.reconcile(key).await });
    let controller =
        endpoints::Controller { client: client(), services, pods, slices, endpoints: old_endpoints };
    w.run("endpoints", |q| &q.services, controller, |c, key| async move { c.reconcile(key).await });
    let controller = namespace::Controller { client: client(), namespaces, accounts, root_cas, root_ca };
    w.run("namespace", |q| &q.namespaces, controller, |c, key| async move { c.reconcile(key).await });
    w.spawn(garbage::Collector::new(client()).run());
    w.tasks()
}

/// Pods concern whoever counts or reaches them.
fn watch_pods(
    w: &mut Wiring,
    sets: Store<ReplicaSet>,
    services: Store<Service>,
    slices: Store<EndpointSlice>,
) -> Store<Pod> {
    w.watch_changes(move |q, change: &Change<'_, Pod>, pods| {
        if matches!(change, Change::Listed) {
            // A Pod may have vanished unseen: everything that counts Pods must count anew.
            sets.state().iter().for_each(|set| q.sets.add(Key::of(&**set)));
            services.state().iter().for_each(|service| q.services.add(Key::of(&**service)));
        }
        wiring::each(change, pods, |pod| {
            replicaset::Controller::candidates(&sets, pod).into_iter().for_each(|key| q.sets.add(key));
            let affected = endpoints::Controller::affected(&services, &slices, pod);
            affected.into_iter().for_each(|key| q.services.add(key));
        });
    })
}

/// The controller of an object, by its name.
fn owner(meta: &ObjectMeta) -> Option<Key> {
    let owner = meta::controller_of(meta)?;
    Some(Key::new(meta.namespace.clone().unwrap_or_default(), owner.name.clone()))
}

/// The Service that a slice belongs to.
fn service(slice: &EndpointSlice) -> Option<Key> {
    let service = slice.metadata.labels.as_ref()?.get(meta::SERVICE_NAME)?;
    Some(Key::new(slice.metadata.namespace.clone().unwrap_or_default(), service.clone()))
}

fn namespace_of(meta: &ObjectMeta) -> Key {
    Key::new("", meta.namespace.clone().unwrap_or_default())
}
