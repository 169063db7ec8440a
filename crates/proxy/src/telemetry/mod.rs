//! Statistics and access logs of the data path.

mod export;

pub use export::{MetricKind, Sample, SampleValue, StatsHandle};
