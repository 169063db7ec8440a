//! `portolan proxy-status`: which configuration each proxy has acknowledged (the columns of istioctl 1.9).

use clap::Args;
use serde_json::{Value, json};

use crate::output::{Format, Table, print};
use portolan_client::{Connection, Target, control_planes, find_pod};

/// Flags of `portolan proxy-status`.
#[derive(Debug, Args)]
pub(crate) struct ProxyStatus {
    /// Only this proxy: POD[.NAMESPACE], deploy/NAME[.NAMESPACE]; all proxies if not given, with -n those of a namespace.
    pod: Option<String>,
    /// Output format.
    #[arg(short, long, value_enum, default_value = "table")]
    output: Format,
}

/// One cell: what was sent against what was acknowledged.
fn sync_state(entry: &Value, kind: &str) -> String {
    let nonce = |side: &str| entry.get(format!("{kind}_{side}")).and_then(Value::as_str).unwrap_or_default();
    match (nonce("sent"), nonce("acked")) {
        ("", _) => "NOT SENT",
        (sent, acked) if sent == acked => "SYNCED",
        (_, "") => "STALE (Never Acknowledged)",
        _ => "STALE",
    }
    .to_owned()
}

/// Why a proxy refused its configuration, if it did.
fn last_error(entry: &Value) -> String {
    let resources = entry.get("resources").and_then(Value::as_object);
    resources
        .into_iter()
        .flatten()
        .filter_map(|(kind, state)| {
            let error = state.get("lastError").and_then(Value::as_str).filter(|error| !error.is_empty())?;
            Some(format!("{kind}: {error}"))
        })
        .collect::<Vec<_>>()
        .join("; ")
}

/// Runs the command.
pub(crate) async fn run(target: &Target, args: &ProxyStatus) -> anyhow::Result<()> {
    let Connection { client, namespace } = target.connect().await?;
    let mut entries: Vec<(String, Value)> = Vec::new();
    for istiod in control_planes(&client).await? {
        let list = istiod.get_json(&client, "/debug/syncz").await?;
        let list = list.as_array().cloned().unwrap_or_default();
        entries.extend(list.into_iter().map(|entry| (istiod.name.clone(), entry)));
    }
    let name = |entry: &Value| entry["proxy"].as_str().unwrap_or_default().to_owned();
    if let Some(pod) = &args.pod {
        let (pod, namespace) = find_pod(&client, pod, &namespace).await?;
        let wanted = format!("{pod}.{namespace}");
        entries.retain(|(_, entry)| name(entry) == wanted);
        anyhow::ensure!(!entries.is_empty(), "no proxy {wanted} is connected to a control plane");
    } else if let Some(namespace) = &target.namespace {
        let suffix = format!(".{namespace}");
        entries.retain(|(_, entry)| name(entry).ends_with(&suffix));
    }
    entries.sort_by_key(|(_, entry)| name(entry));

    let wide = args.output == Format::Wide;
    let mut header = vec!["NAME", "CDS", "LDS", "EDS", "RDS", "ISTIOD", "VERSION"];
    if wide {
        header.push("LAST ERROR");
    }
    let mut table = Table::new(&header);
    table.rows(entries.iter().map(|(istiod, entry)| {
        let mut row = vec![
            name(entry),
            sync_state(entry, "cluster"),
            sync_state(entry, "listener"),
            sync_state(entry, "endpoint"),
            sync_state(entry, "route"),
            istiod.clone(),
            entry["istio_version"].as_str().unwrap_or_default().to_owned(),
        ];
        if wide {
            row.push(last_error(entry));
        }
        row
    }));
    let value: Vec<Value> = entries.into_iter().map(|(_, entry)| entry).collect();
    print(args.output, &table, &json!(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_follow_the_nonces() {
        let entry = json!({"cluster_sent": "a", "cluster_acked": "a", "listener_sent": "b", "listener_acked": "a",
            "route_sent": "c", "route_acked": "", "resources": {"LDS": {"lastError": "bad"}, "CDS": {"lastError": ""}}});
        assert_eq!(sync_state(&entry, "cluster"), "SYNCED");
        assert_eq!(sync_state(&entry, "listener"), "STALE");
        assert_eq!(sync_state(&entry, "route"), "STALE (Never Acknowledged)");
        assert_eq!(sync_state(&entry, "endpoint"), "NOT SENT");
        assert_eq!(last_error(&entry), "LDS: bad");
    }
}
