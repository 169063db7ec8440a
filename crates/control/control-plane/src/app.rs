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
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use kube::{Client, Config, config::KubeConfigOptions};
use portolan_identity::{CertificateAuthority, SpiffeId};
use portolan_mesh::ClusterContext;
use portolan_names::names;
use portolan_xds_grpc::{AdsServer, CertificateServer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::{Semaphore, mpsc, watch},
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;

use crate::{
    ads::{AdsService, Connections, MAX_REQUEST_BYTES, MAX_STREAMS, Resources, SecretSource},
    args::Args,
    auth::Authenticator,
    ca::{self, CertificateIssuer},
    debug::{self, Debug},
    dns,
    federation::{self, Federation},
    metrics::{Metric, Metrics},
    push::{Debounce, Model, Published, Pusher},
    tls::{Connection, ServerTls, accept_plain, accept_tls},
    watch::{RETRY, start},
    webhook::{self, Webhooks, keep_ca_bundles},
};

/// Streams on one connection; a proxy needs two.
const STREAMS_PER_CONNECTION: u32 = 100;

/// Pings on idle connections find dead peers.
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a client may take for the head of an HTTP request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest pause between attempts to reach the API server at the start.
const MAX_RETRY: Duration = Duration::from_secs(15);

/// How long the start waits for federation to say what is imported.
const IMPORTS_WAIT: Duration = Duration::from_secs(10);

/// Generators at the same time per CPU.
const GENERATORS_PER_CPU: usize = 1;

/// Runs the control plane until the process is told to stop.
pub async fn run(args: Args) -> anyhow::Result<()> {
    // Whatever else uses rustls in this process gets the same provider.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let metrics = Arc::new(Metrics::default());
    metrics.set(Metric::Info, &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    let model = Arc::new(Model::default());
    model.inputs.write().cluster = ClusterContext {
        cluster_id: args.cluster_id.clone(),
        domain: args.cluster_domain.clone(),
        network: args.network.clone(),
        control_plane_namespace: args.namespace.clone(),
        federation_discovery_port: args.federation_port,
    };
    let (published, snapshots) = watch::channel(Published::default());
    let published = Arc::new(published);
    let connections = Arc::new(Connections::default());
    let serving = Arc::new(AtomicBool::new(false));

    // Metrics and health first: they tell why nothing else is there yet.
    let client = client(&args).await?;
    let authenticator = Arc::new(Authenticator::new(client.clone(), model.clone()));
    let resources = Arc::new(Resources::new(SecretSource::new(client.clone(), published.clone())));
    let shown = Arc::new(Debug {
        model: model.clone(),
        published: snapshots.clone(),
        push: published.clone(),
        connections: connections.clone(),
        resources: resources.clone(),
        metrics: metrics.clone(),
        authenticator: authenticator.clone(),
        serving: serving.clone(),
        open: args.open_debug,
    });
    serve_plain(bind(&args, args.monitoring_port).await?, debug::router(shown.clone()));
    serve_plain(bind(&args, args.http_port).await?, debug::health_router(shown));

    // The authority stands before anything that needs a certificate.
    let trust_domain = first_trust_domain(&client, &args).await;
    let authority = Arc::new(authority(&client, &args, &trust_domain).await?);
    if let Ok(expiry) = authority.not_after().duration_since(SystemTime::UNIX_EPOCH) {
        metrics.set(Metric::RootExpiry, &[], expiry.as_secs_f64());
    }
    let id = SpiffeId::workload(&trust_domain, &args.namespace, names::ISTIOD)
        .with_context(|| format!("trust domain {trust_domain:?} in ConfigMap istio"))?;
    let tls = Arc::new(ServerTls::start(authority.clone(), id, args.serving_names())?);

    // The model.
    let (federation_inputs, federation_changes) = watch::channel(Default::default());
    let (_roots, root_changes) = watch::channel(authority.root_pem().to_owned());
    let pusher = Pusher {
        model: model.clone(),
        published: published.clone(),
        metrics: metrics.clone(),
        debounce: Debounce { after: args.debounce_after(), max: args.debounce_max() },
    };
    let updates = start(&client, &args.namespace);
    let pushing = tokio::spawn(pusher.run(updates, federation_changes, root_changes));

    // What follows from the model.
    let root = authority.root_pem().to_owned();
    tokio::spawn(ca::publish_roots(client.clone(), model.clone(), snapshots.clone(), root.clone()));
    tokio::spawn(federation::run(Federation {
        args: args.clone(),
        client: client.clone(),
        published: snapshots.clone(),
        model: model.clone(),
        inputs: federation_inputs,
        tls: tls.clone(),
    }));

    // Webhooks.
    let webhooks = Webhooks {
        model,
        metrics: metrics.clone(),
        proxy_image: args.proxy_image.clone(),
        revision: args.revision.clone(),
    };
    let webhooks = webhook::router(Arc::new(webhooks));
    let accepted = accept_tls(bind(&args, args.webhook_port).await?, tls.https.clone());
    tokio::spawn(serve_http(accepted, webhooks));
    let host = format!("{}.{}.svc", names::ISTIOD, args.namespace);
    tokio::spawn(keep_ca_bundles(client.clone(), args.namespace.clone(), host, root));

    // Whoever relies on names and proxies on imports: not before the imports are known.
    let mut known = snapshots.clone();
    if timeout(IMPORTS_WAIT, known.wait_for(|published| published.imports_known)).await.is_err() {
        let seconds = IMPORTS_WAIT.as_secs();
        tracing::warn!("federation's resources are not listed after {seconds} s; serving without imports");
    }
    tokio::spawn(dns::publish(client.clone(), args.namespace.clone(), snapshots.clone()));

    // Proxies.
    let cpus = std::thread::available_parallelism().map_or(2, usize::from);
    let ads = |anonymous| {
        Arc::new(AdsService {
            published: snapshots.clone(),
            connections: connections.clone(),
            resources: resources.clone(),
            authenticator: authenticator.clone(),
            metrics: metrics.clone(),
            anonymous,
            generators: Arc::new(Semaphore::new(cpus * GENERATORS_PER_CPU)),
            streams: Arc::new(Semaphore::new(MAX_STREAMS)),
        })
    };
    let certificates = CertificateServer::new(Arc::new(CertificateIssuer {
        authority,
        authenticator: authenticator.clone(),
        default_ttl: Duration::from_secs(u64::from(args.workload_cert_ttl_hours) * 3600),
        metrics: metrics.clone(),
    }));
    let accepted = accept_tls(bind(&args, args.grpc_port).await?, tls.grpc.clone());
    let secure = grpc_server()
        .add_service(AdsServer::new(ads(false), MAX_REQUEST_BYTES))
        .add_service(certificates)
        .serve_with_incoming(ReceiverStream::new(accepted));
    let secure = tokio::spawn(secure);
    if let Some(port) = args.plaintext_grpc_port {
        tracing::warn!(port, "serving xDS without TLS and authentication");
        let accepted = accept_plain(bind(&args, port).await?);
        let plain = grpc_server()
            .add_service(AdsServer::new(ads(true), MAX_REQUEST_BYTES))
            .serve_with_incoming(ReceiverStream::new(accepted));
        tokio::spawn(plain);
    }
    serving.store(true, Ordering::Release);
    tracing::info!(namespace = args.namespace, trust_domain, "the control plane is serving");

    tokio::select! {
        ended = secure => ended.context("the gRPC server ended")?.context("the gRPC server failed"),
        ended = pushing => ended.context("the push loop ended"),
        () = told_to_stop() => {
            tracing::info!("told to stop");
            Ok(())
        }
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

/// Serves HTTP/1 and HTTP/2 on accepted connections. Handlers find the [`crate::tls::Peer`] in the request's extensions.
pub async fn serve_http<S>(mut accepted: mpsc::Receiver<std::io::Result<Connection<S>>>, router: Router)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    while let Some(connection) = accepted.recv().await {
        let Ok(connection) = connection else { continue };
        let router = router.clone().layer(axum::Extension(connection.peer().clone()));
        tokio::spawn(async move {
            let mut server = auto::Builder::new(TokioExecutor::new());
            server.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
            server.http2().timer(TokioTimer::new()).keep_alive_interval(KEEPALIVE);
            let service = TowerToHyperService::new(router);
            if let Err(error) = server.serve_connection(TokioIo::new(connection), service).await {
                tracing::debug!(%error, "connection broke");
            }
        });
    }
}
