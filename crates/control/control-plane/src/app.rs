//! The whole process, top-down.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use anyhow::Context;
use axum::Router;
use kube::{Client, Config, config::KubeConfigOptions};
use portolan_identity::{CertificateAuthority, SpiffeId};
use portolan_mesh::{ClusterContext, Mesh};
use portolan_names::names;
use portolan_resources::support;
use portolan_xds_grpc::{AdsServer, CertificateServer};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
    task::JoinHandle,
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;

use crate::{
    ads::{AdsService, Connections, MAX_REQUEST_BYTES, MAX_STREAMS, SecretSource},
    args::Args,
    auth::Authenticator,
    ca::{self, CertificateIssuer},
    debug::{self, Debug},
    dns,
    federation::{self, Federation},
    http::{KEEPALIVE, serve_http},
    metrics::{Metric, Metrics},
    publish::Publisher,
    push::{Debounce, Pusher},
    settings::Settings,
    tls::{ServerTls, accept_plain, accept_tls},
    validate,
    watch::{RETRY, start},
    webhook::{self, Webhooks, keep_ca_bundles},
};

/// Streams on one connection; a proxy needs two.
const STREAMS_PER_CONNECTION: u32 = 100;

/// How long a peer may take to answer a ping.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest pause between attempts to reach the API server at the start.
const MAX_RETRY: Duration = Duration::from_secs(15);

/// How long the start waits for federation to say what is imported.
const IMPORTS_WAIT: Duration = Duration::from_secs(10);

/// Proxies that are taken in at the same time, per CPU.
const GENERATORS_PER_CPU: usize = 1;

/// Runs the control plane until the process is told to stop.
pub async fn run(args: Args) -> anyhow::Result<()> {
    // Whatever else uses rustls in this process gets the same provider.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    tell_variables();
    let client = client(&args).await?;
    let shared = Shared::new(args, client);

    // Metrics and health first: they tell why nothing else is there yet.
    shared.serve_monitoring().await?;

    // The authority stands before anything that needs a certificate.
    let trust_domain = first_trust_domain(&shared.client, &shared.args).await;
    let authority = shared.authority(&trust_domain).await?;
    let id = SpiffeId::workload(&trust_domain, &shared.args.namespace, names::ISTIOD)
        .with_context(|| format!("trust domain {trust_domain:?} in ConfigMap istio"))?;
    let tls = Arc::new(ServerTls::start(authority.clone(), id, shared.args.serving_names())?);

    let (pushing, hosts) = shared.start_model(authority.root_pem(), &tls).await?;
    shared.serve_webhooks(authority.root_pem(), &tls).await?;
    shared.wait_for_imports(hosts).await;
    let secure = shared.serve_proxies(authority, &tls).await?;
    shared.serving.store(true, Ordering::Release);
    tracing::info!(namespace = shared.args.namespace, trust_domain, "the control plane is serving");

    tokio::select! {
        ended = secure => ended.context("the gRPC server ended")?.context("the gRPC server failed"),
        ended = pushing => ended.context("the push loop ended"),
        () = told_to_stop() => {
            tracing::info!("told to stop");
            Ok(())
        }
    }
}

/// Istio's flags that have no effect here.
fn tell_variables() {
    // Those that are no text are none of the flags.
    let set: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let report = support::judge_variables(set.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    for finding in validate::warnings(&report.warnings) {
        tracing::warn!("environment variable {finding}");
    }
}

/// What the parts of the control plane have in common.
struct Shared {
    args: Args,
    client: Client,
    metrics: Arc<Metrics>,
    settings: Arc<Settings>,
    publisher: Arc<Publisher>,
    connections: Arc<Connections>,
    authenticator: Arc<Authenticator>,
    secrets: Arc<SecretSource>,
    /// All servers are up.
    serving: Arc<AtomicBool>,
}

impl Shared {
    fn new(args: Args, client: Client) -> Self {
        let metrics = Arc::new(Metrics::default());
        let version = debug::istio_version();
        metrics.set(Metric::Info, &[("version", &version)], 1);
        metrics.set(Metric::Build, &[("component", "pilot"), ("tag", &version)], 1);
        let cluster = ClusterContext {
            cluster_id: args.cluster_id.clone(),
            domain: args.cluster_domain.clone(),
            network: args.network.clone(),
            control_plane_namespace: args.namespace.clone(),
            federation_discovery_port: args.federation_port,
        };
        let settings = Arc::new(Settings::new(cluster.clone()));
        Self {
            publisher: Arc::new(Publisher::new(Mesh::new(cluster), metrics.clone())),
            metrics,
            connections: Arc::default(),
            authenticator: Arc::new(Authenticator::new(client.clone(), settings.clone())),
            secrets: Arc::new(SecretSource::new(client.clone())),
            serving: Arc::default(),
            settings,
            client,
            args,
        }
    }

    /// Metrics, health and debug pages.
    async fn serve_monitoring(&self) -> anyhow::Result<()> {
        let shown = Arc::new(Debug {
            settings: self.settings.clone(),
            publisher: self.publisher.clone(),
            connections: self.connections.clone(),
            metrics: self.metrics.clone(),
            authenticator: self.authenticator.clone(),
            serving: self.serving.clone(),
            open: self.args.open_debug,
        });
        serve_plain(bind(&self.args, self.args.monitoring_port).await?, debug::router(shown.clone()));
        serve_plain(bind(&self.args, self.args.http_port).await?, debug::health_router(shown));
        Ok(())
    }

    async fn authority(&self, trust_domain: &str) -> anyhow::Result<Arc<CertificateAuthority>> {
        let authority = authority(&self.client, &self.args, trust_domain).await?;
        if let Ok(expiry) = authority.not_after().duration_since(SystemTime::UNIX_EPOCH) {
            self.metrics.set(Metric::RootExpiry, &[], expiry.as_secs());
        }
        Ok(Arc::new(authority))
    }

    /// The watches, the push loop, and what follows from the model: root certificates, federation, and the hosts that only
    /// the mesh knows.
    async fn start_model(
        &self,
        root: &str,
        tls: &Arc<ServerTls>,
    ) -> anyhow::Result<(JoinHandle<()>, watch::Receiver<Option<Arc<str>>>)> {
        let roots = root.to_owned();
        let begin = move |publisher: &Arc<Publisher>| {
            publisher.change(|mesh| mesh.set_root_certificates(&roots));
            publisher.follow(dns::Hosts)
        };
        let hosts = self.publisher.blocking(begin).await.context("the model can't be begun")?;
        let (federation_inputs, federation_changes) = watch::channel(Default::default());
        let pusher = Pusher {
            settings: self.settings.clone(),
            publisher: self.publisher.clone(),
            metrics: self.metrics.clone(),
            debounce: Debounce { after: self.args.debounce_after(), max: self.args.debounce_max() },
        };
        let updates = start(&self.client, &self.args.namespace);
        let pushing = tokio::spawn(pusher.run(updates, federation_changes));
        tokio::spawn(ca::publish_roots(
            self.client.clone(),
            self.settings.clone(),
            self.publisher.published(),
            root.to_owned(),
        ));
        tokio::spawn(federation::run(Federation {
            args: self.args.clone(),
            client: self.client.clone(),
            publisher: self.publisher.clone(),
            inputs: federation_inputs,
            tls: tls.clone(),
        }));
        Ok((pushing, hosts))
    }

    async fn serve_webhooks(&self, root: &str, tls: &Arc<ServerTls>) -> anyhow::Result<()> {
        let webhooks = Webhooks {
            settings: self.settings.clone(),
            metrics: self.metrics.clone(),
            proxy_image: self.args.proxy_image.clone(),
            revision: self.args.revision.clone(),
            turns: Default::default(),
        };
        let accepted = accept_tls(bind(&self.args, self.args.webhook_port).await?, tls.https.clone());
        tokio::spawn(serve_http(accepted, webhook::router(Arc::new(webhooks))));
        let host = format!("{}.{}.svc", names::ISTIOD, self.args.namespace);
        let namespace = self.args.namespace.clone();
        tokio::spawn(keep_ca_bundles(self.client.clone(), namespace, host, root.to_owned()));
        Ok(())
    }

    /// Whoever relies on names and proxies on imports: not before the imports are known.
    async fn wait_for_imports(&self, hosts: watch::Receiver<Option<Arc<str>>>) {
        let mut known = self.publisher.published();
        if timeout(IMPORTS_WAIT, known.wait_for(|published| published.imports_known)).await.is_err() {
            let seconds = IMPORTS_WAIT.as_secs();
            tracing::warn!(
                "federation's resources are not listed after {seconds} s; serving without imports"
            );
        }
        let (client, namespace) = (self.client.clone(), self.args.namespace.clone());
        tokio::spawn(dns::publish(client, namespace, hosts));
    }

    /// xDS and certificates, over TLS; xDS without TLS when the flags ask for it.
    async fn serve_proxies(
        &self,
        authority: Arc<CertificateAuthority>,
        tls: &Arc<ServerTls>,
    ) -> anyhow::Result<JoinHandle<Result<(), tonic::transport::Error>>> {
        let certificates = CertificateServer::new(Arc::new(CertificateIssuer {
            authority,
            authenticator: self.authenticator.clone(),
            default_ttl: Duration::from_secs(u64::from(self.args.workload_cert_ttl_hours) * 3600),
            metrics: self.metrics.clone(),
        }));
        let accepted = accept_tls(bind(&self.args, self.args.grpc_port).await?, tls.grpc.clone());
        let secure = grpc_server()
            .add_service(AdsServer::new(self.ads(false), MAX_REQUEST_BYTES))
            .add_service(certificates)
            .serve_with_incoming(ReceiverStream::new(accepted));
        if let Some(port) = self.args.plaintext_grpc_port {
            tracing::warn!(port, "serving xDS without TLS and authentication");
            let accepted = accept_plain(bind(&self.args, port).await?);
            let plain = grpc_server()
                .add_service(AdsServer::new(self.ads(true), MAX_REQUEST_BYTES))
                .serve_with_incoming(ReceiverStream::new(accepted));
            tokio::spawn(plain);
        }
        Ok(tokio::spawn(secure))
    }

    fn ads(&self, anonymous: bool) -> Arc<AdsService> {
        let cpus = std::thread::available_parallelism().map_or(2, usize::from);
        Arc::new(AdsService {
            publisher: self.publisher.clone(),
            connections: self.connections.clone(),
            secrets: self.secrets.clone(),
            authenticator: self.authenticator.clone(),
            metrics: self.metrics.clone(),
            anonymous,
            generators: Arc::new(Semaphore::new(cpus * GENERATORS_PER_CPU)),
            streams: Arc::new(Semaphore::new(MAX_STREAMS)),
        })
    }
}

fn grpc_server() -> Server {
    Server::builder()
        .max_concurrent_streams(STREAMS_PER_CONNECTION)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
}

async fn told_to_stop() {
    let terminate = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        () = terminate => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

async fn client(args: &Args) -> anyhow::Result<Client> {
    let config = match &args.kubeconfig {
        Some(path) => {
            let file = kube::config::Kubeconfig::read_from(path)
                .with_context(|| format!("kubeconfig {}", path.display()))?;
            Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
                .await
                .with_context(|| format!("kubeconfig {}", path.display()))?
        }
        None => Config::infer()
            .await
            .context("no way to the API server: run in a Pod with a service account or give --kubeconfig")?,
    };
    Client::try_from(config).context("the Kubernetes client can't be made")
}

/// The trust domain is needed before the watches run: it names the authority. Without a ConfigMap the default holds.
async fn first_trust_domain(client: &Client, args: &Args) -> String {
    let maps: kube::Api<k8s_openapi::api::core::v1::ConfigMap> =
        kube::Api::namespaced(client.clone(), &args.namespace);
    let mut pause = RETRY;
    loop {
        match maps.get_opt(names::MESH_CONFIG_MAP).await {
            Ok(map) => return crate::push::trust_domain(map),
            Err(error) => {
                tracing::warn!(%error, "the API server does not answer yet; trying again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(MAX_RETRY);
            }
        }
    }
}

async fn authority(client: &Client, args: &Args, trust_domain: &str) -> anyhow::Result<CertificateAuthority> {
    let mut pause = RETRY;
    loop {
        match ca::load(client, &args.namespace, trust_domain).await {
            Ok(authority) => return Ok(authority),
            Err(error) if error.is_transient() => {
                tracing::warn!(%error, "no certificate authority yet; trying again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(MAX_RETRY);
            }
            Err(error) => return Err(error).context("no certificate authority"),
        }
    }
}

async fn bind(args: &Args, port: u16) -> anyhow::Result<TcpListener> {
    let address = SocketAddr::new(args.bind, port);
    TcpListener::bind(address).await.with_context(|| format!("can't listen on {address}"))
}

fn serve_plain(listener: TcpListener, router: Router) {
    tokio::spawn(serve_http(accept_plain(listener), router));
}
