//! For the tests of this crate: authorities, certificates of any make, and a fixed time.

use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, UnixTime};
use time::OffsetDateTime;

use crate::{CertificateAuthority, Issued, SpiffeId, TrustBundle};

pub(crate) const DAY: Duration = Duration::from_secs(86_400);
pub(crate) const SECOND: Duration = Duration::from_secs(1);

pub(crate) fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + DAY * 20_000
}

pub(crate) fn unix(at: SystemTime) -> UnixTime {
    UnixTime::since_unix_epoch(at.duration_since(SystemTime::UNIX_EPOCH).unwrap())
}

pub(crate) fn seconds(at: SystemTime) -> i64 {
    i64::try_from(unix(at).as_secs()).unwrap()
}

pub(crate) fn authority(domain: &str) -> CertificateAuthority {
    CertificateAuthority::self_signed(domain, now(), DAY * 3650).unwrap()
}

pub(crate) fn bundle(authority: &CertificateAuthority) -> TrustBundle {
    TrustBundle::from_pem(authority.root_pem().as_bytes()).unwrap()
}

pub(crate) fn id(domain: &str) -> SpiffeId {
    SpiffeId::workload(domain, "bookinfo", "reviews").unwrap()
}

pub(crate) fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

pub(crate) fn leaf(issued: &Issued) -> CertificateDer<'static> {
    der(&issued.certificate_pem)
}

/// Parameters of a certificate that is valid for a day and has these URI names.
pub(crate) fn params(uris: &[&str]) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = OffsetDateTime::from(now());
    params.not_after = OffsetDateTime::from(now() + DAY);
    params.subject_alt_names = uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())).collect();
    params
}

/// A certificate that nobody but itself vouches for, and its key.
pub(crate) fn self_signed(params: &CertificateParams) -> (CertificateDer<'static>, KeyPair) {
    let key = KeyPair::generate().unwrap();
    (params.self_signed(&key).unwrap().into(), key)
}

/// A certificate that `authority` signed, whatever it says.
pub(crate) fn signed(
    authority: &CertificateAuthority,
    params: &CertificateParams,
) -> CertificateDer<'static> {
    let key = KeyPair::from_pem(authority.key_pem()).unwrap();
    let issuer = Issuer::from_ca_cert_pem(authority.certificate_pem(), key).unwrap();
    params.signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap().into()
}

/// An authority below `root`, as Istio's `cacerts` has it; its chain holds the root when `with_root`.
pub(crate) fn intermediate(root: &CertificateAuthority, with_root: bool) -> CertificateAuthority {
    let mut params = params(&[]);
    params.distinguished_name.push(DnType::CommonName, "intermediate");
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let key = KeyPair::generate().unwrap();
    let issuer =
        Issuer::from_ca_cert_pem(root.certificate_pem(), KeyPair::from_pem(root.key_pem()).unwrap()).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap().pem();
    let chain = format!("{certificate}{}", if with_root { root.root_pem() } else { "" });
    CertificateAuthority::open(&certificate, &key.serialize_pem(), root.root_pem(), &chain).unwrap()
}
