//! What a cluster says about outliers.

use std::time::Duration;

/// What a host is ejected for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// So many 5xx responses in a row.
    Consecutive5xx,
    /// So many responses 502, 503 and 504 in a row.
    ConsecutiveGatewayFailure,
    /// So many failures to connect, resets and timeouts in a row, where these are counted by themselves.
    ConsecutiveLocalOriginFailure,
    /// Fewer successes than the others have.
    SuccessRate,
    /// The same, of connections.
    LocalOriginSuccessRate,
    /// Too many failures, whatever the others have.
    FailurePercentage,
    /// The same, of connections.
    LocalOriginFailurePercentage,
}

impl Kind {
    /// All of them; the place of a kind is its number.
    pub const ALL: [Kind; 7] = [
        Kind::Consecutive5xx,
        Kind::ConsecutiveGatewayFailure,
        Kind::ConsecutiveLocalOriginFailure,
        Kind::SuccessRate,
        Kind::LocalOriginSuccessRate,
        Kind::FailurePercentage,
        Kind::LocalOriginFailurePercentage,
    ];

    /// Its name at the end of Envoy's statistics (`ejections_enforced_<name>`).
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Consecutive5xx => "consecutive_5xx",
            Kind::ConsecutiveGatewayFailure => "consecutive_gateway_failure",
            Kind::ConsecutiveLocalOriginFailure => "consecutive_local_origin_failure",
            Kind::SuccessRate => "success_rate",
            Kind::LocalOriginSuccessRate => "local_origin_success_rate",
            Kind::FailurePercentage => "failure_percentage",
            Kind::LocalOriginFailurePercentage => "local_origin_failure_percentage",
        }
    }
}

/// Ejection of hosts whose success rate is far below the average.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SuccessRate {
    /// So many hosts must have enough requests.
    pub minimum_hosts: u32,
    /// Requests in one interval that are enough.
    pub request_volume: u32,
    /// How many standard deviations below the average are too many.
    pub stdev_factor: f64,
}

/// Ejection of hosts with too many failures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FailurePercentage {
    /// Per cent of failures that are too many.
    pub threshold: u32,
    /// So many hosts must have enough requests.
    pub minimum_hosts: u32,
    /// Requests in one interval that are enough.
    pub request_volume: u32,
}

/// Settings of a cluster. [`Default`] is Envoy's default.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// How often statistics are judged and hosts return.
    pub interval: Duration,
    /// Length of a host's first ejection; grows by itself with every further one.
    pub base_ejection_time: Duration,
    /// Longest ejection.
    pub max_ejection_time: Duration,
    /// Adds up to so much to each ejection.
    pub max_ejection_time_jitter: Duration,
    /// Per cent of hosts that may be ejected at the same time.
    pub max_ejection_percent: u32,
    /// Whether one host may be ejected in any case.
    pub always_eject_one_host: bool,
    /// 5xx responses in a row; 0 is never.
    pub consecutive_5xx: u32,
    /// Gateway failures in a row; 0 is never.
    pub consecutive_gateway_failure: u32,
    /// Local failures in a row; 0 is never. Only with `split_local_origin`.
    pub consecutive_local_origin_failure: u32,
    /// Whether failures found out here are counted apart from responses.
    pub split_local_origin: bool,
    /// Of success rates.
    pub success_rate: SuccessRate,
    /// Of failures.
    pub failure_percentage: FailurePercentage,
    /// Per cent of detections that are acted on, by the number of the [`Kind`].
    pub enforcing: [u32; Kind::ALL.len()],
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            interval: Duration::from_secs(10),
            base_ejection_time: Duration::from_secs(30),
            max_ejection_time: Duration::from_secs(300),
            max_ejection_time_jitter: Duration::ZERO,
            max_ejection_percent: 10,
            always_eject_one_host: false,
            consecutive_5xx: 5,
            consecutive_gateway_failure: 5,
            consecutive_local_origin_failure: 5,
            split_local_origin: false,
            success_rate: SuccessRate { minimum_hosts: 5, request_volume: 100, stdev_factor: 1.9 },
            failure_percentage: FailurePercentage { threshold: 85, minimum_hosts: 5, request_volume: 50 },
            enforcing: [100, 0, 100, 100, 100, 0, 0],
        }
    }
}

impl Settings {
    /// Per cent of detections of a kind that are acted on.
    pub fn enforcing(&self, kind: Kind) -> u32 {
        self.enforcing[kind as usize]
    }
}
