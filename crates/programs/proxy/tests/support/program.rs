//! `portolan-proxy` as a child process.

use std::process::Stdio;

use tokio::process::{Child, Command};

use super::istiod::{Istiod, TOKEN};
use super::{eventually, free_port, http};

/// Ports of one proxy.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    pub admin: u16,
    pub status: u16,
    pub health: u16,
    pub prometheus: u16,
}

/// A running agent. Killed when dropped.
pub struct Program {
    pub child: Child,
    pub ports: Ports,
    pub directory: tempfile::TempDir,
}

impl Program {
    /// Starts `proxy sidecar` for a workload `shop` against `istiod`.
    pub fn start(istiod: &Istiod, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::fs::write(at("token"), format!("{TOKEN}\n")).unwrap();
        std::fs::write(at("root.pem"), istiod.root_pem()).unwrap();
        let ports =
            Ports { admin: free_port(), status: free_port(), health: free_port(), prometheus: free_port() };
        let proxy_config = format!(
            r#"{{"discoveryAddress":"localhost:{}","proxyAdminPort":{},"statusPort":{},"terminationDrainDuration":"1s","concurrency":1}}"#,
            istiod.address.port(),
            ports.admin,
            ports.status,
        );
        let child = Command::new(env!("CARGO_BIN_EXE_portolan-proxy"))
            .args(["proxy", "sidecar", "--domain", "shop.svc.cluster.local", "--log_output_level", "debug"])
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var("PATH").unwrap_or_default())
            .env("POD_NAME", "shop-1")
            .env("POD_NAMESPACE", "shop")
            .env("INSTANCE_IP", "127.0.0.1")
            .env("SERVICE_ACCOUNT", "shop")
            .env("TRUST_DOMAIN", "west.local")
            .env("ISTIO_META_CLUSTER_ID", "west")
            .env("PROXY_CONFIG", proxy_config)
            .env("XDS_ROOT_CA", at("root.pem"))
            .env("CA_ROOT_CA", at("root.pem"))
            .env("PORTOLAN_TOKEN_PATH", at("token"))
            .env("ENVOY_STATUS_PORT", ports.health.to_string())
            .env("ENVOY_PROMETHEUS_PORT", ports.prometheus.to_string())
            .envs(environment.iter().copied())
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Program { child, ports, directory }
    }

    pub fn admin(&self) -> String {
        format!("127.0.0.1:{}", self.ports.admin)
    }

    pub fn status(&self) -> String {
        format!("127.0.0.1:{}", self.ports.status)
    }

    /// Waits until the health port says ready.
    pub async fn ready(&self) {
        let health = format!("127.0.0.1:{}", self.ports.health);
        eventually("readiness", async || {
            http("GET", &health, "/healthz/ready").await.filter(|(status, _)| *status == 200)
        })
        .await;
    }

    /// Sends SIGTERM and waits for the end.
    pub async fn terminate(mut self) -> std::process::ExitStatus {
        let pid = rustix::process::Pid::from_raw(self.child.id().unwrap() as i32).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        tokio::time::timeout(super::PATIENCE, self.child.wait()).await.unwrap().unwrap()
    }
}
