//! SERVICE FQDN, PORT, SUBSET, DIRECTION, TYPE, DESTINATION RULE.

use clap::Args;
use serde_json::{Value, json};

use super::dump::{Dump, origin, text};
use crate::output::Table;

/// Which clusters to show.
#[derive(Debug, Default, Args)]
pub(crate) struct Filter {
    /// Only clusters of this host name.
    #[arg(long)]
    fqdn: Option<String>,
    /// Only clusters of this port.
    #[arg(long)]
    port: Option<u16>,
    /// Only this direction.
    #[arg(long, value_parser = ["inbound", "outbound"])]
    direction: Option<String>,
}

/// A cluster name in its parts: `direction|port|subset|host`.
fn parts(name: &str) -> [&str; 4] {
    let pieces: Vec<&str> = name.splitn(4, '|').collect();
    match pieces.as_slice() {
        [direction, port, subset, host] => [host, port, subset, direction],
        _ => [name, "-", "-", "-"],
    }
}

fn dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

pub(super) fn view(dump: &Dump, filter: &Filter) -> (Table, Value) {
    let mut shown: Vec<&Value> = dump
        .clusters()
        .into_iter()
        .filter(|cluster| {
            let [host, port, _, direction] = parts(text(cluster, "name"));
            filter.fqdn.as_deref().is_none_or(|wanted| wanted == host)
                && filter.port.is_none_or(|wanted| wanted.to_string() == port)
                && filter.direction.as_deref().is_none_or(|wanted| direction.starts_with(wanted))
        })
        .collect();
    shown.sort_by_key(|cluster| {
        let [host, port, subset, direction] = parts(text(cluster, "name"));
        (host.to_owned(), port.parse::<u32>().unwrap_or(0), subset.to_owned(), direction.to_owned())
    });
    let mut table = Table::new(&["SERVICE FQDN", "PORT", "SUBSET", "DIRECTION", "TYPE", "DESTINATION RULE"]);
    for cluster in &shown {
        let [host, port, subset, direction] = parts(text(cluster, "name"));
        let kind = match text(cluster, "type") {
            "" if !text(cluster, "cluster_type.name").is_empty() => text(cluster, "cluster_type.name"),
            "" => "STATIC",
            kind => kind,
        };
        table.row([dash(host), dash(port), dash(subset), dash(direction), kind.to_owned(), origin(cluster)]);
    }
    (table, json!(shown))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart() {
        assert_eq!(parts("outbound|9080|v1|reviews.x.svc"), ["reviews.x.svc", "9080", "v1", "outbound"]);
        assert_eq!(parts("BlackHoleCluster"), ["BlackHoleCluster", "-", "-", "-"]);
        let dump = Dump(json!({"configs": [{"@type": "x/envoy.admin.v3.ClustersConfigDump",
            "dynamic_active_clusters": [{"cluster": {"name": "outbound|80||b", "type": "EDS"}},
                                        {"cluster": {"name": "inbound|80||"}}]}]}));
        let (table, _) = view(&dump, &Filter { direction: Some("outbound".to_owned()), ..Filter::default() });
        assert!(
            table.render().ends_with("b              80     -        outbound    EDS\n"),
            "{}",
            table.render()
        );
    }
}
