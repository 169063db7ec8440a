//! The two clusters of the demo: started as processes of their own, watched, taken down.

use portolan_client::say;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::{ListParams, LogParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, ResourceExt};
use portolan_cluster::state::StateDir;
use serde_json::Value;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use super::kubectl::{self, Kubectl};
use super::manifests::Manifests;
use super::report::Report;
use super::{Demo, ProxyChoice, http};
use portolan_client::PodPort;

/// Time for a cluster with its mesh to come up: a slow machine with two cores takes a minute.
const UP_TIMEOUT: Duration = Duration::from_secs(240);
/// Time for a cluster to go down by itself.
const DOWN_TIMEOUT: Duration = Duration::from_secs(30);
/// Namespace of the sample in both clusters.
pub(super) const APP: &str = "bookinfo";
/// Namespace of the mesh.
pub(super) const MESH: &str = "istio-system";
/// Port of the sample's services.
pub(super) const APP_PORT: u16 = 9080;
/// How often a condition is looked at again.
const POLL: Duration = Duration::from_millis(200);

/// One of the two clusters.
pub(super) struct Cluster {
    pub(super) name: &'static str,
    pub(super) peer: &'static str,
    pub(super) state: StateDir,
    child: Option<Child>,
    client: Option<Client>,
    kubectl: Option<Kubectl>,
}

/// Both clusters and the files that go into them.
pub(super) struct World {
    pub(super) west: Cluster,
    pub(super) east: Cluster,
    pub(super) manifests: Manifests,
    pub(super) proxy: ProxyChoice,
    kubectl: Option<PathBuf>,
    envoy: Option<PathBuf>,
    /// A directory that the demo made for itself and removes again.
    scratch: Option<PathBuf>,
}

/// Returns when the user wants to stop.
pub(super) async fn interrupted() {
    let (Ok(mut int), Ok(mut term)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = int.recv() => {}
        _ = term.recv() => {}
    }
}

impl World {
    /// Prepares the directories and files; nothing runs yet.
    pub(super) fn plan(args: &Demo, state_dir: Option<&Path>) -> anyhow::Result<Self> {
        portolan_node::network::check_privilege()?;
        let (root, scratch) = match state_dir {
            Some(dir) => (std::path::absolute(dir)?, None),
            None => {
                let dir = std::env::temp_dir().join(format!("portolan-demo-{}", std::process::id()));
                (dir.clone(), Some(dir))
            }
        };
        std::fs::create_dir_all(&root).with_context(|| format!("making {}", root.display()))?;
        let envoy = match args.proxy {
            ProxyChoice::Portolan => None,
            _ => Some(find_envoy(args.envoy.as_deref())?),
        };
        let manifests = Manifests::write(&root.join("manifests"), args.proxy)?;
        let cluster = |name: &'static str, peer| Cluster {
            name,
            peer,
            state: StateDir::new(&root.join(name)),
            child: None,
            client: None,
            kubectl: None,
        };
        Ok(Self {
            west: cluster("west", "east"),
            east: cluster("east", "west"),
            manifests,
            proxy: args.proxy,
            kubectl: kubectl::find(args.kubectl.as_ref()),
            envoy,
            scratch,
        })
    }

    /// Starts both clusters at once.
    pub(super) async fn start(&mut self, report: &mut Report) -> anyhow::Result<()> {
        report.title("Starting two clusters on this machine, each with its own mesh");
        for cluster in [&mut self.west, &mut self.east] {
            let gateways = match (self.proxy, cluster.name) {
                (ProxyChoice::Envoy, _) | (ProxyChoice::Mixed, "east") => "envoy",
                _ => "portolan",
            };
            cluster.spawn(gateways, self.envoy.as_deref())?;
        }
        let (west, east) = (&mut self.west, &mut self.east);
        tokio::try_join!(west.wait_up(), east.wait_up())?;
        for cluster in [&mut self.west, &mut self.east] {
            cluster.connect(self.kubectl.clone()).await?;
            report.tick(format!("{} is up: {}", cluster.name, cluster.state.kubeconfig().display()));
        }
        if self.kubectl.is_none() {
            say!("     (no kubectl found: files are applied by server-side apply)");
        }
        Ok(())
    }

    /// Takes both clusters down, whatever state they are in.
    pub(super) async fn stop(&mut self) {
        let (west, east) = (&mut self.west, &mut self.east);
        tokio::join!(west.stop(), east.stop());
        if let Some(dir) = self.scratch.take() {
            let _ = std::fs::remove_dir_all(dir);
        }
    }

    /// What a reader needs to understand a failure: Pods that are not ready, and the last lines of their logs.
    pub(super) async fn show_troubles(&self) {
        for cluster in [&self.west, &self.east] {
            let Some(client) = &cluster.client else {
                let log = std::fs::read_to_string(cluster.state.log()).unwrap_or_default();
                let lines: Vec<&str> = log.lines().rev().take(15).collect();
                say!("\n   last lines of {}:", cluster.state.log().display());
                lines.iter().rev().for_each(|line| say!("     {line}"));
                continue;
            };
            let Ok(pods) = Api::<Pod>::all(client.clone()).list(&ListParams::default()).await else {
                continue;
            };
            for pod in pods.items.iter().filter(|pod| !is_ready(pod)) {
                let namespace = pod.namespace().unwrap_or_default();
                say!("\n   {}: Pod {}.{namespace} is not ready: {}", cluster.name, pod.name_any(), why(pod));
                let api: Api<Pod> = Api::namespaced(client.clone(), &namespace);
                for container in pod.spec.iter().flat_map(|spec| &spec.containers) {
                    let params = LogParams {
                        container: Some(container.name.clone()),
                        tail_lines: Some(8),
                        ..LogParams::default()
                    };
                    if let Ok(log) = api.logs(&pod.name_any(), &params).await {
                        log.lines().for_each(|line| say!("     {}: {line}", container.name));
                    }
                }
            }
        }
    }

    /// URLs, kubeconfigs, commands; then it is the user's.
    pub(super) async fn show_what_to_try(&self) {
        let west = self.west.state.kubeconfig().display().to_string();
        let east = self.east.state.kubeconfig().display().to_string();
        say!("\nBoth meshes stay up until Ctrl-C.\n");
        if let Ok(address) = self.west.load_balancer(MESH, "istio-ingressgateway").await {
            say!("   product page   http://{address}/productpage");
        }
        say!("   kubeconfigs    {west}\n                  {east}");
        say!("   YAML           {}\n", self.manifests.path("").display());
        say!("   kubectl --kubeconfig {west} get pods -A");
        say!("   portolan --kubeconfig {west} proxy-status");
        say!("   portolan --kubeconfig {west} federation status");
        say!("   portolan --kubeconfig {west} proxy-config route deploy/productpage-v1.{APP}");
        say!(
            "   kubectl --kubeconfig {west} -n {APP} apply -f {}",
            self.manifests.path("reviews-v3.yaml").display()
        );
    }
}

fn find_envoy(named: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(path) = named {
        anyhow::ensure!(path.is_file(), "{} is no file: give the Envoy program with --envoy", path.display());
        return Ok(std::path::absolute(path)?);
    }
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths)
        .map(|dir| dir.join("envoy"))
        .find(|path| path.is_file())
        .context("--proxy envoy needs Envoy: name the program with --envoy, or put it on the PATH")
}

/// Is every container of the Pod ready?
pub(super) fn is_ready(pod: &Pod) -> bool {
    pod.status
        .as_ref()
        .and_then(|status| status.conditions.as_deref())
        .is_some_and(|all| all.iter().any(|one| one.type_ == "Ready" && one.status == "True"))
}

/// In words, why a Pod is not ready.
fn why(pod: &Pod) -> String {
    let Some(status) = &pod.status else { return "nothing has looked at it yet".to_owned() };
    let containers = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    let reasons: Vec<String> = containers
        .filter_map(|container| {
            let state = container.state.as_ref()?;
            if let Some(waiting) = &state.waiting {
                let (reason, message) =
                    (waiting.reason.clone()?, waiting.message.clone().unwrap_or_default());
                return Some(format!("{}: {reason} {message}", container.name));
            }
            if let Some(ended) = &state.terminated
                && ended.exit_code != 0
            {
                return Some(format!("{}: ended with {}", container.name, ended.exit_code));
            }
            (!container.ready).then(|| format!("{}: not ready", container.name))
        })
        .collect();
    format!(
        "{} {} {}",
        status.phase.as_deref().unwrap_or(""),
        status.message.as_deref().unwrap_or(""),
        reasons.join("; ")
    )
}

impl Cluster {
    fn spawn(&mut self, gateway_proxy: &str, envoy: Option<&Path>) -> anyhow::Result<()> {
        self.state.create()?;
        // An earlier run's word must not be taken for this one's.
        let _ = std::fs::remove_file(self.state.progress());
        let log = std::fs::File::create(self.state.log())?;
        let program = std::env::current_exe().context("finding this program")?;
        let mut command = Command::new(program);
        command
            .arg("cluster")
            .arg("--state-dir")
            .arg(self.state.root())
            .args(["--name", self.name, "--die-with-parent"])
            .args(["--trust-domain", &format!("{}.local", self.name)])
            .args(["--federation-peer", self.peer])
            .args(["--gateway-proxy", gateway_proxy])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true);
        if let Some(envoy) = envoy {
            command.arg("--envoy").arg(envoy);
        }
        self.child = Some(command.spawn().context("starting the cluster process")?);
        Ok(())
    }

    async fn wait_up(&mut self) -> anyhow::Result<()> {
        let child = self.child.as_mut().context("not started")?;
        portolan_cluster::progress::wait_ready(&self.state, child, UP_TIMEOUT, |_| {})
            .await
            .with_context(|| format!("cluster {}", self.name))
    }

    async fn connect(&mut self, kubectl: Option<PathBuf>) -> anyhow::Result<()> {
        let path = self.state.kubeconfig();
        let file = Kubeconfig::read_from(&path).with_context(|| path.display().to_string())?;
        let config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
        let client = Client::try_from(config)?;
        self.kubectl = Some(Kubectl::new(kubectl, path, client.clone()));
        self.client = Some(client);
        Ok(())
    }

    async fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        if let Some(pid) =
            child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(rustix::process::Pid::from_raw)
        {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        if tokio::time::timeout(DOWN_TIMEOUT, child.wait()).await.is_err() {
            let _ = child.kill().await;
        }
        // Nothing may stay behind even if the process could not clean up.
        let name = self.name;
        let _ = tokio::task::spawn_blocking(move || portolan_node::network::cleanup(name)).await;
    }

    /// The client; there is one as soon as the cluster is up.
    pub(super) fn client(&self) -> anyhow::Result<&Client> {
        self.client.as_ref().with_context(|| format!("{} is not up", self.name))
    }

    /// kubectl for this cluster.
    pub(super) fn kubectl(&self) -> anyhow::Result<&Kubectl> {
        self.kubectl.as_ref().with_context(|| format!("{} is not up", self.name))
    }

    /// Name of the network namespace that holds the cluster.
    pub(super) fn node_netns(&self) -> String {
        format!("ptl-{}", self.name)
    }

    /// Pods by label that are not on their way out.
    pub(super) async fn pods(&self, namespace: &str, labels: &str) -> anyhow::Result<Vec<Pod>> {
        let api: Api<Pod> = Api::namespaced(self.client()?.clone(), namespace);
        let mut pods = api.list(&ListParams::default().labels(labels)).await?.items;
        pods.retain(|pod| pod.metadata.deletion_timestamp.is_none());
        Ok(pods)
    }

    /// The one ready Pod by label.
    pub(super) async fn pod(&self, namespace: &str, labels: &str) -> anyhow::Result<Pod> {
        let pods = self.pods(namespace, labels).await?;
        pods.into_iter()
            .find(is_ready)
            .with_context(|| format!("no ready Pod with {labels} in {namespace} of {}", self.name))
    }

    /// GETs a path from a port of a Pod, through the API server.
    pub(super) async fn get(&self, pod: &Pod, port: u16, path: &str) -> anyhow::Result<String> {
        let target = PodPort { namespace: pod.namespace().unwrap_or_default(), name: pod.name_any(), port };
        target.get(self.client()?, path).await
    }

    /// The log of a container of a Pod.
    pub(super) async fn log(&self, pod: &Pod, container: &str) -> anyhow::Result<String> {
        let api: Api<Pod> = Api::namespaced(self.client()?.clone(), &pod.namespace().unwrap_or_default());
        let params = LogParams { container: Some(container.to_owned()), ..LogParams::default() };
        Ok(api.logs(&pod.name_any(), &params).await?)
    }

    /// The address of a LoadBalancer Service.
    pub(super) async fn load_balancer(&self, namespace: &str, name: &str) -> anyhow::Result<String> {
        let api: Api<Service> = Api::namespaced(self.client()?.clone(), namespace);
        let service = api.get(name).await?;
        service
            .status
            .and_then(|status| status.load_balancer)
            .and_then(|balancer| balancer.ingress)
            .and_then(|list| list.into_iter().next())
            .and_then(|ingress| ingress.ip)
            .with_context(|| format!("Service {name} of {} has no address yet", self.name))
    }

    /// Makes requests from inside the sample's client Pod.
    pub(super) async fn fetch(
        &self,
        url: &str,
        count: usize,
        headers: &[(&str, &str)],
    ) -> anyhow::Result<Vec<Fetched>> {
        let pod = self.pod(APP, "app=client").await?;
        let mut path = format!("/fetch?url={}&count={count}", http::encode(url));
        for (name, value) in headers {
            path.push_str(&format!("&header={}", http::encode(&format!("{name}:{value}"))));
        }
        let text = self.get(&pod, APP_PORT, &path).await?;
        let answer: Value =
            serde_json::from_str(&text).with_context(|| format!("client answered: {text}"))?;
        let results = answer["results"].as_array().with_context(|| format!("client answered: {text}"))?;
        Ok(results.iter().map(Fetched::read).collect())
    }

    /// One request from inside the client Pod.
    pub(super) async fn fetch_one(&self, url: &str, headers: &[(&str, &str)]) -> anyhow::Result<Fetched> {
        self.fetch(url, 1, headers).await?.into_iter().next().context("client made no request")
    }
}

/// What the client Pod got.
#[derive(Debug, Clone)]
pub(super) struct Fetched {
    /// None if there was no answer.
    pub(super) status: Option<u16>,
    /// Body, or the error.
    pub(super) text: String,
}

impl Fetched {
    fn read(value: &Value) -> Self {
        let status = value["status"].as_u64().and_then(|status| u16::try_from(status).ok());
        let text = value[if status.is_some() { "body" } else { "error" }].as_str().unwrap_or_default();
        Self { status, text: text.to_owned() }
    }

    /// Was the answer a 200?
    pub(super) fn is_ok(&self) -> bool {
        self.status == Some(200)
    }

    /// The body as JSON; Null if it is none.
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }
}

impl std::fmt::Display for Fetched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text: String = self.text.trim().chars().take(200).collect();
        match self.status {
            Some(status) => write!(f, "{status} {text}"),
            None => f.write_str(&text),
        }
    }
}

/// Looks again and again until `look` says yes; the last thing seen is the error when time is up.
pub(super) async fn eventually<T, F, Fut>(within: Duration, what: &str, mut look: F) -> anyhow::Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = anyhow::Result<T>>,
{
    let deadline = Instant::now() + within;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let seen = match tokio::time::timeout(left.max(POLL), look()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => error,
            Err(_) => anyhow::anyhow!("no answer"),
        };
        if Instant::now() + POLL > deadline {
            bail!("{what} did not come true within {} s; seen instead: {seen:#}", within.as_secs());
        }
        tokio::time::sleep(POLL).await;
    }
}
