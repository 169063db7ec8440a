//! The `portolan` program: the commands for people, and every server role as a sub-command.
//!
//! `pod-init` is told apart before anything else: it turns its own process into a container, which a process with
//! threads may not do.

#![warn(clippy::print_stdout)]

mod commands;
mod output;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use commands::{api_server, cluster, down, federation, proxy_config, proxy_status, status, up, version};
use portolan_client::{Target, terminal};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What `--help` ends with.
const EXAMPLES: &str = "\
Examples:
  portolan up --state-dir ./shop --detach          a cluster with a mesh on this machine (as root)
  export KUBECONFIG=$PWD/shop/kubeconfig
  portolan proxy-status                            what each proxy has acknowledged
  portolan proxy-config route deploy/web.shop      the routes of a workload's proxy
  portolan federation status                       peers, exports and imports
  portolan down --state-dir ./shop                 stops it; --purge also removes its objects";

/// A federated service mesh, with a cluster to run it in.
#[derive(Debug, Parser)]
#[command(name = "portolan", version, about, propagate_version = true, after_help = EXAMPLES)]
struct Cli {
    #[command(flatten)]
    target: Target,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a cluster on this machine, with a mesh in it.
    Up(up::Up),
    /// Stop a cluster and remove everything that it has on this machine.
    Down(down::Down),
    /// Show what runs.
    Status(status::Status),
    /// Two clusters, two meshes, one using a service of the other: step by step.
    Demo(portolan_demo::Demo),
    /// Show which configuration each proxy has acknowledged.
    #[command(visible_alias = "ps")]
    ProxyStatus(proxy_status::ProxyStatus),
    /// Show what a proxy runs with.
    #[command(visible_alias = "pc")]
    ProxyConfig(proxy_config::ProxyConfig),
    /// Federation with other meshes.
    Federation(federation::Federation),
    /// Print the versions of this program, the control plane and the proxies.
    Version(version::Version),
    /// Print what a shell needs to complete commands: `source <(portolan completion bash)`.
    Completion {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// Run the control plane (istiod's place).
    ControlPlane(portolan_control_plane::Args),
    /// The process that holds a cluster.
    #[command(hide = true)]
    Cluster(cluster::Supervise),
    /// The API server of a cluster alone, without node and controllers.
    #[command(hide = true)]
    ApiServer(api_server::ApiServer),
}

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    if args.get(1).is_some_and(|arg| arg == "pod-init") {
        return portolan_node::pod_init_main(&args[2..]);
    }
    let cli = Cli::parse();
    start_logging(&cli.command);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("portolan: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(run(cli));
    // What still blocks has nothing to say to anybody.
    runtime.shutdown_background();
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("portolan: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Servers log what they do; commands for people only what went wrong. `RUST_LOG` overrides both. The Kubernetes
/// client would log what its errors say as well.
fn start_logging(command: &Command) {
    let default = match command {
        Command::ApiServer(_) | Command::Cluster(_) | Command::ControlPlane(_) => "info,kube_client=off",
        _ => "error,kube_client=off",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
}

async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let target = &cli.target;
    match cli.command {
        Command::Up(args) => up::run(target, &args).await,
        Command::Down(args) => down::run(target, &args).await,
        Command::Status(args) => status::run(target, &args).await,
        Command::Demo(args) => portolan_demo::run(&args, target.state_dir.as_deref()).await,
        Command::Cluster(args) => cluster::run(target, &args).await,
        Command::ApiServer(args) => api_server::run(target, &args).await,
        Command::ControlPlane(args) => portolan_control_plane::run(args).await.map(|()| ExitCode::SUCCESS),
        Command::ProxyStatus(args) => done(proxy_status::run(target, &args).await),
        Command::ProxyConfig(args) => done(proxy_config::run(target, &args).await),
        Command::Federation(args) => done(federation::run(target, &args).await),
        Command::Version(args) => done(version::run(target, &args).await),
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "portolan", &mut script);
            terminal::write(format_args!("{}", String::from_utf8_lossy(&script)));
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn done(outcome: anyhow::Result<()>) -> anyhow::Result<ExitCode> {
    outcome.map(|()| ExitCode::SUCCESS)
}
