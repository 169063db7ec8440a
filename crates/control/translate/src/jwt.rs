//! RequestAuthentications (Istio: RequestAuthentication, JWTRule): a request without a token passes, one with a token that
//! does not verify is refused. A stock Envoy gets its JWT filter. Our own proxy has none yet and would refuse the whole
//! listener for it, so it gets rules that refuse what nobody verifies: every request that carries a token.

use std::{collections::BTreeMap, sync::Arc};

use portolan_mesh::Resolved;
use portolan_resources::security::{JwtRule, RequestAuthenticationSpec};

use crate::{context::Context, pb::*};

/// Key of the verified claims in the filter's metadata; RBAC reads them there.
pub(crate) const METADATA_KEY: &str = "payload";
/// A key set that verifies nothing: tokens of an issuer whose keys are not known are refused. Proxies reject an empty set,
/// so it holds one public key whose private half was thrown away.
const NO_KEYS: &str = concat!(
    r#"{"keys":[{"kty":"EC","crv":"P-256","alg":"ES256","kid":"none","#,
    r#""x":"mUF3sUcRuqvkJ3UidYIy0ENZUD5542eHYumNjpUuMl4","y":"JdL_Xm6OleTHlt4ZZd23qGGMejhuRj8xAFliUKz5vqE"}]}"#
);

type Requirement = jwt::jwt_requirement::RequiresType;

/// Name of the filter; RBAC finds the verified claims under it.
pub(crate) const JWT_FILTER: &str = "envoy.filters.http.jwt_authn";
/// Where a token is when a rule names no place (Envoy: `JwtProvider.from_headers`, `from_params`).
const DEFAULT_HEADER: (&str, &str) = ("authorization", "Bearer ");
const DEFAULT_PARAMETER: &str = "access_token";

/// The filter of a proxy that has it; `None` when no policy has a rule.
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
    Some(http_filter(JWT_FILTER, any(&config)))
}

/// Whether a text is a key set with a key in it; anything else would make a proxy reject the whole listener.
fn has_keys(text: &str) -> bool {
    let set: Option<serde_json::Value> = serde_json::from_str(text).ok();
    let keys = set.as_ref().and_then(|s| s.get("keys")).and_then(serde_json::Value::as_array);
    keys.is_some_and(|k| k.iter().any(|key| key.get("kty").is_some_and(serde_json::Value::is_string)))
}

/// The key set of a rule: its own, else the one known for its URI, else for its issuer.
fn keys_of(ctx: &Context<'_>, rule: &JwtRule) -> Option<Arc<str>> {
    let known = || ctx.model.jwks(rule.jwks_uri.as_deref().unwrap_or(rule.issuer.as_str()));
    rule.jwks.as_deref().map(Arc::from).or_else(known).filter(|keys| has_keys(keys))
}

/// Whether tokens of a rule can be verified.
pub(crate) fn has_keys_of(ctx: &Context<'_>, rule: &JwtRule) -> bool {
    keys_of(ctx, rule).is_some()
}

fn provider(ctx: &Context<'_>, rule: &JwtRule) -> jwt::JwtProvider {
    let keys = keys_of(ctx, rule);
    let keys = keys.as_deref().unwrap_or(NO_KEYS);
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

/// Instead of the filter, for a proxy that lacks it: RBAC policies that hold for every request with a token where a rule
/// looks for one, to be denied. What asks for verified claims besides finds none: an ALLOW rule never holds then.
pub(crate) fn unverified_tokens(
    policies: &[Arc<Resolved<RequestAuthenticationSpec>>],
) -> BTreeMap<String, rbac::Policy> {
    let mut out = BTreeMap::new();
    for policy in policies {
        let key = &policy.meta.key;
        for (i, rule) in policy.spec.jwt_rules.iter().enumerate() {
            let name = format!("ns[{}]-unverified-token[{}]-rule[{i}]", key.namespace, key.name);
            let made = rbac::Policy {
                permissions: tokens_of(rule),
                principals: vec![rbac::Principal {
                    identifier: Some(rbac::principal::Identifier::Any(true)),
                }],
                ..Default::default()
            };
            out.insert(name, made);
        }
    }
    out
}

/// One permission for each place in which a rule looks for a token.
fn tokens_of(rule: &JwtRule) -> Vec<rbac::Permission> {
    let mut out = Vec::new();
    if rule.from_headers.is_empty() && rule.from_params.is_empty() {
        out.push(token_in_header(DEFAULT_HEADER.0, DEFAULT_HEADER.1));
        out.push(token_in_parameter(DEFAULT_PARAMETER));
    }
    let headers = rule.from_headers.iter();
    out.extend(headers.map(|h| token_in_header(&h.name, h.prefix.as_deref().unwrap_or_default())));
    out.extend(rule.from_params.iter().map(|p| token_in_parameter(p)));
    out
}

/// The header is there and has the prefix somewhere in it, which is how Envoy finds a token. Upper and lower case do not
/// matter here: it is better to refuse too much.
fn token_in_header(name: &str, value_prefix: &str) -> rbac::Permission {
    use matcher::string_matcher::MatchPattern;
    use route::header_matcher::HeaderMatchSpecifier as Specifier;
    let specifier = if value_prefix.is_empty() {
        Specifier::PresentMatch(true)
    } else {
        Specifier::StringMatch(matcher::StringMatcher {
            match_pattern: Some(MatchPattern::Contains(value_prefix.to_owned())),
            ignore_case: true,
        })
    };
    header_permission(name, specifier)
}

/// The query has a parameter of that name, however its letters are encoded.
fn token_in_parameter(name: &str) -> rbac::Permission {
    let letters: String = name.chars().map(letter).collect();
    let pattern = format!("[^?]*\\?(?:.*&)?{letters}(?:[=&].*)?");
    header_permission(
        ":path",
        route::header_matcher::HeaderMatchSpecifier::StringMatch(regex_matcher(pattern)),
    )
}

/// A regular expression for a letter as it is or percent-encoded.
fn letter(c: char) -> String {
    let mut bytes = [0; 4];
    let encoded: String = c.encode_utf8(&mut bytes).bytes().map(|b| format!("%{b:02X}")).collect();
    let plain = if c.is_ascii() && !c.is_ascii_alphanumeric() { format!("\\{c}") } else { c.to_string() };
    format!("(?:{plain}|(?i:{encoded}))")
}

fn header_permission(name: &str, specifier: route::header_matcher::HeaderMatchSpecifier) -> rbac::Permission {
    rbac::Permission {
        rule: Some(rbac::permission::Rule::Header(route::HeaderMatcher {
            name: name.to_owned(),
            header_match_specifier: Some(specifier),
            ..Default::default()
        })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finds(parameter: &str, path: &str) -> bool {
        let permission = token_in_parameter(parameter);
        let Some(rbac::permission::Rule::Header(header)) = permission.rule else { panic!("no header") };
        let Some(route::header_matcher::HeaderMatchSpecifier::StringMatch(matcher)) =
            header.header_match_specifier
        else {
            panic!("no text")
        };
        let Some(matcher::string_matcher::MatchPattern::SafeRegex(pattern)) = matcher.match_pattern else {
            panic!("no regular expression")
        };
        regex::Regex::new(&format!("^(?:{})$", pattern.regex)).unwrap().is_match(path)
    }

    #[test]
    fn tokens_in_the_query_are_found() {
        for path in ["/?access_token=x", "/a?b=c&access_token=x&d", "/?access_token", "/?access%5ftoken=x"] {
            assert!(finds("access_token", path), "{path}");
        }
        for path in ["/", "/access_token=x", "/?my_access_token=x", "/?access_tokens=x", "/?a=access_token"] {
            assert!(!finds("access_token", path), "{path}");
        }
        assert!(finds("a.b", "/?a.b=1") && !finds("a.b", "/?axb=1"));
    }

    #[test]
    fn a_rule_without_places_looks_in_the_usual_ones() {
        let rule = |json| serde_json::from_value::<JwtRule>(json).unwrap();
        let names = |rule: &JwtRule| -> Vec<String> {
            let permissions = tokens_of(rule);
            let name = |p: rbac::Permission| match p.rule {
                Some(rbac::permission::Rule::Header(h)) => h.name,
                _ => String::new(),
            };
            permissions.into_iter().map(name).collect()
        };
        assert_eq!(names(&rule(serde_json::json!({"issuer": "a"}))), ["authorization", ":path"]);
        let headers = serde_json::json!({"issuer": "a", "fromHeaders": [{"name": "x-jwt"}]});
        assert_eq!(names(&rule(headers)), ["x-jwt"]);
        let parameters = serde_json::json!({"issuer": "a", "fromParams": ["t", "u"]});
        assert_eq!(names(&rule(parameters)), [":path", ":path"]);
    }
}
