//! Which chain takes a connection, and which chains are refused.

use std::net::SocketAddr;

use portolan_envoy_api::pb::google::protobuf::UInt32Value;
use serde_json::{Value, json};

use super::*;
use crate::testing::message;
use crate::value::{Direction, unread};

fn chain(edit: impl FnOnce(&mut listener::FilterChainMatch)) -> ChainMatch {
    let mut message = listener::FilterChainMatch::default();
    edit(&mut message);
    ChainMatch::compile(Some(&message)).unwrap()
}

fn pick(chains: &[ChainMatch], local: &str, sni: Option<&str>, is_tls: bool, alpn: &[&str]) -> Option<usize> {
    let protocols: Vec<_> = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let seen = Observed {
        local: local.parse().unwrap(),
        remote: "192.0.2.7:999".parse().unwrap(),
        sni,
        is_tls,
        protocols: &protocols,
    };
    choose(chains, &seen)
}

/// The five chains of a sniffed permissive port, behind a catch-all for other ports.
#[test]
fn permissive_inbound() {
    let port = |m: &mut listener::FilterChainMatch| m.destination_port = Some(UInt32Value { value: 9080 });
    let protocols = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let chains = [
        chain(|m| {
            port(m);
            m.transport_protocol = "tls".into();
            m.application_protocols = protocols(&["istio-http/1.0", "istio-http/1.1", "istio-h2"]);
        }),
        chain(|m| {
            port(m);
            m.transport_protocol = "raw_buffer".into();
            m.application_protocols = protocols(&["http/1.0", "http/1.1", "h2c"]);
        }),
        chain(|m| {
            port(m);
            m.transport_protocol = "tls".into();
            m.application_protocols = protocols(&["istio-peer-exchange", "istio"]);
        }),
        chain(|m| {
            port(m);
            m.transport_protocol = "raw_buffer".into();
        }),
        chain(|m| {
            port(m);
            m.transport_protocol = "tls".into();
        }),
        chain(|_| {}),
    ];
    let here = "10.0.0.1:9080";
    assert_eq!(
        pick(&chains, here, None, true, &["portolan-h2", "istio-http/1.1", "istio", "http/1.1"]),
        Some(0)
    );
    assert_eq!(pick(&chains, here, None, false, &["http/1.1"]), Some(1));
    assert_eq!(pick(&chains, here, None, true, &["istio-peer-exchange", "istio"]), Some(2));
    assert_eq!(pick(&chains, here, None, false, &[]), Some(3));
    assert_eq!(pick(&chains, here, Some("x"), true, &["h2"]), Some(4));
    assert_eq!(pick(&chains, "10.0.0.1:1", None, false, &[]), Some(5));
}

#[test]
fn names_and_no_way_back() {
    let chains = [
        chain(|m| m.server_names = vec!["a.example.com".into()]),
        chain(|m| m.server_names = vec!["*.example.com".into()]),
        chain(|m| m.server_names = vec!["*.com".into()]),
    ];
    let at = |sni| pick(&chains, "10.0.0.1:443", sni, true, &[]);
    assert_eq!(at(Some("A.example.com")), Some(0));
    assert_eq!(at(Some("b.a.example.com")), Some(1));
    assert_eq!(at(Some("x.com")), Some(2));
    assert_eq!(at(Some("com")), None);
    assert_eq!(at(None), None);
    let chains = [
        chain(|m| {
            m.destination_port = Some(UInt32Value { value: 1 });
            m.transport_protocol = "tls".into();
        }),
        chain(|_| {}),
    ];
    assert_eq!(pick(&chains, "10.0.0.1:1", None, false, &[]), None);
}

/// Chains by their matches.
fn chains<const N: usize>(all: [Value; N]) -> [ChainMatch; N] {
    all.map(|json| ChainMatch::compile(Some(&message(json))).unwrap())
}

/// Which of some chains takes plaintext between two addresses.
fn between(chains: &[ChainMatch], remote: &str, local: &str) -> Option<usize> {
    let (local, remote): (SocketAddr, SocketAddr) = (local.parse().unwrap(), remote.parse().unwrap());
    choose(chains, &Observed { local, remote, sni: None, is_tls: false, protocols: &[] })
}

fn range(prefix: &str, length: u32) -> Value {
    json!([{"address_prefix": prefix, "prefix_len": length}])
}

#[test]
fn without_chains_nothing_takes_a_connection() {
    assert_eq!(between(&[], "192.0.2.7:1", "10.0.0.1:80"), None);
}

#[test]
fn a_message_without_a_match_takes_everything() {
    assert_eq!(between(&[ChainMatch::compile(None).unwrap()], "192.0.2.7:1", "10.0.0.1:80"), Some(0));
}

#[test]
fn the_narrowest_range_wins() {
    for field in ["prefix_ranges", "direct_source_prefix_ranges", "source_prefix_ranges"] {
        let chains = chains([
            json!({ field: range("10.0.0.0", 8) }),
            json!({ field: range("10.1.0.0", 16) }),
            json!({}),
        ]);
        let at = |address: &str| match field {
            "prefix_ranges" => between(&chains, "192.0.2.7:1", address),
            _ => between(&chains, address, "192.0.2.7:80"),
        };
        assert_eq!(at("10.1.2.3:80"), Some(1), "{field}");
        assert_eq!(at("10.2.2.3:80"), Some(0), "{field}");
        assert_eq!(at("11.1.2.3:80"), Some(2), "{field}");
        assert_eq!(at("[::ffff:10.1.2.3]:80"), Some(1), "{field}");
    }
}

#[test]
fn a_chain_has_the_narrowest_of_its_own_ranges() {
    let both = json!([{"address_prefix": "10.0.0.0", "prefix_len": 8}, {"address_prefix": "10.1.2.0", "prefix_len": 24}]);
    let chains = chains([json!({"prefix_ranges": range("10.1.0.0", 16)}), json!({"prefix_ranges": both})]);
    assert_eq!(between(&chains, "192.0.2.7:1", "10.1.2.3:80"), Some(1));
    assert_eq!(between(&chains, "192.0.2.7:1", "10.1.3.3:80"), Some(0));
}

#[test]
fn chains_tell_ports_of_both_sides() {
    let by = chains([json!({"destination_port": 80}), json!({})]);
    assert_eq!(between(&by, "192.0.2.7:1", "10.0.0.1:80"), Some(0));
    assert_eq!(between(&by, "192.0.2.7:80", "10.0.0.1:81"), Some(1));
    let by = chains([json!({"source_ports": [7, 8]}), json!({})]);
    assert_eq!(between(&by, "192.0.2.7:8", "10.0.0.1:80"), Some(0));
    assert_eq!(between(&by, "192.0.2.7:9", "10.0.0.1:8"), Some(1));
}

#[test]
fn clients_on_the_same_address_or_the_loopback_are_local() {
    let chains = chains([json!({"source_type": "SAME_IP_OR_LOOPBACK"}), json!({"source_type": "EXTERNAL"})]);
    assert_eq!(between(&chains, "127.0.0.1:1", "10.0.0.1:80"), Some(0));
    assert_eq!(between(&chains, "10.0.0.1:1", "10.0.0.1:80"), Some(0));
    assert_eq!(between(&chains, "10.0.0.2:1", "10.0.0.1:80"), Some(1));
}

#[test]
fn a_chain_without_a_source_type_takes_what_is_left() {
    let chains = chains([json!({"source_type": "EXTERNAL"}), json!({})]);
    assert_eq!(between(&chains, "127.0.0.1:1", "10.0.0.1:80"), Some(1));
    assert_eq!(between(&chains, "10.0.0.2:1", "10.0.0.1:80"), Some(0));
}

#[test]
fn the_protocol_that_the_client_wants_most_decides() {
    let chains = chains([
        json!({"application_protocols": ["http/1.1"]}),
        json!({"application_protocols": ["h2"]}),
        json!({}),
    ]);
    let with = |alpn: &[&str]| pick(&chains, "10.0.0.1:443", None, true, alpn);
    assert_eq!(with(&["h2", "http/1.1"]), Some(1));
    assert_eq!(with(&["http/1.1", "h2"]), Some(0));
    assert_eq!(with(&["spdy", "h2"]), Some(1));
    assert_eq!(with(&["spdy"]), Some(2));
}

#[test]
fn a_chain_for_names_takes_no_connection_without_one() {
    let chains = chains([json!({"server_names": ["a.example.com"]}), json!({})]);
    let at = |sni| pick(&chains, "10.0.0.1:443", sni, true, &[]);
    assert_eq!(at(Some("a.example.com")), Some(0));
    assert_eq!(at(Some("b.example.com")), Some(1));
    assert_eq!(at(Some("")), Some(1));
    assert_eq!(at(None), Some(1));
}

#[test]
fn configured_names_have_no_case() {
    let chains = chains([json!({"server_names": ["*.Example.COM"]})]);
    assert_eq!(pick(&chains, "10.0.0.1:443", Some("a.example.com"), true, &[]), Some(0));
}

#[test]
fn the_longest_wildcard_wins() {
    let chains = chains([json!({"server_names": ["*.com"]}), json!({"server_names": ["*.example.com"]})]);
    let at = |sni| pick(&chains, "10.0.0.1:443", Some(sni), true, &[]);
    assert_eq!(at("a.b.example.com"), Some(1));
    assert_eq!(at("example.com"), Some(0));
}

#[test]
fn matches_that_cannot_be_made_are_refused() {
    let wild = |name: &str| format!("server name {name:?}: only a leading \"*.\" is a wildcard");
    for (json, reason) in [
        (json!({"address_suffix": "1"}), "address_suffix is not supported".to_owned()),
        (json!({"server_names": ["a.*.com"]}), wild("a.*.com")),
        (json!({"server_names": ["*a.com"]}), wild("*a.com")),
        (json!({"server_names": ["*"]}), wild("*")),
        (json!({"prefix_ranges": range("x", 8)}), "prefix_ranges: \"x\" is not an IP address".into()),
        (
            json!({"direct_source_prefix_ranges": range("x", 8)}),
            "direct_source_prefix_ranges: \"x\" is not an IP address".into(),
        ),
        (
            json!({"source_prefix_ranges": range("x", 8)}),
            "source_prefix_ranges: \"x\" is not an IP address".into(),
        ),
    ] {
        assert_eq!(ChainMatch::compile(Some(&message(json))).unwrap_err().0, reason);
    }
}

const NETWORK: &str = "type.googleapis.com/envoy.extensions.filters.network";
const SOCKETS: &str = "type.googleapis.com/envoy.extensions.transport_sockets";

fn tcp() -> Value {
    let config =
        json!({"@type": format!("{NETWORK}.tcp_proxy.v3.TcpProxy"), "stat_prefix": "t", "cluster": "c"});
    json!({"name": "tcp", "typed_config": config})
}

fn rbac() -> Value {
    json!({"name": "rbac", "typed_config": {"@type": format!("{NETWORK}.rbac.v3.RBAC"), "stat_prefix": "r"}})
}

fn http() -> Value {
    let router = json!({"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"});
    json!({"name": "http", "typed_config": {
        "@type": format!("{NETWORK}.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "h",
        "route_config": {},
        "http_filters": [{"name": "router", "typed_config": router}],
    }})
}

fn server_tls() -> Value {
    json!({"name": "tls", "typed_config": {"@type": format!("{SOCKETS}.tls.v3.DownstreamTlsContext")}})
}

fn compile(json: Value) -> Valid<FilterChain> {
    FilterChain::compile(&message(json), Compile { direction: Direction::Inbound, load: unread })
}

#[test]
fn the_last_filter_takes_the_connection() {
    let chain = compile(json!({"name": "one", "filters": [rbac(), tcp()]})).unwrap();
    assert_eq!((&*chain.name, chain.filters.len()), ("one", 1));
    assert!(matches!(chain.terminal, Terminal::Tcp(_)));
    assert!(matches!(compile(json!({"filters": [http()]})).unwrap().terminal, Terminal::Http(_)));
    assert!(matches!(compile(json!({})).unwrap().terminal, Terminal::Close));
}

#[test]
fn filters_out_of_order_are_refused() {
    let error = |filters: Value| compile(json!({ "filters": filters })).unwrap_err().0;
    assert_eq!(error(json!([tcp(), rbac()])), "filter \"rbac\" comes after a terminal filter");
    assert_eq!(error(json!([tcp(), tcp()])), "filter \"tcp\" comes after a terminal filter");
    assert_eq!(error(json!([rbac()])), "the last filter is not terminal");
}

#[test]
fn filters_that_are_not_known_are_refused() {
    let error = |filter: Value| compile(json!({ "filters": [filter] })).unwrap_err().0;
    assert_eq!(error(json!({"name": "x"})), "filters \"x\": missing typed_config");
    let other = json!({"name": "x", "typed_config": {"@type": format!("{SOCKETS}.tls.v3.TlsParameters")}});
    let reason = "unsupported network filter envoy.extensions.transport_sockets.tls.v3.TlsParameters";
    assert_eq!(error(other), format!("filters \"x\": {reason}"));
}

#[test]
fn a_chain_ends_tls_if_its_socket_says_so() {
    let tls = |socket: Value| compile(json!({"filters": [tcp()], "transport_socket": socket})).unwrap().tls;
    assert!(tls(server_tls()).is_some());
    let raw = json!({"name": "raw", "typed_config": {"@type": format!("{SOCKETS}.raw_buffer.v3.RawBuffer")}});
    assert!(tls(raw).is_none());
    assert!(compile(json!({"filters": [tcp()]})).unwrap().tls.is_none());
}

#[test]
fn only_http_is_offered_our_own_protocol() {
    let alpn = |filter: Value| {
        compile(json!({"filters": [filter], "transport_socket": server_tls()})).unwrap().tls.unwrap().alpn
    };
    assert_eq!(alpn(http()), [b"portolan-h2".to_vec()]);
    assert!(alpn(tcp()).is_empty());
}

#[test]
fn sockets_that_are_not_known_are_refused() {
    let error = |socket: Value| compile(json!({ "transport_socket": socket })).unwrap_err().0;
    assert_eq!(error(json!({"name": "x"})), "transport_socket: \"x\" has no typed_config");
    let other =
        json!({"name": "x", "typed_config": {"@type": format!("{SOCKETS}.tls.v3.UpstreamTlsContext")}});
    let reason = "unsupported transport socket envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";
    assert_eq!(error(other), format!("transport_socket: {reason}"));
}

#[test]
fn a_handshake_has_a_limit_in_any_case() {
    let limit = |json: Value| compile(json).unwrap().handshake_timeout.as_secs();
    assert_eq!(limit(json!({})), 15);
    assert_eq!(limit(json!({"transport_socket_connect_timeout": "0s"})), 15);
    assert_eq!(limit(json!({"transport_socket_connect_timeout": "3s"})), 3);
}
