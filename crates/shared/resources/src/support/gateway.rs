//! Gateway.

use super::{Entry, Group, SPEC, Subject, Table, group, refused, warned, works};

pub(super) const TABLE: Table = Table { name: "Gateway", subject: Subject::Kind, groups: GROUPS };

const GROUPS: &[Group] = &[group(SPEC, OBJECT), group(&["spec.servers[].tls"], TLS)];

const OBJECT: &[Entry] = &[
    works("selector{}", "visibility::gateways_are_selected_by_all_of_their_labels"),
    warned("servers[].name", "has no effect: it names nothing, port.name does"),
    works("servers[].port.number", "gateway_listeners::a_listener_is_where_the_server_and_the_service_say"),
    works("servers[].port.protocol", "gateway_listeners::a_port_is_plain_http_or_not"),
    works("servers[].port.name", "gateway_routes::the_names_of_route_configurations_say_port_and_server"),
    warned(
        "servers[].port.targetPort",
        "has no effect, as in Istio 1.9; the targetPort of the gateway's Service counts",
    ),
    works("servers[].bind", "gateway_listeners::a_listener_is_where_the_server_and_the_service_say"),
    refused("servers[].bind=unix://*", "gateways listen on addresses only; give an IP or leave it out"),
    works(
        "servers[].hosts[]",
        "gateway_routes::a_server_serves_the_hosts_that_it_names_to_the_namespaces_that_it_names",
    ),
    warned("servers[].defaultEndpoint", "has no effect, as in Istio 1.9; write a VirtualService"),
];

const TLS: &[Entry] = &[
    works("httpsRedirect", "gateway_routes::plain_requests_are_sent_to_https_where_the_server_says_so"),
    works("mode=PASSTHROUGH", "gateway_listeners::passed_on_tls_follows_the_rules_by_name"),
    works("mode=SIMPLE", "trust::tls_of_a_gateway_is_as_its_server_has_it"),
    works("mode=MUTUAL", "trust::tls_of_a_gateway_is_as_its_server_has_it"),
    works(
        "mode=AUTO_PASSTHROUGH",
        "gateway_listeners::auto_passthrough_goes_to_the_cluster_that_the_client_names",
    ),
    works("mode=ISTIO_MUTUAL", "trust::tls_of_a_gateway_is_as_its_server_has_it"),
    works("serverCertificate", "trust::tls_of_a_gateway_is_as_its_server_has_it"),
    works("privateKey", "trust::tls_of_a_gateway_is_as_its_server_has_it"),
    works("caCertificates", "trust::tls_of_a_gateway_is_as_its_server_has_it"),
    works("credentialName", "trust::tls_of_a_gateway_is_as_its_server_has_it"),
    works("subjectAltNames[]", "trust::tls_of_a_gateway_is_as_its_server_has_it"),
    refused(
        "verifyCertificateSpki[]",
        "our proxy compares no key digests, so nobody would be kept out; use subjectAltNames",
    ),
    refused(
        "verifyCertificateHash[]",
        "our proxy compares no certificate digests, so nobody would be kept out; use subjectAltNames",
    ),
    works("minProtocolVersion", "trust::tls_of_a_gateway_is_as_its_server_has_it"),
    warned("minProtocolVersion=TLSV1_0", "our proxy speaks TLS 1.2 and later only, so that is the least"),
    warned("minProtocolVersion=TLSV1_1", "our proxy speaks TLS 1.2 and later only, so that is the least"),
    works("maxProtocolVersion", "trust::tls_of_a_gateway_is_as_its_server_has_it"),
    refused("maxProtocolVersion=TLSV1_0", "our proxy speaks TLS 1.2 and later only; allow TLSV1_2"),
    refused("maxProtocolVersion=TLSV1_1", "our proxy speaks TLS 1.2 and later only; allow TLSV1_2"),
    refused(
        "cipherSuites[]",
        "our proxy cannot be told its cipher suites (it has those with forward secrecy and AEAD alone); leave it out",
    ),
];
