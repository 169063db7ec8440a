//! Outlier detection: hosts that fail more than others are left alone for a while (Envoy's "outlier detection").
//!
//! Workers only count: a [`Monitor`] in each host takes results and tells when a series of failures is long enough.
//! One thread, the owner of the [`Detector`], decides: it alone ejects hosts and lets them return, so that no two
//! decisions can contradict each other.

mod detector;
mod monitor;
mod rates;
mod settings;
#[cfg(test)]
mod tests;

pub use detector::{Change, Detector, Stats};
pub use monitor::{Monitor, Outcome};
pub use settings::{FailurePercentage, Kind, Settings, SuccessRate};
