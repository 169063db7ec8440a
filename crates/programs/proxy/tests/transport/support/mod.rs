//! A proxy under test, its configuration, and the peers around it.

pub(crate) mod config;
pub(crate) mod http2;
pub(crate) mod tls;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

pub(crate) use portolan_testing::http::{request as http, request_on as http_on};
use portolan_testing::needs;
pub(crate) use portolan_testing::{PATIENCE, eventually, in_time};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    Ours,
    Envoy,
}

impl Program {
    fn path(self) -> Option<PathBuf> {
        match self {
            Program::Ours => Some(env!("CARGO_BIN_EXE_portolan-proxy").into()),
            Program::Envoy => needs::envoy(),
        }
    }
}

/// Runs a case on our program and on Envoy.
pub(crate) async fn on_each(mut case: impl AsyncFnMut(Program)) {
    let only = std::env::var("ONLY").unwrap_or_default();
    for program in [Program::Ours, Program::Envoy] {
        if !only.is_empty() && only != format!("{program:?}") {
            continue;
        }
        if program.path().is_none() {
            continue;
        }
        // Shown when the test fails: whose behaviour it was.
        eprintln!("with {program:?}");
        case(program).await;
    }
}

/// What a proxy is told.
#[derive(Debug, Default)]
pub(crate) struct Config {
    pub(crate) listeners: Vec<Value>,
    pub(crate) clusters: Vec<Value>,
    pub(crate) secrets: Vec<Value>,
    pub(crate) node: Option<Value>,
    /// `tracing` of the bootstrap.
    pub(crate) tracing: Option<Value>,
}

/// A running proxy. Killed when dropped.
pub(crate) struct Proxy {
    pub(crate) program: Program,
    pub(crate) child: Child,
    pub(crate) admin: SocketAddr,
    pub(crate) directory: tempfile::TempDir,
}

impl Proxy {
    /// Starts `program` and waits until it serves. `{DIR}` in the configuration is its directory.
    pub(crate) async fn start(program: Program, config: Config) -> Proxy {
        Self::start_in(program, config, tempfile::tempdir().unwrap()).await
    }

    /// The same with files that are there already.
    pub(crate) async fn start_in(program: Program, config: Config, directory: tempfile::TempDir) -> Proxy {
        Self::launch(program, config, directory, None).await
    }

    /// The same as another user.
    pub(crate) async fn start_as(program: Program, config: Config, user: u32) -> Proxy {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        Self::launch(program, config, directory, Some(user)).await
    }

    async fn launch(
        program: Program,
        config: Config,
        directory: tempfile::TempDir,
        user: Option<u32>,
    ) -> Proxy {
        let at = |name: &str| directory.path().join(name);
        let mut bootstrap = json!({
            "node": config.node.unwrap_or_else(|| json!({"id": "test", "cluster": "test"})),
            "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
            "static_resources": {
                "listeners": config.listeners, "clusters": config.clusters, "secrets": config.secrets,
            },
        });
        if let Some(tracing) = config.tracing {
            bootstrap["tracing"] = tracing;
        }
        let text = serde_json::to_string_pretty(&bootstrap).unwrap();
        let text = text.replace("{DIR}", directory.path().to_str().unwrap());
        std::fs::write(at("bootstrap.json"), text).unwrap();
        let output = std::fs::File::create(at("output")).unwrap();
        let mut command = Command::new(program.path().unwrap());
        if let Some(user) = user {
            command.uid(user).gid(user);
        }
        let child = command
            .arg("-c")
            .arg(at("bootstrap.json"))
            .arg("--admin-address-path")
            .arg(at("admin"))
            .args(["--concurrency", "1", "-l", "warning", "--disable-hot-restart"])
            .args(["--file-flush-interval-msec", "50", "--drain-time-s", "2"])
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut proxy = Proxy { program, child, admin: SocketAddr::from(([0; 4], 0)), directory };
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let path = proxy.path("admin");
            if let Some(admin) = std::fs::read_to_string(path).ok().and_then(|text| text.parse().ok()) {
                proxy.admin = admin;
                if proxy.get("/ready").await.is_some_and(|(status, _)| status == 200) {
                    return proxy;
                }
            }
            let ended = proxy.child.try_wait().unwrap();
            let late = tokio::time::Instant::now() > deadline;
            if ended.is_some() || late {
                panic!("{program:?} does not serve ({ended:?}): {}", proxy.output());
            }
            // The pause between two looks; the panic above shows more than `eventually` could.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// What the program printed.
    pub(crate) fn output(&self) -> String {
        std::fs::read_to_string(self.path("output")).unwrap_or_default()
    }

    /// GET on the admin port.
    pub(crate) async fn get(&self, path: &str) -> Option<(u16, String)> {
        http(self.admin, "GET", path, "").await.ok()
    }

    pub(crate) async fn post(&self, path: &str) -> (u16, String) {
        http(self.admin, "POST", path, "").await.unwrap()
    }

    /// Where the listener `name` accepts.
    pub(crate) async fn address(&self, name: &str) -> SocketAddr {
        eventually(&format!("listener {name}"), async || {
            let (_, text) = self.get("/listeners").await?;
            text.lines().find_map(|line| line.strip_prefix(&format!("{name}::"))?.trim().parse().ok())
        })
        .await
    }

    /// All counters and gauges.
    pub(crate) async fn stats(&self) -> std::collections::BTreeMap<String, u64> {
        self.stats_of("").await
    }

    /// Those whose names begin with `prefix`.
    pub(crate) async fn stats_of(&self, prefix: &str) -> std::collections::BTreeMap<String, u64> {
        let filter = format!("/stats?filter=^{}", prefix.replace('.', "\\.").replace('|', "."));
        let (_, text) = self.get(&filter).await.unwrap();
        let pair = |line: &str| {
            let (name, value) = line.split_once(": ")?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        text.lines().filter_map(pair).collect()
    }

    pub(crate) async fn stat(&self, name: &str) -> u64 {
        self.stats_of(name).await.get(name).copied().unwrap_or_default()
    }

    /// Waits for a statistic to have a value.
    pub(crate) async fn until_stat(&self, name: &str, wanted: u64) {
        eventually(&format!("{:?}: {name} to be {wanted}", self.program), async || {
            (self.stat(name).await == wanted).then_some(())
        })
        .await;
    }

    /// Waits for `count` lines of a JSON access log and returns them all.
    pub(crate) async fn log(&self, name: &str, count: usize) -> Vec<Value> {
        log_lines(&self.path(name), count).await
    }
}

/// The lines of a JSON access log when there are `count`.
pub(crate) async fn log_lines(path: &std::path::Path, count: usize) -> Vec<Value> {
    eventually(&format!("{count} lines in {}", path.display()), async || {
        let text = std::fs::read_to_string(path).ok()?;
        let lines: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        (lines.len() >= count).then_some(lines)
    })
    .await
}
