//! `envoy.access_loggers.file`: appends to a file.

use super::super::Destination;
use super::super::line::Line;
use super::Sink;
use crate::pb::file_log::FileAccessLog;
use crate::pb::file_log::file_access_log::AccessLogFormat as Format;
use crate::value::unpack;

pub(super) const SINK: Sink = Sink {
    message: "envoy.extensions.access_loggers.file.v3.FileAccessLog",
    compile: |config| {
        let log: FileAccessLog = unpack(config)?;
        let line = match &log.access_log_format {
            None => Line::optional(None)?,
            Some(Format::Format(text)) => Line::text(text)?,
            Some(Format::JsonFormat(fields) | Format::TypedJsonFormat(fields)) => Line::json(fields, false)?,
            Some(Format::LogFormat(format)) => Line::compile(format)?,
        };
        // The streams of the process by their usual names: opened as files, each would have a position of its own.
        let destination = match log.path.as_str() {
            "/dev/stdout" => Destination::Stdout,
            "/dev/stderr" => Destination::Stderr,
            path => Destination::File(path.into()),
        };
        Ok((destination, line))
    },
};
