//! Access logs: how a line gets to its sink without holding a worker up.

mod filter;
mod line;
mod writer;

pub(crate) use portolan_dataplane_config::access_log::{AccessLog, Destination};
pub(crate) use writer::{LogBuffers, LogWriter};

use super::format::Context;

/// Appends the line of one request to the worker's buffers, for each log that wants it.
pub(crate) fn log(logs: &[AccessLog], context: &Context<'_>, buffers: &LogBuffers) {
    for log in logs {
        if log.filter.as_ref().is_none_or(|filter| filter::passes(filter, context)) {
            buffers.with(&log.destination, |out| line::write(&log.line, context, out));
        }
    }
}

#[cfg(test)]
mod tests;
