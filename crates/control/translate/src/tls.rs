//! TLS contexts on both sides (docs/reference/xds.md).

use std::collections::BTreeSet;

use portolan_names::names;
use portolan_resources::networking::{ServerTlsMode, ServerTlsSettings, TlsProtocol};

use crate::{context::Context, pb::*};

/// TLS transport socket of Envoy.
const TLS_SOCKET: &str = "envoy.transport_sockets.tls";
/// Plaintext transport socket of Envoy.
const RAW_SOCKET: &str = "envoy.transport_sockets.raw_buffer";

/// Cipher suites of TLS 1.2 that the mesh accepts; TLS 1.3 has its own.
const CIPHERS: [&str; 6] = [
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
    "AES128-GCM-SHA256",
];

/// ALPN names of mesh mTLS by which servers choose a filter chain.
pub(crate) const ISTIO_HTTP_ALPN: [&str; 3] = ["istio-http/1.0", "istio-http/1.1", "istio-h2"];
/// ALPN names of mesh mTLS around opaque TCP.
pub(crate) const ISTIO_TCP_ALPN: [&str; 2] = ["istio-peer-exchange", "istio"];
/// What the HTTP inspector finds in plaintext.
pub(crate) const PLAIN_HTTP_ALPN: [&str; 3] = ["http/1.0", "http/1.1", "h2c"];

/// What a client says it speaks inside of mesh mTLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ClientAlpn {
    Http1,
    Http2,
    Tcp,
    /// Decided per request; only our own proxies can (`istio.alpn`).
    Auto,
}

impl ClientAlpn {
    /// A stock Envoy has no peer exchange, so it must never agree on that protocol: its peer would wait for a frame.
    fn protocols(self, ours: bool) -> Vec<String> {
        let list: &[&str] = match (self, ours) {
            (Self::Http1, _) => &["istio-http/1.1", "istio", "http/1.1"],
            (Self::Http2, _) => &["istio-h2", "istio", "h2"],
            (Self::Tcp | Self::Auto, true) => &["istio-peer-exchange", "istio"],
            (Self::Tcp | Self::Auto, false) => &["istio"],
        };
        list.iter().map(|s| (*s).to_owned()).collect()
    }
}

/// SDS through the agent's Unix socket, the cluster `sds-grpc` of the bootstrap.
fn agent_secret(name: &str) -> tls::SdsSecretConfig {
    let grpc = core::GrpcService {
        target_specifier: Some(core::grpc_service::TargetSpecifier::EnvoyGrpc(
            core::grpc_service::EnvoyGrpc {
                cluster_name: names::SDS_CLUSTER.to_owned(),
                ..Default::default()
            },
        )),
        ..Default::default()
    };
    let source = core::ApiConfigSource {
        api_type: core::api_config_source::ApiType::Grpc as i32,
        transport_api_version: core::ApiVersion::V3 as i32,
        grpc_services: vec![grpc],
        set_node_on_first_message_only: true,
        ..Default::default()
    };
    tls::SdsSecretConfig {
        name: name.to_owned(),
        sds_config: Some(core::ConfigSource {
            resource_api_version: core::ApiVersion::V3 as i32,
            initial_fetch_timeout: zero(),
            config_source_specifier: Some(core::config_source::ConfigSourceSpecifier::ApiConfigSource(
                source,
            )),
            ..Default::default()
        }),
    }
}

/// A secret that the control plane serves (`credentialName`).
fn served_secret(name: &str) -> tls::SdsSecretConfig {
    tls::SdsSecretConfig { name: format!("kubernetes://{name}"), sds_config: Some(ads()) }
}

fn uri_san(matcher: matcher::StringMatcher) -> tls::SubjectAltNameMatcher {
    tls::SubjectAltNameMatcher {
        san_type: tls::subject_alt_name_matcher::SanType::Uri as i32,
        matcher: Some(matcher),
        ..Default::default()
    }
}

/// Names in certificates: SPIFFE ids are URIs, everything else DNS names.
fn san(name: &str) -> tls::SubjectAltNameMatcher {
    if name.contains("://") {
        return uri_san(exact(name));
    }
    tls::SubjectAltNameMatcher {
        san_type: tls::subject_alt_name_matcher::SanType::Dns as i32,
        matcher: Some(exact(name)),
        ..Default::default()
    }
}

type Validation = tls::common_tls_context::ValidationContextType;

fn combined(sans: Vec<tls::SubjectAltNameMatcher>, roots: tls::SdsSecretConfig) -> Option<Validation> {
    Some(Validation::CombinedValidationContext(
        tls::common_tls_context::CombinedCertificateValidationContext {
            default_validation_context: Some(tls::CertificateValidationContext {
                match_typed_subject_alt_names: sans,
                ..Default::default()
            }),
            validation_context_sds_secret_config: Some(roots),
            ..Default::default()
        },
    ))
}

/// Mesh mTLS as a client: own certificate, accepted identities, SNI that names the service.
pub(crate) fn mesh_client(
    ctx: &Context<'_>,
    sni: &str,
    identities: &BTreeSet<String>,
    alpn: ClientAlpn,
) -> core::TransportSocket {
    let common = tls::CommonTlsContext {
        tls_certificate_sds_secret_configs: vec![agent_secret(names::SDS_DEFAULT)],
        validation_context_type: combined(
            identities.iter().map(|i| san(i)).collect(),
            agent_secret(names::SDS_ROOT_CA),
        ),
        alpn_protocols: alpn.protocols(ctx.ours()),
        ..Default::default()
    };
    client_socket(common, sni)
}

fn client_socket(common: tls::CommonTlsContext, sni: &str) -> core::TransportSocket {
    let context = tls::UpstreamTlsContext {
        common_tls_context: Some(common),
        sni: sni.to_owned(),
        ..Default::default()
    };
    transport_socket(TLS_SOCKET, any(&context))
}

/// TLS origination as a DestinationRule of mode SIMPLE or MUTUAL describes it.
pub(crate) fn plain_client(
    settings: &portolan_resources::networking::ClientTlsSettings,
    default_sni: &str,
    http2: bool,
) -> core::TransportSocket {
    let sans: Vec<_> = settings.subject_alt_names.iter().map(|s| san(s)).collect();
    let mut common = tls::CommonTlsContext::default();
    if http2 {
        common.alpn_protocols.push("h2".to_owned());
    }
    let sni = settings.sni.as_deref().filter(|s| !s.is_empty()).unwrap_or(default_sni);
    if let Some(credential) = settings.credential_name.as_deref().filter(|c| !c.is_empty()) {
        if settings.mode == portolan_resources::networking::ClientTlsMode::Mutual {
            common.tls_certificate_sds_secret_configs.push(served_secret(credential));
        }
        common.validation_context_type = combined(sans, served_secret(&format!("{credential}-cacert")));
        return client_socket(common, sni);
    }
    if let (Some(certificate), Some(key)) = (&settings.client_certificate, &settings.private_key) {
        common.tls_certificates.push(tls::TlsCertificate {
            certificate_chain: file(certificate),
            private_key: file(key),
            ..Default::default()
        });
    }
    if let Some(roots) = settings.ca_certificates.as_deref().filter(|c| !c.is_empty()) {
        common.validation_context_type =
            Some(Validation::ValidationContext(tls::CertificateValidationContext {
                trusted_ca: file(roots),
                match_typed_subject_alt_names: sans,
                ..Default::default()
            }));
    }
    client_socket(common, sni)
}

fn file(path: &str) -> Option<core::DataSource> {
    Some(core::DataSource {
        specifier: Some(core::data_source::Specifier::Filename(path.to_owned())),
        ..Default::default()
    })
}

/// Plaintext.
pub(crate) fn plaintext() -> core::TransportSocket {
    transport_socket(RAW_SOCKET, any(&raw_buffer::RawBuffer {}))
}

/// Trust domains whose workloads may connect: our own and its aliases; at gateways of federation the peers' too.
fn client_trust_domains(ctx: &Context<'_>) -> Vec<tls::SubjectAltNameMatcher> {
    let (mesh, trust) = (ctx.mesh(), ctx.model.trust());
    let mut domains: BTreeSet<&str> = mesh.trust_domains().collect();
    if ctx.model.gets_trust_bundles(ctx.node) {
        domains.extend(trust.bundles.keys().map(String::as_str));
    }
    domains.iter().map(|td| uri_san(prefix(format!("{}{td}/", names::SPIFFE_PREFIX)))).collect()
}

/// Mesh mTLS as a server.
pub(crate) fn mesh_server(ctx: &Context<'_>, http: bool) -> core::TransportSocket {
    // A client that offers only `istio` must find it here: RFC 7301 3.2 asks a server without a common protocol to
    // refuse, which rustls does and BoringSSL does not.
    let alpn: &[&str] = match (http, ctx.ours()) {
        (true, true) => &["h2", "http/1.1", "istio"],
        (false, true) => &["istio-peer-exchange", "h2", "http/1.1", "istio"],
        (_, false) => &["h2", "http/1.1"],
    };
    let common = tls::CommonTlsContext {
        tls_certificate_sds_secret_configs: vec![agent_secret(names::SDS_DEFAULT)],
        validation_context_type: combined(client_trust_domains(ctx), agent_secret(names::SDS_ROOT_CA)),
        alpn_protocols: alpn.iter().map(|s| (*s).to_owned()).collect(),
        tls_params: Some(tls::TlsParameters {
            tls_minimum_protocol_version: tls::tls_parameters::TlsProtocol::TlSv12 as i32,
            cipher_suites: CIPHERS.iter().map(|s| (*s).to_owned()).collect(),
            ..Default::default()
        }),
        ..Default::default()
    };
    server_socket(common, true)
}

fn server_socket(common: tls::CommonTlsContext, require_client: bool) -> core::TransportSocket {
    let context = tls::DownstreamTlsContext {
        common_tls_context: Some(common),
        require_client_certificate: boolv(require_client),
        ..Default::default()
    };
    transport_socket(TLS_SOCKET, any(&context))
}

fn version(version: Option<TlsProtocol>, default: tls::tls_parameters::TlsProtocol) -> i32 {
    use tls::tls_parameters::TlsProtocol as Wire;
    let wire = match version.unwrap_or_default() {
        TlsProtocol::Auto => default,
        TlsProtocol::V1_0 => Wire::TlSv10,
        TlsProtocol::V1_1 => Wire::TlSv11,
        TlsProtocol::V1_2 => Wire::TlSv12,
        TlsProtocol::V1_3 => Wire::TlSv13,
    };
    wire as i32
}

/// TLS of a gateway's server; `None` when it does not terminate.
pub(crate) fn gateway_server(
    ctx: &Context<'_>,
    settings: &ServerTlsSettings,
    http: bool,
) -> Option<core::TransportSocket> {
    let mode = settings.mode.unwrap_or_default();
    match mode {
        ServerTlsMode::Passthrough | ServerTlsMode::AutoPassthrough => return None,
        ServerTlsMode::IstioMutual => return Some(mesh_server(ctx, http)),
        ServerTlsMode::Simple | ServerTlsMode::Mutual => {}
    }
    let mutual = mode == ServerTlsMode::Mutual;
    let mut common = tls::CommonTlsContext {
        tls_params: Some(tls::TlsParameters {
            tls_minimum_protocol_version: version(
                settings.min_protocol_version,
                tls::tls_parameters::TlsProtocol::TlSv12,
            ),
            tls_maximum_protocol_version: version(
                settings.max_protocol_version,
                tls::tls_parameters::TlsProtocol::TlsAuto,
            ),
            cipher_suites: settings.cipher_suites.clone(),
            ..Default::default()
        }),
        ..Default::default()
    };
    if http {
        common.alpn_protocols = vec!["h2".to_owned(), "http/1.1".to_owned()];
    }
    let sans: Vec<_> = settings.subject_alt_names.iter().map(|s| san(s)).collect();
    if let Some(credential) = settings.credential_name.as_deref().filter(|c| !c.is_empty()) {
        common.tls_certificate_sds_secret_configs.push(served_secret(credential));
        if mutual {
            common.validation_context_type = combined(sans, served_secret(&format!("{credential}-cacert")));
        }
    } else {
        common.tls_certificates.push(tls::TlsCertificate {
            certificate_chain: file(settings.server_certificate.as_deref()?),
            private_key: file(settings.private_key.as_deref()?),
            ..Default::default()
        });
        if let Some(roots) = settings.ca_certificates.as_deref().filter(|_| mutual) {
            common.validation_context_type =
                Some(Validation::ValidationContext(tls::CertificateValidationContext {
                    trusted_ca: file(roots),
                    match_typed_subject_alt_names: sans,
                    verify_certificate_spki: settings.verify_certificate_spki.clone(),
                    verify_certificate_hash: settings.verify_certificate_hash.clone(),
                    ..Default::default()
                }));
        }
    }
    Some(server_socket(common, mutual))
}
