//! `/server_info`, `/ready` and the other facts about the process.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};

use super::AdminState;
use portolan_agent::serve::{json as json_response, text};
use portolan_dataplane::config::ResourceState;

/// Envoy's `ServerInfo.State`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerState {
    /// Serving.
    Live,
    /// Shutting down or told to fail health checks.
    Draining,
    /// Threads are starting.
    PreInitializing,
    /// Waits for configuration.
    Initializing,
}

impl ServerState {
    /// Name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            ServerState::Live => "LIVE",
            ServerState::Draining => "DRAINING",
            ServerState::PreInitializing => "PRE_INITIALIZING",
            ServerState::Initializing => "INITIALIZING",
        }
    }

    /// Number in the API and in `server.state`.
    pub fn number(self) -> u64 {
        match self {
            ServerState::Live => 0,
            ServerState::Draining => 1,
            ServerState::PreInitializing => 2,
            ServerState::Initializing => 3,
        }
    }
}

pub(super) fn ready(state: &AdminState, _: &Request<Bytes>) -> Response<Full<Bytes>> {
    let now = state.state();
    let status = if now == ServerState::Live { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    text(status, format!("{}\n", now.as_str()))
}

pub(super) fn server_info(state: &AdminState, _: &Request<Bytes>) -> Response<Full<Bytes>> {
    let uptime = format!("{}s", state.started.elapsed().unwrap_or_default().as_secs());
    json_response(&json!({
        "version": version(),
        "state": state.state().as_str(),
        "hot_restart_version": "disabled",
        "command_line_options": state.options,
        "node": portolan_xds::json::to_json(&state.node).unwrap_or(Value::Null),
        "uptime_current_epoch": uptime,
        "uptime_all_epochs": uptime,
    }))
}

/// In Envoy's form: commit, version, state of the tree, build type, TLS library. Tools read the second part.
pub(super) fn version() -> String {
    let build = if cfg!(debug_assertions) { "DEBUG" } else { "RELEASE" };
    format!("portolan/{}/Clean/{build}/aws-lc", env!("CARGO_PKG_VERSION"))
}

pub(super) fn hot_restart_version(_: &AdminState, _: &Request<Bytes>) -> Response<Full<Bytes>> {
    text(StatusCode::OK, "disabled\n")
}

pub(super) fn runtime(_: &AdminState, _: &Request<Bytes>) -> Response<Full<Bytes>> {
    json_response(&json!({"layers": [], "entries": {}}))
}

pub(super) fn memory(_: &AdminState, _: &Request<Bytes>) -> Response<Full<Bytes>> {
    // Lines such as `VmRSS:      1234 kB`.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let bytes = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        let kib: u64 =
            line.and_then(|l| l.split_whitespace().next()).and_then(|n| n.parse().ok()).unwrap_or(0);
        (kib * 1024).to_string()
    };
    json_response(&json!({
        "allocated": bytes("VmRSS"),
        "heap_size": bytes("VmData"),
        "pageheap_unmapped": "0",
        "pageheap_free": "0",
        "total_thread_cache": "0",
        "total_physical_bytes": bytes("VmRSS"),
    }))
}

pub(super) fn init_dump(state: &AdminState, _: &Request<Bytes>) -> Response<Full<Bytes>> {
    let status = state.store.status();
    let listeners = status.listeners.iter().map(|l| (&l.name, l.state, &l.waits_for));
    let clusters = status.clusters.iter().map(|c| (&c.name, c.state, &c.waits_for));
    let dumps: Vec<Value> = listeners
        .chain(clusters)
        .filter(|(_, state, _)| *state == ResourceState::Warming)
        .map(|(name, _, waits_for)| json!({"name": name, "target_names": waits_for}))
        .collect();
    json_response(&json!({"unready_targets_dumps": dumps}))
}

/// RFC 3339 in UTC, as protobuf's JSON writes timestamps.
pub(super) fn timestamp(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let nanos = i32::try_from(since.subsec_millis()).unwrap_or(0) * 1_000_000;
    portolan_xds::json::timestamp_text(i64::try_from(since.as_secs()).unwrap_or(i64::MAX), nanos)
}
