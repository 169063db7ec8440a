//! RESOURCE NAME, TYPE, STATUS, VALID CERT, SERIAL NUMBER, NOT AFTER, NOT BEFORE.

use base64::Engine;
use serde_json::{Value, json};
use x509_parser::pem::Pem;

use super::dump::{Dump, at, field, text};
use crate::output::Table;

pub(super) fn view(dump: &Dump) -> (Table, Value) {
    let secrets = dump.secrets();
    let mut table = Table::new(&[
        "RESOURCE NAME",
        "TYPE",
        "STATUS",
        "VALID CERT",
        "SERIAL NUMBER",
        "NOT AFTER",
        "NOT BEFORE",
    ]);
    for (state, entry) in &secrets {
        let secret = field(entry, "secret");
        let (kind, certificate) = if field(secret, "tls_certificate").is_null() {
            ("CA", ca(secret))
        } else {
            ("Cert Chain", data(at(secret, "tls_certificate.certificate_chain")))
        };
        let name = match text(entry, "name") {
            "" => text(secret, "name"),
            name => name,
        };
        let [valid, serial, after, before] = certificate.as_deref().map_or_else(no_certificate, describe);
        table.row([name.to_owned(), kind.to_owned(), (*state).to_owned(), valid, serial, after, before]);
    }
    let value: Vec<&Value> = secrets.into_iter().map(|(_, entry)| entry).collect();
    (table, json!(value))
}

fn no_certificate() -> [String; 4] {
    ["false", "", "", ""].map(str::to_owned)
}

/// The authority of a validation context: plain, or the first bundle of the SPIFFE validator.
fn ca(secret: &Value) -> Option<Vec<u8>> {
    let context = field(secret, "validation_context");
    data(field(context, "trusted_ca")).or_else(|| {
        let validator = at(context, "custom_validator_config.typed_config");
        data(field(field(validator, "trust_domains").get(0)?, "trust_bundle"))
    })
}

/// Bytes of a DataSource, from base64 or text.
fn data(source: &Value) -> Option<Vec<u8>> {
    let bytes = text(source, "inline_bytes");
    if !bytes.is_empty() {
        return base64::engine::general_purpose::STANDARD.decode(bytes).ok();
    }
    Some(text(source, "inline_string")).filter(|text| !text.is_empty()).map(|text| text.as_bytes().to_vec())
}

/// The first certificate of a PEM text: valid now, serial number, end, start.
fn describe(pem: &[u8]) -> [String; 4] {
    let Some(Ok(pem)) = Pem::iter_from_buffer(pem).next() else { return no_certificate() };
    let Ok(certificate) = pem.parse_x509() else { return no_certificate() };
    let time = |time: x509_parser::time::ASN1Time| {
        jiff::Timestamp::from_second(time.timestamp()).map(|time| time.to_string()).unwrap_or_default()
    };
    [
        certificate.validity().is_valid().to_string(),
        certificate.tbs_certificate.serial.to_str_radix(16),
        time(certificate.validity().not_after),
        time(certificate.validity().not_before),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unreadable_certificates_are_shown_as_invalid() {
        let dump = Dump(json!({"configs": [{"@type": "x/envoy.admin.v3.SecretsConfigDump",
            "dynamic_active_secrets": [
                {"name": "default", "secret": {"tls_certificate": {"certificate_chain": {"inline_bytes": "bm90IGEgY2VydA=="}}}},
                {"name": "ROOTCA", "secret": {"validation_context": {}}}],
            "dynamic_warming_secrets": [{"name": "late", "secret": {}}]}]}));
        let (table, _) = view(&dump);
        let text = table.render();
        assert!(text.contains("default         Cert Chain   ACTIVE    false"), "{text}");
        assert!(text.contains("ROOTCA          CA           ACTIVE    false"), "{text}");
        assert!(text.contains("late            CA           WARMING"), "{text}");
    }
}
