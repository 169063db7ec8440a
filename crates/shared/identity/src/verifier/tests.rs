use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, KeyPair};
use rustls_pki_types::pem::PemObject;

use super::*;
use crate::{CertificateAuthority, Issued, SpiffeId};

const DAY: Duration = Duration::from_secs(86_400);

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + DAY * 20_000
}

fn unix(at: SystemTime) -> UnixTime {
    UnixTime::since_unix_epoch(at.duration_since(SystemTime::UNIX_EPOCH).unwrap())
}

fn authority(domain: &str) -> CertificateAuthority {
    CertificateAuthority::self_signed(domain, now(), DAY * 3650).unwrap()
}

fn bundle(authority: &CertificateAuthority) -> TrustBundle {
    TrustBundle::from_pem(authority.root_pem().as_bytes()).unwrap()
}

fn id(domain: &str) -> SpiffeId {
    SpiffeId::workload(domain, "bookinfo", "reviews").unwrap()
}

fn check(verifier: &PeerVerifier, issued: &Issued, at: SystemTime) -> Result<CertificateFacts, Error> {
    let leaf = CertificateDer::from_pem_slice(issued.certificate_pem.as_bytes()).unwrap();
    let above: Vec<_> =
        CertificateDer::pem_slice_iter(issued.intermediates_pem.as_bytes()).map(Result::unwrap).collect();
    verifier.verify(&leaf, &above, KeyUsage::client_auth(), unix(at))
}

fn two_domains() -> (CertificateAuthority, CertificateAuthority, Roots) {
    let (west, east) = (authority("west.local"), authority("east.local"));
    let mut bundles = TrustBundles::single("west.local", bundle(&west));
    bundles.insert("east.local", bundle(&east));
    (west, east, Roots::ByTrustDomain(Arc::new(bundles)))
}

#[test]
fn each_domain_vouches_for_itself_only() {
    let (west, east, roots) = two_domains();
    let verifier = PeerVerifier::new(roots, vec![]);
    for (authority, domain, accepted) in [
        (&west, "west.local", true),
        (&east, "east.local", true),
        (&east, "west.local", false),
        (&west, "east.local", false),
        (&west, "north.local", false),
    ] {
        let issued = authority.issue(&id(domain), &[], now(), DAY).unwrap();
        assert_eq!(check(&verifier, &issued, now()).is_ok(), accepted, "{domain}");
    }
}

#[test]
fn validity_is_checked_at_the_given_time() {
    let (west, _, roots) = two_domains();
    let verifier = PeerVerifier::new(roots, vec![]);
    let issued = west.issue(&id("west.local"), &[], now(), DAY).unwrap();
    assert!(check(&verifier, &issued, now() + DAY - Duration::from_secs(1)).is_ok());
    let late = check(&verifier, &issued, now() + DAY + Duration::from_secs(1)).unwrap_err();
    assert_eq!(late, Error::InvalidCertificate(CertificateError::Expired));
}

#[test]
fn names_are_matched_after_the_chain() {
    let (west, _, roots) = two_domains();
    let issued = west.issue(&id("west.local"), &["istiod.istio-system.svc".into()], now(), DAY).unwrap();
    for (matcher, accepted) in [
        (SanMatcher::Exact("spiffe://west.local/ns/bookinfo/sa/reviews".into()), true),
        (SanMatcher::Exact("spiffe://west.local/ns/bookinfo/sa/review".into()), false),
        (SanMatcher::Prefix("spiffe://west.local/".into()), true),
        (SanMatcher::Prefix("spiffe://east.local/".into()), false),
        (SanMatcher::Exact("istiod.istio-system.svc".into()), true),
        (SanMatcher::Suffix("/sa/reviews".into()), true),
    ] {
        let verifier = PeerVerifier::new(roots.clone(), vec![matcher.clone()]);
        assert_eq!(check(&verifier, &issued, now()).is_ok(), accepted, "{matcher:?}");
    }
}

#[test]
fn a_refusal_says_what_was_shown() {
    let (west, _, roots) = two_domains();
    let issued = west.issue(&id("west.local"), &[], now(), DAY).unwrap();
    let verifier = PeerVerifier::new(roots, vec![SanMatcher::Exact("spiffe://west.local/ns/a/sa/b".into())]);
    let error = check(&verifier, &issued, now()).unwrap_err().to_string();
    assert!(error.contains("spiffe://west.local/ns/bookinfo/sa/reviews"), "{error}");
}

#[test]
fn a_request_gets_the_callers_identity_whatever_it_asks_for() {
    let west = authority("west.local");
    let key = KeyPair::generate().unwrap();
    let asked = CertificateParams::new(vec!["kubernetes.default".into()]).unwrap();
    let csr = asked.serialize_request(&key).unwrap().pem().unwrap();
    let issued = west.sign(&csr, &id("west.local"), now(), DAY).unwrap();
    let leaf = CertificateDer::from_pem_slice(issued.certificate_pem.as_bytes()).unwrap();
    let facts = CertificateFacts::from_der(&leaf).unwrap();
    assert_eq!(facts.spiffe_id().unwrap(), id("west.local"));
    assert!(facts.dns_names.is_empty());
    assert!(issued.key_pem.is_none());
    // Signed again, the same key is another certificate.
    let again = west.sign(&csr, &id("west.local"), now(), DAY).unwrap();
    let again = CertificateDer::from_pem_slice(again.certificate_pem.as_bytes()).unwrap();
    assert_ne!(CertificateFacts::from_der(&again).unwrap().serial, facts.serial);
    let forged = csr.replace('A', "B");
    assert!(west.sign(&forged, &id("west.local"), now(), DAY).is_err());
}

#[test]
fn a_leaf_never_outlives_its_authority() {
    let west = CertificateAuthority::self_signed("west.local", now(), DAY).unwrap();
    let issued = west.issue(&id("west.local"), &[], now(), DAY * 30).unwrap();
    assert_eq!(issued.not_after, now() + DAY);
    assert!(matches!(
        west.issue(&id("west.local"), &[], now() + DAY * 2, DAY),
        Err(crate::AuthorityError::Expired)
    ));
}

#[test]
fn a_signing_certificate_is_no_svid() {
    let (west, _, roots) = two_domains();
    let verifier = PeerVerifier::new(roots, vec![]);
    let root = CertificateDer::from_pem_slice(west.root_pem().as_bytes()).unwrap();
    assert!(verifier.verify(&root, &[], KeyUsage::client_auth(), unix(now())).is_err());
}

#[test]
fn an_authority_opens_again_from_what_it_stored() {
    let west = authority("west.local");
    let again =
        CertificateAuthority::open(west.certificate_pem(), west.key_pem(), west.root_pem(), "").unwrap();
    let verifier = PeerVerifier::new(
        Roots::ByTrustDomain(Arc::new(TrustBundles::single("west.local", bundle(&west)))),
        vec![],
    );
    let issued = again.issue(&id("west.local"), &[], now(), DAY).unwrap();
    assert!(check(&verifier, &issued, now()).is_ok());
    assert!(issued.intermediates_pem.is_empty());
    let east = authority("east.local");
    assert!(CertificateAuthority::open(west.certificate_pem(), east.key_pem(), west.root_pem(), "").is_err());
}
