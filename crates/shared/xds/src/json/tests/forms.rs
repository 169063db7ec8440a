//! Every kind of value has the form that protobuf's JSON mapping gives it (protobuf.dev, ProtoJSON).

use portolan_envoy_api::pb::{
    envoy::{
        config::{
            cluster::v3::{Cluster, cluster},
            core::v3::{DataSource, Metadata, TypedExtensionConfig, data_source},
        },
        extensions::transport_sockets::tls::v3::{TlsCertificate, TlsSessionTicketKeys},
        service::discovery::v3::{DeltaDiscoveryRequest, Resource},
    },
    google::protobuf::{
        Any, BoolValue, BytesValue, DoubleValue, Duration, Empty, FloatValue, Int32Value, Int64Value,
        ListValue, StringValue, Struct, Timestamp, UInt32Value, UInt64Value, Value, value::Kind,
    },
};
use prost::{Message, Name};
use serde_json::{Value as Json, json};

use super::super::*;

fn any<M: Message + Name>(message: M) -> Any {
    Any { type_url: M::type_url(), value: message.encode_to_vec() }
}

/// A message inside of an `Any`, without its type.
fn shown<M: Message + Name>(message: M) -> Json {
    let any = any(message);
    let mut json = any_to_json(&any.type_url, &any.value.into());
    json.as_object_mut().unwrap().remove("@type");
    json
}

/// A message by itself.
fn alone<M: Message + Name>(message: M) -> Json {
    to_json(&message).unwrap()
}

fn value(kind: Kind) -> Value {
    Value { kind: Some(kind) }
}

#[test]
fn wrappers_are_their_values() {
    assert_eq!(alone(BoolValue { value: true }), json!(true));
    assert_eq!(alone(BoolValue { value: false }), json!(false));
    assert_eq!(alone(Int32Value { value: -7 }), json!(-7));
    assert_eq!(alone(UInt32Value { value: 7 }), json!(7));
    assert_eq!(alone(Int64Value { value: -7 }), json!("-7"));
    assert_eq!(alone(UInt64Value { value: u64::MAX }), json!(u64::MAX.to_string()));
    assert_eq!(alone(FloatValue { value: 0.1 }), json!(0.1));
    assert_eq!(alone(DoubleValue { value: 0.1 }), json!(0.1));
    assert_eq!(alone(StringValue { value: "x".into() }), json!("x"));
    assert_eq!(alone(BytesValue { value: vec![1, 2, 3] }), json!("AQID"));
}

#[test]
fn numbers_that_json_lacks_are_words() {
    for (value, expected) in
        [(f64::NAN, "NaN"), (f64::INFINITY, "Infinity"), (f64::NEG_INFINITY, "-Infinity")]
    {
        assert_eq!(alone(DoubleValue { value }), json!(expected));
        assert_eq!(alone(FloatValue { value: value as f32 }), json!(expected));
    }
}

#[test]
fn structs_are_objects() {
    let list = ListValue { values: vec![value(Kind::BoolValue(true)), value(Kind::NumberValue(2.0))] };
    let fields = [
        ("text", value(Kind::StringValue("x".into()))),
        ("nothing", value(Kind::NullValue(0))),
        ("unset", Value { kind: None }),
        ("list", value(Kind::ListValue(list.clone()))),
        (
            "inner",
            value(Kind::StructValue(Struct { fields: [("k".into(), value(Kind::NumberValue(1.0)))].into() })),
        ),
    ];
    let fields = fields.map(|(k, v)| (k.to_owned(), v)).into();
    let expected =
        json!({"text": "x", "nothing": null, "unset": null, "list": [true, 2.0], "inner": {"k": 1.0}});
    assert_eq!(alone(Struct { fields }), expected);
    assert_eq!(alone(list), json!([true, 2.0]));
    assert_eq!(alone(value(Kind::StringValue("x".into()))), json!("x"));
}

#[test]
fn times_have_a_text() {
    assert_eq!(alone(Duration { seconds: 1, nanos: 0 }), json!("1s"));
    assert_eq!(alone(Timestamp { seconds: 1, nanos: 0 }), json!("1970-01-01T00:00:01Z"));
}

/// What has a form of its own stands in `value`; what has fields stands beside the type.
#[test]
fn the_content_of_an_any_stands_beside_its_type() {
    assert_eq!(shown(Struct::default()), json!({"value": {}}));
    assert_eq!(shown(value(Kind::BoolValue(true))), json!({"value": true}));
    assert_eq!(shown(ListValue::default()), json!({"value": []}));
    assert_eq!(shown(UInt32Value { value: 7 }), json!({"value": 7}));
    assert_eq!(shown(Duration { seconds: 1, nanos: 0 }), json!({"value": "1s"}));
    assert_eq!(shown(Empty {}), json!({"value": {}}));
    assert_eq!(shown(Cluster { name: "x".into(), ..Default::default() }), json!({"name": "x"}));
    let inner = any(Cluster { name: "x".into(), ..Default::default() });
    let typed = json!({"@type": Cluster::type_url(), "name": "x"});
    assert_eq!(shown(inner), json!({"value": typed}));
}

#[test]
fn enums_are_names_where_they_have_one() {
    let lb = |lb_policy: i32| alone(Cluster { lb_policy, ..Default::default() });
    assert_eq!(lb(1), json!({"lb_policy": "LEAST_REQUEST"}));
    assert_eq!(lb(99), json!({"lb_policy": 99}));
}

#[test]
fn defaults_are_left_out_where_they_cannot_be_told_from_nothing() {
    assert_eq!(alone(Cluster::default()), json!({}));
    let set = Cluster {
        cluster_discovery_type: Some(cluster::ClusterDiscoveryType::Type(0)),
        per_connection_buffer_limit_bytes: Some(UInt32Value { value: 0 }),
        ..Default::default()
    };
    assert_eq!(alone(set), json!({"type": "STATIC", "per_connection_buffer_limit_bytes": 0}));
}

#[test]
fn fields_stand_in_the_order_of_their_numbers_and_keys_are_sorted() {
    let request = DeltaDiscoveryRequest {
        type_url: "t".into(),
        resource_names_subscribe: vec!["b".into(), "a".into()],
        initial_resource_versions: [("z", "1"), ("a", "2")].map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
        ..Default::default()
    };
    assert_eq!(
        alone(request).to_string(),
        r#"{"type_url":"t","resource_names_subscribe":["b","a"],"initial_resource_versions":{"a":"2","z":"1"}}"#
    );
}

#[test]
fn values_of_maps_may_be_messages() {
    let inner = Struct { fields: [("k".into(), value(Kind::BoolValue(true)))].into() };
    let metadata = Metadata { filter_metadata: [("f".to_owned(), inner)].into(), ..Default::default() };
    assert_eq!(alone(metadata), json!({"filter_metadata": {"f": {"k": true}}}));
}

#[test]
fn durations_are_as_short_as_they_can_be() {
    for (seconds, nanos, expected) in [
        (0, 0, "0s"),
        (5, 0, "5s"),
        (-5, 0, "-5s"),
        (1, 500_000_000, "1.500s"),
        (0, 1_000, "0.000001s"),
        (0, 1, "0.000000001s"),
        (0, -1, "-0.000000001s"),
        (-1, -500_000_000, "-1.500s"),
        (0, 120_000, "0.000120s"),
    ] {
        assert_eq!(duration_text(seconds, nanos), expected, "{seconds} {nanos}");
    }
}

/// A calendar that is counted day by day, backwards and forwards from 1970; compared where months and years end, and
/// now and then between.
#[test]
fn days_have_the_dates_of_the_gregorian_calendar() {
    let length = |year: i64, month: i64| match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    let matters = |days: i64, month: i64, day: i64| {
        matches!((month, day), (1 | 3, 1) | (2, 28..) | (12, 31)) || days % 97 == 0
    };
    let (mut year, mut month, mut day) = (1970, 1, 1);
    for days in 0..160_000_i64 {
        if matters(days, month, day) {
            assert_eq!(timestamp_text(days * 86_400, 0), format!("{year:04}-{month:02}-{day:02}T00:00:00Z"));
        }
        day += 1;
        if day > length(year, month) {
            (month, day) = (month + 1, 1);
        }
        if month > 12 {
            (year, month) = (year + 1, 1);
        }
    }
    let (mut year, mut month, mut day) = (1970, 1, 1);
    for days in 0..160_000_i64 {
        if matters(days, month, day) {
            let expected = format!("{year:04}-{month:02}-{day:02}T23:59:59Z");
            assert_eq!(timestamp_text(86_399 - days * 86_400, 0), expected);
        }
        day -= 1;
        if day == 0 {
            (year, month) = if month == 1 { (year - 1, 12) } else { (year, month - 1) };
            day = length(year, month);
        }
    }
}

#[test]
fn a_time_of_day_has_hours_minutes_seconds_and_what_is_left() {
    for (seconds, nanos, expected) in [
        (0, 0, "00:00:00Z"),
        (59, 0, "00:00:59Z"),
        (60, 0, "00:01:00Z"),
        (3_599, 0, "00:59:59Z"),
        (3_600, 0, "01:00:00Z"),
        (86_399, 0, "23:59:59Z"),
        (45_296, 1, "12:34:56.000000001Z"),
        (45_296, 1_000, "12:34:56.000001Z"),
        (45_296, 1_000_000, "12:34:56.001Z"),
        // No valid timestamp has such a fraction.
        (45_296, -1, "12:34:56Z"),
    ] {
        assert_eq!(timestamp_text(seconds, nanos), format!("1970-01-01T{expected}"), "{seconds} {nanos}");
    }
}

fn source(text: &str) -> Option<DataSource> {
    Some(DataSource {
        specifier: Some(data_source::Specifier::InlineString(text.into())),
        ..Default::default()
    })
}

#[test]
fn secrets_keep_their_shape() {
    let keys = TlsSessionTicketKeys { keys: vec![source("one").unwrap(), source("two").unwrap()] };
    let hidden = json!({"inline_string": REDACTED});
    assert_eq!(alone(keys), json!({"keys": [hidden, hidden]}));
    let bytes =
        DataSource { specifier: Some(data_source::Specifier::InlineBytes(vec![1, 2])), ..Default::default() };
    let certificate = TlsCertificate {
        certificate_chain: Some(bytes.clone()),
        private_key: Some(bytes),
        ..Default::default()
    };
    assert_eq!(
        alone(certificate),
        json!({"certificate_chain": {"inline_bytes": "AQI="},
            "private_key": {"inline_bytes": STANDARD.encode(REDACTED)}})
    );
}

#[test]
fn messages_inside_of_messages_are_followed_to_a_depth() {
    let mut inner = any(Cluster { name: "core".into(), ..Default::default() });
    for _ in 0..40 {
        inner = any(Resource { resource: Some(inner), ..Default::default() });
    }
    let mut json = &any_to_json(&inner.type_url, &inner.value.into());
    let mut depth = 0;
    while json["resource"].is_object() {
        (json, depth) = (&json["resource"], depth + 1);
    }
    assert_eq!(depth, MAX_ANY_DEPTH);
    assert!(json["value"].is_string(), "the rest as base64: {json}");
}

#[test]
fn an_any_that_is_no_message_of_its_type_shows_as_base64() {
    assert_eq!(
        any_to_json(crate::type_url::CLUSTER, &Bytes::from_static(b"\xff")),
        json!({"@type": crate::type_url::CLUSTER, "value": "/w=="})
    );
}

#[test]
fn errors_name_the_type_and_what_is_wrong() {
    let unknown = message_to_json("type.googleapis.com/nobody.knows", &Bytes::new()).unwrap_err();
    assert_eq!(unknown.to_string(), "the message type nobody.knows is not known here");
    let broken =
        message_to_json("envoy.config.cluster.v3.Cluster", &Bytes::from_static(b"\xff")).unwrap_err();
    assert!(matches!(broken, JsonError::Decode(..)), "{broken}");
    let odd = from_json("envoy.config.cluster.v3.Cluster", &json!({"name": 1})).unwrap_err();
    assert!(matches!(odd, JsonError::Json(..)), "{odd}");
    assert!(!knows("nobody.knows"));
}

#[test]
fn lone_types_are_found_at_any_depth() {
    let lone = json!({"@type": "type.googleapis.com/google.protobuf.Empty"});
    let extension = |inner: &Json| json!({"name": "x", "typed_config": inner});
    let list = json!({
        "@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
        "name": "outer",
        "typed_config": lone,
    });
    let bytes = from_json("envoy.config.core.v3.TypedExtensionConfig", &extension(&list)).unwrap();
    let outer = TypedExtensionConfig::decode(bytes).unwrap().typed_config.unwrap();
    let inner = TypedExtensionConfig::decode(outer.value.as_slice()).unwrap();
    assert_eq!((inner.name.as_str(), inner.typed_config), ("outer", Some(any(Empty {}))));
    let cluster = json!({"name": "c", "filters": [{"name": "f", "typed_config": lone}]});
    let bytes = from_json("envoy.config.cluster.v3.Cluster", &cluster).unwrap();
    assert_eq!(Cluster::decode(bytes).unwrap().filters[0].typed_config, Some(any(Empty {})));
}

/// A value always has a kind, so the empty one is null.
#[test]
fn a_lone_value_is_null() {
    let json = json!({"name": "x", "typed_config": {"@type": Value::type_url()}});
    let bytes = from_json("envoy.config.core.v3.TypedExtensionConfig", &json).unwrap();
    let read = TypedExtensionConfig::decode(bytes).unwrap();
    assert_eq!(read.typed_config, Some(any(value(Kind::NullValue(0)))));
}

/// A lone type of a message without a form of its own needs no `value`.
#[test]
fn other_lone_types_are_taken_as_they_are() {
    let url = Cluster::type_url();
    let json = json!({"name": "x", "typed_config": {"@type": url}});
    let bytes = from_json("envoy.config.core.v3.TypedExtensionConfig", &json).unwrap();
    let read = TypedExtensionConfig::decode(bytes).unwrap();
    assert_eq!(read.typed_config, Some(any(Cluster::default())));
}
