//! Whom a TLS context trusts, what it shows, and what it offers.

use std::time::{Duration, SystemTime};

use portolan_identity::CertificateAuthority;
use serde_json::{Value, json};

use super::*;
use crate::testing::message;
use crate::value::{External, unread};

const TLS: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3";

fn authority(domain: &str) -> CertificateAuthority {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    CertificateAuthority::self_signed(domain, now, Duration::from_secs(86_400)).unwrap()
}

fn pem() -> Value {
    json!({"inline_string": authority("west.local").root_pem()})
}

fn context(json: Value) -> tls::CertificateValidationContext {
    message(json)
}

fn common(json: Value) -> Valid<Sources> {
    Sources::compile(&message(json), unread)
}

/// The matchers of a context, which must be these many.
fn matchers<const N: usize>(json: Value) -> [SanMatcher; N] {
    names(&context(json)).unwrap().try_into().unwrap()
}

fn typed(kind: &str, matcher: Value) -> SanMatcher {
    let [one] = matchers(json!({"match_typed_subject_alt_names": [{"san_type": kind, "matcher": matcher}]}));
    one
}

#[test]
fn a_typed_name_matches_names_of_its_kind_only() {
    for (kind, wanted) in [("URI", SanKind::Uri), ("DNS", SanKind::Dns), ("IP_ADDRESS", SanKind::Ip)] {
        let one = typed(kind, json!({"prefix": "name"}));
        for shown in [SanKind::Uri, SanKind::Dns, SanKind::Ip] {
            assert_eq!(one.matches(shown, "name"), shown == wanted, "{kind} {shown:?}");
        }
        assert!(!one.matches(wanted, "other"), "{kind}");
    }
}

#[test]
fn a_name_without_a_type_matches_names_of_all_kinds() {
    let [one] = matchers(json!({"match_subject_alt_names": [{"exact": "name"}]}));
    for shown in [SanKind::Uri, SanKind::Dns, SanKind::Ip] {
        assert!(one.matches(shown, "name"), "{shown:?}");
        assert!(!one.matches(shown, "other"), "{shown:?}");
    }
}

#[test]
fn host_names_may_be_shown_as_wildcards() {
    let one = typed("DNS", json!({"exact": "a.example.com"}));
    for (shown, wanted) in [
        ("a.example.com", true),
        ("A.Example.com", true),
        ("b.example.com", false),
        ("*.example.com", true),
        ("*.EXAMPLE.com", true),
        ("*.com", false),
        ("*.a.example.com", false),
        ("*", false),
    ] {
        assert_eq!(one.matches(SanKind::Dns, shown), wanted, "{shown}");
    }
    assert!(!typed("DNS", json!({"exact": ".example.com"})).matches(SanKind::Dns, "*.example.com"));
    assert!(!typed("DNS", json!({"exact": "com"})).matches(SanKind::Dns, "*.com"));
}

#[test]
fn names_of_other_kinds_are_no_wildcards() {
    assert!(!typed("URI", json!({"exact": "a.example.com"})).matches(SanKind::Uri, "*.example.com"));
    assert!(!typed("URI", json!({"exact": "spiffe://a"})).matches(SanKind::Uri, "SPIFFE://A"));
}

#[test]
fn a_context_has_the_matchers_of_both_fields() {
    let [typed, any] = matchers(json!({
        "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": "spiffe://a"}}],
        "match_subject_alt_names": [{"exact": "spiffe://b"}],
    }));
    assert!(typed.matches(SanKind::Uri, "spiffe://a") && !typed.matches(SanKind::Uri, "spiffe://b"));
    assert!(any.matches(SanKind::Uri, "spiffe://b") && !any.matches(SanKind::Uri, "spiffe://a"));
    let [] = matchers(json!({}));
}

#[test]
fn checks_that_would_not_be_made_are_refused() {
    let pins = "verify_certificate_spki and verify_certificate_hash are not supported";
    for (json, reason) in [
        (json!({"verify_certificate_spki": ["x"]}), pins),
        (json!({"verify_certificate_hash": ["x"]}), pins),
        (json!({"crl": {}}), "crl is not supported"),
        (
            json!({"match_typed_subject_alt_names": [{"san_type": "EMAIL", "matcher": {"exact": "a"}}]}),
            "san_type: only URI, DNS and IP_ADDRESS are supported",
        ),
        (json!({"match_typed_subject_alt_names": [{"san_type": "URI"}]}), "missing matcher"),
        (json!({"match_subject_alt_names": [{}]}), "matcher: string matcher without pattern"),
    ] {
        assert_eq!(names(&context(json.clone())).unwrap_err().0, reason, "{json}");
        // Whoever compiles a context asks for its names.
        let error = common(json!({"validation_context": json})).unwrap_err().0;
        assert_eq!(error, format!("validation_context: {reason}"));
    }
}

/// A context with SPIFFE bundles.
fn spiffe(domains: Value) -> Value {
    json!({"custom_validator_config": {
        "name": "spiffe",
        "typed_config": {"@type": format!("{TLS}.SPIFFECertValidatorConfig"), "trust_domains": domains},
    }})
}

#[test]
fn a_trust_domain_has_its_own_roots() {
    let (west, east) = (authority("west.local"), authority("east.local"));
    let json = spiffe(json!([
        {"name": "west.local", "trust_bundle": {"inline_string": west.root_pem()}},
        {"name": "east.local", "trust_bundle": {"inline_string": east.root_pem()}},
    ]));
    let Some(Roots::ByTrustDomain(bundles)) = roots(&context(json), unread).unwrap() else { panic!() };
    assert_eq!(bundles.get("west.local").unwrap().to_pem(), west.root_pem());
    assert_eq!(bundles.get("east.local").unwrap().to_pem(), east.root_pem());
}

#[test]
fn a_bundle_that_cannot_be_known_here_is_left_out() {
    let json = spiffe(json!([{"name": "west.local", "trust_bundle": {"filename": "/bundle.pem"}}]));
    let Some(Roots::ByTrustDomain(bundles)) = roots(&context(json), unread).unwrap() else { panic!() };
    assert!(bundles.get("west.local").is_none());
}

#[test]
fn trusted_authorities_are_roots_for_any_name() {
    let json = json!({ "trusted_ca": pem() });
    let Some(Roots::Any(bundle)) = roots(&context(json), unread).unwrap() else { panic!() };
    assert_eq!(bundle.roots().len(), 1);
    assert!(roots(&context(json!({})), unread).unwrap().is_none());
    assert!(roots(&context(json!({"trusted_ca": {"filename": "/ca.pem"}})), unread).unwrap().is_none());
}

#[test]
fn a_file_is_read_by_the_loader() {
    fn loader(from: External<'_>) -> Valid<Option<Vec<u8>>> {
        assert_eq!(from, External::File("/ca.pem"));
        Ok(Some(authority("west.local").root_pem().into()))
    }
    let json = json!({"trusted_ca": {"filename": "/ca.pem"}});
    assert!(matches!(roots(&context(json), loader), Ok(Some(Roots::Any(_)))));
}

#[test]
fn roots_that_cannot_be_used_are_refused() {
    let custom = |config: Value| json!({"custom_validator_config": config});
    let other = json!({"name": "other", "typed_config": {"@type": format!("{TLS}.TlsParameters")}});
    let bad = json!({"inline_string": "no certificate"});
    for (json, reason) in [
        (custom(json!({"name": "x"})), "custom validator without typed_config"),
        (custom(other), "unsupported certificate validator"),
        (spiffe(json!([])), "SPIFFE validator without trust domains"),
        (spiffe(json!([{"name": "west.local"}])), "no bundle for trust domain west.local"),
        (spiffe(json!([{"name": "west.local", "trust_bundle": bad}])), "trust domain west.local: "),
        (json!({ "trusted_ca": bad }), ""),
        (json!({"trusted_ca": {}}), "empty data source"),
    ] {
        let error = roots(&context(json.clone()), unread).unwrap_err().0;
        assert!(error.starts_with(reason), "{json}: {error}");
        assert!(common(json!({"validation_context": json})).is_err(), "{json}");
    }
}

#[test]
fn sources_are_in_the_context_or_in_secrets() {
    let sources = common(json!({
        "tls_certificates": [{"private_key": {"inline_string": "k"}}],
        "tls_certificate_sds_secret_configs": [{"name": "own"}],
        "combined_validation_context": {
            "default_validation_context": {"match_subject_alt_names": [{"exact": "a"}]},
            "validation_context_sds_secret_config": {"name": "roots"},
        },
    }))
    .unwrap();
    assert!(matches!(sources.certificates[..], [CertificateSource::Inline(_), CertificateSource::Secret(_)]));
    assert_eq!(sources.validation.as_ref().unwrap().match_subject_alt_names.len(), 1);
    let mut needed = BTreeSet::new();
    sources.secret_names(&mut needed);
    assert_eq!(needed.into_iter().collect::<Vec<_>>(), ["own", "roots"]);
}

#[test]
fn validation_stands_in_the_context_or_in_a_secret() {
    let inside = common(json!({"validation_context": {"trusted_ca": pem()}})).unwrap();
    assert!(inside.validation.is_some() && inside.validation_secret.is_none());
    let secret = common(json!({"validation_context_sds_secret_config": {"name": "roots"}})).unwrap();
    assert!(secret.validation.is_none());
    assert_eq!(secret.validation_secret.as_deref(), Some("roots"));
    let none = common(json!({})).unwrap();
    assert!(none.validation.is_none() && none.validation_secret.is_none());
}

#[test]
fn providers_of_certificates_are_refused() {
    for (json, reason) in [
        (
            json!({"tls_certificate_provider_instance": {}}),
            "certificate providers and custom handshakers are not supported",
        ),
        (json!({"custom_handshaker": {}}), "certificate providers and custom handshakers are not supported"),
        (
            json!({"validation_context_certificate_provider": {"name": "x"}}),
            "validation context providers are not supported",
        ),
    ] {
        assert_eq!(common(json).unwrap_err().0, reason);
    }
}

fn secret(json: Value) -> Valid<()> {
    check_secret(&message(json), unread)
}

#[test]
fn a_secret_needs_a_content_that_can_be_used() {
    let key = json!({"inline_string": "key"});
    let missing = "tls_certificate: missing certificate_chain or private_key";
    for (json, reason) in [
        (json!({}), "secret without content"),
        (json!({"tls_certificate": {"private_key": key}}), missing),
        (json!({"tls_certificate": {"certificate_chain": pem()}}), missing),
        (
            json!({"tls_certificate": {"certificate_chain": {"inline_string": "x"}, "private_key": key}}),
            "certificate_chain: ",
        ),
        (
            json!({"tls_certificate": {"certificate_chain": {}, "private_key": key}}),
            "tls_certificate: certificate_chain: empty data source",
        ),
        (
            json!({"tls_certificate": {"certificate_chain": pem(), "private_key": {}}}),
            "tls_certificate: private_key: empty data source",
        ),
        (json!({"validation_context": {"crl": {}}}), "validation_context: crl is not supported"),
        (json!({"validation_context": {"trusted_ca": {}}}), "validation_context: empty data source"),
    ] {
        let error = secret(json.clone()).unwrap_err().0;
        assert!(error.starts_with(reason), "{json}: {error}");
    }
    for json in [
        json!({"tls_certificate": {"certificate_chain": pem(), "private_key": key}}),
        json!({"tls_certificate": {"certificate_chain": {"filename": "/c"}, "private_key": {"filename": "/k"}}}),
        json!({"validation_context": {"trusted_ca": pem()}}),
        json!({"generic_secret": {}}),
    ] {
        assert_eq!(secret(json.clone()), Ok(()), "{json}");
    }
}

#[test]
fn versions_are_1_2_and_1_3() {
    let of = |minimum: &str, maximum: &str| {
        let json = json!({"tls_minimum_protocol_version": minimum, "tls_maximum_protocol_version": maximum});
        Versions::compile(Some(&message(json)))
    };
    assert_eq!(Versions::compile(None), Ok(Versions::Both));
    for (minimum, maximum, wanted) in [
        ("TLS_AUTO", "TLS_AUTO", Versions::Both),
        ("TLSv1_0", "TLSv1_3", Versions::Both),
        ("TLSv1_2", "TLSv1_3", Versions::Both),
        ("TLSv1_2", "TLSv1_2", Versions::Only12),
        ("TLSv1_3", "TLSv1_3", Versions::Only13),
        ("TLSv1_3", "TLS_AUTO", Versions::Only13),
    ] {
        assert_eq!(of(minimum, maximum), Ok(wanted), "{minimum} {maximum}");
    }
    for maximum in ["TLSv1_0", "TLSv1_1"] {
        assert!(of("TLS_AUTO", maximum).is_err(), "{maximum}");
    }
}

fn server(json: Value, speaks_http: bool) -> Valid<ServerContext> {
    ServerContext::compile(&message(json), speaks_http, unread)
}

#[test]
fn a_server_asks_for_certificates_only_if_told_to() {
    assert!(server(json!({"require_client_certificate": true}), false).unwrap().require_client);
    assert!(!server(json!({"require_client_certificate": false}), false).unwrap().require_client);
    assert!(!server(json!({}), false).unwrap().require_client);
}

#[test]
fn a_server_that_speaks_http_takes_our_own_protocol_first() {
    let json = json!({"common_tls_context": {"alpn_protocols": ["h2", "http/1.1"]}});
    let plain = server(json.clone(), false).unwrap();
    assert_eq!(plain.alpn, [b"h2".to_vec(), b"http/1.1".to_vec()]);
    let http = server(json, true).unwrap();
    assert_eq!(http.alpn, [b"portolan-h2".to_vec(), b"h2".to_vec(), b"http/1.1".to_vec()]);
}

#[test]
fn a_server_has_the_sources_and_versions_of_its_context() {
    let json = json!({"common_tls_context": {
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_3"},
        "tls_certificate_sds_secret_configs": [{"name": "own"}],
    }});
    let context = server(json, false).unwrap();
    assert_eq!((context.versions, context.sources.certificates.len()), (Versions::Only13, 1));
    let error = server(json!({"common_tls_context": {"custom_handshaker": {}}}), false).unwrap_err().0;
    assert!(error.starts_with("common_tls_context: "), "{error}");
}

fn client(json: Value) -> Valid<ClientContext> {
    ClientContext::compile(&message(json), unread)
}

#[test]
fn a_client_asks_for_the_name_that_is_configured() {
    assert_eq!(client(json!({})).unwrap().sni, None);
    let name = "outbound_.9080_._.reviews.bookinfo.svc.cluster.local";
    let asked = client(json!({ "sni": name })).unwrap().sni.unwrap();
    assert_eq!(asked.to_str(), name);
    assert_eq!(client(json!({"sni": "no name"})).unwrap_err().0, "sni \"no name\" is not a host name");
}

#[test]
fn a_client_offers_what_its_context_says() {
    let context = client(json!({"common_tls_context": {
        "alpn_protocols": ["istio", "h2"],
        "tls_params": {"tls_maximum_protocol_version": "TLSv1_2"},
        "validation_context_sds_secret_config": {"name": "roots"},
    }}))
    .unwrap();
    assert_eq!(context.alpn, [b"istio".to_vec(), b"h2".to_vec()]);
    assert_eq!(context.versions, Versions::Only12);
    assert_eq!(context.sources.validation_secret.as_deref(), Some("roots"));
}
