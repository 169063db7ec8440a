//! What one round of one implementation gave.

use serde::Serialize;

/// One round of one implementation under load.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct LoadRound {
    pub(crate) requests: u64,
    pub(crate) errors: u64,
    pub(crate) seconds: f64,
    pub(crate) cpu_user_seconds: f64,
    pub(crate) cpu_system_seconds: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

/// One round of one implementation.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct IdleRound {
    pub(crate) errors: u64,
    /// Before the connections came, KiB.
    pub(crate) base_anonymous: f64,
    pub(crate) base_resident: f64,
    /// KiB more for each of them.
    pub(crate) anonymous: f64,
    pub(crate) resident: f64,
}
