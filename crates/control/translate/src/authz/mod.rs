//! AuthorizationPolicies as RBAC filters (Istio: Authorization Policy; Envoy: HTTP and network RBAC filters).

mod combine;
mod conditions;
mod model;

use std::collections::BTreeMap;

use portolan_mesh::{Resolved, WorkloadPolicies};
use portolan_resources::security::AuthorizationPolicySpec;

use crate::{context::Context, jwt, pb::*};

/// HTTP filter name.
const HTTP_RBAC: &str = "envoy.filters.http.rbac";
/// Network filter name.
const NETWORK_RBAC: &str = "envoy.filters.network.rbac";

/// Filters that decide who may do what, for both kinds of filter chains.
#[derive(Clone, Debug, Default)]
pub(crate) struct Authorization {
    /// HTTP filters: JWT or what stands for it, then RBAC.
    pub(crate) http: Vec<hcm::HttpFilter>,
    /// Network filters: RBAC.
    pub(crate) network: Vec<listener::Filter>,
}

/// The filters of a proxy's own workload.
pub(crate) fn of_proxy(ctx: &Context<'_>) -> Authorization {
    let policies = ctx.model.policies(&ctx.node.namespace, &ctx.labels);
    let mut out = Authorization::default();
    if ctx.ours() {
        out.http.extend(unverified_tokens(&policies));
    } else {
        out.http.extend(jwt::filter(ctx, &policies.requests));
    }
    // An external authorizer that cannot be asked must not let anything through: what a CUSTOM policy covers is denied.
    let WorkloadPolicies { custom, mut deny, allow, .. } = policies;
    deny.extend(custom);
    for (action, rules) in [(rbac::rbac::Action::Deny, &deny), (rbac::rbac::Action::Allow, &allow)] {
        if rules.is_empty() {
            continue;
        }
        let http = http_rbac::Rbac { rules: Some(rules_of(ctx, rules, action, false)), ..Default::default() };
        out.http.push(http_filter(HTTP_RBAC, any(&http)));
        let network = network_rbac::Rbac {
            rules: Some(rules_of(ctx, rules, action, true)),
            stat_prefix: "tcp.".to_owned(),
            ..Default::default()
        };
        out.network.push(network_filter(NETWORK_RBAC, any(&network)));
    }
    out
}

/// What stands for the JWT filter in a proxy that has none.
fn unverified_tokens(policies: &WorkloadPolicies) -> Option<hcm::HttpFilter> {
    let denied = jwt::unverified_tokens(&policies.requests);
    if denied.is_empty() {
        return None;
    }
    let action = rbac::rbac::Action::Deny as i32;
    let rules = rbac::Rbac { action, policies: denied, ..Default::default() };
    let filter = http_rbac::Rbac { rules: Some(rules), ..Default::default() };
    Some(http_filter(HTTP_RBAC, any(&filter)))
}

/// One RBAC engine. ALLOW without a policy in it denies everything, which is what an ALLOW policy without rules means.
fn rules_of(
    ctx: &Context<'_>,
    policies: &[std::sync::Arc<Resolved<AuthorizationPolicySpec>>],
    action: rbac::rbac::Action,
    tcp: bool,
) -> rbac::Rbac {
    let mut out = BTreeMap::new();
    let deny = action == rbac::rbac::Action::Deny;
    for policy in policies {
        let key = &policy.meta.key;
        for (i, rule) in policy.spec.rules.iter().enumerate() {
            if let Some(made) = model::policy(ctx, rule, deny, tcp) {
                out.insert(format!("ns[{}]-policy[{}]-rule[{i}]", key.namespace, key.name), made);
            }
        }
    }
    rbac::Rbac { action: action as i32, policies: out, ..Default::default() }
}
