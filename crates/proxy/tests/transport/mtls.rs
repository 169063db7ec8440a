//! Who is let in by mutual TLS, who is refused, and what the counters say of it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::config::*;
use crate::support::tls::{Authority, Client, Identity, V12, V13};
use crate::support::{Config, Program, Proxy, eventually, http_on, on_each};

const COUNTERS: [&str; 6] = [
    "handshake",
    "connection_error",
    "no_certificate",
    "fail_verify_error",
    "fail_verify_no_cert",
    "fail_verify_san",
];

/// What came of a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Accepted,
    /// Accepted without a certificate.
    Anonymous,
    NoCertificate,
    /// The chain is not believed.
    Chain,
    /// The name is not accepted.
    Name,
}

impl Verdict {
    /// The counters that grow, as Envoy's documentation has them.
    fn counted(self) -> &'static [&'static str] {
        match self {
            Verdict::Accepted => &["handshake"],
            Verdict::Anonymous => &["handshake", "no_certificate"],
            Verdict::NoCertificate => &["fail_verify_no_cert"],
            Verdict::Chain => &["fail_verify_error"],
            Verdict::Name => &["fail_verify_san"],
        }
    }
}

fn spiffe_validator(domains: &[(&str, &str)]) -> Value {
    let domains: Vec<Value> = domains
        .iter()
        .map(|(name, root)| json!({"name": name, "trust_bundle": {"inline_string": root}}))
        .collect();
    json!({"custom_validator_config": {
        "name": "envoy.tls.cert_validator.spiffe",
        "typed_config": any(
            "extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig",
            json!({"trust_domains": domains}),
        ),
    }})
}

fn names(matchers: Value) -> Value {
    let list: Vec<Value> = matchers
        .as_array()
        .unwrap()
        .iter()
        .map(|matcher| json!({"san_type": "URI", "matcher": matcher}))
        .collect();
    json!({"match_typed_subject_alt_names": list})
}

/// A listener that answers `ok` over TLS.
fn secured(name: &str, server: &Identity, validation: Option<Value>, required: bool) -> Value {
    let mut common = json!({"tls_certificates": server.config()});
    if let Some(validation) = validation {
        common["validation_context"] = validation;
    }
    let tls = downstream_tls(common, json!({"require_client_certificate": required}));
    listener(name, vec![with(chain(answering(name, "ok")), tls)])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_are_let_in_or_refused_for_the_right_reason() {
    let (west, east) = (Authority::new("west.test"), Authority::new("east.test"));
    let server = west.account("server");
    let trusted = |root: &Authority| json!({"trusted_ca": {"inline_string": root.root()}});
    let both = format!("{}{}", west.root(), east.root());
    let accepts = |matchers: Value| with(trusted(&west), names(matchers));
    let two_domains = spiffe_validator(&[("west.test", west.root()), ("east.test", east.root())]);
    let contexts = [
        ("any", Some(trusted(&west)), true),
        ("both", Some(json!({"trusted_ca": {"inline_string": both}})), true),
        ("exact", Some(accepts(json!([{"exact": "spiffe://west.test/ns/shop/sa/cart"}]))), true),
        ("prefix", Some(accepts(json!([{"prefix": "spiffe://west.test/"}]))), true),
        (
            "prefix-both",
            Some(with(
                json!({"trusted_ca": {"inline_string": both}}),
                names(json!([{"prefix": "spiffe://west.test/"}])),
            )),
            true,
        ),
        ("suffix", Some(accepts(json!([{"suffix": "/sa/cart"}]))), true),
        ("contains", Some(accepts(json!([{"contains": "/ns/shop/"}]))), true),
        ("regex", Some(accepts(json!([{"safe_regex": {"regex": "spiffe://[^/]+/ns/shop/sa/ca.*"}}]))), true),
        (
            "one-of",
            Some(accepts(json!([{"exact": "spiffe://west.test/ns/x/sa/y"}, {"suffix": "/sa/cart"}]))),
            true,
        ),
        ("ignore-case", Some(accepts(json!([{"suffix": "/SA/CART", "ignore_case": true}]))), true),
        ("optional", Some(trusted(&west)), false),
        ("unverified", None, false),
        ("spiffe", Some(two_domains.clone()), true),
        ("spiffe-west", Some(spiffe_validator(&[("west.test", west.root())])), true),
        ("spiffe-name", Some(with(two_domains, names(json!([{"suffix": "/sa/cart"}])))), true),
    ];
    let cart = west.account("cart");
    let other = west.account("other");
    let foreign = east.account("cart");
    // The names of the one domain, signed by the other.
    let forged = east.signed("spiffe://west.test/ns/shop/sa/cart", &[], std::time::SystemTime::now());
    let (expired, early, signing) = (west.expired("cart"), west.not_yet_valid("cart"), west.signing("cart"));
    use Verdict::{Accepted, Anonymous, Chain, Name, NoCertificate};
    let cases: &[(&str, &str, Option<&Identity>, Verdict)] = &[
        ("any", "one of ours", Some(&cart), Accepted),
        ("any", "nothing", None, NoCertificate),
        ("any", "of another root", Some(&foreign), Chain),
        ("any", "forged", Some(&forged), Chain),
        ("any", "expired", Some(&expired), Chain),
        ("any", "not yet valid", Some(&early), Chain),
        ("any", "a signing certificate", Some(&signing), Chain),
        ("both", "of either root", Some(&foreign), Accepted),
        ("exact", "cart", Some(&cart), Accepted),
        ("exact", "other", Some(&other), Name),
        ("exact", "foreign cart", Some(&foreign), Chain),
        ("prefix", "cart", Some(&cart), Accepted),
        ("prefix-both", "cart", Some(&cart), Accepted),
        ("prefix-both", "foreign cart", Some(&foreign), Name),
        ("suffix", "cart", Some(&cart), Accepted),
        ("suffix", "other", Some(&other), Name),
        ("contains", "other", Some(&other), Accepted),
        ("regex", "cart", Some(&cart), Accepted),
        ("regex", "other", Some(&other), Name),
        ("one-of", "cart", Some(&cart), Accepted),
        ("one-of", "other", Some(&other), Name),
        ("ignore-case", "cart", Some(&cart), Accepted),
        ("ignore-case", "other", Some(&other), Name),
        ("optional", "nothing", None, Anonymous),
        ("optional", "cart", Some(&cart), Accepted),
        ("optional", "foreign", Some(&foreign), Chain),
        ("optional", "expired", Some(&expired), Chain),
        ("unverified", "nothing", None, Anonymous),
        ("spiffe", "cart", Some(&cart), Accepted),
        ("spiffe", "foreign cart", Some(&foreign), Accepted),
        ("spiffe", "forged: a bundle vouches for its own domain only", Some(&forged), Chain),
        ("spiffe", "nothing", None, NoCertificate),
        ("spiffe", "expired", Some(&expired), Chain),
        ("spiffe", "a signing certificate", Some(&signing), Chain),
        ("spiffe-west", "cart", Some(&cart), Accepted),
        ("spiffe-west", "of a domain that is not known", Some(&foreign), Chain),
        ("spiffe-west", "forged", Some(&forged), Chain),
        ("spiffe-name", "cart", Some(&cart), Accepted),
        ("spiffe-name", "other", Some(&other), Name),
    ];
    on_each(async |program| {
        let listeners = contexts
            .iter()
            .map(|(name, validation, required)| secured(name, &server, validation.clone(), *required))
            .collect();
        let proxy = Proxy::start(program, Config { listeners, ..Config::default() }).await;
        let mut wrong = Vec::new();
        let mut addresses = BTreeMap::new();
        for (name, ..) in &contexts {
            addresses.insert(*name, proxy.address(name).await);
        }
        let mut known = BTreeMap::<_, Counters>::new();
        for (context, what, identity, expected) in cases {
            // An SVID must not be a signing certificate. Envoy looks only where SPIFFE was asked for; ours always does.
            if program == Program::Envoy && (*context, *what) == ("any", "a signing certificate") {
                continue;
            }
            for versions in [&V13, &V12] {
                let before = known.entry(*context).or_default().clone();
                let client =
                    Client { identity: identity.cloned(), versions: Some(versions), ..Client::default() };
                let answer = match client.connect(addresses[context]).await {
                    Ok(stream) => http_on(stream, "GET", "/", "").await,
                    Err(error) => Err(error),
                };
                let accepted = matches!(expected, Accepted | Anonymous);
                let now = eventually("some counter", async || {
                    let now = counters(&proxy, context).await;
                    (now != before).then_some(now)
                })
                .await;
                let number = |map: &Counters, name| map.get(name).copied().unwrap_or_default();
                let more = |name: &&'static str| number(&now, *name) > number(&before, *name);
                let grown: Vec<_> = COUNTERS.iter().copied().filter(more).collect();
                known.insert(*context, now);
                if answer.is_ok() != accepted || grown != expected.counted() {
                    let version = versions[0].version;
                    wrong.push(format!(
                        "{context}, {what}, {version:?}: expected {expected:?}, got {answer:?} and {grown:?}"
                    ));
                }
            }
        }
        assert!(wrong.is_empty(), "{program:?}:\n{}", wrong.join("\n"));
    })
    .await;
}

type Counters = BTreeMap<&'static str, u64>;

/// Those of the listener that are not zero.
async fn counters(proxy: &Proxy, listener: &str) -> Counters {
    let prefix = format!("listener.{listener}.ssl.");
    let all = proxy.stats_of(&prefix).await;
    let one = |name: &&'static str| Some((*name, *all.get(&format!("{prefix}{name}"))?));
    COUNTERS.iter().filter_map(one).filter(|(_, value)| *value > 0).collect()
}
