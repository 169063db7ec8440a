//! Local copies of the cluster's Services, EndpointSlices and the DNS ConfigMap, kept by watches, for `services` and `dns`.

use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Namespace and name of the ConfigMap whose key `hosts` adds names to the cluster's DNS.
pub const HOSTS_CONFIG_MAP: (&str, &str) = ("istio-system", "portolan-dns");
/// Key in [`HOSTS_CONFIG_MAP`].
pub const HOSTS_KEY: &str = "hosts";
/// Changes that arrive within this time are handled together.
const DEBOUNCE: Duration = Duration::from_millis(20);

/// The copies. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Mirror {
    pub(crate) services: Store<Service>,
    pub(crate) slices: Store<EndpointSlice>,
    pub(crate) hosts: Store<ConfigMap>,
    changes: watch::Receiver<u64>,
}

impl Mirror {
    /// Starts the watches in `tasks`.
    pub(crate) fn start(client: &Client, tasks: &mut JoinSet<()>) -> Mirror {
        let (tick, changes) = watch::channel(0);
        let tick = Arc::new(tick);
        let (ns, name) = HOSTS_CONFIG_MAP;
        let only_hosts = watcher::Config::default().fields(&format!("metadata.name={name}"));
        Mirror {
            services: follow(Api::all(client.clone()), watcher::Config::default(), &tick, tasks),
            slices: follow(Api::all(client.clone()), watcher::Config::default(), &tick, tasks),
            hosts: follow(Api::namespaced(client.clone(), ns), only_hosts, &tick, tasks),
            changes,
        }
    }

    /// Waits for a change and then for a short quiet time. `false` when the watches have ended.
    pub(crate) async fn changed(&mut self) -> bool {
        if self.changes.changed().await.is_err() {
            return false;
        }
        tokio::time::sleep(DEBOUNCE).await;
        self.changes.mark_unchanged();
        true
    }

    /// Whether Services and EndpointSlices have been listed once; before that an empty store means nothing.
    pub(crate) async fn ready(&self) {
        let _ = self.services.wait_until_ready().await;
        let _ = self.slices.wait_until_ready().await;
    }
}

/// Watches for ever, with backoff, into a store; `tick` counts changes.
pub(crate) fn follow<K>(
    api: Api<K>,
    config: watcher::Config,
    tick: &Arc<watch::Sender<u64>>,
    tasks: &mut JoinSet<()>,
) -> Store<K>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    K::DynamicType: Default + Clone + Eq + Hash + Debug + Send + Sync,
{
    let (store, writer) = reflector::store();
    let tick = tick.clone();
    tasks.spawn(async move {
        let stream = reflector::reflector(writer, watcher(api, config).default_backoff());
        let mut stream = std::pin::pin!(stream);
        while let Some(event) = stream.next().await {
            match event {
                Ok(watcher::Event::Init | watcher::Event::InitApply(_)) => {}
                Ok(_) => tick.send_modify(|n| *n = n.wrapping_add(1)),
                Err(error) => tracing::warn!(kind = %K::kind(&K::DynamicType::default()), %error, "watch"),
            }
        }
    });
    store
}
