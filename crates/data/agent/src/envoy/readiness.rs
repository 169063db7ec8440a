//! What Envoy's admin endpoints say of its state and its metrics.

use std::time::Duration;

use crate::fetch::Fetch;
use crate::status::{BoxFuture, DataPlaneStatus};

/// How long Envoy may take to answer on loopback.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Largest metrics answer of Envoy.
const MAX_METRICS: usize = 64 * 1024 * 1024;

/// An Envoy on this machine.
#[derive(Debug)]
pub struct EnvoyStatus {
    /// Loopback port of its admin endpoints.
    pub admin_port: u16,
}

impl DataPlaneStatus for EnvoyStatus {
    fn ready(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(envoy_ready(self.admin_port))
    }

    fn metrics(&self) -> BoxFuture<'_, String> {
        Box::pin(async move {
            let address = format!("127.0.0.1:{}", self.admin_port);
            match Fetch::get(address, "/stats/prometheus", TIMEOUT, MAX_METRICS).send().await {
                Ok(answer) => String::from_utf8_lossy(&answer.body).into_owned(),
                Err(error) => {
                    tracing::warn!(%error, "Envoy's metrics are left out");
                    String::new()
                }
            }
        })
    }
}

/// Envoy is ready when it is live and its workers run; that is later than `/ready` of its admin endpoint says.
async fn envoy_ready(admin_port: u16) -> Result<(), String> {
    const FILTER: &str = "/stats?filter=%5E(server.state%7Clistener_manager.workers_started)%24";
    let address = format!("127.0.0.1:{admin_port}");
    let answer = Fetch::get(address, FILTER, TIMEOUT, MAX_METRICS).send().await.map_err(|e| e.to_string())?;
    let body = String::from_utf8_lossy(&answer.body);
    let value = |name: &str| {
        body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")?.trim().parse::<u64>().ok())
    };
    match (value("server.state"), value("listener_manager.workers_started")) {
        (Some(0), Some(1)) => Ok(()),
        (state, workers) => Err(format!("Envoy's state is {state:?}, its workers started: {workers:?}")),
    }
}
