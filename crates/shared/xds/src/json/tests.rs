//! What people see of a message, and what is read of what they write.

mod forms;

use portolan_envoy_api::pb::{
    envoy::{
        config::{
            cluster::v3::{Cluster, cluster},
            core::v3::{DataSource, TransportSocket, data_source, transport_socket},
        },
        extensions::transport_sockets::tls::v3::{Secret, TlsCertificate, UpstreamTlsContext, secret},
    },
    google::protobuf::{Any, Duration, Struct, UInt32Value, Value, value},
};
use serde_json::json;

use super::*;

fn pack_any<M: Message + prost::Name>(message: M) -> Any {
    Any { type_url: M::type_url(), value: message.encode_to_vec() }
}

fn cluster() -> Cluster {
    Cluster {
        name: "outbound|9080||reviews.default.svc.cluster.local".into(),
        cluster_discovery_type: Some(cluster::ClusterDiscoveryType::Type(cluster::DiscoveryType::Eds.into())),
        connect_timeout: Some(Duration { seconds: 1, nanos: 500_000_000 }),
        per_connection_buffer_limit_bytes: Some(UInt32Value { value: 32768 }),
        transport_socket: Some(TransportSocket {
            name: "envoy.transport_sockets.tls".into(),
            config_type: Some(transport_socket::ConfigType::TypedConfig(pack_any(UpstreamTlsContext {
                sni: "a.b".into(),
                ..Default::default()
            }))),
        }),
        ..Default::default()
    }
}

#[test]
fn prints_as_envoy_does() {
    let json = any_to_json(crate::type_url::CLUSTER, &cluster().encode_to_vec().into());
    assert_eq!(
        json,
        json!({
            "@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster",
            "name": "outbound|9080||reviews.default.svc.cluster.local",
            "type": "EDS",
            "connect_timeout": "1.500s",
            "per_connection_buffer_limit_bytes": 32768,
            "transport_socket": {
                "name": "envoy.transport_sockets.tls",
                "typed_config": {
                    "@type":
                        "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
                    "sni": "a.b",
                },
            },
        })
    );
}

#[test]
fn reads_what_it_prints() {
    let json = to_json(&cluster()).unwrap();
    let bytes = from_json("envoy.config.cluster.v3.Cluster", &json).unwrap();
    assert_eq!(Cluster::decode(bytes).unwrap(), cluster());
}

#[test]
fn private_keys_never_show() {
    let inline = |text: &str| {
        Some(DataSource {
            specifier: Some(data_source::Specifier::InlineString(text.into())),
            watched_directory: None,
        })
    };
    let secret = Secret {
        name: "default".into(),
        r#type: Some(secret::Type::TlsCertificate(TlsCertificate {
            certificate_chain: inline("public"),
            private_key: inline("hidden"),
            ..Default::default()
        })),
    };
    let json = to_json(&secret).unwrap();
    assert_eq!(json["tls_certificate"]["certificate_chain"]["inline_string"], "public");
    assert_eq!(json["tls_certificate"]["private_key"]["inline_string"], REDACTED);
    assert!(!json.to_string().contains("hidden"));
}

#[test]
fn unknown_types_show_as_base64() {
    let socket = TransportSocket {
        name: "x".into(),
        config_type: Some(transport_socket::ConfigType::TypedConfig(Any {
            type_url: "type.googleapis.com/nobody.knows.This".into(),
            value: vec![1, 2, 3],
        })),
    };
    let json = to_json(&socket).unwrap();
    assert_eq!(
        json["typed_config"],
        json!({"@type": "type.googleapis.com/nobody.knows.This", "value": "AQID"})
    );
    assert_eq!(any_to_json("nobody", &Bytes::from_static(b"\xff"))["value"], "/w==");
}

#[test]
fn structs_and_times() {
    let fields = [("a".to_owned(), Value { kind: Some(value::Kind::NumberValue(1.5)) })].into();
    let any = pack_any(Struct { fields });
    assert_eq!(any_to_json(&any.type_url, &any.value.into())["value"], json!({"a": 1.5}));
    assert_eq!(timestamp_text(0, 0), "1970-01-01T00:00:00Z");
    assert_eq!(timestamp_text(1_709_210_096, 120_000_000), "2024-02-29T12:34:56.120Z");
    assert_eq!(timestamp_text(-1, 0), "1969-12-31T23:59:59Z");
    assert_eq!(duration_text(0, 250_000), "0.000250s");
    assert_eq!(duration_text(-1, -500_000_000), "-1.500s");
}

#[test]
fn a_lone_type_is_an_empty_message() {
    for name in [
        "Empty",
        "Struct",
        "ListValue",
        "Duration",
        "Timestamp",
        "StringValue",
        "BytesValue",
        "BoolValue",
        "Int32Value",
        "UInt32Value",
        "Int64Value",
        "UInt64Value",
        "FloatValue",
        "DoubleValue",
    ] {
        let url = format!("type.googleapis.com/google.protobuf.{name}");
        let json = json!({"name": "x", "typed_config": {"@type": url}});
        let bytes = from_json("envoy.config.core.v3.TransportSocket", &json).unwrap();
        let socket = TransportSocket::decode(bytes).unwrap();
        let config = transport_socket::ConfigType::TypedConfig(Any { type_url: url, value: Vec::new() });
        assert_eq!(socket.config_type, Some(config), "{name}");
    }
    let json = json!({"@type": "type.googleapis.com/google.protobuf.Empty"});
    let bytes = from_json("google.protobuf.Any", &json).unwrap();
    assert_eq!(message_to_json("google.protobuf.Any", &bytes).unwrap(), json);
}

#[test]
fn own_messages_are_known() {
    assert!(knows("istio.networking.nds.v1.NameTable"));
    assert!(knows("type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit"));
    assert!(knows("type.googleapis.com/xds.type.v3.TypedStruct"));
    assert!(knows("type.googleapis.com/udpa.type.v1.TypedStruct"));
    assert!(knows("type.googleapis.com/envoy.admin.v3.ConfigDump"));
}

#[test]
fn an_empty_message_inside_an_any_has_a_value_for_readers() {
    let empty = || Any { type_url: "type.googleapis.com/google.protobuf.Empty".into(), ..Any::default() };
    let filter = json!({"@type": empty().type_url, "value": {}});
    assert_eq!(any_to_json(&empty().type_url, &Bytes::new()), filter);
    let cluster = Cluster {
        typed_extension_protocol_options: [("a".to_owned(), empty())].into(),
        ..Cluster::default()
    };
    let json = any_to_json(crate::type_url::CLUSTER, &cluster.encode_to_vec().into());
    assert_eq!(json["typed_extension_protocol_options"]["a"], filter);
}

#[test]
fn names_can_be_those_of_protobufs_own_mapping() {
    let cluster = json!({"name": "a", "connect_timeout": "1.500s", "metadata": {"filter_metadata": {"istio_x": {"a_b": 1.0}}},
        "transport_socket": {"name": "t", "typed_config": {"@type": "type.googleapis.com/google.protobuf.Empty"}}});
    let expected = json!({"name": "a", "connectTimeout": "1.500s", "metadata": {"filterMetadata": {"istio_x": {"a_b": 1.0}}},
        "transportSocket": {"name": "t", "typedConfig": {"@type": "type.googleapis.com/google.protobuf.Empty", "value": {}}}});
    assert_eq!(with_json_names("envoy.config.cluster.v3.Cluster", &cluster).unwrap(), expected);
    assert_eq!(with_json_names("envoy.config.cluster.v3.Cluster", &expected).unwrap(), expected);
    assert!(with_json_names("envoy.config.cluster.v3.Cluster", &json!({"nothing": 1})).is_err());
}
