//! `/clusters`: hosts with their health, locality and counters, as text or JSON.

use std::fmt::Write as _;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use serde_json::{Map, Value, json};

use super::AdminState;
use super::listeners::socket_address;
use portolan_agent::serve::{json as json_response, param, query, text};
use portolan_dataplane::config::{ClusterStatus, HostStatus};

/// Names of the four circuit breaker limits, in the order of [`ClusterStatus::limits`].
const LIMITS: [&str; 4] = ["max_connections", "max_pending_requests", "max_requests", "max_retries"];
/// The counters that are values of now rather than sums.
const GAUGES: [&str; 2] = ["cx_active", "rq_active"];

pub(super) fn clusters(state: &AdminState, request: &Request<Bytes>) -> Response<Full<Bytes>> {
    let status = state.store.status();
    if param(&query(request.uri()), "format") == Some("json") {
        let statuses: Vec<Value> = status.clusters.iter().map(cluster_json).collect();
        return json_response(&json!({"cluster_statuses": statuses}));
    }
    let mut out = String::new();
    for cluster in &status.clusters {
        cluster_text(cluster, &mut out);
    }
    text(StatusCode::OK, out)
}

fn cluster_text(cluster: &ClusterStatus, out: &mut String) {
    let name = &cluster.name;
    let _ = writeln!(out, "{name}::observability_name::{name}");
    for (priority, limits) in ["default_priority", "high_priority"].iter().zip(&cluster.limits) {
        for (limit, value) in LIMITS.iter().zip(limits) {
            let _ = writeln!(out, "{name}::{priority}::{limit}::{value}");
        }
    }
    let _ = writeln!(out, "{name}::added_via_api::{}", cluster.added_via_api);
    if let Some(service) = &cluster.eds_service_name {
        let _ = writeln!(out, "{name}::eds_service_name::{service}");
    }
    for host in &cluster.hosts {
        let prefix = format!("{name}::{}", host.address);
        for (counter, value) in counters(host) {
            let _ = writeln!(out, "{prefix}::{counter}::{value}");
        }
        let (region, zone, sub_zone) = &host.locality;
        let _ = writeln!(
            out,
            "{prefix}::hostname::{}\n{prefix}::health_flags::{}\n{prefix}::weight::{}\n{prefix}::region::{region}\n\
             {prefix}::zone::{zone}\n{prefix}::sub_zone::{sub_zone}\n{prefix}::canary::false\n\
             {prefix}::priority::{}\n{prefix}::success_rate::-1\n{prefix}::local_origin_success_rate::-1",
            host.hostname,
            health_flags(host),
            host.weight,
            host.priority,
        );
    }
}

/// The host's counters with `rq_active`, each name once.
fn counters(host: &HostStatus) -> Vec<(&'static str, u64)> {
    let mut all = host.counters.clone();
    if !all.iter().any(|(name, _)| *name == "rq_active") {
        all.push(("rq_active", host.rq_active));
    }
    all
}

fn health_status(host: &HostStatus) -> &'static str {
    match (host.eds_healthy, host.eds_degraded) {
        (false, _) => "UNHEALTHY",
        (true, true) => "DEGRADED",
        (true, false) => "HEALTHY",
    }
}

fn health_flags(host: &HostStatus) -> String {
    host.health_flags()
}

fn cluster_json(cluster: &ClusterStatus) -> Value {
    let thresholds: Vec<Value> = ["DEFAULT", "HIGH"]
        .iter()
        .zip(&cluster.limits)
        .map(|(priority, limits)| {
            let mut map = Map::new();
            if *priority != "DEFAULT" {
                map.insert("priority".into(), (*priority).into());
            }
            map.extend(
                LIMITS.iter().zip(limits).map(|(name, value)| ((*name).to_owned(), Value::from(*value))),
            );
            Value::Object(map)
        })
        .collect();
    let mut map = Map::new();
    map.insert("name".into(), cluster.name.clone().into());
    if cluster.added_via_api {
        map.insert("added_via_api".into(), true.into());
    }
    map.insert("host_statuses".into(), cluster.hosts.iter().map(host_json).collect());
    map.insert("circuit_breakers".into(), json!({"thresholds": thresholds}));
    map.insert("observability_name".into(), cluster.name.clone().into());
    if let Some(service) = &cluster.eds_service_name {
        map.insert("eds_service_name".into(), service.clone().into());
    }
    Value::Object(map)
}

fn host_json(host: &HostStatus) -> Value {
    let address = match host.address.parse::<SocketAddr>() {
        Ok(address) => socket_address(address),
        Err(_) => json!({"pipe": {"path": host.address}}),
    };
    let stats: Vec<Value> = counters(host)
        .into_iter()
        .map(|(name, value)| {
            let mut stat = Map::new();
            if GAUGES.contains(&name) {
                stat.insert("type".into(), "GAUGE".into());
            }
            // Protobuf's JSON leaves out a zero.
            if value > 0 {
                stat.insert("value".into(), value.to_string().into());
            }
            stat.insert("name".into(), name.into());
            Value::Object(stat)
        })
        .collect();
    let mut health = Map::new();
    health.insert("eds_health_status".into(), health_status(host).into());
    if host.ejected {
        health.insert("failed_outlier_check".into(), true.into());
    }
    let (region, zone, sub_zone) = &host.locality;
    let mut locality = Map::new();
    for (key, value) in [("region", region), ("zone", zone), ("sub_zone", sub_zone)] {
        if !value.is_empty() {
            locality.insert(key.into(), value.clone().into());
        }
    }
    let mut map = Map::new();
    map.insert("address".into(), address);
    map.insert("stats".into(), stats.into());
    map.insert("health_status".into(), health.into());
    map.insert("weight".into(), host.weight.into());
    if !host.hostname.is_empty() {
        map.insert("hostname".into(), host.hostname.clone().into());
    }
    if host.priority > 0 {
        map.insert("priority".into(), host.priority.into());
    }
    map.insert("locality".into(), locality.into());
    Value::Object(map)
}

#[cfg(test)]
mod tests {
    use super::*;
    use portolan_dataplane::config::ResourceState;

    fn cluster() -> ClusterStatus {
        ClusterStatus {
            name: "outbound|9080||reviews.bookinfo.svc.cluster.local".into(),
            state: ResourceState::Active,
            waits_for: Vec::new(),
            added_via_api: true,
            eds_service_name: Some("outbound|9080||reviews.bookinfo.svc.cluster.local".into()),
            limits: [[1024, 1024, 1024, 3]; 2],
            hosts: vec![HostStatus {
                address: "10.64.0.7:9080".into(),
                hostname: String::new(),
                weight: 1,
                priority: 0,
                locality: ("eu".into(), "eu-1".into(), String::new()),
                eds_healthy: true,
                eds_degraded: false,
                ejected: false,
                rq_active: 2,
                counters: vec![("cx_total", 3), ("rq_error", 0)],
            }],
        }
    }

    #[test]
    fn text_lines() {
        let mut out = String::new();
        cluster_text(&cluster(), &mut out);
        let name = "outbound|9080||reviews.bookinfo.svc.cluster.local";
        for line in [
            format!("{name}::default_priority::max_retries::3"),
            format!("{name}::added_via_api::true"),
            format!("{name}::10.64.0.7:9080::cx_total::3"),
            format!("{name}::10.64.0.7:9080::rq_active::2"),
            format!("{name}::10.64.0.7:9080::health_flags::healthy"),
            format!("{name}::10.64.0.7:9080::region::eu"),
        ] {
            assert!(out.lines().any(|l| l == line), "{line} is missing in\n{out}");
        }
    }

    #[test]
    fn json_form() {
        let json = cluster_json(&cluster());
        let host = &json["host_statuses"][0];
        assert_eq!(host["address"]["socket_address"]["port_value"], 9080);
        assert_eq!(host["health_status"]["eds_health_status"], "HEALTHY");
        assert_eq!(host["stats"][0], json!({"value": "3", "name": "cx_total"}));
        assert_eq!(host["stats"][2], json!({"type": "GAUGE", "value": "2", "name": "rq_active"}));
        assert_eq!(json["circuit_breakers"]["thresholds"][1]["priority"], "HIGH");
        // The form is that of Envoy's own message.
        portolan_xds::json::from_json("envoy.admin.v3.ClusterStatus", &json).unwrap();
    }
}
