//! Assembles the parts.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::runtime::watcher;
use kube::{Api, Client};
use tokio::sync::{broadcast, watch};
use tokio::task::{JoinHandle, JoinSet};

use crate::catalogue;
use crate::logs::Logs;
use crate::mirror::{Mirror, follow};
use crate::network::{Network, NetworkError};
use crate::pods::{self, AddressPool, Capacity, Catalogue, Context, Events};
use crate::{dns, services};

/// Changes of ConfigMaps and Secrets that a slow Pod may fall behind.
const CHANGES: usize = 1024;
/// Pods get this long to stop at a shutdown, then they are killed with their namespaces.
const SHUTDOWN: Duration = Duration::from_secs(5);

/// What the runtime needs.
#[derive(Clone)]
pub struct Config {
    /// The network that [`crate::network::setup`] made.
    pub network: Network,
    /// The cluster's state directory: `pods/`, `logs/` and `images.json` are below it.
    pub state_dir: PathBuf,
    /// Client with the rights of a node (in the embedded cluster: the administrator's).
    pub client: Client,
    /// Folder with `portolan-proxy`, `portolan` and `bookinfo`.
    pub binaries: PathBuf,
    /// Program and arguments that end in [`crate::pod_init_main`]: `[/path/to/portolan, pod-init]`.
    pub pod_init: Vec<OsString>,
}

/// Why the runtime did not start.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// Network trouble.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The state directory cannot be used.
    #[error("state directory {path}: {source}")]
    State {
        /// The directory.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// The file `images.json` is wrong.
    #[error(transparent)]
    Catalogue(#[from] catalogue::CatalogueError),
}

/// The running node.
pub struct Node {
    network: Network,
    logs: Logs,
    shutdown: watch::Sender<bool>,
    pods: JoinHandle<()>,
    /// Everything else; ends with the node.
    tasks: JoinSet<()>,
}

impl Node {
    /// Starts the runtime: it registers the Node object, serves DNS and Services and runs Pods from now on.
    pub async fn start(config: Config) -> Result<Node, NodeError> {
        let state_dir = std::fs::canonicalize(&config.state_dir)
            .map_err(|source| NodeError::State { path: config.state_dir.clone(), source })?;
        let pods_dir = state_dir.join("pods");
        let logs_dir = state_dir.join("logs");
        // Volumes hold Secrets; what an earlier run left belongs to Pods that start anew.
        let _ = std::fs::remove_dir_all(&pods_dir);
        for dir in [&pods_dir, &logs_dir] {
            std::fs::create_dir_all(dir)
                .and_then(|()| std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700)))
                .map_err(|source| NodeError::State { path: dir.clone(), source })?;
        }
        // Found now and not at the first Pod.
        catalogue::read_file(&state_dir)?;

        let Config { network, client, binaries, pod_init, .. } = config;
        let mut tasks = JoinSet::new();
        let mirror = Mirror::start(&client, &mut tasks);
        dns::start(&network, mirror.clone(), &mut tasks).await?;
        tasks.spawn(services::run(client.clone(), network.clone(), mirror));

        let capacity = Capacity::of_machine();
        tasks.spawn(pods::keep_node(client.clone(), network.plan().clone(), capacity));
        let (namespace, name) = catalogue::CONFIG_MAP;
        let (tick, _) = watch::channel(0);
        let config_map = follow::<ConfigMap>(
            Api::namespaced(client.clone(), namespace),
            watcher::Config::default().fields(&format!("metadata.name={name}")),
            &Arc::new(tick),
            &mut tasks,
        );
        let (changes, _) = broadcast::channel(CHANGES);
        pods::watch_sources(&client, &changes, &mut tasks);
        let logs = Logs::new(&logs_dir);
        let context = Arc::new(Context {
            events: Events::start(client.clone(), network.plan().node_name(), &mut tasks),
            client,
            network: network.clone(),
            logs: logs.clone(),
            catalogue: Catalogue {
                built_in: catalogue::built_in(&binaries),
                state_dir: state_dir.clone(),
                config_map,
            },
            addresses: AddressPool::new(network.plan().clone()),
            changes,
            capacity,
            state_dir,
            pod_init,
        });
        let (shutdown, stopping) = watch::channel(false);
        let pods = tokio::spawn(pods::run(context, stopping));
        Ok(Node { network, logs, shutdown, pods, tasks })
    }

    /// Container logs, for the API server's `/log`.
    pub fn logs(&self) -> &Logs {
        &self.logs
    }

    /// Sockets inside the node namespace.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Stops all Pods' processes (the objects stay), then removes everything from the machine.
    pub async fn shutdown(mut self) -> Result<(), NetworkError> {
        self.shutdown.send_replace(true);
        if tokio::time::timeout(SHUTDOWN, &mut self.pods).await.is_err() {
            tracing::warn!("some Pods did not stop in time, they are killed");
            self.pods.abort();
        }
        self.tasks.shutdown().await;
        let network = self.network.clone();
        tokio::task::spawn_blocking(move || network.teardown())
            .await
            .map_err(|e| NetworkError::io("removing the network", std::io::Error::other(e)))?
    }
}
