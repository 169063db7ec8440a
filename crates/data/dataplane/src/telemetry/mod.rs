//! Statistics and access logs of the data path.

pub(crate) mod access_log;
mod export;
pub(crate) mod flags;
pub(crate) mod format;
pub(crate) mod istio;
pub(crate) mod metrics;
pub(crate) mod peer;
pub(crate) mod stream_info;

pub use export::{MetricKind, Sample, SampleValue, StatsHandle};
pub(crate) use flags::Flags;
pub(crate) use stream_info::StreamInfo;
