//! The command line: Envoy's for the stand-alone proxy, pilot-agent's for the agent.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Parser, Subcommand, ValueEnum};
use portolan_names::{paths, ports};
use tokio_util::sync::CancellationToken;

use portolan_agent::bootstrap;
use portolan_agent::envoy::process as envoy_process;
use portolan_agent::fetch::Fetch;
use portolan_agent::settings::{AgentConfig, Flags, PodInfo, Role};

use crate::log::LogControl;
use crate::{sidecar, standalone};

/// Sidecar and gateway of the mesh, or a stand-alone proxy with an Envoy bootstrap.
#[derive(Debug, Parser)]
#[command(
    name = "portolan-proxy",
    version,
    args_conflicts_with_subcommands = true,
    arg_required_else_help = true
)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    standalone: Standalone,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the agent and the data plane of a workload or gateway.
    Proxy(ProxyArgs),
    /// Set up traffic capture in this network namespace (the init container).
    Redirect(portolan_redirect::RedirectArgs),
    /// Wait until the proxy is ready.
    Wait(WaitArgs),
    /// Ask the proxy's admin endpoints.
    Request(RequestArgs),
    /// Print the version.
    Version,
    /// Become another program that ends with its parent.
    #[command(name = envoy_process::TIED, hide = true)]
    ExecTied(TiedArgs),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Run.
    Serve,
    /// Check the configuration and end.
    Validate,
    /// The same.
    InitOnly,
}

#[derive(Debug, Args)]
struct Standalone {
    /// Bootstrap file, JSON or YAML.
    #[arg(short = 'c', long = "config-path", value_name = "FILE")]
    config_path: Option<PathBuf>,
    /// Bootstrap text, YAML or JSON, in place of a file.
    #[arg(long, value_name = "TEXT")]
    config_yaml: Option<String>,
    /// What to do with it.
    #[arg(long, value_enum, default_value = "serve")]
    mode: Mode,
    /// Worker threads; 0 = one per CPU.
    #[arg(long, default_value_t = 0)]
    concurrency: u32,
    /// Log level.
    #[arg(short = 'l', long, default_value = "info")]
    log_level: String,
    /// Overrides node.id.
    #[arg(long)]
    service_node: Option<String>,
    /// Overrides node.cluster.
    #[arg(long)]
    service_cluster: Option<String>,
    /// File to write the address of the admin endpoints to.
    #[arg(long, value_name = "FILE")]
    admin_address_path: Option<PathBuf>,
    /// Longest wait for connections to finish after SIGTERM, in seconds.
    #[arg(long)]
    drain_time_s: Option<u64>,
    /// Accepted for Envoy's sake.
    #[arg(long, hide = true)]
    component_log_level: Option<String>,
    /// Accepted for Envoy's sake.
    #[arg(long, hide = true)]
    log_format: Option<String>,
    /// Accepted for Envoy's sake: there is no hot restart to choose an id for.
    #[arg(long, hide = true)]
    base_id: Option<u64>,
    /// Accepted for Envoy's sake.
    #[arg(long, hide = true)]
    disable_hot_restart: bool,
    /// Accepted for Envoy's sake.
    #[arg(long, hide = true)]
    drain_strategy: Option<String>,
    /// Accepted for Envoy's sake.
    #[arg(long, hide = true)]
    parent_shutdown_time_s: Option<u64>,
    /// Accepted for Envoy's sake.
    #[arg(long, hide = true)]
    local_address_ip_version: Option<String>,
    /// Accepted for Envoy's sake.
    #[arg(long, hide = true)]
    file_flush_interval_msec: Option<u64>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum RoleArg {
    /// Beside an application.
    Sidecar,
    /// A gateway.
    Router,
}

#[derive(Debug, Args)]
struct ProxyArgs {
    /// Sidecar or gateway.
    #[arg(value_enum, default_value = "sidecar")]
    role: RoleArg,
    /// DNS domain, `<namespace>.svc.<cluster domain>`.
    #[arg(long)]
    domain: Option<String>,
    /// Service cluster.
    #[arg(long = "serviceCluster")]
    service_cluster: Option<String>,
    /// Log level of the data plane (Envoy's).
    #[arg(long = "proxyLogLevel", default_value = "warning")]
    proxy_log_level: String,
    /// Log levels of Envoy's components.
    #[arg(long = "proxyComponentLogLevel", default_value = "misc:error")]
    proxy_component_log_level: String,
    /// Log level of the agent: a level, or `scope:level` pairs.
    #[arg(long = "log_output_level", default_value = "default:info")]
    log_output_level: String,
    /// Write log lines as JSON.
    #[arg(long = "log_as_json")]
    log_as_json: bool,
    /// Worker threads; 0 = one per CPU.
    #[arg(long)]
    concurrency: Option<u32>,
    /// Run this Envoy in place of our own data plane.
    #[arg(long, value_name = "PROGRAM")]
    envoy: Option<PathBuf>,
    /// Directory of the downward API's labels and annotations.
    #[arg(long, default_value = paths::POD_INFO, hide = true)]
    pod_info: PathBuf,
    /// Accepted for pilot-agent's sake; trustDomain comes from TRUST_DOMAIN.
    #[arg(long = "trust-domain", hide = true)]
    trust_domain: Option<String>,
    /// Accepted for pilot-agent's sake; there is no sts server.
    #[arg(long = "stsPort", hide = true)]
    sts_port: Option<u16>,
    /// Accepted for pilot-agent's sake; the bootstrap is not a template.
    #[arg(long = "templateFile", hide = true)]
    template_file: Option<String>,
    /// Accepted for pilot-agent's sake.
    #[arg(long = "outlierLogPath", hide = true)]
    outlier_log_path: Option<String>,
}

#[derive(Debug, Args)]
struct WaitArgs {
    /// Longest wait.
    #[arg(long = "timeoutSeconds", default_value_t = 60)]
    timeout_seconds: u64,
    /// Longest wait for one answer.
    #[arg(long = "requestTimeoutMillis", default_value_t = 500)]
    request_timeout_millis: u64,
    /// Wait between questions.
    #[arg(long = "periodMillis", default_value_t = 500)]
    period_millis: u64,
    /// Readiness endpoint.
    #[arg(long, default_value_t = format!("http://localhost:{}/healthz/ready", ports::HEALTH))]
    url: String,
}

#[derive(Debug, Args)]
struct TiedArgs {
    /// Process that must be the parent.
    parent: u32,
    /// Program to become.
    program: PathBuf,
    /// Its arguments.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

#[derive(Debug, Args)]
struct RequestArgs {
    /// GET or POST.
    method: String,
    /// Path and query, for example `clusters?format=json`.
    path: String,
    /// Admin port.
    #[arg(long = "debug-port", default_value_t = ports::ADMIN)]
    port: u16,
}

/// Parses the command line and runs what it says.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    // One provider for the whole process; a second installation is refused, which is fine.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let result = match cli.command {
        Some(Command::Proxy(arguments)) => on_runtime(proxy(arguments)),
        Some(Command::Redirect(arguments)) => return redirect(&arguments),
        Some(Command::Wait(arguments)) => on_runtime(wait(arguments)),
        Some(Command::Request(arguments)) => on_runtime(request(arguments)),
        Some(Command::Version) => {
            print_out(concat!("portolan-proxy ", env!("CARGO_PKG_VERSION"), "\n"));
            Ok(())
        }
        Some(Command::ExecTied(TiedArgs { parent, program, arguments })) => {
            let error = envoy_process::exec_tied(parent, &program, &arguments);
            Err(anyhow::Error::new(error).context(format!(
                "cannot start Envoy {}; set ENVOY_PATH or --envoy to its program",
                program.display()
            )))
        }
        None => on_runtime(serve(cli.standalone)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("portolan-proxy: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The control half runs on one thread, apart from the data path's workers.
fn on_runtime(future: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the control thread's runtime")?;
    runtime.block_on(future)
}

async fn serve(arguments: Standalone) -> anyhow::Result<()> {
    let log = LogControl::start(&arguments.log_level, false)?;
    let loaded = match (&arguments.config_path, &arguments.config_yaml) {
        (Some(path), _) => bootstrap::load(path)?,
        (None, Some(text)) => bootstrap::parse(Path::new("--config-yaml"), text)?,
        (None, None) => {
            anyhow::bail!("no configuration: give -c FILE, --config-yaml TEXT or a command (see --help)")
        }
    };
    if arguments.mode != Mode::Serve {
        standalone::validate(&loaded)?;
        print_out("configuration OK\n");
        return Ok(());
    }
    let options = standalone::Options {
        concurrency: arguments.concurrency,
        service_node: arguments.service_node,
        service_cluster: arguments.service_cluster,
        admin_address_path: arguments.admin_address_path,
        shutdown_drain: arguments.drain_time_s.map(Duration::from_secs),
    };
    standalone::run(loaded, options, log, quit_on_signal()?).await?;
    Ok(())
}

async fn proxy(arguments: ProxyArgs) -> anyhow::Result<()> {
    let log = LogControl::start(&arguments.log_output_level, arguments.log_as_json)?;
    let environment: BTreeMap<String, String> = std::env::vars().collect();
    let flags = Flags {
        role: match arguments.role {
            RoleArg::Sidecar => Role::Sidecar,
            RoleArg::Router => Role::Router,
        },
        domain: arguments.domain,
        service_cluster: arguments.service_cluster,
        concurrency: arguments.concurrency,
        proxy_log_level: arguments.proxy_log_level,
        proxy_component_log_level: arguments.proxy_component_log_level,
        envoy: arguments.envoy,
    };
    let config = AgentConfig::resolve(flags, environment, PodInfo::read(&arguments.pod_info))?;
    sidecar::run(config, log, quit_on_signal()?).await?;
    Ok(())
}

/// A token that SIGTERM and SIGINT cancel. A second signal ends the process at once.
fn quit_on_signal() -> anyhow::Result<CancellationToken> {
    use tokio::signal::unix::{SignalKind, signal};
    let quit = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).context("cannot handle SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot handle SIGINT")?;
    let token = quit.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if token.is_cancelled() {
                std::process::exit(1);
            }
            token.cancel();
        }
    });
    Ok(quit)
}

fn redirect(arguments: &portolan_redirect::RedirectArgs) -> ExitCode {
    match portolan_redirect::run(arguments, &mut |text| print_out(text)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("portolan-proxy redirect: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

async fn wait(arguments: WaitArgs) -> anyhow::Result<()> {
    let url: http::Uri = arguments.url.parse().context("--url is not a URL")?;
    let address = url.authority().context("--url has no host")?.to_string();
    let path = url.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(arguments.timeout_seconds);
    loop {
        let timeout = Duration::from_millis(arguments.request_timeout_millis);
        let last = match Fetch::get(address.clone(), path.clone(), timeout, 64 * 1024).send().await {
            Ok(answer) if answer.status.is_success() => {
                print_out("the proxy is ready\n");
                return Ok(());
            }
            Ok(answer) => format!("{}: {}", answer.status, String::from_utf8_lossy(&answer.body).trim()),
            Err(error) => error.to_string(),
        };
        if tokio::time::Instant::now() >= deadline {
            anyhow::bail!("the proxy is not ready after {} s: {last}", arguments.timeout_seconds);
        }
        tokio::time::sleep(Duration::from_millis(arguments.period_millis)).await;
    }
}

async fn request(arguments: RequestArgs) -> anyhow::Result<()> {
    const TIMEOUT: Duration = Duration::from_secs(30);
    const MAX_BODY: usize = 512 * 1024 * 1024;
    let method: http::Method = arguments.method.to_ascii_uppercase().parse().context("not an HTTP method")?;
    let path = format!("/{}", arguments.path.trim_start_matches('/'));
    let answer = Fetch::get(format!("127.0.0.1:{}", arguments.port), path, TIMEOUT, MAX_BODY)
        .method(method)
        .send()
        .await?;
    let body = String::from_utf8_lossy(&answer.body);
    anyhow::ensure!(answer.status.is_success(), "{}: {}", answer.status, body.trim());
    print_out(&body);
    Ok(())
}

/// Writes to standard output. A reader that has gone (`| head`) has seen enough: no error.
fn print_out(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines_of_others_parse() {
        for line in [
            "portolan-proxy -c envoy.yaml --concurrency 2 -l warning --disable-hot-restart --base-id 3",
            "portolan-proxy proxy sidecar --domain a.svc.cluster.local --serviceCluster x.a --proxyLogLevel=warning \
             --proxyComponentLogLevel=misc:error --log_output_level=default:info --concurrency 2",
            "portolan-proxy proxy router --domain istio-system.svc.cluster.local --trust-domain cluster.local",
            "portolan-proxy redirect -p 15001 -z 15006 -u 1337 -m REDIRECT -i * -x= -b * -d 15090,15021,15020",
            "portolan-proxy wait --timeoutSeconds 5",
            "portolan-proxy request GET stats?filter=server",
            "portolan-proxy version",
        ] {
            let words: Vec<&str> = line.split(' ').filter(|word| !word.is_empty()).collect();
            Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
        assert!(Cli::try_parse_from(["portolan-proxy"]).is_err());
    }
}
