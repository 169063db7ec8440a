//! Statistics, access logs and spans of the data path.

pub(crate) mod access_log;
pub(crate) mod format;
pub(crate) mod istio;
pub(crate) mod node;
pub(crate) mod spans;
pub(crate) mod stream_info;

pub(crate) use portolan_dataplane_config::peer;
pub(crate) use stream_info::StreamInfo;
