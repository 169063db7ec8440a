//! NAME, DOMAINS, MATCH, VIRTUAL SERVICE. Only routes that come over RDS show: inline ones are in the listeners.

use serde_json::{Value, json};

use super::dump::{Dump, field, list, origin, text};
use crate::output::Table;

pub(super) fn view(dump: &Dump, only: Option<&str>) -> (Table, Value) {
    let mut shown: Vec<&Value> = dump
        .routes()
        .into_iter()
        .filter(|route| only.is_none_or(|name| text(route, "name") == name))
        .collect();
    shown.sort_by_key(|route| text(route, "name").to_owned());
    let mut table = Table::new(&["NAME", "DOMAINS", "MATCH", "VIRTUAL SERVICE"]);
    for config in &shown {
        for host in list(config, "virtual_hosts") {
            for route in list(host, "routes") {
                table.row([
                    text(config, "name").to_owned(),
                    domains(host),
                    matches(route),
                    match origin(route) {
                        empty if empty.is_empty() => origin(host),
                        found => found,
                    },
                ]);
            }
            if list(host, "routes").is_empty() {
                table.row([text(config, "name").to_owned(), domains(host), "404".to_owned(), String::new()]);
            }
        }
    }
    (table, json!(shown))
}

/// The shortest name stands for all: the others are its longer forms and addresses.
fn domains(host: &Value) -> String {
    let all: Vec<&str> = list(host, "domains").iter().filter_map(Value::as_str).collect();
    let is_address = |domain: &str| domain.parse::<std::net::IpAddr>().is_ok();
    let plain = all.iter().filter(|domain| !domain.contains(':'));
    match plain.min_by_key(|domain| (is_address(domain), domain.len())) {
        Some(shortest) if all.len() > 1 => format!("{shortest} + {} more...", all.len() - 1),
        _ => all.join(","),
    }
}

fn matches(route: &Value) -> String {
    let wanted = field(route, "match");
    let mut parts = Vec::new();
    for (key, star) in [("prefix", "*"), ("path", ""), ("path_separated_prefix", "/*")] {
        let value = text(wanted, key);
        if !value.is_empty() {
            parts.push(format!("{value}{star}"));
        }
    }
    let regex = text(wanted, "safe_regex.regex");
    if !regex.is_empty() {
        parts.push(format!("regex {regex}"));
    }
    for header in list(wanted, "headers") {
        parts.push(text(header, "name").to_owned());
    }
    let target = field(route, "route");
    if let Some(clusters) = field(target, "weighted_clusters").get("clusters").and_then(Value::as_array) {
        let shares: Vec<String> = clusters
            .iter()
            .map(|entry| format!("{}%", field(entry, "weight").as_u64().unwrap_or(0)))
            .collect();
        parts.push(format!("[{}]", shares.join("/")));
    }
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_show_path_headers_and_weights() {
        let route = json!({"match": {"prefix": "/", "headers": [{"name": "end-user"}]},
            "route": {"weighted_clusters": {"clusters": [{"weight": 90}, {"weight": 10}]}}});
        assert_eq!(matches(&route), "/* end-user [90%/10%]");
        let host = json!({"domains": ["reviews.x.svc.cluster.local", "reviews", "reviews:9080", "10.0.0.1"]});
        assert_eq!(domains(&host), "reviews + 3 more...");
        assert_eq!(
            domains(&json!({"domains": ["10.0.0.16", "productpage.x.svc"]})),
            "productpage.x.svc + 1 more..."
        );
    }
}
