//! The programs of a run: the API server and the control plane, each a process of its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::api::Api;
use super::kubeconfig::Access;
use super::wait::until;
use crate::configuration::free_port;
use crate::error::BenchError;
use crate::process::Process;

/// How long the API server may take until the mesh's kinds are there.
const API_SERVER_WITHIN: Duration = Duration::from_secs(60);

/// Both of them.
pub(crate) struct Servers {
    program: PathBuf,
    folder: PathBuf,
    pub(crate) api: Api,
    pub(crate) api_server: Process,
    ports: Ports,
    control_plane: Option<Process>,
    starts: usize,
}

/// Ports of the control plane; the same after it was started anew.
struct Ports {
    grpc: u16,
    webhook: u16,
    monitoring: u16,
    http: u16,
    federation: u16,
}

impl Servers {
    /// Starts the API server; its files are in `folder`.
    pub(crate) async fn start(program: &Path, folder: &Path) -> Result<Self, BenchError> {
        let state = folder.join("cluster");
        let arguments = ["api-server", "--state-dir", &state.display().to_string()].map(str::to_owned);
        let mut api_server =
            Process::spawn("the API server", program, &arguments, folder.join("api-server.log"))?;
        let kubeconfig = state.join("kubeconfig");
        let mut ended = Ok(());
        until(API_SERVER_WITHIN, || {
            ended = api_server.alive();
            ended.is_err() || kubeconfig.is_file()
        })
        .await;
        ended?;
        let text = std::fs::read_to_string(&kubeconfig)
            .map_err(|source| BenchError::File { path: kubeconfig.clone(), source })?;
        let ports = Ports {
            grpc: free_port()?,
            webhook: free_port()?,
            monitoring: free_port()?,
            http: free_port()?,
            federation: free_port()?,
        };
        Ok(Servers {
            program: program.to_owned(),
            folder: folder.to_owned(),
            api: Api::connect(&Access::read(&text)?).await?,
            api_server,
            ports,
            control_plane: None,
            starts: 0,
        })
    }

    /// Starts the control plane and waits until it is ready.
    pub(crate) async fn start_control_plane(&mut self) -> Result<(), BenchError> {
        let kubeconfig = self.folder.join("cluster/kubeconfig").display().to_string();
        let ports = [
            ("--grpc-port", self.ports.grpc),
            ("--webhook-port", self.ports.webhook),
            ("--monitoring-port", self.ports.monitoring),
            ("--http-port", self.ports.http),
            ("--federation-port", self.ports.federation),
        ];
        let mut arguments: Vec<String> =
            ["control-plane", "--kubeconfig", &kubeconfig, "--bind", "127.0.0.1"].map(str::to_owned).to_vec();
        arguments.extend(ports.iter().flat_map(|(flag, port)| [(*flag).to_owned(), port.to_string()]));
        self.starts += 1;
        let log = self.folder.join(format!("control-plane-{}.log", self.starts));
        let mut process = Process::spawn("the control plane", &self.program, &arguments, log)?;
        process.ready(self.ports.monitoring, "/ready").await?;
        self.control_plane = Some(process);
        Ok(())
    }

    /// Kills the control plane, as a crash does.
    pub(crate) async fn kill_control_plane(&mut self) {
        if let Some(process) = self.control_plane.take() {
            process.end().await;
        }
    }

    /// The control plane's process.
    pub(crate) fn control_plane(&mut self) -> Result<&mut Process, BenchError> {
        self.control_plane.as_mut().ok_or_else(|| BenchError::Client("there is no control plane".to_owned()))
    }

    /// Where proxies connect to.
    pub(crate) fn xds(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.ports.grpc))
    }

    /// Ends both.
    pub(crate) async fn end(mut self) {
        self.kill_control_plane().await;
        self.api_server.end().await;
    }
}
