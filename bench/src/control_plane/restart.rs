//! The control plane is killed and started anew: all proxies come back at once, and a change is made as soon as it is ready.

use tokio::time::Instant;

use super::changes::ChangeKind;
use super::cpu::Threads;
use super::report::ReconnectRow;
use super::steps::{ARRIVES_WITHIN, Field, milliseconds};
use super::wait::until;
use crate::error::BenchError;
use crate::statistics::percentile;

impl Field {
    /// Measures it; the change is the endpoint change of that number.
    pub(crate) async fn reconnect(&mut self, change: usize) -> Result<ReconnectRow, BenchError> {
        let hub = self.fleet.hub.clone();
        let (attempts, received) = (hub.attempts(), self.fleet.received());
        self.servers.kill_control_plane().await;
        let started = Instant::now();
        self.servers.start_control_plane().await?;
        let ready = Instant::now();

        let made = ChangeKind::Endpoint.make(change, &self.mesh, &self.fleet.proxies, &self.authority)?;
        let number = hub.watch(&made.marker, made.wanted);
        self.servers.api.put(&made.object).await?;
        self.synchronous().await?;
        let synchronous = ready.elapsed();
        until(ARRIVES_WITHIN, || hub.missing(number) == 0).await;
        let missing = hub.missing(number);
        let arrived = milliseconds(&hub.unwatch(number));
        self.quiet().await?;

        let proxies = self.fleet.len() as f64;
        let cpu = Threads::default().milliseconds_until(&Threads::of(self.servers.control_plane()?.pid())?);
        let bytes = received.iter().zip(self.fleet.received()).map(|(before, after)| (after - before) as f64);
        let after = hub.attempts();
        Ok(ReconnectRow {
            ready_seconds: (ready - started).as_secs_f64(),
            synchronous_seconds: synchronous.as_secs_f64(),
            change_p50_ms: percentile(&arrived, 50.0),
            change_p99_ms: percentile(&arrived, 99.0),
            change_last_ms: percentile(&arrived, 100.0),
            missing,
            refused: after.refused - attempts.refused,
            failed: after.failed - attempts.failed,
            control_plane_ms_per_proxy: cpu / proxies,
            kib_per_proxy: bytes.sum::<f64>() / 1024.0 / proxies,
            memory: self.memory()?,
        })
    }
}
