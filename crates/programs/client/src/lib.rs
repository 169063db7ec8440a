//! Which cluster a program for people talks to, and how it reaches what runs in it: through the API server only, so
//! that it works alike on every Kubernetes.

pub mod terminal;

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, ResourceExt};
use portolan_names::{names, ports};
use serde_json::Value;

/// Flags that every command takes.
#[derive(Debug, Clone, Default, Args)]
pub struct Target {
    /// State directory of an embedded cluster; its kubeconfig is used.
    #[arg(long, global = true, env = "PORTOLAN_STATE_DIR", value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Kubeconfig file; the default is that of kubectl.
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Context in the kubeconfig.
    #[arg(long, global = true)]
    pub context: Option<String>,
    /// Namespace of what is named without one; the default is that of the kubeconfig's context.
    #[arg(short, long, global = true, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
}

/// A cluster that has answered.
pub struct Connection {
    /// A client of it.
    pub client: Client,
    /// The namespace that the user means where none is named.
    pub namespace: String,
}

impl Target {
    /// A client of the chosen cluster, which has answered.
    pub async fn client(&self) -> anyhow::Result<Client> {
        Ok(self.connect().await?.client)
    }

    /// The chosen cluster, which has answered, and the namespace in it that is meant.
    pub async fn connect(&self) -> anyhow::Result<Connection> {
        let options = KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
        let file = self.kubeconfig()?;
        if let Some(context) = &self.context
            && !file.contexts.iter().any(|known| &known.name == context)
        {
            bail!("context {context:?} does not exist: the kubeconfig has {}", contexts(&file));
        }
        let config = kube::Config::from_custom_kubeconfig(file, &options)
            .await
            .map_err(|error| anyhow::anyhow!("the kubeconfig cannot be used: {}", root_cause(&error)))?;
        let server = config.cluster_url.clone();
        let namespace = self.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config)?;
        client.apiserver_version().await.map_err(|error| {
            let start = match &self.state_dir {
                Some(dir) => {
                    format!(": start the cluster with `portolan up --state-dir {}`", terminal::quoted(dir))
                }
                None => String::new(),
            };
            anyhow::anyhow!("the API server {server} can't be used ({}){start}", root_cause(&error))
        })?;
        Ok(Connection { client, namespace })
    }

    fn kubeconfig(&self) -> anyhow::Result<Kubeconfig> {
        let named = self.kubeconfig.clone();
        let Some(path) = named.or_else(|| self.state_dir.as_ref().map(|dir| dir.join("kubeconfig"))) else {
            return Kubeconfig::read().map_err(|error| {
                anyhow::anyhow!(
                    "no cluster given ({}): use --state-dir, --kubeconfig, or the environment variable KUBECONFIG",
                    root_cause(&error)
                )
            });
        };
        // Looked at first, because then it is clear whether it is the file or what stands in it.
        if let Err(error) = std::fs::File::open(&path) {
            let hint = match error.kind() {
                std::io::ErrorKind::NotFound => ": is the cluster up?",
                std::io::ErrorKind::PermissionDenied => ": it belongs to the user who started the cluster",
                _ => "",
            };
            bail!("cannot read the kubeconfig {}: {error}{hint}", path.display());
        }
        Kubeconfig::read_from(&path).map_err(|error| {
            anyhow::anyhow!("the kubeconfig {} cannot be used: {}", path.display(), root_cause(&error))
        })
    }
}

/// Names of the contexts of a kubeconfig, as a list to read.
fn contexts(file: &Kubeconfig) -> String {
    match file.contexts.iter().map(|context| context.name.as_str()).collect::<Vec<_>>().join(", ") {
        none if none.is_empty() => "none".to_owned(),
        some => some,
    }
}

/// The innermost reason: what is around it says only that a request failed.
#[must_use]
pub fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// A Pod and the port in it that a request goes to.
#[derive(Debug, Clone)]
pub struct PodPort {
    /// Namespace of the Pod.
    pub namespace: String,
    /// Name of the Pod.
    pub name: String,
    /// Port in it.
    pub port: u16,
}

impl PodPort {
    fn url(&self, path: &str) -> String {
        format!(
            "/api/v1/namespaces/{}/pods/{}:{}/proxy/{}",
            self.namespace,
            self.name,
            self.port,
            path.trim_start_matches('/')
        )
    }

    /// GETs text from the Pod through the API server.
    pub async fn get(&self, client: &Client, path: &str) -> anyhow::Result<String> {
        let request = http::Request::get(self.url(path)).body(Vec::new())?;
        client
            .request_text(request)
            .await
            .with_context(|| format!("GET {path} from {}.{}:{}", self.name, self.namespace, self.port))
    }

    /// GETs JSON from the Pod through the API server.
    pub async fn get_json(&self, client: &Client, path: &str) -> anyhow::Result<Value> {
        let text = self.get(client, path).await?;
        serde_json::from_str(&text)
            .with_context(|| format!("{path} of {}.{} is no JSON", self.name, self.namespace))
    }

    /// POSTs to the Pod through the API server.
    pub async fn post(&self, client: &Client, path: &str) -> anyhow::Result<String> {
        let request = http::Request::post(self.url(path)).body(Vec::new())?;
        client
            .request_text(request)
            .await
            .with_context(|| format!("POST {path} to {}.{}:{}", self.name, self.namespace, self.port))
    }
}

/// The monitoring port of every running istiod.
pub async fn control_planes(client: &Client) -> anyhow::Result<Vec<PodPort>> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), names::ISTIO_SYSTEM);
    let found = pods.list(&ListParams::default().labels("app=istiod")).await.context("looking for istiod")?;
    let running: Vec<PodPort> = found
        .items
        .iter()
        .filter(|pod| is_running(pod))
        .map(|pod| PodPort {
            namespace: names::ISTIO_SYSTEM.to_owned(),
            name: pod.name_any(),
            port: ports::MONITORING,
        })
        .collect();
    if running.is_empty() {
        bail!("no istiod runs in namespace {}: is the mesh installed?", names::ISTIO_SYSTEM);
    }
    Ok(running)
}

fn is_running(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_none()
        && pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running")
}

/// Finds the Pod that a user means: `POD`, `POD.NAMESPACE`, `deploy/NAME[.NAMESPACE]`.
pub async fn find_pod(client: &Client, name: &str, namespace: &str) -> anyhow::Result<(String, String)> {
    let (kind, rest) = name.split_once('/').unwrap_or(("pod", name));
    let (name, namespace) = rest.split_once('.').unwrap_or((rest, namespace));
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    match kind {
        "pod" | "pods" | "po" => {
            pods.get_opt(name).await?.with_context(|| {
                format!(
                    "no Pod {name} in namespace {namespace}: write POD.NAMESPACE or deploy/NAME.NAMESPACE"
                )
            })?;
            Ok((name.to_owned(), namespace.to_owned()))
        }
        "deploy" | "deployment" | "deployments" => {
            let prefix = format!("{name}-");
            let all = pods.list(&ListParams::default()).await?;
            let pod = all.items.iter().find(|pod| {
                is_running(pod)
                    && pod.metadata.owner_references.iter().flatten().any(|owner| {
                        owner.kind == "ReplicaSet"
                            && owner.name.strip_prefix(&prefix).is_some_and(|hash| !hash.contains('-'))
                    })
            });
            let pod = pod.with_context(|| format!("no running Pod of Deployment {name} in {namespace}"))?;
            Ok((pod.name_any(), namespace.to_owned()))
        }
        other => bail!("{other}: name a pod or a deployment"),
    }
}
