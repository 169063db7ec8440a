//! ENDPOINT, STATUS, OUTLIER CHECK, CLUSTER: from `/clusters?format=json`.

use serde_json::{Value, json};

use super::dump::{at, field, list, text};
use crate::output::Table;

pub(super) fn view(clusters: &Value, only: Option<&str>) -> (Table, Value) {
    let mut table = Table::new(&["ENDPOINT", "STATUS", "OUTLIER CHECK", "CLUSTER"]);
    let mut rows = Vec::new();
    let mut shown = Vec::new();
    for cluster in list(clusters, "cluster_statuses") {
        let name = text(cluster, "name");
        if only.is_some_and(|only| only != name) {
            continue;
        }
        shown.push(cluster);
        for host in list(cluster, "host_statuses") {
            let health = field(host, "health_status");
            let status = match text(health, "eds_health_status") {
                "" => "HEALTHY",
                status => status,
            };
            let ejected = field(health, "failed_outlier_check").as_bool().unwrap_or(false);
            rows.push(vec![
                address(host),
                status.to_owned(),
                if ejected { "FAILED" } else { "OK" }.to_owned(),
                name.to_owned(),
            ]);
        }
    }
    rows.sort_by(|a, b| (&a[3], &a[0]).cmp(&(&b[3], &b[0])));
    table.rows(rows);
    (table, json!(shown))
}

fn address(host: &Value) -> String {
    let socket = at(host, "address.socket_address");
    match (text(socket, "address"), field(socket, "port_value").as_u64()) {
        ("", _) => format!("unix://{}", text(host, "address.pipe.path")),
        (address, port) => format!("{address}:{}", port.unwrap_or(0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_show_health() {
        let clusters = json!({"cluster_statuses": [{"name": "outbound|80||a", "host_statuses": [
            {"address": {"socket_address": {"address": "10.0.0.1", "port_value": 80}},
             "health_status": {"eds_health_status": "HEALTHY", "failed_outlier_check": true}},
            {"address": {"pipe": {"path": "/x"}}, "health_status": {}}]}]});
        let (table, _) = view(&clusters, None);
        let text = table.render();
        assert!(text.contains("10.0.0.1:80   HEALTHY   FAILED"), "{text}");
        assert!(text.contains("unix:///x"), "{text}");
    }
}
