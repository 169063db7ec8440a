//! Statistics and access logs of the data path.

pub(crate) mod access_log;
pub(crate) mod format;
pub(crate) mod istio;
pub(crate) mod node;
pub(crate) mod peer;
pub(crate) mod stream_info;

pub(crate) use stream_info::StreamInfo;
