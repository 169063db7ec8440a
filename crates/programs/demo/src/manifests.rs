//! The sample's YAML files: written next to the clusters' state, so that what the demo applies can be read,
//! changed and applied again.

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::{Value, json};

use super::ProxyChoice;

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../../../samples/bookinfo/", $name)))),*]
    };
}

const FILES: &[(&str, &str)] = files![
    "bookinfo.yaml",
    "bookinfo-west.yaml",
    "ratings-beta.yaml",
    "gateway.yaml",
    "destination-rules.yaml",
    "mtls-strict.yaml",
    "reviews-v1.yaml",
    "reviews-v3.yaml",
    "reviews-90-10.yaml",
    "reviews-user-v3.yaml",
    "deny-client.yaml",
    "deny-all.yaml",
    "federation/west-peer.yaml",
    "federation/east-peer.yaml",
    "federation/export.yaml",
    "federation/export-nothing.yaml",
    "federation/import.yaml",
    "federation/ratings-local-name.yaml",
    "federation/fault.yaml",
    "federation/weights.yaml",
];

/// The directory with the files.
#[derive(Debug, Clone)]
pub(super) struct Manifests {
    root: PathBuf,
}

impl Manifests {
    /// Writes all files below `root`; Deployments get the proxy that the choice gives them.
    pub(super) fn write(root: &Path, proxy: ProxyChoice) -> anyhow::Result<Self> {
        for (name, text) in FILES {
            let text = match proxy {
                ProxyChoice::Portolan => (*text).to_owned(),
                _ => with_proxies(text, proxy)?,
            };
            save(&root.join(name), &text)?;
        }
        Ok(Self { root: root.to_owned() })
    }

    /// The path of a file.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Replaces a placeholder in a file by what is known now.
    pub(super) fn fill(&self, name: &str, placeholder: &str, value: &str) -> anyhow::Result<()> {
        let path = self.path(name);
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        // Comments keep the placeholder: they explain where the value comes from.
        let lines: Vec<String> = text
            .lines()
            .map(|line| {
                if line.trim_start().starts_with('#') {
                    line.to_owned()
                } else {
                    line.replace(placeholder, value)
                }
            })
            .collect();
        save(&path, &(lines.join("\n") + "\n"))
    }

    /// Adds a file.
    pub(super) fn add(&self, name: &str, value: &Value) -> anyhow::Result<()> {
        save(&self.path(name), &serde_saphyr::to_string(value)?)
    }
}

fn save(path: &Path, text: &str) -> anyhow::Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
    }
    std::fs::write(path, text).with_context(|| path.display().to_string())
}

/// Which proxy a Deployment of the sample gets: mixed puts both on every path.
fn proxy_of(deployment: &str, choice: ProxyChoice) -> &'static str {
    let envoy = match choice {
        ProxyChoice::Portolan => false,
        ProxyChoice::Envoy => true,
        ProxyChoice::Mixed => {
            matches!(deployment, "productpage-v1" | "reviews-v2" | "reviews-v3" | "ratings-v1")
        }
    };
    if envoy { "envoy" } else { "portolan" }
}

fn with_proxies(text: &str, choice: ProxyChoice) -> anyhow::Result<String> {
    let mut documents = portolan_cluster::apply::documents(text)?;
    if !documents.iter().any(|document| document["kind"] == "Deployment") {
        return Ok(text.to_owned());
    }
    let mut out = String::new();
    for document in &mut documents {
        if document["kind"] == "Deployment" {
            let name = document["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            document["spec"]["template"]["metadata"]["annotations"] =
                json!({"portolan.io/proxy": proxy_of(&name, choice)});
        }
        out.push_str("---\n");
        out.push_str(&serde_saphyr::to_string(document)?);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_yaml_with_named_objects() {
        for (name, text) in FILES {
            let documents = portolan_cluster::apply::documents(text).unwrap();
            assert!(!documents.is_empty(), "{name}");
            for document in documents {
                assert!(document["metadata"]["name"].is_string(), "{name}");
            }
        }
    }

    #[test]
    fn mixed_gives_some_deployments_envoy() {
        let (_, text) = FILES[0];
        let mixed = with_proxies(text, ProxyChoice::Mixed).unwrap();
        assert!(mixed.contains("portolan.io/proxy: envoy"));
        assert!(mixed.contains("portolan.io/proxy: portolan"));
        let (_, gateway) = FILES[3];
        assert_eq!(with_proxies(gateway, ProxyChoice::Envoy).unwrap(), gateway);
    }
}
