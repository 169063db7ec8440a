//! How parts of messages are read.

use std::time::Instant;

use serde_json::{Value, json};

use super::*;
use crate::testing::message;

fn of(seconds: i64, nanos: i32) -> Valid<Option<Duration>> {
    duration(Some(&protobuf::Duration { seconds, nanos }))
}

#[test]
fn durations_are_those_of_protobuf() {
    assert_eq!(of(1, 500_000_000), Ok(Some(Duration::from_millis(1500))));
    for (seconds, nanos) in [(-1, 0), (0, -1), (0, 1_000_000_000), (i64::MAX, 0), (315_576_000_001, 0)] {
        assert!(of(seconds, nanos).is_err(), "{seconds} {nanos}");
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "any time will do to add to")]
fn the_longest_duration_overflows_no_clock() {
    let longest = of(315_576_000_000, 0).unwrap().unwrap();
    assert_eq!(longest, LONGEST);
    assert!(Instant::now().checked_add(longest * 3).is_some());
}

#[test]
fn errors_name_the_fields_they_are_in() {
    let error: Valid<()> = Err(Invalid::new("bad")).at("inner").at("outer");
    assert_eq!(error, Err(Invalid("outer: inner: bad".into())));
}

#[test]
fn a_type_is_the_last_part_of_its_url() {
    let of = |url: &str| type_of(&pb::Any { type_url: url.into(), value: Vec::new() }).to_owned();
    assert_eq!(of("type.googleapis.com/a.B"), "a.B");
    assert_eq!(of("a.B"), "a.B");
}

#[test]
fn what_is_no_message_is_refused_with_its_type() {
    let bad = pb::Any { type_url: "x/a.B".into(), value: vec![0xff] };
    let error = unpack::<core::CidrRange>(&bad).unwrap_err().0;
    assert!(error.starts_with("cannot decode x/a.B: "), "{error}");
}

#[test]
fn a_timeout_has_a_default_and_zero_is_off() {
    let (one, zero) = (protobuf::Duration { seconds: 1, nanos: 0 }, protobuf::Duration::default());
    let default = Some(Duration::from_secs(9));
    assert_eq!(timeout(Some(&one), default), Ok(Some(Duration::from_secs(1))));
    assert_eq!(timeout(Some(&zero), default), Ok(None));
    assert_eq!(timeout(None, default), Ok(default));
}

#[test]
fn wrapped_values_have_defaults() {
    assert_eq!((u32_or(Some(&protobuf::UInt32Value { value: 3 }), 7), u32_or(None, 7)), (3, 7));
    let no = protobuf::BoolValue { value: false };
    assert_eq!((bool_or(Some(&no), true), bool_or(None, true), bool_or(None, false)), (false, true, false));
}

#[test]
fn shares_are_counted_in_millionths() {
    let of = |denominator: &str, numerator: u32| {
        fraction(Some(&message(json!({"denominator": denominator, "numerator": numerator}))))
    };
    assert_eq!((of("HUNDRED", 5), of("TEN_THOUSAND", 5), of("MILLION", 5)), (50_000, 500, 5));
    assert_eq!((of("HUNDRED", 101), of("HUNDRED", u32::MAX)), (1_000_000, 1_000_000));
    assert_eq!(fraction(None), 0);
    let runtime = message(json!({"default_value": {"numerator": 5}}));
    assert_eq!((runtime_fraction(Some(&runtime)), runtime_fraction(None)), (Some(50_000), None));
}

#[test]
fn all_or_none_need_no_luck() {
    for _ in 0..1000 {
        assert!(drawn(1_000_000));
        assert!(!drawn(0));
    }
}

#[test]
fn a_share_is_drawn_about_as_often() {
    let hits = (0..10_000).filter(|_| drawn(300_000)).count();
    // 3000; six standard deviations are 275.
    assert!((2725..=3275).contains(&hits), "{hits}");
}

#[test]
fn keepalives_are_read_in_seconds() {
    let set = message(json!({"keepalive_time": 1, "keepalive_interval": 2, "keepalive_probes": 3}));
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    let wanted = Keepalive { time: seconds(1), interval: seconds(2), probes: Some(3) };
    assert_eq!(Keepalive::compile(&set), wanted);
    assert_eq!(
        Keepalive::compile(&message(json!({}))),
        Keepalive { time: None, interval: None, probes: None }
    );
}

#[test]
fn ranges_are_cut_to_their_length() {
    let of = |prefix: &str, length: Value| {
        cidr(&message(json!({"address_prefix": prefix, "prefix_len": length}))).map(|net| net.to_string())
    };
    assert_eq!(of("10.1.2.3", json!(8)).unwrap(), "10.0.0.0/8");
    assert_eq!(of("10.1.2.3", json!(null)).unwrap(), "0.0.0.0/0");
    assert_eq!(of("2001:db8::1", json!(32)).unwrap(), "2001:db8::/32");
    assert_eq!(of("x", json!(8)).unwrap_err().0, "\"x\" is not an IP address");
    assert_eq!(of("10.0.0.0", json!(300)).unwrap_err().0, "prefix length is too large");
    assert!(of("10.0.0.0", json!(33)).is_err());
}

fn at(json: Value) -> Valid<String> {
    address(Some(&message(json))).map(|address| address.to_string())
}

#[test]
fn addresses_are_sockets_names_or_paths() {
    let socket = |fields: Value| at(json!({ "socket_address": fields }));
    assert_eq!(socket(json!({"address": "10.0.0.1", "port_value": 80})).unwrap(), "10.0.0.1:80");
    assert_eq!(socket(json!({"address": "::1", "port_value": 80})).unwrap(), "[::1]:80");
    assert_eq!(socket(json!({"address": "10.0.0.1"})).unwrap(), "10.0.0.1:0");
    assert_eq!(socket(json!({"address": "a.example", "port_value": 65535})).unwrap(), "a.example:65535");
    assert_eq!(at(json!({"pipe": {"path": "/socket"}})).unwrap(), "/socket");
}

#[test]
fn addresses_that_cannot_be_used_are_refused() {
    let udp = json!({"socket_address": {"address": "10.0.0.1", "protocol": "UDP"}});
    for (json, reason) in [
        (json!({"socket_address": {"address": "a", "port_value": 65536}}), "port 65536 is too large"),
        (json!({"socket_address": {"address": "a", "named_port": "http"}}), "named ports are not supported"),
        (json!({"socket_address": {}}), "empty address"),
        (udp, "only TCP addresses are supported"),
        (json!({"envoy_internal_address": {}}), "internal addresses are not supported"),
        (json!({}), "missing address"),
    ] {
        assert_eq!(at(json).unwrap_err().0, reason);
    }
    assert_eq!(address(None).unwrap_err().0, "missing address");
}

#[test]
fn data_lie_in_the_message_or_outside() {
    fn loader(from: External<'_>) -> Valid<Option<Vec<u8>>> {
        Ok(Some(format!("{from:?}").into()))
    }
    let of =
        |json: Value| data(&message(json), loader).map(|bytes| String::from_utf8(bytes.unwrap()).unwrap());
    assert_eq!(of(json!({"inline_string": "a"})).unwrap(), "a");
    assert_eq!(of(json!({"inline_bytes": "YQ=="})).unwrap(), "a");
    assert_eq!(of(json!({"filename": "/f"})).unwrap(), "File(\"/f\")");
    assert_eq!(of(json!({"environment_variable": "V"})).unwrap(), "Variable(\"V\")");
    assert_eq!(of(json!({})).unwrap_err().0, "empty data source");
    assert_eq!(data(&message(json!({"filename": "/f"})), unread), Ok(None));
}

#[test]
fn strings_of_a_struct_are_read_by_name() {
    let fields = message(json!({"a": "text", "b": 1}));
    assert_eq!(struct_string(&fields, "a"), Some("text"));
    assert_eq!((struct_string(&fields, "b"), struct_string(&fields, "c")), (None, None));
}
