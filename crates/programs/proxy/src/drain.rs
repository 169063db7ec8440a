//! The wait for connections to finish before the process ends.

use std::time::Duration;

use portolan_dataplane::StatsHandle;
use portolan_dataplane::stats::SampleValue;

/// How often a drain looks whether connections are left.
const DRAIN_POLL: Duration = Duration::from_millis(100);

/// Waits until no downstream connection is open, at most `limit`.
pub(crate) async fn wait_idle(stats: &StatsHandle, limit: Duration) {
    let deadline = tokio::time::Instant::now() + limit;
    while tokio::time::Instant::now() < deadline {
        let open: u64 = stats
            .samples()
            .iter()
            .filter(|sample| {
                sample.stat_name.starts_with("listener.")
                    && sample.stat_name.ends_with(".downstream_cx_active")
            })
            .map(|sample| match sample.value {
                SampleValue::Number(open) => open,
                SampleValue::Histogram { .. } => 0,
            })
            .sum();
        if open == 0 {
            return;
        }
        tokio::time::sleep(DRAIN_POLL).await;
    }
}
