//! Whatever decodes, compiles or is refused: nothing that a message holds may panic.

#![allow(clippy::unwrap_used, reason = "a test reports by panicking")]
#![allow(deprecated, reason = "control planes of several ages still send the old fields")]

use std::collections::BTreeMap;

use portolan_dataplane_config::pb::{
    self, Any, accesslog, cluster, common_fault, core, endpoint, fault, file_log, hcm, http_rbac, listener,
    rbac, route, router, tcp_proxy, tls, types,
};
use portolan_dataplane_config::{Kind, check};
use portolan_envoy_api::pb::google::protobuf::{Duration, UInt32Value};
use proptest::prelude::{ProptestConfig, prop, proptest};
use prost::{Message, Name};

fn any<M: Message + Name>(message: &M) -> Any {
    Any { type_url: M::type_url(), value: message.encode_to_vec() }
}

fn seconds(seconds: i64) -> Option<Duration> {
    Some(Duration { seconds, nanos: 5 })
}

fn address(port: u32) -> Option<core::Address> {
    Some(core::Address {
        address: Some(core::address::Address::SocketAddress(core::SocketAddress {
            address: "10.0.0.1".into(),
            port_specifier: Some(core::socket_address::PortSpecifier::PortValue(port)),
            ..Default::default()
        })),
    })
}

fn routes() -> route::RouteConfiguration {
    let weighted = |name: &str| route::weighted_cluster::ClusterWeight {
        name: name.into(),
        weight: Some(UInt32Value { value: 50 }),
        ..Default::default()
    };
    let action = route::RouteAction {
        cluster_specifier: Some(route::route_action::ClusterSpecifier::WeightedClusters(
            route::WeightedCluster { clusters: vec![weighted("a"), weighted("b")], ..Default::default() },
        )),
        timeout: seconds(15),
        idle_timeout: seconds(60),
        retry_policy: Some(route::RetryPolicy {
            retry_on: "5xx".into(),
            num_retries: Some(UInt32Value { value: 2 }),
            per_try_timeout: seconds(2),
            retry_back_off: Some(route::retry_policy::RetryBackOff {
                base_interval: seconds(1),
                max_interval: seconds(10),
            }),
            ..Default::default()
        }),
        ..Default::default()
    };
    let one = route::Route {
        name: "one".into(),
        r#match: Some(route::RouteMatch {
            path_specifier: Some(route::route_match::PathSpecifier::Prefix("/".into())),
            headers: vec![route::HeaderMatcher {
                name: "x-number".into(),
                header_match_specifier: Some(route::header_matcher::HeaderMatchSpecifier::RangeMatch(
                    types::Int64Range { start: 1, end: 7 },
                )),
                ..Default::default()
            }],
            ..Default::default()
        }),
        action: Some(route::route::Action::Route(action)),
        ..Default::default()
    };
    route::RouteConfiguration {
        name: "routes".into(),
        virtual_hosts: vec![route::VirtualHost {
            name: "host".into(),
            domains: vec!["*.example.com".into()],
            routes: vec![one],
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn listener() -> listener::Listener {
    let rules = rbac::Rbac {
        policies: BTreeMap::from([(
            "p".to_owned(),
            rbac::Policy {
                permissions: vec![rbac::Permission {
                    rule: Some(rbac::permission::Rule::DestinationPort(80)),
                }],
                principals: vec![rbac::Principal {
                    identifier: Some(rbac::principal::Identifier::Any(true)),
                }],
                ..Default::default()
            },
        )]),
        ..Default::default()
    };
    let http_filter = |name: &str, config: Any| hcm::HttpFilter {
        name: name.into(),
        config_type: Some(hcm::http_filter::ConfigType::TypedConfig(config)),
        ..Default::default()
    };
    let fault = fault::HttpFault {
        delay: Some(common_fault::FaultDelay {
            fault_delay_secifier: Some(common_fault::fault_delay::FaultDelaySecifier::FixedDelay(Duration {
                seconds: 1,
                nanos: 1,
            })),
            percentage: Some(types::FractionalPercent { numerator: 5, denominator: 1 }),
        }),
        ..Default::default()
    };
    let manager = hcm::HttpConnectionManager {
        stat_prefix: "in".into(),
        route_specifier: Some(hcm::http_connection_manager::RouteSpecifier::RouteConfig(routes())),
        http_filters: vec![
            http_filter("rbac", any(&http_rbac::Rbac { rules: Some(rules), ..Default::default() })),
            http_filter("fault", any(&fault)),
            http_filter("router", any(&router::Router::default())),
        ],
        max_request_headers_kb: Some(UInt32Value { value: 60 }),
        stream_idle_timeout: seconds(300),
        request_timeout: seconds(5),
        common_http_protocol_options: Some(core::HttpProtocolOptions {
            idle_timeout: seconds(60),
            max_stream_duration: seconds(60),
            ..Default::default()
        }),
        access_log: vec![accesslog::AccessLog {
            name: "file".into(),
            config_type: Some(accesslog::access_log::ConfigType::TypedConfig(any(
                &file_log::FileAccessLog { path: "/dev/stdout".into(), ..Default::default() },
            ))),
            ..Default::default()
        }],
        ..Default::default()
    };
    let tcp = tcp_proxy::TcpProxy {
        stat_prefix: "tcp".into(),
        cluster_specifier: Some(tcp_proxy::tcp_proxy::ClusterSpecifier::Cluster("a".into())),
        idle_timeout: seconds(60),
        ..Default::default()
    };
    let chain = |filter: Any, port: u32| listener::FilterChain {
        filter_chain_match: Some(listener::FilterChainMatch {
            destination_port: Some(UInt32Value { value: port }),
            prefix_ranges: vec![core::CidrRange {
                address_prefix: "10.0.0.0".into(),
                prefix_len: Some(UInt32Value { value: 8 }),
            }],
            ..Default::default()
        }),
        filters: vec![listener::Filter {
            name: "last".into(),
            config_type: Some(listener::filter::ConfigType::TypedConfig(filter)),
        }],
        transport_socket_connect_timeout: seconds(5),
        ..Default::default()
    };
    listener::Listener {
        name: "listener".into(),
        address: address(15006),
        filter_chains: vec![chain(any(&manager), 80), chain(any(&tcp), 81)],
        listener_filters_timeout: seconds(1),
        ..Default::default()
    }
}

fn assignment() -> endpoint::ClusterLoadAssignment {
    endpoint::ClusterLoadAssignment {
        cluster_name: "cluster".into(),
        endpoints: vec![endpoint::LocalityLbEndpoints {
            lb_endpoints: vec![endpoint::LbEndpoint {
                host_identifier: Some(endpoint::lb_endpoint::HostIdentifier::Endpoint(endpoint::Endpoint {
                    address: address(80),
                    ..Default::default()
                })),
                load_balancing_weight: Some(UInt32Value { value: 3 }),
                ..Default::default()
            }],
            load_balancing_weight: Some(UInt32Value { value: 3 }),
            priority: 1,
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn cluster() -> cluster::Cluster {
    let number = |value| Some(UInt32Value { value });
    cluster::Cluster {
        name: "cluster".into(),
        connect_timeout: seconds(5),
        dns_refresh_rate: seconds(5),
        load_assignment: Some(assignment()),
        circuit_breakers: Some(cluster::CircuitBreakers {
            thresholds: vec![cluster::circuit_breakers::Thresholds {
                max_connections: number(7),
                max_retries: number(7),
                ..Default::default()
            }],
            ..Default::default()
        }),
        outlier_detection: Some(cluster::OutlierDetection {
            interval: seconds(10),
            base_ejection_time: seconds(30),
            max_ejection_percent: number(10),
            consecutive_5xx: number(5),
            ..Default::default()
        }),
        transport_socket: Some(core::TransportSocket {
            name: "tls".into(),
            config_type: Some(core::transport_socket::ConfigType::TypedConfig(any(
                &tls::UpstreamTlsContext { sni: "example.com".into(), ..Default::default() },
            ))),
        }),
        metadata: Some(core::Metadata {
            filter_metadata: BTreeMap::from([("istio".to_owned(), pb::Struct::default())]),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn seeds() -> Vec<(Kind, Vec<u8>)> {
    vec![
        (Kind::Listener, listener().encode_to_vec()),
        (Kind::Routes, routes().encode_to_vec()),
        (Kind::VirtualHost, routes().virtual_hosts.remove(0).encode_to_vec()),
        (Kind::Cluster, cluster().encode_to_vec()),
        (Kind::Endpoints, assignment().encode_to_vec()),
    ]
}

/// Numbers at which arithmetic goes wrong.
const EXTREMES: [u64; 8] =
    [0, 1, i32::MAX as u64, u32::MAX as u64, 315_576_000_000, 315_576_000_001, i64::MAX as u64, u64::MAX];

fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0u64;
    for (at, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f).checked_shl(7 * at as u32)?;
        if byte & 0x80 == 0 {
            return Some((value, at + 1));
        }
    }
    None
}

fn put(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Copies a message and lets `change` choose each number and each text in it; `None` if these bytes are no message.
fn rewrite(mut bytes: &[u8], change: &mut dyn FnMut() -> Option<u64>) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    while !bytes.is_empty() {
        let (key, used) = varint(bytes)?;
        bytes = &bytes[used..];
        if key >> 3 == 0 {
            return None;
        }
        put(key, &mut out);
        match key & 7 {
            0 => {
                let (value, used) = varint(bytes)?;
                bytes = &bytes[used..];
                put(change().unwrap_or(value), &mut out);
            }
            wire @ (1 | 5) => {
                let size = if wire == 1 { 8 } else { 4 };
                let mut fixed = bytes.get(..size)?.to_vec();
                bytes = &bytes[size..];
                if let Some(value) = change() {
                    fixed.copy_from_slice(&value.to_le_bytes()[..size]);
                }
                out.extend(fixed);
            }
            2 => {
                let (length, used) = varint(bytes)?;
                let length = usize::try_from(length).ok()?;
                let inner = bytes.get(used..)?.get(..length)?;
                bytes = &bytes[used + length..];
                let inner = match rewrite(inner, change) {
                    Some(message) if !inner.is_empty() => message,
                    _ => inner.to_vec(),
                };
                put(inner.len() as u64, &mut out);
                out.extend(inner);
            }
            _ => return None,
        }
    }
    Some(out)
}

/// The seeds must compile, or the tests below would show nothing.
#[test]
fn the_seeds_are_taken() {
    for (kind, message) in seeds() {
        let compiled = check(kind, &message).unwrap();
        assert!(!compiled.name.is_empty());
    }
}

#[test]
fn every_number_may_be_extreme() {
    for (kind, message) in seeds() {
        let mut numbers = 0;
        rewrite(&message, &mut || {
            numbers += 1;
            None
        })
        .unwrap();
        assert!(numbers > 2, "{kind:?}");
        for wanted in 0..numbers {
            for extreme in EXTREMES {
                let mut at = 0;
                let changed = rewrite(&message, &mut || {
                    at += 1;
                    (at - 1 == wanted).then_some(extreme)
                });
                let _ = check(kind, &changed.unwrap());
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn several_numbers_may_be_anything(which in 0usize..5, numbers in prop::collection::vec(proptest::prelude::any::<Option<u64>>(), 64)) {
        let (kind, message) = seeds().swap_remove(which);
        let mut numbers = numbers.into_iter().cycle();
        let changed = rewrite(&message, &mut || numbers.next().flatten()).unwrap();
        let _ = check(kind, &changed);
    }

    #[test]
    fn damaged_messages_are_no_harm(
        which in 0usize..5,
        damage in prop::collection::vec((proptest::prelude::any::<prop::sample::Index>(), proptest::prelude::any::<u8>()), 1..8),
    ) {
        let (kind, mut message) = seeds().swap_remove(which);
        for (at, byte) in damage {
            let at = at.index(message.len());
            message[at] = byte;
        }
        let _ = check(kind, &message);
    }
}
