//! `/certs`: the certificates and roots of all secrets, without their keys.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use portolan_envoy_api::pb::envoy::config::core::v3::{DataSource, data_source::Specifier};
use portolan_envoy_api::pb::envoy::extensions::transport_sockets::tls::v3::{Secret, secret};
use prost::Message;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Map, Value, json};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::AdminState;
use super::server_info::timestamp;
use portolan_agent::serve::json as json_response;
use portolan_dataplane::config::ResourceKind;

/// Certificates shown per secret: a root bundle may hold hundreds.
const MAX_SHOWN: usize = 64;

pub(super) fn certs(state: &AdminState, _: &Request<Bytes>) -> Response<Full<Bytes>> {
    let now = SystemTime::now();
    let certificates: Vec<Value> = state
        .store
        .dump()
        .iter()
        .filter(|entry| entry.kind == ResourceKind::Secret)
        .filter_map(|entry| Secret::decode(entry.body.clone()).ok())
        .filter_map(|secret| secret_json(&secret, now))
        .collect();
    json_response(&json!({"certificates": certificates}))
}

fn secret_json(secret: &Secret, now: SystemTime) -> Option<Value> {
    let (field, source) = match secret.r#type.as_ref()? {
        secret::Type::TlsCertificate(certificate) => ("cert_chain", certificate.certificate_chain.as_ref()?),
        secret::Type::ValidationContext(context) => ("ca_cert", context.trusted_ca.as_ref()?),
        _ => return None,
    };
    let (path, pem) = match source {
        DataSource { specifier: Some(Specifier::InlineBytes(bytes)), .. } => {
            ("<inline>".to_owned(), bytes.clone())
        }
        DataSource { specifier: Some(Specifier::InlineString(text)), .. } => {
            ("<inline>".to_owned(), text.clone().into())
        }
        DataSource { specifier: Some(Specifier::Filename(name)), .. } => {
            (name.clone(), std::fs::read(name).ok()?)
        }
        _ => return None,
    };
    let details: Vec<Value> = CertificateDer::pem_slice_iter(&pem)
        .filter_map(Result::ok)
        .take(MAX_SHOWN)
        .filter_map(|der| details(&der, &path, now))
        .collect();
    let mut map = Map::new();
    map.insert("ca_cert".into(), Value::Array(Vec::new()));
    map.insert("cert_chain".into(), Value::Array(Vec::new()));
    map.insert(field.into(), details.into());
    Some(Value::Object(map))
}

fn details(der: &[u8], path: &str, now: SystemTime) -> Option<Value> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let at = |seconds: i64| SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    let validity = certificate.validity();
    let end = at(validity.not_after.timestamp());
    let names: Vec<Value> = certificate
        .subject_alternative_name()
        .ok()
        .flatten()
        .map(|extension| {
            extension
                .value
                .general_names
                .iter()
                .filter_map(|name| match name {
                    GeneralName::URI(uri) => Some(json!({"uri": uri})),
                    GeneralName::DNSName(dns) => Some(json!({"dns": dns})),
                    _ => None,
                })
                .collect()
        })
        .unwrap_or_default();
    Some(json!({
        "path": path,
        "serial_number": certificate.raw_serial().iter().map(|b| format!("{b:02x}")).collect::<String>(),
        "subject_alt_names": names,
        "days_until_expiration": (end.duration_since(now).unwrap_or_default().as_secs() / 86_400).to_string(),
        "valid_from": timestamp(at(validity.not_before.timestamp())),
        "expiration_time": timestamp(end),
    }))
}
