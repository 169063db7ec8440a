//! `portolan version`: of this program, and of what runs in the mesh (the lines of istioctl 1.9).

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use portolan_client::{Target, control_planes, say};
use serde_json::{Value, json};

use crate::output::{Format, print_value};

/// Time for the mesh to answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Flags of `portolan version`.
#[derive(Debug, Args)]
pub(crate) struct Version {
    /// Only this program's version; nothing is asked.
    #[arg(long)]
    client: bool,
    /// Output format.
    #[arg(short, long, value_enum, default_value = "table")]
    output: Format,
}

/// What runs in a mesh.
#[derive(Debug, Default, PartialEq, Eq)]
struct Mesh {
    /// Version of each istiod.
    control_planes: Vec<(String, String)>,
    /// How many proxies say which version of Istio they stand for.
    proxies: BTreeMap<String, usize>,
}

/// Prints what this program is, and what it finds.
pub(crate) async fn run(target: &Target, args: &Version) -> anyhow::Result<()> {
    let found = if args.client {
        None
    } else {
        match tokio::time::timeout(TIMEOUT, look(target)).await {
            Ok(found) => Some(found),
            Err(_) => Some(Err(anyhow::anyhow!("no answer within {} s", TIMEOUT.as_secs()))),
        }
    };
    let version = env!("CARGO_PKG_VERSION");
    if matches!(args.output, Format::Json | Format::Yaml) {
        let mut value =
            json!({"clientVersion": {"version": version, "rust": env!("CARGO_PKG_RUST_VERSION")}});
        if let Some(Ok(mesh)) = found {
            let planes = mesh.control_planes.iter();
            value["meshVersion"] =
                planes.map(|(pod, version)| json!({"pod": pod, "version": version})).collect();
            value["dataPlaneVersion"] = json!(mesh.proxies);
        }
        return print_value(args.output, &value);
    }
    say!("client version: {version}");
    match found {
        None => {}
        Some(Ok(mesh)) => lines(&mesh).iter().for_each(|line| say!("{line}")),
        // Asking for the version where there is no mesh is no mistake.
        Some(Err(error)) => say!("no mesh found: {error:#}"),
    }
    Ok(())
}

async fn look(target: &Target) -> anyhow::Result<Mesh> {
    let client = target.client().await?;
    let mut mesh = Mesh::default();
    for istiod in control_planes(&client).await? {
        let version = istiod.get(&client, "/version").await?;
        mesh.control_planes.push((istiod.name.clone(), version.trim().to_owned()));
        let proxies = istiod.get_json(&client, "/debug/syncz").await?;
        for proxy in proxies.as_array().into_iter().flatten() {
            let version = proxy.get("istio_version").and_then(Value::as_str).unwrap_or("unknown");
            *mesh.proxies.entry(version.to_owned()).or_default() += 1;
        }
    }
    Ok(mesh)
}

fn lines(mesh: &Mesh) -> Vec<String> {
    let planes = mesh.control_planes.iter().map(|(_, version)| format!("control plane version: {version}"));
    let proxies: Vec<String> = mesh
        .proxies
        .iter()
        .map(|(version, count)| {
            format!("{version} ({count} {})", if *count == 1 { "proxy" } else { "proxies" })
        })
        .collect();
    let data = (!proxies.is_empty()).then(|| format!("data plane version: {}", proxies.join(", ")));
    planes.chain(data).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_are_counted_by_version() {
        let mesh = Mesh {
            control_planes: vec![("istiod-1".to_owned(), "1.9.9-portolan-0.1.0".to_owned())],
            proxies: BTreeMap::from([("1.9.9".to_owned(), 2), ("1.8.0".to_owned(), 1)]),
        };
        let expected = [
            "control plane version: 1.9.9-portolan-0.1.0",
            "data plane version: 1.8.0 (1 proxy), 1.9.9 (2 proxies)",
        ];
        assert_eq!(lines(&mesh), expected);
        assert!(lines(&Mesh::default()).is_empty());
    }
}
