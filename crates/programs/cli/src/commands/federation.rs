//! `portolan federation status`: peers, what is exported to them and imported from them, from the status of
//! the three federation resources (docs/reference/federation.md).

use std::collections::BTreeSet;

use anyhow::Context;
use clap::{Args, Subcommand};
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use portolan_resources::{ExportedServiceSet, ImportedServiceSet, ServiceMeshPeer};
use serde_json::{Value, json};

use crate::output::{Format, Table, print};
use portolan_client::{Target, say};

/// Federation with other meshes.
#[derive(Debug, Args)]
pub(crate) struct Federation {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show peers, exports and imports.
    Status {
        /// Only this peer.
        peer: Option<String>,
        /// Output format.
        #[arg(short, long, value_enum, default_value = "table")]
        output: Format,
    },
}

/// What is known of one peer.
#[derive(Debug)]
struct Peer {
    name: String,
    trust_domain: String,
    declared: bool,
    watching: bool,
    watched: bool,
    last: String,
    exports: Vec<(String, String)>,
    imports: Vec<(String, String)>,
}

impl Peer {
    /// Status objects are read as JSON: a peer of another release may write more or less into them.
    fn read(peer: &Value, exported: Option<&Value>, imported: Option<&Value>) -> Self {
        let text = |value: &Value, pointer: &str| {
            value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let empty = Vec::new();
        let list = |pointer: &str| peer.pointer(pointer).and_then(Value::as_array).unwrap_or(&empty);
        let active = list("/status/discoveryStatus/active");
        let inactive = list("/status/discoveryStatus/inactive");
        let connected = |value: &Value| value.get("connected").and_then(Value::as_bool).unwrap_or(false);
        let watching = active.iter().any(|entry| entry.get("watch").is_some_and(connected));
        let watched = active
            .iter()
            .chain(inactive)
            .flat_map(|entry| entry.get("remotes").and_then(Value::as_array).into_iter().flatten())
            .any(connected);
        let last = if watching {
            active.iter().map(|entry| text(entry, "/watch/lastFullSync")).max().unwrap_or_default()
        } else {
            inactive
                .iter()
                .map(|entry| text(entry, "/watch/lastDisconnectStatus"))
                .find(|s| !s.is_empty())
                .unwrap_or_default()
        };
        let pairs = |set: Option<&Value>, pointer: &str, exported_first: bool| {
            let entries = set.and_then(|set| set.pointer(pointer)).and_then(Value::as_array);
            entries
                .into_iter()
                .flatten()
                .map(|entry| {
                    let local = text(entry, "/localService/hostname");
                    let exported = text(entry, "/exportedName");
                    if exported_first { (exported, local) } else { (local, exported) }
                })
                .collect()
        };
        Self {
            name: text(peer, "/metadata/name"),
            trust_domain: text(peer, "/spec/security/trustDomain"),
            declared: true,
            watching,
            watched,
            last,
            exports: pairs(exported, "/status/exportedServices", false),
            imports: pairs(imported, "/status/importedServices", true),
        }
    }

    /// A peer that only an export or import set names.
    fn undeclared(name: String, namespace: Option<String>) -> Self {
        let last = format!(
            "there is no ServiceMeshPeer {name} in namespace {}: nothing is shared until there is one",
            namespace.unwrap_or_default()
        );
        Self {
            name,
            trust_domain: String::new(),
            declared: false,
            watching: false,
            watched: false,
            last,
            exports: Vec::new(),
            imports: Vec::new(),
        }
    }

    fn state(&self) -> &'static str {
        if !self.declared {
            return "not declared";
        }
        match (self.watching, self.watched) {
            (true, true) => "connected",
            (true, false) => "outbound only",
            (false, true) => "inbound only",
            (false, false) => "disconnected",
        }
    }
}

/// Runs the command.
pub(crate) async fn run(target: &Target, args: &Federation) -> anyhow::Result<()> {
    let Command::Status { peer: wanted, output } = &args.command;
    let client = target.client().await?;
    let all = ListParams::default();
    let peers = Api::<ServiceMeshPeer>::all(client.clone())
        .list(&all)
        .await
        .context("listing ServiceMeshPeers: is the mesh installed?")?;
    let exported = Api::<ExportedServiceSet>::all(client.clone()).list(&all).await?;
    let imported = Api::<ImportedServiceSet>::all(client).list(&all).await?;
    let mut found = Vec::new();
    let mut raw = Vec::new();
    let asked_for = |name: &str| wanted.as_ref().is_none_or(|wanted| wanted == name);
    for peer in peers.items.iter().filter(|peer| asked_for(&peer.name_any())) {
        let same = |name: String, namespace: Option<String>| {
            name == peer.name_any() && namespace == peer.namespace()
        };
        let exported =
            exported.items.iter().find(|set| same(set.name_any(), set.namespace())).map(|set| json!(set));
        let imported =
            imported.items.iter().find(|set| same(set.name_any(), set.namespace())).map(|set| json!(set));
        found.push(Peer::read(&json!(peer), exported.as_ref(), imported.as_ref()));
        raw.push(json!({"peer": peer, "exportedServiceSet": exported, "importedServiceSet": imported}));
    }
    let declared: BTreeSet<(String, Option<String>)> =
        peers.items.iter().map(|peer| (peer.name_any(), peer.namespace())).collect();
    let sets = (exported.items.iter().map(|set| (set.name_any(), set.namespace())))
        .chain(imported.items.iter().map(|set| (set.name_any(), set.namespace())));
    let undeclared: BTreeSet<_> = sets.filter(|set| asked_for(&set.0) && !declared.contains(set)).collect();
    found.extend(undeclared.into_iter().map(|(name, namespace)| Peer::undeclared(name, namespace)));
    if let (Some(name), true) = (wanted, found.is_empty()) {
        anyhow::bail!("there is no ServiceMeshPeer {name}");
    }
    let mut table = Table::new(&["PEER", "TRUST DOMAIN", "STATE", "EXPORTS", "IMPORTS", "LAST SYNC / ERROR"]);
    for peer in &found {
        let real = peer.imports.iter().filter(|(_, local)| !local.is_empty()).count();
        table.row([
            peer.name.clone(),
            peer.trust_domain.clone(),
            peer.state().to_owned(),
            peer.exports.len().to_string(),
            real.to_string(),
            peer.last.clone(),
        ]);
    }
    print(*output, &table, &json!(raw))?;
    if matches!(output, Format::Table | Format::Wide) {
        let mut services = Table::new(&["PEER", "DIRECTION", "SERVICE", "AS"]);
        for peer in &found {
            services.rows(peer.exports.iter().map(|(local, exported)| {
                vec![peer.name.clone(), "export".to_owned(), local.clone(), exported.clone()]
            }));
            services.rows(peer.imports.iter().map(|(exported, local)| {
                let local = if local.is_empty() { "(no rule imports it)" } else { local };
                vec![peer.name.clone(), "import".to_owned(), exported.clone(), local.to_owned()]
            }));
        }
        say!();
        print(*output, &services, &Value::Null)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_and_services_are_read_from_the_status() {
        let peer = json!({"metadata": {"name": "east"}, "spec": {"security": {"trustDomain": "east.local"}},
            "status": {"discoveryStatus": {"inactive": null, "active": [{"pod": "istiod-1",
                "watch": {"connected": true, "lastFullSync": "2024-01-01T00:00:00Z"},
                "remotes": [{"source": "10.0.0.1", "connected": true}]}]}}});
        let imported = json!({"status": {"importedServices": [
            {"exportedName": "ratings.bookinfo.svc.west-exports.local",
             "localService": {"hostname": "ratings.bookinfo.svc.east-imports.local"}},
            {"exportedName": "other", "localService": {"hostname": ""}}]}});
        let read = Peer::read(&peer, None, Some(&imported));
        assert_eq!((read.state(), read.last.as_str()), ("connected", "2024-01-01T00:00:00Z"));
        assert_eq!(read.imports.len(), 2);
        let down = Peer::read(
            &json!({"status": {"discoveryStatus": {"active": null, "inactive": [
                {"pod": "istiod-1", "watch": {"connected": false, "lastDisconnectStatus": "503 Service Unavailable"}}]}}}),
            None,
            None,
        );
        assert_eq!((down.state(), down.last.as_str()), ("disconnected", "503 Service Unavailable"));
    }
}
