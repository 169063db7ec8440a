//! Generated configuration as a text that a person can review: one line per chain, route, cluster, endpoint.

use std::fmt::Write as _;

use portolan_mesh::ProxyNode;
use portolan_xds::{Resource, json, type_url};
use serde_json::Value;

use super::given::given;

pub(super) fn summary(mesh: &portolan_mesh::Mesh, node: &ProxyNode) -> String {
    let mut out = String::new();
    for (title, url, print) in [
        ("clusters", type_url::CLUSTER, cluster as fn(&mut String, &Value)),
        ("endpoints", type_url::ENDPOINT, endpoints),
        ("listeners", type_url::LISTENER, listener),
        ("routes", type_url::ROUTE, routes),
        ("secrets", type_url::SECRET, secret),
    ] {
        writeln!(out, "# {title}").unwrap();
        for resource in given(mesh, node, url) {
            print(&mut out, &decode(&resource));
        }
    }
    out
}

fn decode(resource: &Resource) -> Value {
    json::message_to_json(resource.type_url, &resource.body).unwrap()
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn list(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(text).collect()
}

/// `{a: x, b: null}` as `a=x`: only what is set.
fn set(pairs: &[(&str, &Value)]) -> String {
    let shown = pairs.iter().filter(|(_, v)| !v.is_null() && **v != Value::Bool(false) && text(v) != "[]");
    shown.map(|(k, v)| format!(" {k}={}", text(v))).collect()
}

fn cluster(out: &mut String, c: &Value) {
    let http =
        &c["typed_extension_protocol_options"]["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"];
    let protocol = ["explicit_http_config", "use_downstream_protocol_config"]
        .iter()
        .find(|k| !http[**k].is_null())
        .map(|k| match http[*k].as_object().and_then(|o| o.keys().next()).map(String::as_str) {
            Some("http2_protocol_options") if *k == "explicit_http_config" => "h2",
            _ if *k == "explicit_http_config" => "h1",
            _ => "downstream",
        });
    let name = text(&c["name"]);
    write!(out, "{name} type={}", c["type"].as_str().unwrap_or("STATIC")).unwrap();
    if let Some(protocol) = protocol {
        write!(out, " http={protocol}").unwrap();
    }
    out.push_str(&set(&[
        ("lb", &c["lb_policy"]),
        ("outlier", &c["outlier_detection"]),
        ("common_lb", &c["common_lb_config"]),
        ("common_http", &http["common_http_protocol_options"]),
        ("source", &c["upstream_bind_config"]["source_address"]["address"]),
    ]));
    let limits = &c["circuit_breakers"]["thresholds"][0];
    for key in ["max_connections", "max_pending_requests"] {
        if limits[key].as_u64().is_some_and(|n| n != u64::from(u32::MAX)) {
            write!(out, " {key}={}", limits[key]).unwrap();
        }
    }
    for m in c["transport_socket_matches"].as_array().into_iter().flatten() {
        write!(out, "\n    {}:{}", text(&m["name"]), client_tls(&m["transport_socket"])).unwrap();
    }
    if !c["transport_socket"].is_null() {
        write!(out, "\n    always:{}", client_tls(&c["transport_socket"])).unwrap();
    }
    out.push('\n');
    if !c["load_assignment"].is_null() {
        endpoints(out, &c["load_assignment"]);
    }
}

fn client_tls(socket: &Value) -> String {
    let context = &socket["typed_config"];
    let common = &context["common_tls_context"];
    if common.is_null() {
        return " plaintext".to_owned();
    }
    let validation = &common["combined_validation_context"];
    let sans: Vec<String> = validation["default_validation_context"]["match_typed_subject_alt_names"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|s| s["matcher"].to_string())
        .collect();
    format!(
        "{} alpn={} certificate={} sans=[{}]",
        set(&[("sni", &context["sni"])]),
        list(&common["alpn_protocols"]).join(","),
        text(&common["tls_certificate_sds_secret_configs"][0]["name"]),
        sans.join(", ")
    )
}

fn endpoints(out: &mut String, a: &Value) {
    writeln!(out, "  {}", text(&a["cluster_name"])).unwrap();
    for group in a["endpoints"].as_array().into_iter().flatten() {
        for e in group["lb_endpoints"].as_array().into_iter().flatten() {
            let address = &e["endpoint"]["address"]["socket_address"];
            let metadata = &e["metadata"]["filter_metadata"];
            writeln!(
                out,
                "    {}:{}{}",
                text(&address["address"]),
                address["port_value"],
                set(&[
                    ("priority", &group["priority"]),
                    ("locality", &group["locality"]),
                    ("tls", &metadata["envoy.transport_socket_match"]["tlsMode"]),
                    ("workload", &metadata["istio"]["workload"]),
                ])
            )
            .unwrap();
        }
    }
}

fn listener(out: &mut String, l: &Value) {
    let address = &l["address"]["socket_address"];
    writeln!(
        out,
        "{} {}:{}{}",
        text(&l["name"]),
        text(&address["address"]),
        address["port_value"],
        set(&[("original_dst", &l["use_original_dst"]), ("timeout", &l["listener_filters_timeout"])])
    )
    .unwrap();
    for f in l["listener_filters"].as_array().into_iter().flatten() {
        writeln!(out, "  inspect {}{}", text(&f["name"]), set(&[("disabled", &f["filter_disabled"])]))
            .unwrap();
    }
    for chain in l["filter_chains"].as_array().into_iter().flatten().chain(l.get("default_filter_chain")) {
        let m = &chain["filter_chain_match"];
        let ranges: Vec<String> = m["prefix_ranges"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|r| format!("{}/{}", text(&r["address_prefix"]), r["prefix_len"]))
            .collect();
        let mut conditions = set(&[
            ("port", &m["destination_port"]),
            ("transport", &m["transport_protocol"]),
            ("alpn", &m["application_protocols"]),
            ("sni", &m["server_names"]),
        ]);
        if !ranges.is_empty() {
            write!(conditions, " to={}", ranges.join(",")).unwrap();
        }
        let default = l.get("default_filter_chain").is_some_and(|d| std::ptr::eq(d, chain));
        let conditions = if default { " default".to_owned() } else { conditions };
        write!(out, "  chain {}[{}]", text(chain.get("name").unwrap_or(&Value::from(""))), conditions.trim())
            .unwrap();
        if !chain["transport_socket"].is_null() {
            let context = &chain["transport_socket"]["typed_config"];
            write!(
                out,
                " tls{}{}",
                set(&[("client_certificate", &context["require_client_certificate"])]),
                client_tls(&chain["transport_socket"])
            )
            .unwrap();
        }
        out.push('\n');
        for f in chain["filters"].as_array().into_iter().flatten() {
            filter(out, f);
        }
    }
}

fn filter(out: &mut String, f: &Value) {
    let config = &f["typed_config"];
    let name = text(&f["name"]);
    let short = name.trim_start_matches("envoy.filters.network.");
    match short {
        "http_connection_manager" => {
            let filters: Vec<String> = config["http_filters"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|f| {
                    let name = text(&f["name"]);
                    name.trim_start_matches("envoy.filters.http.").to_owned()
                })
                .collect();
            let target = match config["rds"]["route_config_name"].as_str() {
                Some(name) => format!("rds {name}"),
                None => "inline".to_owned(),
            };
            writeln!(out, "    http {target}: {}", filters.join(" ")).unwrap();
            for f in config["http_filters"].as_array().into_iter().flatten() {
                if text(&f["name"]).ends_with("rbac") {
                    rules(out, &f["typed_config"]["rules"]);
                }
            }
            if !config["route_config"].is_null() {
                routes(out, &config["route_config"]);
            }
        }
        "tcp_proxy" => {
            let weighted: Vec<String> = config["weighted_clusters"]["clusters"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|c| format!("{} {}", text(&c["name"]), c["weight"]))
                .collect();
            let target = config["cluster"].as_str().map_or_else(|| weighted.join(", "), str::to_owned);
            writeln!(out, "    tcp -> {target}").unwrap();
        }
        "rbac" => rules(out, &config["rules"]),
        _ => writeln!(out, "    {short}").unwrap(),
    }
}

fn rules(out: &mut String, rules: &Value) {
    writeln!(out, "      rbac {}", rules["action"].as_str().unwrap_or("ALLOW")).unwrap();
    let mut policies: Vec<_> = rules["policies"].as_object().into_iter().flatten().collect();
    policies.sort_by_key(|(name, _)| name.to_owned());
    for (name, p) in policies {
        writeln!(out, "        {name}: {} / {}", p["permissions"], p["principals"]).unwrap();
    }
}

fn routes(out: &mut String, r: &Value) {
    writeln!(out, "  routes {}", text(&r["name"])).unwrap();
    for host in r["virtual_hosts"].as_array().into_iter().flatten() {
        writeln!(
            out,
            "    host {} [{}]{}",
            text(&host["name"]),
            list(&host["domains"]).join(" "),
            set(&[("tls", &host["require_tls"])])
        )
        .unwrap();
        for route in host["routes"].as_array().into_iter().flatten() {
            let mut action = route["route"].clone();
            // The same on nearly every route: only what differs is shown.
            for (key, usual) in [("timeout", "0s"), ("max_grpc_timeout", "0s")] {
                if text(&action[key]) == usual {
                    action.as_object_mut().map(|o| o.remove(key));
                }
            }
            let usual_retries = action["retry_policy"]["num_retries"] == 2;
            if usual_retries {
                action["retry_policy"] = Value::from("default");
            }
            let action =
                [("route", &action), ("redirect", &route["redirect"]), ("direct", &route["direct_response"])]
                    .iter()
                    .find(|(_, v)| !v.is_null())
                    .map(|(k, v)| format!("{k} {v}"))
                    .unwrap_or_default();
            writeln!(
                out,
                "      {} {} => {action}{}",
                text(route.get("name").unwrap_or(&Value::from("-"))),
                route["match"],
                set(&[
                    ("metadata", &route["metadata"]["filter_metadata"]["istio"]["config"]),
                    ("filters", &route["typed_per_filter_config"]),
                    ("request_add", &route["request_headers_to_add"]),
                    ("request_remove", &route["request_headers_to_remove"]),
                    ("response_add", &route["response_headers_to_add"]),
                ])
            )
            .unwrap();
        }
    }
}

fn secret(out: &mut String, s: &Value) {
    let domains: Vec<String> =
        s["validation_context"]["custom_validator_config"]["typed_config"]["trust_domains"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|d| text(&d["name"]))
            .collect();
    writeln!(out, "{} trust domains: {}", text(&s["name"]), domains.join(", ")).unwrap();
}
