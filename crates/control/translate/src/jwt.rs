//! RequestAuthentications as the JWT filter (spec/istio.md 1.7).

use std::sync::Arc;

use portolan_mesh::Resolved;
use portolan_resources::security::{JwtRule, RequestAuthenticationSpec};

use crate::{
    context::Context,
    encode::{JWT, any_sorted},
    pb::*,
};

/// Key of the verified claims in the filter's metadata; RBAC reads them there.
pub(crate) const METADATA_KEY: &str = "payload";
/// A key set that verifies nothing: tokens of an issuer whose keys are not known are refused. Proxies reject an empty set,
/// so it holds one public key whose private half was thrown away.
const NO_KEYS: &str = concat!(
    r#"{"keys":[{"kty":"EC","crv":"P-256","alg":"ES256","kid":"none","#,
    r#""x":"mUF3sUcRuqvkJ3UidYIy0ENZUD5542eHYumNjpUuMl4","y":"JdL_Xm6OleTHlt4ZZd23qGGMejhuRj8xAFliUKz5vqE"}]}"#
);

type Requirement = jwt::jwt_requirement::RequiresType;

/// The filter; `None` when no policy has a rule. A request without token passes, one with a bad token does not.
pub(crate) fn filter(
    ctx: &Context<'_>,
    policies: &[Arc<Resolved<RequestAuthenticationSpec>>],
) -> Option<hcm::HttpFilter> {
    let rules: Vec<&JwtRule> = policies.iter().flat_map(|p| &p.spec.jwt_rules).collect();
    if rules.is_empty() {
        return None;
    }
    let name = |i: usize| format!("origins-{i}");
    let requirement = |r: Requirement| jwt::JwtRequirement { requires_type: Some(r) };
    let provider_name = |i: usize| requirement(Requirement::ProviderName(name(i)));
    let missing = || requirement(Requirement::AllowMissing(Empty {}));
    let any_of =
        |requirements| requirement(Requirement::RequiresAny(jwt::JwtRequirementOrList { requirements }));
    let requires = if rules.len() == 1 {
        any_of(vec![provider_name(0), missing()])
    } else {
        // Each issuer's token is good or absent, and one at least is good unless there is none at all.
        let each = (0..rules.len()).map(|i| any_of(vec![provider_name(i), missing()])).collect();
        let all = requirement(Requirement::RequiresAll(jwt::JwtRequirementAndList { requirements: each }));
        any_of((0..rules.len()).map(provider_name).chain([all]).collect())
    };
    let config = jwt::JwtAuthentication {
        providers: rules.iter().enumerate().map(|(i, r)| (name(i), provider(ctx, r))).collect(),
        rules: vec![jwt::RequirementRule {
            r#match: Some(route::RouteMatch {
                path_specifier: Some(route::route_match::PathSpecifier::Prefix("/".to_owned())),
                ..Default::default()
            }),
            requirement_type: Some(jwt::requirement_rule::RequirementType::Requires(requires)),
        }],
        bypass_cors_preflight: true,
        ..Default::default()
    };
    Some(http_filter("envoy.filters.http.jwt_authn", any_sorted(&config, &JWT)))
}

/// Whether a text is a key set with a key in it; anything else would make a proxy reject the whole listener.
fn has_keys(text: &str) -> bool {
    let set: Option<serde_json::Value> = serde_json::from_str(text).ok();
    let keys = set.as_ref().and_then(|s| s.get("keys")).and_then(serde_json::Value::as_array);
    keys.is_some_and(|k| k.iter().any(|key| key.get("kty").is_some_and(serde_json::Value::is_string)))
}

fn provider(ctx: &Context<'_>, rule: &JwtRule) -> jwt::JwtProvider {
    let fetched =
        rule.jwks_uri.as_deref().or(Some(rule.issuer.as_str())).and_then(|uri| ctx.snapshot.jwks.get(uri));
    let keys =
        rule.jwks.as_deref().or(fetched.map(String::as_str)).filter(|k| has_keys(k)).unwrap_or(NO_KEYS);
    jwt::JwtProvider {
        issuer: rule.issuer.clone(),
        audiences: rule.audiences.clone(),
        forward: rule.forward_original_token,
        forward_payload_header: rule.output_payload_to_header.clone().unwrap_or_default(),
        from_headers: rule
            .from_headers
            .iter()
            .map(|h| jwt::JwtHeader {
                name: h.name.clone(),
                value_prefix: h.prefix.clone().unwrap_or_default(),
            })
            .collect(),
        from_params: rule.from_params.clone(),
        payload_in_metadata: METADATA_KEY.to_owned(),
        jwks_source_specifier: Some(jwt::jwt_provider::JwksSourceSpecifier::LocalJwks(core::DataSource {
            specifier: Some(core::data_source::Specifier::InlineString(keys.to_owned())),
            ..Default::default()
        })),
        ..Default::default()
    }
}
