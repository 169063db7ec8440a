//! Start and stop of one embedded cluster, in order: network, API server, controllers, node, mesh.
//!
//! The start reads top-down in [`Cluster::start`]; what is started last stops first.

use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Event, Node as NodeObject, ServiceAccount};
use kube::api::ListParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client};
use portolan_apiserver as apiserver;
use portolan_names::names;
use portolan_node as node;
use portolan_node::network::{self, Network};
use portolan_node::plan::Plan;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::state::{Lock, NameLock, Record, StateDir, StateError};
use crate::{apply, bridge, controllers, mesh};

/// Time for a phase that only waits for this process itself.
const PHASE: Duration = Duration::from_secs(30);
/// Time for the mesh's Deployments to become available.
const MESH: Duration = Duration::from_secs(180);
/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(100);
/// Programs of the machine that the node needs.
const TOOLS: [(&str, &str); 2] = [("ip", "iproute2"), ("nft", "nftables")];

/// What to start.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the cluster lives.
    pub state: StateDir,
    /// Its name; it shows in network namespaces, the node's name and the kubeconfig.
    pub name: String,
    /// Port of the API server on 127.0.0.1; none takes the one of the last run, or a free one.
    pub api_port: Option<u16>,
    /// The mesh to install; none leaves the cluster plain.
    pub mesh: Option<mesh::Options>,
    /// Envoy program for Pods that ask for it.
    pub envoy: Option<PathBuf>,
}

/// Why a cluster did not start. Each text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The state directory cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// The name or slot cannot be used.
    #[error(transparent)]
    Plan(#[from] node::plan::PlanError),
    /// A program is missing.
    #[error(
        "the program `{program}` is missing: install the package {package} (Debian: apt-get install {package})"
    )]
    Tool {
        /// Name of the program.
        program: &'static str,
        /// Debian package that has it.
        package: &'static str,
    },
    /// One of our own programs is missing.
    #[error("{0} is missing: Portolan's programs must be in one directory")]
    Program(PathBuf),
    /// Namespaces and links.
    #[error(transparent)]
    Network(#[from] network::NetworkError),
    /// The API server's port is taken.
    #[error(
        "port {port} on 127.0.0.1 is in use by another program: stop that, or choose another with --api-port ({source})"
    )]
    Port {
        /// The port.
        port: u16,
        /// What the system says.
        source: std::io::Error,
    },
    /// The API server did not start.
    #[error("the API server did not start: {0}")]
    ApiServer(#[from] apiserver::ServerError),
    /// The kubeconfig cannot be used.
    #[error("the kubeconfig just written cannot be used: {0}")]
    Kubeconfig(String),
    /// The node runtime did not start.
    #[error("the node runtime did not start: {0}")]
    Node(#[from] node::NodeError),
    /// A request to our own API failed.
    #[error("the cluster's API: {0}")]
    Api(#[from] kube::Error),
    /// The mesh could not be installed.
    #[error("installing the mesh: {0}")]
    Apply(#[from] apply::ApplyError),
    /// Something did not come true in time.
    #[error("{what} did not come true within {seconds} s; seen instead: {seen}")]
    Timeout {
        /// What was waited for.
        what: String,
        /// How long.
        seconds: u64,
        /// The last thing seen.
        seen: String,
    },
}

/// A running cluster.
pub struct Cluster {
    state: StateDir,
    plan: Plan,
    server: apiserver::Server,
    controllers: JoinSet<()>,
    node: node::Node,
    client: Client,
    _locks: (Lock, NameLock),
}

impl Cluster {
    /// Starts a cluster. `progress` is told of each phase when it has been observed to be done.
    pub async fn start(config: Config, mut progress: impl FnMut(&str)) -> Result<Cluster, StartError> {
        network::check_privilege()?;
        check_tools()?;
        let binaries = binaries()?;
        config.state.create()?;
        let lock = config.state.lock()?;
        Plan::new(&config.name, 0)?;
        let name_lock = NameLock::take(&config.name)?;
        if let Some(envoy) = &config.envoy {
            bridge::add_image(config.state.root(), "portolan/envoy", envoy).map_err(StartError::State)?;
        }

        // Ports first: a conflict must be found before anything of the machine is changed.
        let listener = listen(&config)?;
        let api_port = listener.local_addr().map(|address| address.port()).unwrap_or_default();
        let (plan, network) = set_up_network(&config).await?;
        let undo = Undo(Some(plan.cluster().to_owned()));
        let record =
            Record { name: config.name.clone(), slot: plan.slot(), api_port, mesh: config.mesh.clone() };
        config.state.set_record(&record)?;
        progress(&format!("network: node {} with address {}", plan.node_name(), plan.node_address()));

        let logs = bridge::NodeLogs::default();
        let server = start_api_server(&config, &network, listener, &logs).await?;
        config.state.write(&config.state.kubeconfig(), server.kubeconfig().as_bytes(), 0o600)?;
        let client = client(&config.state).await?;
        wait(PHASE, "the API server answering", || async {
            client.apiserver_version().await.map(drop).map_err(|error| error.to_string())
        })
        .await?;
        progress(&format!("API server: https://127.0.0.1:{api_port}"));

        let controllers = controllers::start(&client, server.root_ca());
        wait(PHASE, "the controllers at work", || async {
            let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "default");
            accounts.get("default").await.map(drop).map_err(|error| error.to_string())
        })
        .await?;
        progress("controllers: at work");

        let node = node::Node::start(node::Config {
            network: network.clone(),
            state_dir: config.state.root().to_owned(),
            client: client.clone(),
            binaries: binaries.clone(),
            pod_init: vec![binaries.join("portolan").into(), "pod-init".into()],
        })
        .await?;
        logs.set(node.logs().clone());
        let name = plan.node_name();
        wait(PHASE, "the node Ready", || node_ready(&client, &name)).await?;
        progress("node: Ready");

        let cluster = Cluster {
            state: config.state.clone(),
            plan,
            server,
            controllers,
            node,
            client,
            _locks: (lock, name_lock),
        };
        if let Some(options) = &config.mesh {
            cluster.install(options, &mut progress).await?;
        }
        undo.disarm();
        Ok(cluster)
    }

    /// Applies the mesh's manifests and waits until its Deployments are available.
    async fn install(
        &self,
        options: &mesh::Options,
        progress: &mut impl FnMut(&str),
    ) -> Result<(), StartError> {
        let manifests = mesh::manifests(options);
        for manifest in &manifests {
            apply::apply(&self.client, manifest, names::ISTIO_SYSTEM).await?;
        }
        progress(&format!("mesh: {} objects applied", manifests.len()));
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), names::ISTIO_SYSTEM);
        for name in mesh::deployments(options) {
            wait(MESH, &format!("Deployment {name} available"), || {
                available(&self.client, &deployments, &name)
            })
            .await?;
            progress(&format!("mesh: {name} is available"));
        }
        Ok(())
    }

    /// A client with the administrator's rights.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The addresses of the cluster.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The state directory.
    #[must_use]
    pub fn state(&self) -> &StateDir {
        &self.state
    }

    /// Stops everything and removes what the cluster has on the machine; its objects stay in the store.
    pub async fn stop(self) -> Result<(), network::NetworkError> {
        let Cluster { mut controllers, node, server, _locks, .. } = self;
        controllers.shutdown().await;
        let outcome = node.shutdown().await;
        server.shutdown().await;
        outcome
    }
}

/// Removes what a cluster left on the machine, unless disarmed: a start that fails or is broken off leaves nothing.
struct Undo(Option<String>);

impl Undo {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        if let Some(name) = self.0.take()
            && let Err(error) = network::cleanup(&name)
        {
            tracing::error!(%error, "cannot remove the network of the cluster that did not start");
        }
    }
}

fn check_tools() -> Result<(), StartError> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    for (program, package) in TOOLS {
        // The system's own directories are not on every user's PATH.
        let found = std::env::split_paths(&paths)
            .chain(["/usr/sbin".into(), "/sbin".into()])
            .any(|dir: PathBuf| dir.join(program).is_file());
        if !found {
            return Err(StartError::Tool { program, package });
        }
    }
    Ok(())
}

/// The directory of the running program, with the others beside it.
fn binaries() -> Result<PathBuf, StartError> {
    let own = std::env::current_exe().map_err(|_| StartError::Program("portolan".into()))?;
    let dir = own.parent().map(PathBuf::from).unwrap_or_default();
    for name in ["portolan", "portolan-proxy"] {
        let path = dir.join(name);
        if !path.is_file() {
            return Err(StartError::Program(path));
        }
    }
    Ok(dir)
}

/// Chooses a slot and makes its network. Another cluster that starts at the same time may take the slot first: then
/// the next one is tried.
async fn set_up_network(config: &Config) -> Result<(Plan, Network), StartError> {
    let mut attempts = node::plan::MAX_SLOTS;
    loop {
        let plan = choose_plan(config)?;
        let setup = plan.clone();
        match blocking(move || Ok(network::setup(&setup))).await? {
            Ok(network) => return Ok((plan, network)),
            Err(network::NetworkError::SlotTaken(_)) if attempts > 0 => attempts -= 1,
            Err(error) => return Err(error.into()),
        }
    }
}

/// The slot of the last run if nobody else has it, else a free one: addresses stay the same if they can.
fn choose_plan(config: &Config) -> Result<Plan, StartError> {
    let record = config.state.record()?;
    if let Some(record) = &record
        && record.name != config.name
    {
        return Err(StartError::State(StateError::OtherName {
            path: config.state.root().to_owned(),
            found: record.name.clone(),
            wanted: config.name.clone(),
        }));
    }
    // Of a run of ours that was killed, the slot shows as used: its remains go first.
    network::cleanup(&config.name)?;
    let used = network::used_slots();
    let slot = match record.map(|record| record.slot).filter(|slot| !used.contains(slot)) {
        Some(slot) => slot,
        None => network::free_slot()?,
    };
    Ok(Plan::new(&config.name, slot)?)
}

fn listen(config: &Config) -> Result<TcpListener, StartError> {
    let remembered = config.state.record()?.map(|record| record.api_port);
    let port = config.api_port.or(remembered).unwrap_or(0);
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        Ok(listener) => Ok(listener),
        // Somebody took the remembered port: any other will do, the kubeconfig is written anew.
        Err(_) if config.api_port.is_none() => {
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|source| StartError::Port { port: 0, source })
        }
        Err(source) => Err(StartError::Port { port, source }),
    }
}

async fn start_api_server(
    config: &Config,
    network: &Network,
    listener: TcpListener,
    logs: &bridge::NodeLogs,
) -> Result<apiserver::Server, StartError> {
    let plan = network.plan();
    let handle = network.handle().clone();
    let address = plan.api_address();
    let inside = blocking(move || handle.listen_tcp(address)).await?;
    let mut server = apiserver::Config::new(config.state.root(), vec![listener, inside]);
    server.cluster_name = config.name.clone();
    server.cluster_domain = node::plan::CLUSTER_DOMAIN.to_owned();
    if let Ok(range) = plan.service_cidr().parse() {
        server.service_cidr = range;
    }
    server.advertise = Some(address);
    server.extra_addresses = vec![
        IpAddr::V4(plan.node_address()),
        IpAddr::V4(plan.kubernetes_address()),
        IpAddr::V4(Ipv4Addr::LOCALHOST),
    ];
    server.extra_names = vec!["localhost".to_owned(), plan.node_name()];
    server.dial = bridge::dialer(network);
    server.dial_pod = bridge::pod_dialer(plan);
    server.logs = Arc::new(logs.clone());
    Ok(apiserver::Server::start(server).await?)
}

async fn client(state: &StateDir) -> Result<Client, StartError> {
    let bad = |error: &dyn std::fmt::Display| StartError::Kubeconfig(error.to_string());
    let file = Kubeconfig::read_from(state.kubeconfig()).map_err(|error| bad(&error))?;
    let config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
        .await
        .map_err(|error| bad(&error))?;
    Client::try_from(config).map_err(|error| bad(&error))
}

/// Runs blocking work of the network module off the runtime's threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, network::NetworkError> + Send + 'static,
) -> Result<T, network::NetworkError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(_) => Err(network::NetworkError::Closed),
    }
}

async fn node_ready(client: &Client, name: &str) -> Result<(), String> {
    let nodes: Api<NodeObject> = Api::all(client.clone());
    let node = nodes.get(name).await.map_err(|error| error.to_string())?;
    let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
    let ready = conditions.iter().find(|condition| condition.type_ == "Ready");
    match ready {
        Some(condition) if condition.status == "True" => Ok(()),
        Some(condition) => Err(condition.message.clone().unwrap_or_else(|| "not ready".to_owned())),
        None => Err("the node has no condition Ready".to_owned()),
    }
}

async fn available(client: &Client, deployments: &Api<Deployment>, name: &str) -> Result<(), String> {
    let deployment = deployments.get(name).await.map_err(|error| error.to_string())?;
    let generation = deployment.metadata.generation;
    let wanted = deployment.spec.replicas.unwrap_or(1);
    let status = deployment.status.unwrap_or_default();
    let has = status.available_replicas.unwrap_or(0);
    if status.observed_generation == generation
        && has >= wanted
        && status.updated_replicas.unwrap_or(0) >= wanted
    {
        return Ok(());
    }
    let failure = status
        .conditions
        .iter()
        .flatten()
        .find(|condition| condition.type_.as_deref() == Some("ReplicaFailure"))
        .and_then(|condition| condition.message.clone());
    if let Some(failure) = failure {
        return Err(failure);
    }
    let why = last_warning(client, name).await.map(|why| format!(": {why}")).unwrap_or_default();
    Err(format!("{has} of {wanted} Pods available{why}"))
}

/// What went wrong last with the Pods of a Deployment of the mesh, as their events say it.
async fn last_warning(client: &Client, deployment: &str) -> Option<String> {
    let events: Api<Event> = Api::namespaced(client.clone(), names::ISTIO_SYSTEM);
    let warnings = events.list(&ListParams::default().fields("type=Warning")).await.ok()?.items;
    let prefix = format!("{deployment}-");
    let of_pods = warnings
        .into_iter()
        .filter(|event| event.involved_object.name.as_deref().is_some_and(|name| name.starts_with(&prefix)));
    // Probes fail while a program starts: that says nothing.
    let telling = of_pods.filter(|event| event.reason.as_deref() != Some("Unhealthy"));
    // Times are whole seconds: of several in one, the longest says most.
    let last = telling.max_by_key(|event| {
        let length = event.message.as_ref().map_or(0, String::len);
        (event.last_timestamp.as_ref().map(|time| time.0), length)
    })?;
    Some(format!("{}: {}", last.reason.unwrap_or_default(), last.message.unwrap_or_default()))
}

async fn wait<F, Fut>(within: Duration, what: &str, mut look: F) -> Result<(), StartError>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<(), String>>,
{
    let deadline = Instant::now() + within;
    let mut seen = "no answer".to_owned();
    loop {
        match tokio::time::timeout_at(deadline, look()).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(now)) => seen = now,
            // The last look was cut short: what the one before saw still holds.
            Err(_) => {}
        }
        if Instant::now() + POLL > deadline {
            return Err(StartError::Timeout { what: what.to_owned(), seconds: within.as_secs(), seen });
        }
        tokio::time::sleep(POLL).await;
    }
}
