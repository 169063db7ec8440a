//! Starting and stopping.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::addresses::{self, Addresses};
use crate::api::{Api, Parts};
use crate::authn::Tokens;
use crate::config::Config;
use crate::error::ServerError;
use crate::pki::{Pki, kubeconfig};
use crate::store::Store;
use crate::{bootstrap, definition_cleanup, http, limits};

/// A running server; it ends with [`Server::shutdown`].
pub struct Server {
    store: Store,
    kubeconfig: String,
    root_ca: String,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Server {
    /// Opens the store, makes what a new cluster needs, and serves on all listeners.
    ///
    /// # Errors
    /// As [`ServerError`] lists; nothing is served then.
    pub async fn start(config: Config) -> Result<Server, ServerError> {
        let first = config.listeners.first().ok_or_else(|| ServerError::Listener("none was given".into()))?;
        let address = first.local_addr().map_err(|error| ServerError::Listener(error.to_string()))?;
        let kubernetes = bootstrap::kubernetes_address(config.service_cidr);
        let mut names: Vec<String> =
            ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"]
                .map(str::to_owned)
                .to_vec();
        names.push(format!("kubernetes.default.svc.{}", config.cluster_domain));
        names.extend(config.extra_names.iter().cloned());
        names.dedup();
        let mut served = vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V4(kubernetes), address.ip()];
        served.extend(config.extra_addresses.iter().copied());
        served.sort_unstable();
        served.dedup();
        served.retain(|address| !address.is_unspecified());
        let store = Store::open(&config.store_path, config.window)?;
        let pki = Pki::load(&config.pki_dir, &names, &served)?;
        let tokens = Tokens::new(&pki.token_key, &config.cluster_domain)?;
        let renumbered = addresses::renumber(&store, config.service_cidr).await?;
        if renumbered > 0 {
            tracing::warn!(
                services = renumbered,
                range = %config.service_cidr,
                "the range of Service addresses is another than before: Services have new addresses in it"
            );
        }
        let addresses = Addresses::new(&store, config.service_cidr, config.node_ports.clone());
        let stop = CancellationToken::new();
        let api = Arc::new(Api::new(Parts {
            store: store.clone(),
            tokens,
            addresses,
            dial: config.dial,
            dial_pod: config.dial_pod,
            logs: config.logs,
            address: address.to_string(),
            stop: stop.clone(),
        }));
        bootstrap::run(&api, config.service_cidr, config.advertise.unwrap_or(address)).await?;
        let server = format!("https://{address}");
        let text = kubeconfig(&pki, &config.cluster_name, &server);
        let tls = http::server_config(vec![pki.serving], pki.serving_key, pki.ca)?;
        let connections = http::Connections::new(limits::MAX_CONNECTIONS, limits::MAX_ANONYMOUS_PER_ADDRESS);
        let tasks = TaskTracker::new();
        tasks.spawn(definition_cleanup::run(api.store.clone(), stop.clone()));
        for listener in config.listeners {
            let failed = |error: std::io::Error| ServerError::Listener(error.to_string());
            listener.set_nonblocking(true).map_err(failed)?;
            let listener = tokio::net::TcpListener::from_std(listener).map_err(failed)?;
            tasks.spawn(http::serve(
                listener,
                tls.clone(),
                api.clone(),
                connections.clone(),
                stop.clone(),
                tasks.clone(),
            ));
        }
        Ok(Server { store, kubeconfig: text, root_ca: pki.ca_pem, stop, tasks })
    }

    /// The administrator's kubeconfig, YAML. Holds a private key.
    #[must_use]
    pub fn kubeconfig(&self) -> String {
        self.kubeconfig.clone()
    }

    /// The certificate, PEM, that proves the server to its clients.
    #[must_use]
    pub fn root_ca(&self) -> String {
        self.root_ca.clone()
    }

    /// Ends watches, lets requests in work finish, and closes the store.
    pub async fn shutdown(self) {
        self.stop.cancel();
        self.tasks.close();
        let _ = tokio::time::timeout(limits::DRAIN_TIMEOUT * 2, self.tasks.wait()).await;
        self.store.close().await;
    }
}
