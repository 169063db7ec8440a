//! What a proxy cannot do although its configuration asks for it. It gets what is safe instead, and whoever runs the mesh
//! is told, so that nobody looks for the reason in the wrong place.

use std::{fmt, sync::Arc};

use portolan_derive::{Derived, Reader};
use portolan_mesh::{Model, ObjectKey, ProxyNode};

use crate::context::Context;

/// Something that is asked for and not done.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Limitation {
    /// A RequestAuthentication for a proxy without a JWT filter: no token is verified, so requests that carry one are
    /// denied (403), and rules that need verified claims never hold.
    Tokens(ObjectKey),
    /// A RequestAuthentication whose rule names keys by URI or by issuer only: no keys are fetched, so tokens of that
    /// issuer are refused (401).
    Keys {
        /// The RequestAuthentication.
        policy: ObjectKey,
        /// The issuer of the rule.
        issuer: String,
    },
    /// A CUSTOM policy: there is no external authorizer, so what it covers is denied.
    Custom(ObjectKey),
    /// Capture by TPROXY for a proxy without the original source filter: the application sees the proxy's address.
    OriginalSource,
}

impl fmt::Display for Limitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tokens(policy) => write!(
                f,
                "RequestAuthentication {policy}: this proxy verifies no tokens; requests that carry one are denied"
            ),
            Self::Keys { policy, issuer } => write!(
                f,
                "RequestAuthentication {policy}: keys are not fetched; give them in jwks, or tokens of issuer {issuer} \
                 are refused"
            ),
            Self::Custom(policy) => write!(
                f,
                "AuthorizationPolicy {policy}: action CUSTOM is not supported; what it covers is denied"
            ),
            Self::OriginalSource => f.write_str(
                "interceptionMode TPROXY: this proxy does not keep the client's address; the application sees the \
                 proxy's",
            ),
        }
    }
}

/// The limitations of a proxy, in a fixed order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LimitationsOf(pub Arc<ProxyNode>);

impl Derived for LimitationsOf {
    type Value = Arc<[Limitation]>;
    fn derive(&self, read: &Reader<'_>) -> Self::Value {
        limitations(Model::new(read), &self.0).into()
    }
}

pub(crate) fn limitations(model: Model<'_>, node: &ProxyNode) -> Vec<Limitation> {
    let ctx = Context::new(model, node);
    let policies = model.policies(&node.namespace, &ctx.labels);
    let mut out = Vec::new();
    for policy in &policies.requests {
        let key = &policy.meta.key;
        if ctx.ours() {
            if !policy.spec.jwt_rules.is_empty() {
                out.push(Limitation::Tokens(key.clone()));
            }
            continue;
        }
        let without_keys = policy.spec.jwt_rules.iter().filter(|rule| !crate::jwt::has_keys_of(&ctx, rule));
        out.extend(
            without_keys.map(|rule| Limitation::Keys { policy: key.clone(), issuer: rule.issuer.clone() }),
        );
    }
    out.extend(policies.custom.iter().map(|policy| Limitation::Custom(policy.meta.key.clone())));
    if node.metadata.tproxy && !node.is_router() && ctx.ours() {
        out.push(Limitation::OriginalSource);
    }
    out.sort();
    out.dedup();
    out
}
