//! `envoy.access_loggers.stdout`: the process's standard output.

use super::super::Destination;
use super::super::line::Line;
use super::Sink;
use crate::pb::stream_log::StdoutAccessLog;
use crate::pb::stream_log::stdout_access_log::AccessLogFormat as Format;
use crate::value::unpack;

pub(super) const SINK: Sink = Sink {
    message: "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog",
    compile: |config| {
        let log: StdoutAccessLog = unpack(config)?;
        let format = log.access_log_format.map(|Format::LogFormat(format)| format);
        Ok((Destination::Stdout, Line::optional(format.as_ref())?))
    },
};
