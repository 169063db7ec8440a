//! Counters, gauges and histograms that workers write without locks, and the series that are shown of them.

pub(crate) mod metrics;
pub(crate) mod published;
mod sample;

pub use sample::{MetricKind, Sample, SampleValue};
