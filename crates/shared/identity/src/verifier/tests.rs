use std::time::SystemTime;

use rcgen::{ExtendedKeyUsagePurpose, SanType};
use rustls_pki_types::pem::PemObject;

use super::*;
use crate::fixture::{
    DAY, SECOND, authority, bundle, der, id, intermediate, leaf, now, params, self_signed, signed, unix,
};
use crate::{CertificateAuthority, Issued};

/// What a verifier says of a client that shows `issued`.
fn check(verifier: &PeerVerifier, issued: &Issued, at: SystemTime) -> Result<CertificateFacts, Error> {
    let above: Vec<_> =
        CertificateDer::pem_slice_iter(issued.intermediates_pem.as_bytes()).map(Result::unwrap).collect();
    verifier.verify(&leaf(issued), &above, KeyUsage::client_auth(), unix(at))
}

fn check_der(verifier: &PeerVerifier, leaf: &CertificateDer<'_>) -> Result<CertificateFacts, Error> {
    verifier.verify(leaf, &[], KeyUsage::client_auth(), unix(now()))
}

fn two_domains() -> (CertificateAuthority, CertificateAuthority, Roots) {
    let (west, east) = (authority("west.local"), authority("east.local"));
    let mut bundles = TrustBundles::single("west.local", bundle(&west));
    bundles.insert("east.local", bundle(&east));
    (west, east, Roots::ByTrustDomain(Arc::new(bundles)))
}

fn any(authority: &CertificateAuthority) -> Roots {
    Roots::Any(Arc::new(bundle(authority)))
}

fn issue(authority: &CertificateAuthority, domain: &str) -> Issued {
    authority.issue(&id(domain), &[], now(), DAY).unwrap()
}

fn certificate_error(error: CertificateError) -> Error {
    Error::InvalidCertificate(error)
}

/// Reason of a refusal by identity or name.
fn reason(result: Result<CertificateFacts, Error>) -> String {
    match result.unwrap_err() {
        Error::InvalidCertificate(CertificateError::Other(OtherError(inner))) => inner.to_string(),
        other => panic!("another error: {other:?}"),
    }
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
    ] {
        let found = check(&verifier, &issue(authority, domain), now());
        match found {
            Ok(facts) => assert!(accepted && facts.spiffe_id() == Ok(id(domain)), "{domain}"),
            Err(error) => {
                assert!(!accepted, "{domain}");
                assert_eq!(error, certificate_error(CertificateError::UnknownIssuer));
            }
        }
    }
}

#[test]
fn nobody_of_an_unknown_domain_is_believed() {
    let (west, _, roots) = two_domains();
    let found = check(&PeerVerifier::new(roots, vec![]), &issue(&west, "north.local"), now());
    assert_eq!(reason(found), r#"trust domain "north.local" of the peer is not trusted here"#);
}

#[test]
fn trust_domains_are_compared_whole() {
    let west = authority("west.local");
    for domain in ["local", "sub.west.local", "west.local.example", "west"] {
        let bundles = TrustBundles::single(domain, bundle(&west));
        let verifier = PeerVerifier::new(Roots::ByTrustDomain(Arc::new(bundles)), vec![]);
        assert!(
            reason(check(&verifier, &issue(&west, "west.local"), now())).contains("not trusted"),
            "{domain}"
        );
    }
}

#[test]
fn an_authority_that_is_not_in_the_bundle_is_not_believed() {
    let (_, _, roots) = two_domains();
    let verifier = PeerVerifier::new(roots, vec![]);
    for (subject, error) in
        [("other.local", CertificateError::UnknownIssuer), ("west.local", CertificateError::BadSignature)]
    {
        let found = check(&verifier, &issue(&authority(subject), "west.local"), now());
        assert_eq!(found, Err(certificate_error(error)), "an authority that calls itself {subject}");
    }
}

#[test]
fn a_certificate_that_vouches_for_itself_is_not_believed() {
    let (_, _, roots) = two_domains();
    let (certificate, _) = self_signed(&params(&["spiffe://west.local/ns/bookinfo/sa/reviews"]));
    assert!(check_der(&PeerVerifier::new(roots, vec![]), &certificate).is_err());
}

#[test]
fn a_changed_certificate_is_not_believed() {
    let (west, _, roots) = two_domains();
    let mut changed = leaf(&issue(&west, "west.local")).to_vec();
    let at = changed.windows(7).position(|bytes| bytes == b"reviews").unwrap();
    changed[at..at + 7].copy_from_slice(b"ratings");
    let found = check_der(&PeerVerifier::new(roots, vec![]), &CertificateDer::from(changed));
    assert_eq!(found, Err(certificate_error(CertificateError::BadSignature)));
}

#[test]
fn both_roots_are_believed_while_one_is_replaced() {
    let (old, new) = (authority("west.local"), authority("west.local"));
    let both = bundle(&old).merged(&bundle(&new));
    let roots = Roots::ByTrustDomain(Arc::new(TrustBundles::single("west.local", both)));
    let verifier = PeerVerifier::new(roots, vec![]);
    for authority in [&old, &new] {
        assert!(check(&verifier, &issue(authority, "west.local"), now()).is_ok());
    }
}

#[test]
fn validity_is_checked_at_the_given_time() {
    let (west, _, roots) = two_domains();
    let verifier = PeerVerifier::new(roots, vec![]);
    let issued = issue(&west, "west.local");
    let skew = SECOND * 120;
    assert!(check(&verifier, &issued, now() - skew).is_ok());
    assert!(check(&verifier, &issued, now() + DAY - SECOND).is_ok());
    assert_eq!(
        check(&verifier, &issued, now() - skew - SECOND),
        Err(certificate_error(CertificateError::NotValidYet))
    );
    assert_eq!(
        check(&verifier, &issued, now() + DAY + SECOND),
        Err(certificate_error(CertificateError::Expired))
    );
}

#[test]
fn an_intermediate_links_a_leaf_to_the_root() {
    let (west, _, roots) = two_domains();
    let verifier = PeerVerifier::new(roots, vec![]);
    let mut issued = intermediate(&west, false).issue(&id("west.local"), &[], now(), DAY).unwrap();
    assert!(check(&verifier, &issued, now()).is_ok());
    issued.intermediates_pem.clear();
    assert_eq!(check(&verifier, &issued, now()), Err(certificate_error(CertificateError::UnknownIssuer)));
}

#[test]
fn an_intermediate_of_one_domain_vouches_for_no_other() {
    let (west, _, roots) = two_domains();
    let issued = intermediate(&west, false).issue(&id("east.local"), &[], now(), DAY).unwrap();
    let found = check(&PeerVerifier::new(roots, vec![]), &issued, now());
    assert_eq!(found, Err(certificate_error(CertificateError::UnknownIssuer)));
}

#[test]
fn a_leaf_cannot_sign_another() {
    let (west, _, roots) = two_domains();
    let middle = issue(&west, "west.local");
    let key = rcgen::KeyPair::from_pem(middle.key_pem.as_deref().unwrap()).unwrap();
    let issuer = rcgen::Issuer::from_ca_cert_pem(&middle.certificate_pem, key).unwrap();
    let forged: CertificateDer<'_> = params(&["spiffe://west.local/ns/istio-system/sa/istiod"])
        .signed_by(&rcgen::KeyPair::generate().unwrap(), &issuer)
        .unwrap()
        .into();
    let verifier = PeerVerifier::new(roots, vec![]);
    assert!(verifier.verify(&forged, &[leaf(&middle)], KeyUsage::client_auth(), unix(now())).is_err());
}

#[test]
fn an_authority_opens_again_from_what_it_stored() {
    let (west, _, roots) = two_domains();
    let again =
        CertificateAuthority::open(west.certificate_pem(), west.key_pem(), west.root_pem(), "").unwrap();
    assert!(check(&PeerVerifier::new(roots, vec![]), &issue(&again, "west.local"), now()).is_ok());
}

#[test]
fn what_is_no_certificate_is_refused_as_such() {
    let (_, _, roots) = two_domains();
    let found = check_der(&PeerVerifier::new(roots, vec![]), &CertificateDer::from(&b"nothing"[..]));
    assert_eq!(found, Err(certificate_error(CertificateError::BadEncoding)));
}

#[test]
fn only_svids_are_believed_by_trust_domain() {
    let (west, _, roots) = two_domains();
    let verifier = PeerVerifier::new(roots, vec![]);
    const ID: &str = "spiffe://west.local/ns/a/sa/b";
    assert!(check_der(&verifier, &signed(&west, &params(&[ID]))).is_ok(), "the neighbour that is one");
    for (what, uris) in
        [("no URI", &[][..]), ("two URIs", &[ID, ID]), ("another URI", &["https://west.local/x"])]
    {
        let found = reason(check_der(&verifier, &signed(&west, &params(uris))));
        assert!(found.starts_with("peer certificate is not an SVID"), "{what}: {found}");
    }
    assert!(reason(check_der(&verifier, &der(west.root_pem()))).contains("may sign others"));
}

#[test]
fn any_name_will_do_below_roots_without_trust_domain() {
    let (west, east) = (authority("west.local"), authority("east.local"));
    let verifier = PeerVerifier::new(any(&west), vec![]);
    assert!(check(&verifier, &issue(&west, "anywhere.local"), now()).is_ok());
    assert!(check_der(&verifier, &signed(&west, &params(&[]))).is_ok(), "no SVID at all");
    assert_eq!(
        check(&verifier, &issue(&east, "west.local"), now()),
        Err(certificate_error(CertificateError::UnknownIssuer))
    );
}

/// A certificate of west with a URI, a DNS name and an IP address.
fn with_all_names(west: &CertificateAuthority) -> CertificateDer<'static> {
    let mut params = params(&["spiffe://west.local/ns/bookinfo/sa/reviews"]);
    params.subject_alt_names.push(SanType::DnsName("istiod.istio-system.svc".try_into().unwrap()));
    params.subject_alt_names.push(SanType::IpAddress("192.0.2.1".parse().unwrap()));
    signed(west, &params)
}

#[test]
fn names_are_matched_as_the_matcher_says() {
    let west = authority("west.local");
    let certificate = with_all_names(&west);
    let exact = |text: &str| SanMatcher::Exact(text.into());
    let prefix = |text: &str| SanMatcher::Prefix(text.into());
    let suffix = |text: &str| SanMatcher::Suffix(text.into());
    let contains = |text: &str| SanMatcher::Contains(text.into());
    for (matchers, accepted) in [
        (vec![exact("spiffe://west.local/ns/bookinfo/sa/reviews")], true),
        (vec![exact("spiffe://west.local/ns/bookinfo/sa/review")], false),
        (vec![exact("spiffe://west.local/ns/bookinfo/sa/reviews2")], false),
        (vec![exact("")], false),
        (vec![exact("istiod.istio-system.svc")], true),
        (vec![exact("istiod")], false),
        (vec![exact("192.0.2.1")], true),
        (vec![exact("192.0.2.10")], false),
        (vec![prefix("spiffe://west.local/")], true),
        (vec![prefix("spiffe://east.local/")], false),
        (vec![prefix("west.local")], false),
        (vec![suffix("/sa/reviews")], true),
        (vec![suffix("/sa/")], false),
        (vec![contains("/ns/bookinfo/")], true),
        (vec![contains("/ns/shop/")], false),
        (vec![exact("nobody"), exact("192.0.2.1")], true),
        (vec![exact("nobody"), exact("nothing")], false),
        (vec![], true),
    ] {
        let verifier = PeerVerifier::new(any(&west), matchers.clone());
        assert_eq!(check_der(&verifier, &certificate).is_ok(), accepted, "{matchers:?}");
    }
}

#[test]
fn a_check_sees_each_name_with_its_kind() {
    let west = authority("west.local");
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let matcher = SanMatcher::check({
        let seen = seen.clone();
        move |kind, name: &str| {
            seen.lock().unwrap().push((kind, name.to_owned()));
            false
        }
    });
    assert_eq!(format!("{matcher:?}"), "Check(NameCheck)");
    assert!(check_der(&PeerVerifier::new(any(&west), vec![matcher]), &with_all_names(&west)).is_err());
    assert_eq!(
        *seen.lock().unwrap(),
        [
            (SanKind::Uri, "spiffe://west.local/ns/bookinfo/sa/reviews".to_owned()),
            (SanKind::Dns, "istiod.istio-system.svc".to_owned()),
            (SanKind::Ip, "192.0.2.1".to_owned()),
        ]
    );
}

#[test]
fn a_check_decides() {
    let west = authority("west.local");
    let matcher = SanMatcher::check(|kind, name| kind == SanKind::Dns && name.starts_with("istiod"));
    assert!(check_der(&PeerVerifier::new(any(&west), vec![matcher]), &with_all_names(&west)).is_ok());
}

#[test]
fn an_accepted_name_does_not_make_up_for_the_chain() {
    let (west, east) = (authority("west.local"), authority("east.local"));
    let verifier = PeerVerifier::new(any(&west), vec![SanMatcher::Prefix("spiffe://".into())]);
    let error = check(&verifier, &issue(&east, "west.local"), now()).unwrap_err();
    assert_eq!(error, certificate_error(CertificateError::UnknownIssuer));
}

#[test]
fn a_refusal_says_what_was_shown() {
    let west = authority("west.local");
    let verifier = PeerVerifier::new(any(&west), vec![SanMatcher::Exact("nobody".into())]);
    assert_eq!(
        reason(check_der(&verifier, &with_all_names(&west))),
        "no name of the peer certificate is accepted here; it has \
         spiffe://west.local/ns/bookinfo/sa/reviews, istiod.istio-system.svc"
    );
}

#[test]
fn only_a_refused_name_is_a_name_refusal() {
    let (west, _, roots) = two_domains();
    let nobody = vec![SanMatcher::Exact("nobody".into())];
    let name = check(&PeerVerifier::new(roots.clone(), nobody), &issue(&west, "west.local"), now());
    assert!(is_name_refusal(&name.unwrap_err()));
    let verifier = PeerVerifier::new(roots, vec![]);
    for (what, error) in [
        ("trust domain", check(&verifier, &issue(&west, "north.local"), now())),
        ("identity", check_der(&verifier, &signed(&west, &params(&[])))),
        ("chain", check(&verifier, &issue(&west, "east.local"), now())),
        ("time", check(&verifier, &issue(&west, "west.local"), now() + DAY * 2)),
    ] {
        assert!(!is_name_refusal(&error.unwrap_err()), "{what}");
    }
    assert!(!is_name_refusal(&Error::HandshakeNotComplete));
}

/// Whether a certificate for these purposes is accepted as a server's and as a client's.
fn purposes(purposes: &[ExtendedKeyUsagePurpose]) -> (bool, bool) {
    let (west, _, roots) = two_domains();
    let mut params = params(&["spiffe://west.local/a"]);
    params.extended_key_usages = purposes.to_vec();
    let certificate = signed(&west, &params);
    let verifier = PeerVerifier::new(roots, vec![]);
    let server = ServerName::try_from("anything.example").unwrap();
    (
        verifier.verify_server_cert(&certificate, &[], &server, &[], unix(now())).is_ok(),
        verifier.verify_client_cert(&certificate, &[], unix(now())).is_ok(),
    )
}

#[test]
fn a_certificate_serves_the_sides_that_it_is_for() {
    use ExtendedKeyUsagePurpose::{ClientAuth, CodeSigning, ServerAuth};
    assert_eq!(purposes(&[ServerAuth, ClientAuth]), (true, true));
    assert_eq!(purposes(&[ServerAuth]), (true, false));
    assert_eq!(purposes(&[ClientAuth]), (false, true));
    assert_eq!(purposes(&[CodeSigning]), (false, false));
    assert_eq!(purposes(&[]), (true, true), "without the extension it is for everything (RFC 5280 4.2.1.12)");
}

#[test]
fn strangers_are_not_told_whose_signatures_are_believed() {
    let (_, _, roots) = two_domains();
    let verifier = PeerVerifier::new(roots, vec![]);
    assert!(ClientCertVerifier::root_hint_subjects(&verifier).is_empty());
}

mod handshake;
