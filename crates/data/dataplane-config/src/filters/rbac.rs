//! `envoy.filters.http.rbac`: role-based access control of requests.

use std::sync::Arc;

use http::StatusCode;

use super::stream::{Counter, Flow, StreamFilter, View};
use super::{HttpFilter, Kind, Overrides, configured, overridden};
use crate::message::LocalReply;
use crate::message::rbac::{Rbac, Subject};
use crate::pb::http_rbac;
use crate::value::Valid;

/// Namespace of the metadata that tell of shadow rules.
const NAMESPACE: &str = "envoy.filters.http.rbac";

pub(super) const KIND: Kind = Kind {
    types: &["envoy.extensions.filters.http.rbac.v3.RBAC"],
    compile: |from| Ok(Arc::new(Filter(Arc::new(Rbac::compile_http(&configured::<http_rbac::Rbac>(from)?)?)))),
    override_types: &["envoy.extensions.filters.http.rbac.v3.RBACPerRoute"],
    compile_override: |from| Ok(Arc::new(Override::compile(&overridden(from)?)?)),
    counters: &[ALLOWED, DENIED, SHADOW_ALLOWED, SHADOW_DENIED],
};

const ALLOWED: Counter = Counter("rbac_allowed");
const DENIED: Counter = Counter("rbac_denied");
const SHADOW_ALLOWED: Counter = Counter("rbac_shadow_allowed");
const SHADOW_DENIED: Counter = Counter("rbac_shadow_denied");

#[derive(Debug)]
struct Filter(Arc<Rbac>);

/// Other rules for a route, or none.
#[derive(Debug)]
struct Override(Option<Arc<Rbac>>);

impl Override {
    fn compile(from: &http_rbac::RbacPerRoute) -> Valid<Override> {
        Ok(Override(from.rbac.as_ref().map(Rbac::compile_http).transpose()?.map(Arc::new)))
    }
}

impl HttpFilter for Filter {
    fn start(&self, own: &Overrides<'_>) -> Option<Box<dyn StreamFilter>> {
        let rules = match own.first::<Override>() {
            None => self.0.clone(),
            Some(own) => own.0.clone()?,
        };
        (!rules.is_empty()).then(|| Box::new(Check(rules)) as Box<dyn StreamFilter>)
    }
}

/// One request.
#[derive(Debug)]
struct Check(Arc<Rbac>);

impl StreamFilter for Check {
    fn on_request(&mut self, x: &mut View<'_>, _end: bool) -> Flow {
        let subject = Subject {
            connection: x.connection,
            request: Some(x.request),
            remote: x.remote,
            metadata: x.metadata,
        };
        let shadow = self.0.shadow(&subject);
        let decision = self.0.decide(&subject);
        if let Some(shadow) = shadow {
            let result = if shadow.allowed { "allowed" } else { "denied" };
            x.count(if shadow.allowed { SHADOW_ALLOWED } else { SHADOW_DENIED });
            let prefix = &self.0.shadow_prefix;
            x.set_metadata(NAMESPACE, &format!("{prefix}shadow_engine_result"), result.to_owned());
            if let Some(policy) = shadow.policy {
                x.set_metadata(NAMESPACE, &format!("{prefix}shadow_effective_policy_id"), policy);
            }
        }
        match decision {
            Some(decision) if !decision.allowed => {
                x.count(DENIED);
                let reply = LocalReply::new(StatusCode::FORBIDDEN, decision.details());
                Flow::Reply(Box::new(reply.body("RBAC: access denied")))
            }
            Some(_) => {
                x.count(ALLOWED);
                Flow::Continue
            }
            None => Flow::Continue,
        }
    }
}
