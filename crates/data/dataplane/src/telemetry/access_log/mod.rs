//! Access logs: what is logged, where it goes, and how it gets there without holding a worker up.
//!
//! A sink is a file in `sinks` and a line in [`sinks::SINKS`].

mod filter;
mod line;
mod sinks;
mod writer;

use filter::Filter;
use line::Line;
pub(crate) use writer::{LogBuffers, LogWriter};

use super::format::Context;
use crate::pb::accesslog;
use crate::value::{At as _, Invalid, Valid};

/// One `access_log` entry.
#[derive(Debug)]
pub(crate) struct AccessLog {
    destination: Destination,
    line: Line,
    filter: Option<Filter>,
}

/// Where lines go.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Destination {
    Stdout,
    Stderr,
    File(std::sync::Arc<str>),
}

impl AccessLog {
    pub(crate) fn compile_all(logs: &[accesslog::AccessLog]) -> Valid<Vec<AccessLog>> {
        logs.iter().map(|log| Self::compile(log).at(&format!("access_log {:?}", log.name))).collect()
    }

    fn compile(log: &accesslog::AccessLog) -> Valid<AccessLog> {
        let Some(accesslog::access_log::ConfigType::TypedConfig(config)) = &log.config_type else {
            return Err(Invalid::new("missing typed_config"));
        };
        let filter = log.filter.as_ref().map(Filter::compile).transpose().at("filter")?;
        let (destination, line) = sinks::compile(config)?;
        Ok(AccessLog { destination, line, filter })
    }

    /// Appends the line of one request to the worker's buffers.
    pub(crate) fn log(&self, context: &Context<'_>, buffers: &LogBuffers) {
        if self.filter.as_ref().is_none_or(|filter| filter.passes(context)) {
            buffers.with(&self.destination, |out| self.line.write(context, out));
        }
    }
}

#[cfg(test)]
mod tests;
