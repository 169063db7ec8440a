//! Log levels of a proxy: `/logging` of its admin interface.

use anyhow::ensure;
use kube::Client;
use serde_json::json;

use crate::output::{Format, print_value};
use portolan_client::{PodPort, terminal};

/// Levels that both proxies know.
const LEVELS: [&str; 7] = ["trace", "debug", "info", "warning", "error", "critical", "off"];

/// Sets the levels if asked, then shows them.
pub(super) async fn run(
    client: &Client,
    admin: &PodPort,
    level: Option<&str>,
    output: Format,
) -> anyhow::Result<()> {
    let mut answer = String::new();
    match level {
        None => answer = admin.post(client, "/logging").await?,
        Some(level) => {
            for path in paths(level)? {
                answer = admin.post(client, &path).await?;
            }
        }
    }
    match output {
        Format::Json | Format::Yaml => print_value(output, &json!({"logging": answer})),
        _ => {
            terminal::write(format_args!("{answer}"));
            Ok(())
        }
    }
}

/// The requests that set what the user asked for.
fn paths(text: &str) -> anyhow::Result<Vec<String>> {
    text.split(',')
        .map(|part| {
            let (logger, level) = part.split_once(':').unwrap_or(("level", part));
            ensure!(LEVELS.contains(&level), "{level}: the levels are {}", LEVELS.join(", "));
            ensure!(
                logger.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-'),
                "{logger}: not a logger's name"
            );
            Ok(format!("/logging?{logger}={level}"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_become_requests() {
        assert_eq!(paths("debug").unwrap(), ["/logging?level=debug"]);
        assert_eq!(paths("http:trace,rbac:info").unwrap(), ["/logging?http=trace", "/logging?rbac=info"]);
        assert!(paths("loud").is_err());
        assert!(paths("a&b:info").is_err());
    }
}
