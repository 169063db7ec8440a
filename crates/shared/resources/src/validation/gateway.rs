//! Gateway rules.

use super::{Report, Validate, common};
use crate::{Gateway, networking::*};

/// Protocols of a server's port; `GRPC-WEB` is accepted too (Istio 1.9 reference, Gateway).
const PROTOCOLS: [&str; 8] = ["HTTP", "HTTPS", "GRPC", "GRPC-WEB", "HTTP2", "MONGO", "TCP", "TLS"];

impl Validate for Gateway {
    fn validate(&self) -> Report {
        let mut r = Report::default();
        if self.spec.servers.is_empty() {
            r.error("spec.servers", "at least one server is required");
        }
        if self.spec.selector.is_empty() {
            r.warn("spec.selector", "is empty: the gateway applies to every gateway proxy");
        }
        for (i, server) in self.spec.servers.iter().enumerate() {
            let path = format!("spec.servers[{i}]");
            let name = server.port.as_ref().map(|p| p.name.as_str()).unwrap_or_default();
            let earlier = self.spec.servers.iter().take(i).filter_map(|s| s.port.as_ref());
            if !name.is_empty() && earlier.into_iter().any(|p| p.name == name) {
                r.error(
                    format!("{path}.port.name"),
                    format!("port name {name:?} is used twice in this gateway"),
                );
            }
            validate_server(&mut r, &path, server);
        }
        r
    }
}

fn validate_server(r: &mut Report, path: &str, server: &Server) {
    let protocol = match &server.port {
        None => {
            r.error(format!("{path}.port"), "is required");
            String::new()
        }
        Some(port) => {
            common::port(r, &format!("{path}.port.number"), port.number);
            let protocol = port.protocol.to_ascii_uppercase();
            if !PROTOCOLS.contains(&protocol.as_str()) {
                let known = PROTOCOLS.join(", ");
                r.error(
                    format!("{path}.port.protocol"),
                    format!("{:?} is not one of {known}", port.protocol),
                );
            }
            if port.name.is_empty() {
                r.error(format!("{path}.port.name"), "is required");
            }
            protocol
        }
    };
    if server.hosts.is_empty() {
        r.error(format!("{path}.hosts"), "at least one host is required");
    }
    for (i, host) in server.hosts.iter().enumerate() {
        let name = match host.split_once('/') {
            None => host.as_str(),
            Some((ns, name)) => {
                if ns != "*" && ns != "." && !common::is_fqdn(ns) {
                    r.error(
                        format!("{path}.hosts[{i}]"),
                        format!("{ns:?} is neither \"*\", \".\" nor a namespace"),
                    );
                }
                name
            }
        };
        if !common::is_ip(name) {
            common::host(r, &format!("{path}.hosts[{i}]"), name);
        }
    }
    if let Some(bind) = &server.bind
        && !common::is_ip(bind)
        && !bind.starts_with("unix://")
    {
        r.error(format!("{path}.bind"), format!("{bind:?} is neither an IP nor unix://"));
    }
    let terminates = matches!(protocol.as_str(), "HTTPS" | "TLS");
    match &server.tls {
        None if terminates => r.error(format!("{path}.tls"), "is required for HTTPS and TLS"),
        None => {}
        Some(tls) => {
            let plain_http = matches!(protocol.as_str(), "HTTP" | "HTTP2" | "GRPC");
            if plain_http && tls.mode.is_some() {
                r.warn(format!("{path}.tls.mode"), format!("is ignored for protocol {protocol}"));
            }
            if !plain_http || tls.mode.is_some() {
                server_tls(r, &format!("{path}.tls"), tls, terminates);
            }
        }
    }
}

fn server_tls(r: &mut Report, path: &str, tls: &ServerTlsSettings, terminates: bool) {
    let mode = tls.mode.unwrap_or_default();
    let has_files = tls.server_certificate.is_some() || tls.private_key.is_some();
    let credential = tls.credential_name.as_deref().is_some_and(|c| !c.is_empty());
    match mode {
        ServerTlsMode::Simple | ServerTlsMode::Mutual => {
            if !credential && terminates && !(tls.server_certificate.is_some() && tls.private_key.is_some()) {
                r.error(
                    path,
                    format!("mode {mode} needs credentialName, or serverCertificate and privateKey"),
                );
            }
            if mode == ServerTlsMode::Mutual && !credential && terminates && tls.ca_certificates.is_none() {
                r.error(
                    format!("{path}.caCertificates"),
                    "is required for mode MUTUAL without credentialName",
                );
            }
        }
        ServerTlsMode::IstioMutual => {
            if has_files || credential || tls.ca_certificates.is_some() {
                r.error(
                    path,
                    "mode ISTIO_MUTUAL uses the gateway's own certificate; remove the certificate fields",
                );
            }
            // All of the mesh is let in by one rule; a restriction that nobody looks at would let in too many.
            if !tls.subject_alt_names.is_empty() {
                r.error(
                    format!("{path}.subjectAltNames"),
                    "mode ISTIO_MUTUAL lets in whoever the mesh knows; use an AuthorizationPolicy",
                );
            }
            if tls.min_protocol_version.is_some_and(|least| least > TlsProtocol::V1_2) {
                r.error(format!("{path}.minProtocolVersion"), "is TLSV1_2 for mode ISTIO_MUTUAL");
            }
            if tls
                .max_protocol_version
                .is_some_and(|most| most != TlsProtocol::Auto && most < TlsProtocol::V1_3)
            {
                r.error(format!("{path}.maxProtocolVersion"), "is TLSV1_3 for mode ISTIO_MUTUAL");
            }
        }
        ServerTlsMode::Passthrough | ServerTlsMode::AutoPassthrough => {
            if has_files || credential {
                r.error(path, format!("mode {mode} does not terminate TLS; remove the certificate fields"));
            }
        }
    }
    if let (Some(min), Some(max)) = (tls.min_protocol_version, tls.max_protocol_version)
        && min > max
        && max != TlsProtocol::Auto
    {
        r.error(
            format!("{path}.minProtocolVersion"),
            format!("{min} is higher than maxProtocolVersion {max}"),
        );
    }
}
