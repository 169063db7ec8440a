//! ADDRESS, PORT, MATCH, DESTINATION.

use serde_json::{Value, json};

use super::dump::{Dump, at, field, list, text};
use crate::output::Table;

pub(super) fn view(dump: &Dump, only: Option<u64>) -> (Table, Value) {
    let mut shown: Vec<&Value> = dump
        .listeners()
        .into_iter()
        .filter(|listener| only.is_none_or(|wanted| port(listener) == Some(wanted)))
        .collect();
    shown.sort_by_key(|listener| (port(listener), address(listener).to_owned()));
    let mut table = Table::new(&["ADDRESS", "PORT", "MATCH", "DESTINATION"]);
    for listener in &shown {
        let chains = list(listener, "filter_chains").iter();
        let fallback = Some(field(listener, "default_filter_chain")).filter(|chain| !chain.is_null());
        for chain in chains.chain(fallback) {
            table.row([
                address(listener).to_owned(),
                port(listener).map_or_else(|| "-".to_owned(), |port| port.to_string()),
                matches(chain),
                destination(chain),
            ]);
        }
    }
    (table, json!(shown))
}

fn address(listener: &Value) -> &str {
    match text(listener, "address.socket_address.address") {
        "" => text(listener, "address.pipe.path"),
        address => address,
    }
}

fn port(listener: &Value) -> Option<u64> {
    at(listener, "address.socket_address.port_value").as_u64()
}

/// What a connection must look like to get into the chain.
fn matches(chain: &Value) -> String {
    let wanted = field(chain, "filter_chain_match");
    let mut parts = Vec::new();
    let join = |values: &[Value]| values.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",");
    let names = list(wanted, "server_names");
    if !names.is_empty() {
        parts.push(format!("SNI: {}", join(names)));
    }
    let transport = text(wanted, "transport_protocol");
    if !transport.is_empty() {
        parts.push(format!("Trans: {transport}"));
    }
    let protocols = list(wanted, "application_protocols");
    if !protocols.is_empty() {
        parts.push(format!("App: {}", join(protocols)));
    }
    if let Some(port) = field(wanted, "destination_port").as_u64().filter(|port| *port != 0) {
        parts.push(format!("Port: {port}"));
    }
    let ranges: Vec<String> = list(wanted, "prefix_ranges")
        .iter()
        .map(|range| {
            let length = field(range, "prefix_len").as_u64().unwrap_or(0);
            format!("{}/{length}", text(range, "address_prefix"))
        })
        .collect();
    if !ranges.is_empty() {
        parts.push(format!("Addr: {}", ranges.join(",")));
    }
    if parts.is_empty() { "ALL".to_owned() } else { parts.join("; ") }
}

/// What the chain's last filter does.
fn destination(chain: &Value) -> String {
    for filter in list(chain, "filters").iter().rev() {
        let config = field(filter, "typed_config");
        let rds = text(config, "rds.route_config_name");
        if !rds.is_empty() {
            return format!("Route: {rds}");
        }
        let inline = field(config, "route_config");
        if !inline.is_null() {
            let clusters: Vec<&str> = list(inline, "virtual_hosts")
                .iter()
                .flat_map(|host| list(host, "routes"))
                .map(|route| text(route, "route.cluster"))
                .filter(|cluster| !cluster.is_empty())
                .collect();
            return format!("Inline Route: {}", clusters.join(","));
        }
        let cluster = text(config, "cluster");
        if !cluster.is_empty() {
            return format!("Cluster: {cluster}");
        }
        let weighted: Vec<String> = list(config, "weighted_clusters.clusters")
            .iter()
            .map(|entry| format!("{}:{}", text(entry, "name"), field(entry, "weight").as_u64().unwrap_or(0)))
            .collect();
        if !weighted.is_empty() {
            return format!("Clusters: {}", weighted.join(","));
        }
    }
    "Non-HTTP/Non-TCP".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_say_match_and_destination() {
        let chain = json!({
            "filter_chain_match": {"transport_protocol": "tls", "application_protocols": ["istio"],
                                   "destination_port": 9080,
                                   "prefix_ranges": [{"address_prefix": "10.0.0.1", "prefix_len": 32}]},
            "filters": [{"typed_config": {"rds": {"route_config_name": "9080"}}}],
        });
        assert_eq!(matches(&chain), "Trans: tls; App: istio; Port: 9080; Addr: 10.0.0.1/32");
        assert_eq!(destination(&chain), "Route: 9080");
        let tcp =
            json!({"filters": [{"name": "stats"}, {"typed_config": {"cluster": "PassthroughCluster"}}]});
        assert_eq!(
            (matches(&tcp).as_str(), destination(&tcp).as_str()),
            ("ALL", "Cluster: PassthroughCluster")
        );
    }
}
