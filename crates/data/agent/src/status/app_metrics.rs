//! Merged metrics of the Pod on 15020: the proxy's, the agent's and the application's.

use std::time::Duration;

use serde::Deserialize;

use crate::fetch::Fetch;

/// How long the application may take to answer a scrape.
const APP_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest application answer that is merged.
const MAX_APP_METRICS: usize = 32 * 1024 * 1024;

/// The application's own scrape target, from `ISTIO_PROMETHEUS_ANNOTATIONS`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppTarget {
    /// Port.
    pub port: u16,
    /// Path.
    pub path: String,
}

#[derive(Deserialize)]
struct Annotations {
    #[serde(default)]
    scrape: String,
    #[serde(default)]
    path: String,
    #[serde(default)]
    port: String,
}

impl AppTarget {
    /// Reads the variable. `None` when the application does not want to be scraped or would be the agent.
    pub fn parse(text: Option<&str>, own_port: u16) -> Option<Self> {
        let annotations: Annotations = serde_json::from_str(text?).ok()?;
        if !matches!(annotations.scrape.as_str(), "true") {
            return None;
        }
        let port = if annotations.port.is_empty() { 80 } else { annotations.port.parse().ok()? };
        let path = match annotations.path.as_str() {
            "" => "/metrics".to_owned(),
            path if path.starts_with('/') => path.to_owned(),
            path => format!("/{path}"),
        };
        // A target that points back here would scrape itself without end.
        (port != own_port).then_some(AppTarget { port, path })
    }

    /// Scrapes the application; what fails is left out and logged.
    pub async fn scrape(&self, host: &str) -> String {
        let address = format!("{host}:{}", self.port);
        match Fetch::get(address, self.path.as_str(), APP_TIMEOUT, MAX_APP_METRICS).send().await {
            Ok(answer) if answer.status.is_success() => clean(&String::from_utf8_lossy(&answer.body)),
            Ok(answer) => {
                tracing::warn!(status = %answer.status, port = self.port, path = self.path, "the application's metrics are left out");
                String::new()
            }
            Err(error) => {
                tracing::warn!(%error, "the application's metrics are left out");
                String::new()
            }
        }
    }
}

/// Makes an answer fit for being followed by others: no OpenMetrics end mark, a newline at the end.
fn clean(metrics: &str) -> String {
    let mut out = String::with_capacity(metrics.len() + 1);
    for line in metrics.lines().filter(|line| line.trim_end() != "# EOF") {
        out.push_str(line);
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations() {
        let target = |text| AppTarget::parse(Some(text), 15020).map(|t| (t.port, t.path));
        assert_eq!(target(r#"{"scrape":"true","path":"/m","port":"9080"}"#), Some((9080, "/m".into())));
        assert_eq!(target(r#"{"scrape":"true"}"#), Some((80, "/metrics".into())));
        assert_eq!(target(r#"{"scrape":"false","port":"9080"}"#), None);
        assert_eq!(target(r#"{"scrape":"true","port":"15020"}"#), None);
        assert_eq!(target("{}"), None);
        assert_eq!(AppTarget::parse(None, 15020), None);
    }

    #[test]
    fn end_marks_are_dropped() {
        assert_eq!(clean("a 1\n# EOF\n"), "a 1\n");
        assert_eq!(clean("a 1"), "a 1\n");
        assert_eq!(clean(""), "");
    }
}
