//! Logging of the process: to stderr, levels changeable at run time.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::Arc;

use parking_lot::Mutex;
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, reload};

/// The crates that log: the program, what stands beside the data path, and the data path. Each is a logger, and so is
/// every module in it (`portolan_agent::xds_client`).
const LOGGERS: [&str; 3] = ["portolan_agent", "portolan_dataplane", "portolan_proxy"];
/// Libraries that are noisy below `warn` and rarely what one looks for.
const QUIET: [&str; 5] = ["h2", "hyper", "tonic", "tower", "rustls"];
/// Loggers that may have a level of their own.
const MAX_LOGGERS: usize = 64;

/// Changes levels at run time. Cheap to clone.
#[derive(Clone)]
pub struct LogControl {
    levels: Arc<Mutex<Levels>>,
    handle: Option<reload::Handle<EnvFilter, Registry>>,
}

impl std::fmt::Debug for LogControl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogControl").field("levels", &self.levels).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone)]
struct Levels {
    all: &'static str,
    loggers: BTreeMap<String, &'static str>,
}

/// A level or logger that does not exist.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Not a level.
    #[error("{0:?} is not a log level; use trace, debug, info, warning, error, critical or off")]
    Level(String),
    /// Not the name of a logger.
    #[error("{0:?} is not the name of a logger, or there are too many")]
    Logger(String),
}

/// Envoy's and Istio's level names to ours.
fn level(name: &str) -> Result<&'static str, LogError> {
    Ok(match name.trim().to_ascii_lowercase().as_str() {
        "trace" => "trace",
        "debug" => "debug",
        "info" => "info",
        "warn" | "warning" => "warn",
        "error" | "critical" | "err" | "fatal" => "error",
        "off" | "none" => "off",
        _ => return Err(LogError::Level(name.to_owned())),
    })
}

impl Levels {
    fn filter(&self) -> EnvFilter {
        let mut directives = self.all.to_owned();
        if matches!(self.all, "info" | "debug") {
            for library in QUIET {
                directives.push_str(&format!(",{library}=warn"));
            }
        }
        for (logger, level) in &self.loggers {
            directives.push_str(&format!(",{logger}={level}"));
        }
        EnvFilter::try_new(directives).unwrap_or_else(|_| EnvFilter::new("info"))
    }
}

impl LogControl {
    /// Starts logging. `output_level` is Istio's `--log_output_level`: a level, or `scope:level` pairs; scopes
    /// that are not loggers of ours are accepted and have no effect. `json` chooses JSON lines.
    pub fn start(output_level: &str, json: bool) -> Result<Self, LogError> {
        let mut levels = Levels { all: "info", loggers: BTreeMap::new() };
        for part in output_level.split(',').filter(|part| !part.trim().is_empty()) {
            match part.split_once(':') {
                None | Some(("default" | "all", _)) => {
                    levels.all = level(part.rsplit(':').next().unwrap_or(part))?
                }
                Some((scope, name)) => {
                    let name = level(name)?;
                    if is_logger(scope) && levels.loggers.len() < MAX_LOGGERS {
                        levels.loggers.insert(scope.to_owned(), name);
                    }
                }
            }
        }
        let (filter, handle) = reload::Layer::new(levels.filter());
        let format = tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal());
        let registry = tracing_subscriber::registry().with(filter);
        // A second start in one process (tests) keeps the first subscriber.
        let _ = if json { registry.with(format.json()).try_init() } else { registry.with(format).try_init() };
        Ok(LogControl { levels: Arc::new(Mutex::new(levels)), handle: Some(handle) })
    }

    /// A control without a log, for tests.
    pub fn disabled() -> Self {
        let levels = Levels { all: "info", loggers: BTreeMap::new() };
        LogControl { levels: Arc::new(Mutex::new(levels)), handle: None }
    }

    /// Sets the level of everything.
    pub fn set_all(&self, name: &str) -> Result<(), LogError> {
        let level = level(name)?;
        self.change(|levels| {
            levels.all = level;
            levels.loggers.clear();
        });
        Ok(())
    }

    /// Sets the level of one logger (a module path such as `portolan_agent::xds_client`).
    pub fn set_one(&self, logger: &str, name: &str) -> Result<(), LogError> {
        let level = level(name)?;
        let full = {
            let levels = self.levels.lock();
            !levels.loggers.contains_key(logger) && levels.loggers.len() >= MAX_LOGGERS
        };
        if full || !is_logger(logger) {
            return Err(LogError::Logger(logger.to_owned()));
        }
        self.change(|levels| {
            levels.loggers.insert(logger.to_owned(), level);
        });
        Ok(())
    }

    fn change(&self, change: impl FnOnce(&mut Levels)) {
        let mut levels = self.levels.lock();
        change(&mut levels);
        if let Some(handle) = &self.handle
            && let Err(error) = handle.reload(levels.filter())
        {
            tracing::warn!(%error, "cannot change the log level");
        }
    }

    /// One line per logger: our own crates, and what has a level of its own.
    pub fn describe(&self) -> String {
        let levels = self.levels.lock();
        let mut out = format!("  default: {}\n", levels.all);
        let mut loggers: BTreeMap<&str, &str> = LOGGERS.iter().map(|logger| (*logger, levels.all)).collect();
        loggers.extend(levels.loggers.iter().map(|(logger, level)| (logger.as_str(), *level)));
        for (logger, level) in loggers {
            out.push_str(&format!("  {logger}: {level}\n"));
        }
        out
    }
}

fn is_logger(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 128
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | ':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_by_name() {
        let control = LogControl::disabled();
        control.set_all("warning").unwrap();
        control.set_one("portolan_agent::xds_client", "debug").unwrap();
        assert_eq!(
            control.describe(),
            "  default: warn\n  portolan_agent: warn\n  portolan_agent::xds_client: debug\n  \
             portolan_dataplane: warn\n  portolan_proxy: warn\n"
        );
        control.set_all("critical").unwrap();
        assert!(!control.describe().contains("xds_client"));
        assert!(control.set_all("loud").is_err());
        assert!(control.set_one("a,b=trace", "info").is_err());
    }
    #[test]
    fn a_crate_that_logs_has_its_name_as_its_logger() {
        for (logger, path) in [
            ("portolan_agent", std::any::type_name::<portolan_agent::Agent>()),
            ("portolan_dataplane", std::any::type_name::<portolan_dataplane::DataPlane>()),
            ("portolan_proxy", std::any::type_name::<LogControl>()),
        ] {
            assert!(LOGGERS.contains(&logger) && path.starts_with(logger), "{logger} {path}");
        }
    }
}
