//! The load generators, and what they tell.

use std::fs;
use std::path::Path;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use crate::configuration::{Folder, HOST};
use crate::error::BenchError;
use crate::process::tied;

/// Longest wait of wrk for one answer before it counts an error.
const ANSWER_WITHIN: &str = "10s";
/// How much longer than asked a generator may run.
const GRACE: Duration = Duration::from_secs(30);
/// Requests of which h2load keeps times: bounds its log file, 3 s at 60,000 a second.
const MAX_LOG: u64 = 64 * 1024 * 1024;

/// What one run of a generator gave.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Outcome {
    /// Answers, also those that were not 2xx.
    pub(crate) requests: u64,
    pub(crate) errors: u64,
    pub(crate) seconds: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

/// Loads `port` over HTTP/1.1, one request at a time on each connection.
pub(crate) async fn wrk(
    folder: &Folder,
    port: u16,
    connections: u32,
    duration: Duration,
) -> Result<Outcome, BenchError> {
    let mut command = tied(Path::new("wrk"));
    command.args(["--threads", "1", "--connections", &connections.to_string()]);
    command.args(["--duration", &format!("{}s", duration.as_secs()), "--timeout", ANSWER_WITHIN]);
    command.arg("--script").arg(folder.file("report.lua"));
    command.args(["--header", &format!("Host: {HOST}"), &format!("http://127.0.0.1:{port}/products/1")]);
    let output = output("wrk", command, duration).await?;
    wrk_outcome(&output).ok_or(BenchError::Load { generator: "wrk", output })
}

/// Loads `port` over HTTP/2 with prior knowledge.
pub(crate) async fn h2load(
    folder: &Folder,
    port: u16,
    connections: u32,
    streams: u32,
    duration: Duration,
) -> Result<Outcome, BenchError> {
    let log = folder.file("h2load.log");
    // It appends.
    let _ = fs::remove_file(&log);
    let mut command = tied(Path::new("h2load"));
    command.args(["--threads", "1", "--clients", &connections.to_string()]);
    command.args(["--max-concurrent-streams", &streams.to_string()]);
    command.args(["--duration", &duration.as_secs().to_string(), "--header", &format!(":authority: {HOST}")]);
    command.arg("--log-file").arg(&log).arg(format!("http://127.0.0.1:{port}/products/1"));
    let output = output("h2load", command, duration).await?;
    let size = fs::metadata(&log).map_or(0, |data| data.len());
    let times = if size <= MAX_LOG { fs::read_to_string(&log).unwrap_or_default() } else { String::new() };
    h2load_outcome(&output, &times).ok_or(BenchError::Load { generator: "h2load", output })
}

async fn output(
    generator: &'static str,
    mut command: Command,
    duration: Duration,
) -> Result<String, BenchError> {
    let start = |source| BenchError::Start { program: generator.into(), source };
    let Ok(output) = timeout(duration + GRACE, command.output()).await else {
        return Err(BenchError::Load {
            generator,
            output: format!("it runs for more than {GRACE:?} too long"),
        });
    };
    let output = output.map_err(start)?;
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    if output.status.success() { Ok(text) } else { Err(BenchError::Load { generator, output: text }) }
}

/// The line that `report.lua` prints.
fn wrk_outcome(output: &str) -> Option<Outcome> {
    let line = output.lines().find_map(|line| line.strip_prefix("outcome "))?;
    let figures: Vec<u64> = line.split(' ').map(|n| n.parse().ok()).collect::<Option<_>>()?;
    let [requests, duration, connect, read, write, timeout, status, p50, p99] = figures.try_into().ok()?;
    Some(Outcome {
        requests,
        errors: connect + read + write + timeout + status,
        seconds: duration as f64 / 1e6,
        p50_ms: p50 as f64 / 1e3,
        p99_ms: p99 as f64 / 1e3,
    })
}

/// h2load's own summary, and its log of times: start in microseconds, status, microseconds that it took.
fn h2load_outcome(output: &str, log: &str) -> Option<Outcome> {
    let number_before = |line: &str, word: &str| -> Option<u64> {
        line.split([',', ':']).find_map(|part| part.trim().strip_suffix(word)?.trim().parse().ok())
    };
    let line = |start: &str| output.lines().find(|line| line.starts_with(start));
    let requests = line("requests: ")?;
    let done = number_before(requests, "done")?;
    let succeeded = number_before(requests, "succeeded")?;
    let timed_out = number_before(requests, "timeout").unwrap_or_default();
    let seconds =
        line("finished in ")?.strip_prefix("finished in ")?.split(',').next().and_then(seconds_of)?;
    let mut times: Vec<u64> =
        log.lines().filter_map(|line| line.split('\t').nth(2)?.trim().parse().ok()).collect();
    times.sort_unstable();
    let percentile = |percent: usize| {
        times.get(times.len().saturating_sub(1) * percent / 100).map_or(f64::NAN, |us| *us as f64 / 1e3)
    };
    Some(Outcome {
        requests: done,
        errors: done.saturating_sub(succeeded) + timed_out,
        seconds,
        p50_ms: percentile(50),
        p99_ms: percentile(99),
    })
}

/// `3.00s`, `950.12ms`.
fn seconds_of(text: &str) -> Option<f64> {
    let text = text.trim();
    match text.strip_suffix("ms") {
        Some(ms) => ms.parse::<f64>().ok().map(|ms| ms / 1e3),
        None => text.strip_suffix('s')?.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wrk_tells() {
        let output = "Running 3s test\n  9 requests\noutcome 12000 3000000 1 2 3 4 5 1500 9000\n";
        let expected = Outcome { requests: 12000, errors: 15, seconds: 3.0, p50_ms: 1.5, p99_ms: 9.0 };
        assert_eq!(wrk_outcome(output), Some(expected));
        assert_eq!(wrk_outcome("unable to connect"), None);
        assert_eq!(wrk_outcome("outcome 1 2"), None);
    }

    #[test]
    fn what_h2load_tells() {
        let output = "finished in 950.00ms, 3.5 req/s, 1B/s\n\
            requests: 100 total, 110 started, 100 done, 97 succeeded, 3 failed, 0 errored, 0 timeout\n\
            status codes: 97 2xx, 0 3xx, 3 4xx, 0 5xx\n";
        let log = "1\t200\t1000\n2\t200\t3000\n3\t200\t2000\n";
        let expected = Outcome { requests: 100, errors: 3, seconds: 0.95, p50_ms: 2.0, p99_ms: 2.0 };
        assert_eq!(h2load_outcome(output, log), Some(expected));
        assert_eq!(h2load_outcome("could not connect", ""), None);
    }
}
