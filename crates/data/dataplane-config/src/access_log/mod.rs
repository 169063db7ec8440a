//! Access logs: what is logged and where it goes.
//!
//! A sink is a file in `sinks` and a line in `sinks::SINKS`.

#[cfg(test)]
mod tests;

mod filter;
mod line;
mod sinks;

pub use filter::Filter;
pub use line::{Line, Node};

use crate::pb::accesslog;
use crate::value::{At as _, Invalid, Loader, Valid};

/// One `access_log` entry.
#[derive(Debug)]
pub struct AccessLog {
    /// Where lines go.
    pub destination: Destination,
    /// What stands in them.
    pub line: Line,
    /// `None`: all requests are logged.
    pub filter: Option<Filter>,
}

/// Where lines go.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Destination {
    /// The process's standard output.
    Stdout,
    /// The process's standard error.
    Stderr,
    /// A file that is appended to.
    File(std::sync::Arc<str>),
}

impl AccessLog {
    /// Compiles the entries of a listener, connection manager or TCP proxy.
    pub fn compile_all(logs: &[accesslog::AccessLog], load: Loader) -> Valid<Vec<AccessLog>> {
        logs.iter().map(|log| Self::compile(log, load).at(&format!("access_log {:?}", log.name))).collect()
    }

    /// Compiles one entry.
    pub fn compile(log: &accesslog::AccessLog, load: Loader) -> Valid<AccessLog> {
        let Some(accesslog::access_log::ConfigType::TypedConfig(config)) = &log.config_type else {
            return Err(Invalid::new("missing typed_config"));
        };
        let filter = log.filter.as_ref().map(Filter::compile).transpose().at("filter")?;
        let (destination, line) = sinks::compile(config, load)?;
        Ok(AccessLog { destination, line, filter })
    }
}
