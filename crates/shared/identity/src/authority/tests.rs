use rcgen::KeyPair;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::*;
use crate::CertificateFacts;
use crate::fixture::{DAY, SECOND, authority, der, id, intermediate, leaf, now, seconds, unix};

/// A request for `names`, made with a key of its own.
fn request(names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let params = CertificateParams::new(names).unwrap();
    params.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap()
}

fn facts(issued: &Issued) -> CertificateFacts {
    CertificateFacts::from_der(&leaf(issued)).unwrap()
}

/// Why `open` failed.
fn refused(certificate: &str, key: &str, root: &str, chain: &str) -> String {
    CertificateAuthority::open(certificate, key, root, chain).unwrap_err().to_string()
}

#[test]
fn a_self_signed_root_is_a_ca_of_its_trust_domain() {
    let west = CertificateAuthority::self_signed("west.local", now(), DAY).unwrap();
    let root = der(west.root_pem());
    let (_, parsed) = X509Certificate::from_der(&root).unwrap();
    assert!(parsed.is_ca());
    let usage = parsed.key_usage().unwrap().unwrap().value;
    assert!(usage.key_cert_sign() && usage.crl_sign() && !usage.digital_signature());
    assert_eq!(parsed.subject().to_string(), "O=west.local");
    assert_eq!(parsed.issuer(), parsed.subject());
    assert_eq!(west.certificate_pem(), west.root_pem());
}

#[test]
fn a_root_is_valid_from_just_before_for_as_long_as_was_asked() {
    let west = CertificateAuthority::self_signed("west.local", now(), DAY).unwrap();
    let facts = CertificateFacts::from_der(&der(west.root_pem())).unwrap();
    assert_eq!(facts.not_before, seconds(now()) - 120);
    assert_eq!(facts.not_after, seconds(now() + DAY));
    assert_eq!(west.not_after(), now() + DAY);
}

#[test]
fn an_authority_is_not_opened_with_what_does_not_belong_together() {
    let (west, east) = (authority("west.local"), authority("east.local"));
    let (certificate, key, root) = (west.certificate_pem(), west.key_pem(), west.root_pem());
    let belongs = "the key does not belong to the certificate";
    assert!(refused(certificate, east.key_pem(), root, "").contains(belongs));
    assert!(refused(east.certificate_pem(), key, root, "").contains(belongs));
    let issued = west.issue(&id("west.local"), &[], now(), DAY).unwrap();
    let leaf_key = issued.key_pem.unwrap();
    assert!(refused(&issued.certificate_pem, &leaf_key, root, "").contains("not a CA certificate"));
}

#[test]
fn an_authority_is_not_opened_with_what_cannot_be_read() {
    let west = authority("west.local");
    let (certificate, key, root) = (west.certificate_pem(), west.key_pem(), west.root_pem());
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (what, found) in [
        ("no certificate", refused("", key, root, "")),
        ("a malformed certificate", refused(garbage, key, root, "")),
        ("no key", refused(certificate, "", root, "")),
        ("a certificate in place of the key", refused(certificate, certificate, root, "")),
    ] {
        assert!(found.starts_with("CA certificate and key cannot be used"), "{what}: {found}");
    }
    for (what, found) in [
        ("no root", refused(certificate, key, "", "")),
        ("a malformed root", refused(certificate, key, garbage, "")),
        ("a malformed chain", refused(certificate, key, root, garbage)),
        ("a chain without certificates", refused(certificate, key, root, "# nothing")),
    ] {
        assert!(found.starts_with("CA root or chain cannot be used"), "{what}: {found}");
    }
}

#[test]
fn an_authority_says_what_it_was_opened_with() {
    let west = authority("west.local");
    let again =
        CertificateAuthority::open(west.certificate_pem(), west.key_pem(), west.root_pem(), " \n").unwrap();
    assert_eq!(again.certificate_pem(), west.certificate_pem());
    assert_eq!(again.key_pem(), west.key_pem());
    assert_eq!(again.root_pem(), west.root_pem());
    assert_eq!(again.not_after(), west.not_after());
}

#[test]
fn a_root_hands_out_leaves_without_intermediates() {
    let west = authority("west.local");
    let issued = west.issue(&id("west.local"), &[], now(), DAY).unwrap();
    assert_eq!(issued.intermediates_pem, "");
    assert_eq!(issued.chain_pem(), issued.certificate_pem);
    assert_eq!(issued.root_pem, west.root_pem());
}

#[test]
fn an_intermediate_hands_out_itself_and_never_the_root() {
    let root = authority("west.local");
    for with_root in [false, true] {
        let middle = intermediate(&root, with_root);
        let issued = middle.issue(&id("west.local"), &[], now(), DAY).unwrap();
        let above: Vec<_> =
            CertificateDer::pem_slice_iter(issued.intermediates_pem.as_bytes()).map(Result::unwrap).collect();
        assert_eq!(above, [der(middle.certificate_pem())], "with root: {with_root}");
        assert_eq!(issued.root_pem, root.root_pem());
        assert_eq!(issued.chain_pem(), format!("{}{}", issued.certificate_pem, issued.intermediates_pem));
    }
}

#[test]
fn a_chain_may_leave_out_the_issuing_certificate() {
    let (root, other) = (authority("west.local"), authority("above.local"));
    let west = CertificateAuthority::open(
        root.certificate_pem(),
        root.key_pem(),
        other.root_pem(),
        other.root_pem(),
    )
    .unwrap();
    let issued = west.issue(&id("west.local"), &[], now(), DAY).unwrap();
    assert_eq!(der(&issued.intermediates_pem), der(root.certificate_pem()));
}

#[test]
fn a_leaf_is_for_both_sides_of_tls_and_nothing_else() {
    let west = authority("west.local");
    for issued in [
        west.issue(&id("west.local"), &[], now(), DAY).unwrap(),
        west.sign(&request(&[]), &id("west.local"), now(), DAY).unwrap(),
    ] {
        let certificate = leaf(&issued);
        let (_, parsed) = X509Certificate::from_der(&certificate).unwrap();
        assert!(!parsed.is_ca());
        let usage = parsed.key_usage().unwrap().unwrap().value;
        assert!(usage.digital_signature() && usage.key_encipherment());
        assert!(!usage.key_cert_sign() && !usage.crl_sign());
        let purposes = parsed.extended_key_usage().unwrap().unwrap().value;
        assert!(purposes.server_auth && purposes.client_auth && !purposes.any && !purposes.code_signing);
        assert_eq!(parsed.subject().to_string(), "");
        assert_eq!(parsed.issuer().to_string(), "O=west.local");
        assert!(parsed.basic_constraints().unwrap().is_some(), "it says that it is no CA");
        let has = |oid: &str| parsed.extensions().iter().any(|found| found.oid.to_id_string() == oid);
        assert!(has("2.5.29.35"), "it names the key that signed it (RFC 5280 4.2.1.1)");
    }
}

#[test]
fn a_request_gets_the_callers_identity_whatever_it_asks_for() {
    let west = authority("west.local");
    let csr = request(&["kubernetes.default", "192.0.2.1"]);
    let issued = west.sign(&csr, &id("west.local"), now(), DAY).unwrap();
    let facts = facts(&issued);
    assert_eq!(facts.uris, ["spiffe://west.local/ns/bookinfo/sa/reviews"]);
    assert!(facts.dns_names.is_empty() && facts.ip_addresses.is_empty() && facts.subject.is_empty());
}

#[test]
fn a_request_keeps_its_key() {
    let west = authority("west.local");
    let key = KeyPair::generate().unwrap();
    let csr = CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap();
    let issued = west.sign(&csr, &id("west.local"), now(), DAY).unwrap();
    let certificate = leaf(&issued);
    let (_, parsed) = X509Certificate::from_der(&certificate).unwrap();
    assert_eq!(parsed.public_key().subject_public_key.data.as_ref(), rcgen::PublicKeyData::der_bytes(&key));
    assert_eq!(issued.key_pem, None);
}

#[test]
fn a_request_is_signed_by_its_own_key() {
    let west = authority("west.local");
    let mut der = rustls_pki_types::CertificateSigningRequestDer::from_pem_slice(request(&[]).as_bytes())
        .unwrap()
        .to_vec();
    *der.last_mut().unwrap() ^= 1;
    let body = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &der);
    let forged = format!("-----BEGIN CERTIFICATE REQUEST-----\n{body}\n-----END CERTIFICATE REQUEST-----\n");
    let found = west.sign(&forged, &id("west.local"), now(), DAY);
    assert!(matches!(found, Err(AuthorityError::Request(_))), "{found:?}");
}

#[test]
fn what_is_no_request_is_not_signed() {
    let west = authority("west.local");
    for text in ["", "no request", west.certificate_pem()] {
        let found = west.sign(text, &id("west.local"), now(), DAY);
        assert!(matches!(found, Err(AuthorityError::Request(_))), "{found:?}");
    }
}

#[test]
fn a_request_has_at_most_16_kibibytes() {
    let west = authority("west.local");
    let csr = request(&[]);
    let padded = |length: usize| format!("{csr}{}", "\n".repeat(length - csr.len()));
    assert!(west.sign(&padded(16 * 1024), &id("west.local"), now(), DAY).is_ok());
    let found = west.sign(&padded(16 * 1024 + 1), &id("west.local"), now(), DAY).unwrap_err();
    assert!(found.to_string().contains("longer than 16384 bytes"), "{found}");
}

#[test]
fn a_component_gets_a_key_an_identity_and_its_names() {
    let west = authority("west.local");
    let names = ["istiod.istio-system.svc".to_owned(), "istiod".to_owned()];
    let issued = west.issue(&id("west.local"), &names, now(), DAY).unwrap();
    let facts = facts(&issued);
    assert_eq!(facts.spiffe_id(), Ok(id("west.local")));
    assert_eq!(facts.dns_names, names);
    let key = KeyPair::from_pem(issued.key_pem.as_deref().unwrap()).unwrap();
    let certificate = leaf(&issued);
    let (_, parsed) = X509Certificate::from_der(&certificate).unwrap();
    assert_eq!(parsed.public_key().subject_public_key.data.as_ref(), rcgen::PublicKeyData::der_bytes(&key));
}

#[test]
fn a_name_that_no_certificate_can_hold_is_refused() {
    let found = authority("west.local").issue(&id("west.local"), &["\u{e9}".into()], now(), DAY);
    assert!(matches!(found, Err(AuthorityError::Request(_))), "{found:?}");
}

#[test]
fn a_leaf_is_valid_from_just_before_for_as_long_as_was_asked() {
    let issued = authority("west.local").issue(&id("west.local"), &[], now(), DAY).unwrap();
    let facts = facts(&issued);
    assert_eq!(facts.not_before, seconds(now()) - 120);
    assert_eq!(facts.not_after, seconds(now() + DAY));
    assert_eq!(issued.not_after, now() + DAY);
}

#[test]
fn a_leaf_never_outlives_its_authority() {
    let west = CertificateAuthority::self_signed("west.local", now(), DAY).unwrap();
    for at in [now(), now() + DAY / 2, now() + DAY - SECOND] {
        let issued = west.issue(&id("west.local"), &[], at, DAY * 30).unwrap();
        assert_eq!(issued.not_after, now() + DAY);
        assert_eq!(facts(&issued).not_after, seconds(now() + DAY));
    }
}

#[test]
fn an_expired_authority_signs_nothing() {
    let west = CertificateAuthority::self_signed("west.local", now(), DAY).unwrap();
    for at in [now() + DAY, now() + DAY + SECOND, now() + DAY * 400] {
        let issued = west.issue(&id("west.local"), &[], at, DAY);
        assert!(matches!(issued, Err(AuthorityError::Expired)), "{:?} after its end", unix(at));
        let signed = west.sign(&request(&[]), &id("west.local"), at, DAY);
        assert!(matches!(signed, Err(AuthorityError::Expired)), "{:?} after its end", unix(at));
    }
}

#[test]
fn serial_numbers_are_random_positive_and_of_full_length() {
    let west = authority("west.local");
    let csr = request(&[]);
    let serials: std::collections::BTreeSet<String> =
        (0..64).map(|_| facts(&west.sign(&csr, &id("west.local"), now(), DAY).unwrap()).serial).collect();
    assert_eq!(serials.len(), 64, "the same key gets another number each time");
    for serial in serials {
        let first = u8::from_str_radix(&serial[..2], 16).unwrap();
        assert!(serial.len() == 32 && (0x40..0x80).contains(&first), "{serial}");
    }
}

#[test]
fn an_authority_shows_its_key_to_nobody() {
    let west = authority("west.local");
    let shown = format!("{west:?}");
    assert!(shown.starts_with("CertificateAuthority { not_after:"), "{shown}");
    assert!(!shown.contains("PRIVATE") && !shown.contains("BEGIN"), "{shown}");
}
