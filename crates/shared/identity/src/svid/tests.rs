use std::net::IpAddr;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyUsagePurpose, SanType};

use super::*;
use crate::fixture::{DAY, id, now, params, seconds, self_signed};

const ID: &str = "spiffe://west.local/ns/bookinfo/sa/reviews";

/// The identity in a certificate with one SPIFFE id, changed by `change`.
fn identity(change: impl FnOnce(&mut CertificateParams)) -> Result<SpiffeId, SvidError> {
    let mut params = params(&[ID]);
    change(&mut params);
    spiffe_id_of(&self_signed(&params).0)
}

#[test]
fn a_leaf_with_one_spiffe_id_is_an_svid() {
    assert_eq!(identity(|_| {}), Ok(id("west.local")));
    assert_eq!(identity(|p| p.is_ca = IsCa::ExplicitNoCa), Ok(id("west.local")));
    assert_eq!(identity(|p| p.key_usages = vec![KeyUsagePurpose::DigitalSignature]), Ok(id("west.local")));
}

#[test]
fn what_may_sign_others_is_no_svid() {
    let refused = Err(SvidError::SigningCertificate);
    assert_eq!(identity(|p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)), refused);
    assert_eq!(identity(|p| p.key_usages = vec![KeyUsagePurpose::KeyCertSign]), refused);
    assert_eq!(identity(|p| p.key_usages = vec![KeyUsagePurpose::CrlSign]), refused);
    assert_eq!(
        identity(|p| {
            p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            p.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        }),
        refused,
        "the key usage does not outweigh the constraint"
    );
}

#[test]
fn an_svid_has_exactly_one_uri_name() {
    let of = |uris: &[&str]| spiffe_id_of(&self_signed(&params(uris)).0);
    assert_eq!(of(&[]), Err(SvidError::UriNames(0)));
    assert_eq!(of(&[ID, "spiffe://west.local/ns/a/sa/b"]), Err(SvidError::UriNames(2)));
    assert_eq!(of(&[ID, ID]), Err(SvidError::UriNames(2)));
    assert_eq!(of(&[ID, "https://example.com"]), Err(SvidError::UriNames(2)));
}

#[test]
fn other_names_beside_the_uri_do_not_matter() {
    let dns = SanType::DnsName("reviews.example".try_into().unwrap());
    assert_eq!(identity(|p| p.subject_alt_names.push(dns)), Ok(id("west.local")));
}

#[test]
fn the_uri_name_is_a_spiffe_id() {
    let uri = "https://west.local/ns/bookinfo/sa/reviews";
    let found = spiffe_id_of(&self_signed(&params(&[uri])).0);
    assert_eq!(found, Err(SvidError::SpiffeId(SpiffeIdError::Scheme(uri.into()))));
}

#[test]
fn what_is_no_certificate_is_no_svid() {
    let (certificate, _) = self_signed(&params(&[ID]));
    assert_eq!(spiffe_id_of(b""), Err(SvidError::Malformed));
    assert_eq!(spiffe_id_of(b"not a certificate"), Err(SvidError::Malformed));
    assert_eq!(spiffe_id_of(&certificate[..certificate.len() - 1]), Err(SvidError::Malformed));
    let mut longer = certificate.to_vec();
    longer.push(0);
    assert_eq!(spiffe_id_of(&longer), Err(SvidError::Malformed), "bytes follow it");
}

#[test]
fn facts_of_a_certificate() {
    let mut params = params(&[ID]);
    params.distinguished_name.push(DnType::OrganizationName, "west");
    params.serial_number = Some(vec![0x0a, 0xbc].into());
    let addresses: [IpAddr; 2] = ["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
    params.subject_alt_names.push(SanType::DnsName("reviews.example".try_into().unwrap()));
    params.subject_alt_names.extend(addresses.map(SanType::IpAddress));
    params.subject_alt_names.push(SanType::Rfc822Name("nobody@example".try_into().unwrap()));
    let facts = CertificateFacts::from_der(&self_signed(&params).0).unwrap();
    assert_eq!(
        facts,
        CertificateFacts {
            subject: "CN=rcgen self signed cert, O=west".into(),
            uris: vec![ID.into()],
            dns_names: vec!["reviews.example".into()],
            ip_addresses: addresses.to_vec(),
            serial: "0abc".into(),
            not_before: seconds(now()),
            not_after: seconds(now() + DAY),
            signs: false,
        }
    );
}
