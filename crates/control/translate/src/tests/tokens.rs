//! How tokens are verified, and what is said of what a proxy cannot do.

use portolan_mesh::{Inputs, ObjectKey, ProxyNode};
use serde_json::{Value, json};

use super::{
    fixture,
    mesh::{self, Seen, list},
};
use crate::{Limitation, limitations::limitations};

/// A mesh whose workloads in `bookinfo` have these token rules.
fn with_rules(rules: &Value) -> portolan_mesh::Mesh {
    let mut inputs = Inputs::default();
    let spec = json!({"jwtRules": rules});
    let metadata = json!({"name": "j", "namespace": "bookinfo"});
    inputs.insert(json!({"kind": "RequestAuthentication", "metadata": metadata, "spec": spec})).unwrap();
    let known = r#"{"keys":[{"kty":"RSA"}]}"#;
    inputs.jwks.insert("https://keys".to_owned(), known.to_owned());
    inputs.jwks.insert("issuer-with-keys".to_owned(), known.to_owned());
    portolan_mesh::Mesh::from(&inputs)
}

fn sidecar(envoy: bool) -> ProxyNode {
    fixture::node("sidecar", "bookinfo", "reviews-v1-1", "10.64.0.11", &[], envoy)
}

/// The JWT filter for these token rules.
fn filter(rules: &Value) -> Option<Value> {
    let listener = Seen { mesh: with_rules(rules), node: sidecar(true) }.listener("virtualInbound");
    let mut managers = list(&listener["filter_chains"]).iter().map(|c| &c["filters"][0]["typed_config"]);
    let manager = managers.find(|m| !m["http_filters"].is_null()).unwrap();
    let found =
        list(&manager["http_filters"]).iter().find(|f| f["name"] == "envoy.filters.http.jwt_authn")?;
    Some(found["typed_config"].clone())
}

#[test]
fn an_envoy_verifies_tokens_as_the_rule_has_it() {
    let keys = r#"{"keys":[{"kty":"EC"}]}"#;
    let rule = json!([{"issuer": "i", "audiences": ["a"], "jwks": keys, "forwardOriginalToken": true,
        "outputPayloadToHeader": "x-p", "fromHeaders": [{"name": "x-t", "prefix": "T "}, {"name": "x-u"}],
        "fromParams": ["t"]}]);
    let missing = json!({"allow_missing": {}});
    assert_eq!(
        filter(&rule).unwrap(),
        json!({
            "bypass_cors_preflight": true,
            "providers": {"origins-0": {
                "issuer": "i", "audiences": ["a"], "forward": true, "forward_payload_header": "x-p",
                "from_headers": [{"name": "x-t", "value_prefix": "T "}, {"name": "x-u"}],
                "from_params": ["t"], "payload_in_metadata": "payload",
                "local_jwks": {"inline_string": keys},
            }},
            "rules": [{"match": {"prefix": "/"},
                "requires": {"requires_any": {"requirements": [{"provider_name": "origins-0"}, missing]}}}],
        })
    );
    assert_eq!(filter(&json!([])), None);
}

#[test]
fn with_several_issuers_each_token_is_good_or_absent() {
    let found = filter(&json!([{"issuer": "a"}, {"issuer": "b"}])).unwrap();
    let of = |name: &str| json!({"provider_name": name});
    let or_none = |name: &str| json!({"requires_any": {"requirements": [of(name), {"allow_missing": {}}]}});
    assert_eq!(
        found["rules"][0]["requires"],
        json!({"requires_any": {"requirements": [of("origins-0"), of("origins-1"),
            {"requires_all": {"requirements": [or_none("origins-0"), or_none("origins-1")]}}]}})
    );
    let issuers = ["origins-0", "origins-1"].map(|name| found["providers"][name]["issuer"].clone());
    assert_eq!(issuers, ["a", "b"]);
}

/// A rule has its own keys, else those known for its URI or issuer, else one that verifies nothing: no rule is left out.
#[test]
fn tokens_are_verified_with_keys_that_are_known_or_not_at_all() {
    for (rule, known) in [
        (json!({"issuer": "i", "jwks": r#"{"keys":[{"kty":"EC"}]}"#}), true),
        (json!({"issuer": "i", "jwksUri": "https://keys"}), true),
        (json!({"issuer": "issuer-with-keys"}), true),
        (json!({"issuer": "i"}), false),
        (json!({"issuer": "i", "jwksUri": "https://other"}), false),
        (json!({"issuer": "issuer-with-keys", "jwksUri": "https://other"}), false),
        (json!({"issuer": "i", "jwks": ""}), false),
        (json!({"issuer": "i", "jwks": "nonsense"}), false),
        (json!({"issuer": "i", "jwks": r#"{"keys":[]}"#}), false),
        (json!({"issuer": "i", "jwks": r#"{"keys":[{"kid":"x"}]}"#}), false),
    ] {
        let rules = json!([rule]);
        let found = filter(&rules).unwrap();
        let keys = found["providers"]["origins-0"]["local_jwks"]["inline_string"].as_str().unwrap();
        assert_eq!(!keys.contains(r#""kid":"none""#), known, "{rule}");
        assert!(keys.contains(r#""kty":"#), "{rule}: a set of keys");
        let expected = Limitation::Keys {
            policy: ObjectKey::new("bookinfo", "j"),
            issuer: rule["issuer"].as_str().unwrap().to_owned(),
        };
        let limits = limitations(with_rules(&rules).model(), &sidecar(true));
        assert_eq!(limits, if known { vec![] } else { vec![expected] }, "{rule}");
    }
}

#[test]
fn what_a_proxy_cannot_do_is_said() {
    let key = ObjectKey::new("bookinfo", "j");
    let with_tokens = with_rules(&json!([{"issuer": "i"}]));
    assert_eq!(limitations(with_tokens.model(), &sidecar(false)), [Limitation::Tokens(key)]);
    assert!(limitations(with_rules(&json!([])).model(), &sidecar(false)).is_empty(), "no rule");
    let nothing = portolan_mesh::Mesh::from(&Inputs::default());
    let original_source = |mut node: ProxyNode, tproxy: bool| {
        node.metadata.tproxy = tproxy;
        limitations(nothing.model(), &node) == [Limitation::OriginalSource]
    };
    let found = [
        original_source(sidecar(false), true),
        original_source(sidecar(false), false),
        original_source(sidecar(true), true),
        original_source(mesh::gateway(), true),
    ];
    assert_eq!(found, [true, false, false, false]);
}

#[test]
fn a_limitation_names_the_object_and_what_happens_instead() {
    let key = ObjectKey::new("shop", "p");
    for (limitation, said) in [
        (Limitation::Tokens(key.clone()), ["RequestAuthentication shop/p", "denied"]),
        (
            Limitation::Keys { policy: key.clone(), issuer: "someone".to_owned() },
            ["RequestAuthentication shop/p", "someone"],
        ),
        (Limitation::Custom(key), ["AuthorizationPolicy shop/p", "denied"]),
        (Limitation::OriginalSource, ["TPROXY", "address"]),
    ] {
        let text = limitation.to_string();
        assert!(said.iter().all(|part| text.contains(part)), "{text}");
    }
}
