//! The environment, read as settings. Names of variables are Istio's, so that any injector's output works.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::duration;
use super::proxy_config::ProxyConfigError;

/// Why the settings are unusable.
#[derive(Debug, thiserror::Error)]
pub enum EnvError {
    /// `PROXY_CONFIG` or the annotation.
    #[error(transparent)]
    ProxyConfig(#[from] ProxyConfigError),
    /// A variable does not parse.
    #[error("environment variable {name}={value:?}: {reason}")]
    Variable {
        /// Its name.
        name: &'static str,
        /// Its value.
        value: String,
        /// What is expected.
        reason: &'static str,
    },
    /// A variable that has no default is missing.
    #[error("environment variable {0} is not set; the injector sets it from the Pod's own fields")]
    Missing(&'static str),
}

/// The variables. An empty one counts as absent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Variables<'a>(pub(super) &'a BTreeMap<String, String>);

impl Variables<'_> {
    /// The text of a variable.
    pub(super) fn text(self, name: &str) -> Option<String> {
        self.0.get(name).filter(|value| !value.is_empty()).cloned()
    }

    /// The text of a variable that has no default.
    pub(super) fn required(self, name: &'static str) -> Result<String, EnvError> {
        self.text(name).ok_or(EnvError::Missing(name))
    }

    /// The text of a variable, or `default`.
    pub(super) fn text_or(self, name: &str, default: &str) -> String {
        self.text(name).unwrap_or_else(|| default.to_owned())
    }

    /// A duration as Go writes them.
    pub(super) fn duration(self, name: &'static str, default: Duration) -> Result<Duration, EnvError> {
        self.parsed(name, default, "expected a duration such as 24h", duration::parse)
    }

    /// A port number.
    pub(super) fn port(self, name: &'static str, default: u16) -> Result<u16, EnvError> {
        self.parsed(name, default, "expected a port number", |text| text.parse().ok())
    }

    /// A part of a whole, from 0 to 1.
    pub(super) fn ratio(self, name: &'static str, default: f64) -> Result<f64, EnvError> {
        self.parsed(name, default, "expected a number from 0 to 1", |text| {
            text.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio))
        })
    }

    /// A JSON object; values that are not strings keep their JSON form. Absent = empty.
    pub(super) fn map(self, name: &'static str) -> Result<BTreeMap<String, String>, EnvError> {
        self.parsed(name, BTreeMap::new(), "expected a JSON object", |text| {
            let map: BTreeMap<String, Value> = serde_json::from_str(text).ok()?;
            let text_of = |value| match value {
                Value::String(text) => text,
                other => other.to_string(),
            };
            Some(map.into_iter().map(|(key, value)| (key, text_of(value))).collect())
        })
    }

    fn parsed<T>(
        self,
        name: &'static str,
        default: T,
        reason: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, EnvError> {
        let Some(value) = self.text(name) else { return Ok(default) };
        parse(&value).ok_or(EnvError::Variable { name, value, reason })
    }
}
