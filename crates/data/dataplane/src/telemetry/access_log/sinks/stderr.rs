//! `envoy.access_loggers.stderr`: the process's standard error.

use super::super::Destination;
use super::super::line::Line;
use super::Sink;
use crate::pb::stream_log::StderrAccessLog;
use crate::pb::stream_log::stderr_access_log::AccessLogFormat as Format;
use crate::value::unpack;

pub(super) const SINK: Sink = Sink {
    message: "envoy.extensions.access_loggers.stream.v3.StderrAccessLog",
    compile: |config| {
        let log: StderrAccessLog = unpack(config)?;
        let format = log.access_log_format.map(|Format::LogFormat(format)| format);
        Ok((Destination::Stderr, Line::optional(format.as_ref())?))
    },
};
