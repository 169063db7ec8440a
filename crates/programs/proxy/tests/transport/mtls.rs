//! Who is let in by mutual TLS, who is refused, and what the counters say of it.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::config::*;
use crate::support::tls::{Authority, Client, Identity, V12, V13, server};
use crate::support::{Config, Program, Proxy, eventually, http, http_on, on_each};
use portolan_testing::Peer;

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_are_believed_or_refused_for_the_right_reason() {
    let (west, east) = (Authority::new("west.test"), Authority::new("east.test"));
    let peer = async |identity: &Identity| {
        let acceptor = server(identity, &[]);
        Peer::new(move |stream, _| {
            let acceptor = acceptor.clone();
            async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut some = [0; 1024];
                if stream.read(&mut some).await.is_ok_and(|count| count > 0) {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
                    let _ = stream.read(&mut some).await;
                }
            }
        })
        .await
    };
    let forged = east.signed("spiffe://west.test/ns/shop/sa/cart", &[], std::time::SystemTime::now());
    let wild = west.signed("spiffe://west.test/ns/shop/sa/x", &["*.shop.test"], std::time::SystemTime::now());
    let good = peer(&west.account("cart")).await;
    let other = peer(&west.account("other")).await;
    let foreign = peer(&east.account("cart")).await;
    let (forged, expired, wild) = (peer(&forged).await, peer(&west.expired("cart")).await, peer(&wild).await);
    let plain = Peer::name("this is not TLS at all").await;
    let exact = |kind: &str, text: &str| json!({"match_typed_subject_alt_names": [{"san_type": kind, "matcher": {"exact": text}}]});
    let cart = exact("URI", "spiffe://west.test/ns/shop/sa/cart");
    let trusted = with(json!({"trusted_ca": inline(west.root())}), cart.clone());
    let of = |names: Value| with(json!({"trusted_ca": inline(west.root())}), names);
    let domains =
        with(spiffe_validator(&[("west.test", west.root()), ("east.test", east.root())]), cart.clone());
    // Cluster, server, validation, and the counter that grows; `handshake` is a success.
    let cases: Vec<(&str, &Peer, Value, &str)> = vec![
        ("good", &good, trusted.clone(), "handshake"),
        ("name", &other, trusted.clone(), "fail_verify_san"),
        ("root", &foreign, trusted.clone(), "fail_verify_error"),
        ("forged", &forged, trusted.clone(), "fail_verify_error"),
        ("expired", &expired, trusted, "fail_verify_error"),
        ("plain", &plain, of(json!({})), "connection_error"),
        ("domains", &good, domains.clone(), "handshake"),
        ("domains-forged", &forged, domains.clone(), "fail_verify_error"),
        ("domains-foreign", &foreign, domains, "fail_verify_san"),
        ("host", &wild, of(exact("DNS", "cart.shop.test")), "handshake"),
        ("host-deeper", &wild, of(exact("DNS", "a.cart.shop.test")), "fail_verify_san"),
        ("host-other", &wild, of(exact("DNS", "cart.other.test")), "fail_verify_san"),
        // The right text in a name of another kind.
        ("kind", &good, of(exact("DNS", "spiffe://west.test/ns/shop/sa/cart")), "fail_verify_san"),
    ];
    let log = access_log("log", &["UPSTREAM_CLUSTER", "RESPONSE_FLAGS", "UPSTREAM_TRANSPORT_FAILURE_REASON"]);
    on_each(async |program| {
        let mut config = Config::default();
        for (name, peer, validation, _) in &cases {
            let routes = json!([{"match": {"prefix": "/"}, "route": {"cluster": name}}]);
            let manager = manager_with(name, routes, json!({"access_log": log}));
            config.listeners.push(listener(name, vec![chain(manager)]));
            let tls = upstream_tls(json!({"validation_context": validation}), json!({}));
            config.clusters.push(with(cluster(name, &[peer.address]), tls));
        }
        let proxy = Proxy::start(program, config).await;
        let mut wrong = Vec::new();
        for (at, (name, _, _, counter)) in cases.iter().enumerate() {
            let (status, body) = http(proxy.address(name).await, "GET", "/", "").await.unwrap();
            let prefix = format!("cluster.{name}.ssl.");
            let grown: Vec<_> = proxy.stats_of(&prefix).await.into_iter().collect();
            let of_ours = |name: &str| COUNTERS.iter().any(|counter| name == format!("{prefix}{counter}"));
            let grown: Vec<_> = grown
                .into_iter()
                .filter(|(name, value)| *value > 0 && of_ours(name))
                .map(|(name, _)| name[prefix.len()..].to_owned())
                // Where no certificate is asked for, none is shown; nobody counts that on this side.
                .filter(|name| name != "no_certificate")
                .collect();
            let line = proxy.log("log", at + 1).await.remove(at);
            let reason = line["UPSTREAM_TRANSPORT_FAILURE_REASON"].as_str().unwrap_or_default().to_owned();
            let right = match *counter {
                "handshake" => status == 200 && line["RESPONSE_FLAGS"] == "-",
                "connection_error" => status == 503 && line["RESPONSE_FLAGS"] == "UF" && !reason.is_empty(),
                _ => {
                    let named = reason.contains("CERTIFICATE_VERIFY_FAILED");
                    status == 503 && line["RESPONSE_FLAGS"] == "UF" && named
                }
            };
            if !right || grown != [*counter] {
                wrong.push(format!("{name}: expected {counter}, got {status} {body} {grown:?} {line}"));
            }
        }
        assert!(wrong.is_empty(), "{program:?}:\n{}", wrong.join("\n"));
    })
    .await;
}
