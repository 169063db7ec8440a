//! `portolan api-server`: the API server of a cluster alone, with the mesh's kinds but without node and controllers, so
//! that it needs no rights on the machine. What is in it is what clients write. For measuring and trying control planes.

use std::net::{Ipv4Addr, TcpListener};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::PostParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client};
use portolan_apiserver::{Config, Server};
use portolan_client::Target;

use super::up::{state_dir, stopped};

/// Flags of `portolan api-server`.
#[derive(Debug, Args)]
pub(crate) struct ApiServer {
    /// Port on 127.0.0.1; a free one if not given.
    #[arg(long, default_value_t = 0)]
    api_port: u16,
}

/// Runs the command. The kubeconfig in the state directory is written when the mesh's kinds are there.
pub(crate) async fn run(target: &Target, args: &ApiServer) -> anyhow::Result<ExitCode> {
    let state = state_dir(target);
    state.create()?;
    let _lock = state.lock()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, args.api_port))
        .with_context(|| format!("port {} on 127.0.0.1 cannot be used", args.api_port))?;
    let server = Server::start(Config::new(state.root(), vec![listener])).await?;
    let kubeconfig = server.kubeconfig();
    install_kinds(&kubeconfig).await?;
    state.write(&state.kubeconfig(), kubeconfig.as_bytes(), 0o600)?;
    tracing::info!(kubeconfig = %state.kubeconfig().display(), "the API server is serving");
    stopped().await;
    server.shutdown().await;
    Ok(ExitCode::SUCCESS)
}

async fn install_kinds(kubeconfig: &str) -> anyhow::Result<()> {
    let file = Kubeconfig::from_yaml(kubeconfig)?;
    let config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
    let kinds: Api<CustomResourceDefinition> = Api::all(Client::try_from(config)?);
    for kind in portolan_resources::crds() {
        match kinds.create(&PostParams::default(), &kind).await {
            Ok(_) => {}
            // From an earlier run.
            Err(kube::Error::Api(status)) if status.is_already_exists() => {}
            Err(error) => return Err(error).context("the mesh's kinds cannot be installed"),
        }
    }
    Ok(())
}
