//! Who is trusted: TLS contexts and the roots of trust domains, word for word.

use std::collections::BTreeSet;

use portolan_mesh::Inputs;
use portolan_resources::networking::{ClientTlsSettings, ServerTlsSettings};
use portolan_xds::json;
use serde_json::{Value, json};

use super::fixture;
use crate::{
    context::Context,
    pb::{Any, core},
    secret,
    tls::{self as contexts, ClientAlpn},
};

fn shown(any: &Any) -> Value {
    let mut value = json::message_to_json(&any.type_url, &any.value.clone().into()).unwrap();
    if let Some(object) = value.as_object_mut() {
        object.remove("@type");
    }
    value
}

/// A context as JSON; both kinds of secrets are shown by their names.
fn context(socket: &core::TransportSocket) -> Value {
    let Some(core::transport_socket::ConfigType::TypedConfig(config)) = &socket.config_type else {
        panic!("no configuration")
    };
    let mut value = shown(config);
    name_secrets(&mut value);
    value
}

fn name_secrets(value: &mut Value) {
    if value.get("sds_config").is_some() {
        let name = value["name"].as_str().unwrap();
        let agent = json!({
            "api_config_source": {
                "api_type": "GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": true,
                "grpc_services": [{"envoy_grpc": {"cluster_name": "sds-grpc"}}],
            },
            "initial_fetch_timeout": "0s",
            "resource_api_version": "V3",
        });
        let stream = json!({"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"});
        let source = &value["sds_config"];
        let from = if *source == agent { "agent" } else { "control plane" };
        assert!(*source == agent || *source == stream, "{source:#}");
        *value = Value::from(format!("{from}: {name}"));
        return;
    }
    match value {
        Value::Array(list) => list.iter_mut().for_each(name_secrets),
        Value::Object(map) => map.values_mut().for_each(name_secrets),
        _ => {}
    }
}

fn gateway(name: &str, envoy: bool) -> portolan_mesh::ProxyNode {
    let labels = [("istio", name), ("service.istio.io/canonical-name", name)];
    fixture::node("router", "istio-system", &format!("{name}-1"), "10.64.0.22", &labels, envoy)
}

fn sidecar(envoy: bool) -> portolan_mesh::ProxyNode {
    fixture::node("sidecar", "bookinfo", "reviews-v1-1", "10.64.0.11", &[], envoy)
}

#[test]
fn a_client_of_the_mesh_shows_its_certificate_and_accepts_the_identities_of_the_service() {
    let mesh = portolan_mesh::Mesh::from(&fixture::inputs());
    let identities = BTreeSet::from(["spiffe://a/ns/b/sa/c".to_owned(), "a.example".to_owned()]);
    for (alpn, envoy, protocols) in [
        (ClientAlpn::Http1, false, vec!["istio-http/1.1", "istio", "http/1.1"]),
        (ClientAlpn::Http2, true, vec!["istio-h2", "istio", "h2"]),
        (ClientAlpn::Tcp, false, vec!["istio-peer-exchange", "istio"]),
        (ClientAlpn::Auto, false, vec!["istio-peer-exchange", "istio"]),
        (ClientAlpn::Tcp, true, vec!["istio"]),
        (ClientAlpn::Auto, true, vec!["istio"]),
    ] {
        let node = sidecar(envoy);
        let socket = contexts::mesh_client(&Context::new(mesh.model(), &node), "sni", &identities, alpn);
        assert_eq!(socket.name, "envoy.transport_sockets.tls");
        assert_eq!(
            context(&socket),
            json!({
                "sni": "sni",
                "common_tls_context": {
                    "alpn_protocols": protocols,
                    "tls_certificate_sds_secret_configs": ["agent: default"],
                    "combined_validation_context": {
                        "default_validation_context": {"match_typed_subject_alt_names": [
                            {"san_type": "DNS", "matcher": {"exact": "a.example"}},
                            {"san_type": "URI", "matcher": {"exact": "spiffe://a/ns/b/sa/c"}},
                        ]},
                        "validation_context_sds_secret_config": "agent: ROOTCA",
                    },
                },
            }),
            "{alpn:?} {envoy}"
        );
    }
}

#[test]
fn plaintext_is_said_and_not_left_open() {
    let socket = contexts::plaintext();
    let Some(core::transport_socket::ConfigType::TypedConfig(config)) = &socket.config_type else {
        panic!("no configuration")
    };
    let message = "type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer";
    assert_eq!(
        (socket.name.as_str(), config.type_url.as_str()),
        ("envoy.transport_sockets.raw_buffer", message)
    );
}

#[test]
fn a_server_of_the_mesh_asks_for_a_certificate_of_a_trust_domain_that_it_knows() {
    let mut inputs = fixture::inputs();
    let mesh = std::sync::Arc::make_mut(&mut inputs.mesh_config);
    mesh.trust_domain_aliases = vec!["old.local".to_owned()];
    let mesh = portolan_mesh::Mesh::from(&inputs);
    let own = vec!["spiffe://cluster.local/", "spiffe://old.local/"];
    let with_peer = vec!["spiffe://cluster.local/", "spiffe://east.local/", "spiffe://old.local/"];
    for (node, http, domains, protocols) in [
        (sidecar(false), true, &own, vec!["h2", "http/1.1", "istio"]),
        (sidecar(false), false, &own, vec!["istio-peer-exchange", "h2", "http/1.1", "istio"]),
        (sidecar(true), true, &own, vec!["h2", "http/1.1"]),
        (sidecar(true), false, &own, vec!["h2", "http/1.1"]),
        (gateway("istio-ingressgateway", true), true, &own, vec!["h2", "http/1.1"]),
        (gateway("east-ingress", true), true, &with_peer, vec!["h2", "http/1.1"]),
    ] {
        let names: Vec<Value> =
            domains.iter().map(|td| json!({"san_type": "URI", "matcher": {"prefix": td}})).collect();
        let socket = contexts::mesh_server(&Context::new(mesh.model(), &node), http);
        assert_eq!(
            context(&socket),
            json!({
                "require_client_certificate": true,
                "common_tls_context": {
                    "alpn_protocols": protocols,
                    "tls_certificate_sds_secret_configs": ["agent: default"],
                    "combined_validation_context": {
                        "default_validation_context": {"match_typed_subject_alt_names": names},
                        "validation_context_sds_secret_config": "agent: ROOTCA",
                    },
                    "tls_params": {"tls_minimum_protocol_version": "TLSv1_2", "cipher_suites": [
                        "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384",
                        "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256",
                        "AES256-GCM-SHA384", "AES128-GCM-SHA256",
                    ]},
                },
            }),
            "{} {http}",
            node.id
        );
    }
}

#[test]
fn tls_to_outside_is_as_the_destination_rule_has_it() {
    let names = json!([{"san_type": "DNS", "matcher": {"exact": "a"}}]);
    for (settings, http2, expected) in [
        (json!({"mode": "SIMPLE"}), false, json!({"sni": "host", "common_tls_context": {}})),
        (
            json!({"mode": "SIMPLE", "sni": ""}),
            true,
            json!({"sni": "host", "common_tls_context": {"alpn_protocols": ["h2"]}}),
        ),
        (
            json!({"mode": "SIMPLE", "sni": "other", "credentialName": "c", "subjectAltNames": ["a"]}),
            false,
            json!({"sni": "other", "common_tls_context": {"combined_validation_context": {
                "default_validation_context": {"match_typed_subject_alt_names": names},
                "validation_context_sds_secret_config": "control plane: kubernetes://c-cacert"}}}),
        ),
        (
            json!({"mode": "MUTUAL", "credentialName": "c"}),
            false,
            json!({"sni": "host", "common_tls_context": {
                "tls_certificate_sds_secret_configs": ["control plane: kubernetes://c"],
                "combined_validation_context": {
                    "default_validation_context": {},
                    "validation_context_sds_secret_config": "control plane: kubernetes://c-cacert"}}}),
        ),
        (
            json!({"mode": "MUTUAL", "credentialName": "", "clientCertificate": "/c", "privateKey": "/k",
                "caCertificates": "/r", "subjectAltNames": ["a"]}),
            false,
            json!({"sni": "host", "common_tls_context": {
                "tls_certificates": [{"certificate_chain": {"filename": "/c"}, "private_key": {"filename": "[redacted]"}}],
                "validation_context": {"trusted_ca": {"filename": "/r"}, "match_typed_subject_alt_names": names}}}),
        ),
        (
            json!({"mode": "SIMPLE", "caCertificates": ""}),
            false,
            json!({"sni": "host", "common_tls_context": {}}),
        ),
    ] {
        let read: ClientTlsSettings = serde_json::from_value(settings.clone()).unwrap();
        assert_eq!(context(&contexts::plain_client(&read, "host", http2)), expected, "{settings}");
    }
}

#[test]
fn tls_of_a_gateway_is_as_its_server_has_it() {
    let mesh = portolan_mesh::Mesh::from(&fixture::inputs());
    let node = gateway("istio-ingressgateway", false);
    let ctx = Context::new(mesh.model(), &node);
    let made = |settings: Value, http: bool| {
        let read: ServerTlsSettings = serde_json::from_value(settings).unwrap();
        contexts::gateway_server(&ctx, &read, http).map(|socket| context(&socket))
    };
    for mode in ["PASSTHROUGH", "AUTO_PASSTHROUGH"] {
        assert_eq!(made(json!({"mode": mode, "credentialName": "c"}), true), None, "{mode}");
    }
    for http in [false, true] {
        let mesh = context(&contexts::mesh_server(&ctx, http));
        assert_eq!(made(json!({"mode": "ISTIO_MUTUAL"}), http), Some(mesh));
    }
    let names = json!([{"san_type": "URI", "matcher": {"exact": "spiffe://a"}}]);
    let files = json!({"serverCertificate": "/c", "privateKey": "/k", "caCertificates": "/r",
        "subjectAltNames": ["spiffe://a"], "verifyCertificateSpki": ["s"], "verifyCertificateHash": ["h"]});
    let with = |mode: &str, mut more: Value| {
        more["mode"] = Value::from(mode);
        more
    };
    let from_files =
        json!([{"certificate_chain": {"filename": "/c"}, "private_key": {"filename": "[redacted]"}}]);
    let least = json!({"tls_minimum_protocol_version": "TLSv1_2"});
    for (settings, http, expected) in [
        (
            with("SIMPLE", json!({"credentialName": "c", "subjectAltNames": ["spiffe://a"]})),
            true,
            json!({"require_client_certificate": false, "common_tls_context": {
                "alpn_protocols": ["h2", "http/1.1"], "tls_params": least,
                "tls_certificate_sds_secret_configs": ["control plane: kubernetes://c"]}}),
        ),
        (
            with("MUTUAL", json!({"credentialName": "c", "subjectAltNames": ["spiffe://a"]})),
            false,
            json!({"require_client_certificate": true, "common_tls_context": {
                "tls_params": least,
                "tls_certificate_sds_secret_configs": ["control plane: kubernetes://c"],
                "combined_validation_context": {
                    "default_validation_context": {"match_typed_subject_alt_names": names},
                    "validation_context_sds_secret_config": "control plane: kubernetes://c-cacert"}}}),
        ),
        (
            with("SIMPLE", files.clone()),
            false,
            json!({"require_client_certificate": false, "common_tls_context": {
                "tls_params": least, "tls_certificates": from_files}}),
        ),
        (
            with("MUTUAL", files),
            false,
            json!({"require_client_certificate": true, "common_tls_context": {
                "tls_params": least, "tls_certificates": from_files,
                "validation_context": {"trusted_ca": {"filename": "/r"}, "match_typed_subject_alt_names": names,
                    "verify_certificate_spki": ["s"], "verify_certificate_hash": ["h"]}}}),
        ),
        (
            with(
                "SIMPLE",
                json!({"credentialName": "c", "minProtocolVersion": "TLSV1_0",
                "maxProtocolVersion": "TLSV1_1", "cipherSuites": ["x"]}),
            ),
            false,
            json!({"require_client_certificate": false, "common_tls_context": {
                "tls_params": {"tls_minimum_protocol_version": "TLSv1_0",
                    "tls_maximum_protocol_version": "TLSv1_1", "cipher_suites": ["x"]},
                "tls_certificate_sds_secret_configs": ["control plane: kubernetes://c"]}}),
        ),
        (
            with(
                "SIMPLE",
                json!({"credentialName": "c", "minProtocolVersion": "TLSV1_2",
                "maxProtocolVersion": "TLSV1_3"}),
            ),
            false,
            json!({"require_client_certificate": false, "common_tls_context": {
                "tls_params": {"tls_minimum_protocol_version": "TLSv1_2",
                    "tls_maximum_protocol_version": "TLSv1_3"},
                "tls_certificate_sds_secret_configs": ["control plane: kubernetes://c"]}}),
        ),
    ] {
        assert_eq!(made(settings.clone(), http), Some(expected), "{settings}");
    }
    assert_eq!(made(json!({"mode": "SIMPLE", "credentialName": ""}), false), None, "no certificate");
}

#[test]
fn gateways_of_federation_verify_each_trust_domain_with_its_own_roots() {
    let mut inputs = fixture::inputs();
    inputs.federation.trust.bundles = [("east.local", "EAST"), ("cluster.local", "STOLEN")]
        .map(|(td, pem)| (td.to_owned(), pem.to_owned()))
        .into();
    let roots = |inputs: &Inputs, node: &portolan_mesh::ProxyNode| {
        let mesh = portolan_mesh::Mesh::from(inputs);
        secret::root_ca(&Context::new(mesh.model(), node)).map(|s| shown(&crate::pb::any(&s)))
    };
    let mut found = roots(&inputs, &gateway("east-ingress", false)).unwrap();
    let validator = &mut found["validation_context"]["custom_validator_config"]["typed_config"];
    validator.as_object_mut().unwrap().remove("@type");
    assert_eq!(
        found,
        json!({"name": "ROOTCA", "validation_context": {"custom_validator_config": {
            "name": "envoy.tls.cert_validator.spiffe",
            "typed_config": {"trust_domains": [
                {"name": "cluster.local", "trust_bundle": {"inline_string": fixture::ROOT}},
                {"name": "east.local", "trust_bundle": {"inline_string": "EAST"}},
            ]},
        }}})
    );
    assert_eq!(roots(&inputs, &gateway("istio-ingressgateway", false)), None);
    assert_eq!(roots(&inputs, &sidecar(false)), None);
    inputs.root_certificates.clear();
    assert_eq!(roots(&inputs, &gateway("east-ingress", false)), None);
}
