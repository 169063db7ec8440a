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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::super::{HttpFilters, PerFilter};
    use super::*;
    use crate::pb::Kind::StringValue;
    use crate::pb::hcm;
    use crate::testing::{Scene, message, request};

    fn rules(allowed: bool) -> Value {
        let policy = json!({"permissions": [{"any": allowed}], "principals": [{"any": true}]});
        json!({"policies": {"p": policy}})
    }

    /// What becomes of a request, and what is counted, where the listener says one thing and the route another.
    fn asked(config: &Value, own: Option<Value>) -> (Scene, Option<LocalReply>) {
        let mut config = config.clone();
        config["@type"] = json!("type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC");
        let router = json!({"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"});
        let one = |name: &str, config: Value| {
            message::<hcm::HttpFilter>(json!({"name": name, "typed_config": config}))
        };
        let filters = HttpFilters::compile(&[one("rbac", config), one("router", router)]).unwrap();
        let own = own.map(|mut own| {
            own["@type"] = json!("type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBACPerRoute");
            PerFilter::compile(&BTreeMap::from([("rbac".to_owned(), message(own))])).unwrap()
        });
        let mut chain = filters.start(own.as_ref().as_slice());
        let mut scene = Scene::of(request());
        let reply = scene.see(|x| chain.request(x, true)).err();
        (scene, reply.map(|reply| *reply))
    }

    #[test]
    fn who_is_let_in_goes_on_and_is_counted() {
        let (scene, reply) = asked(&json!({"rules": rules(true)}), None);
        assert!(reply.is_none());
        assert_eq!(scene.counted(), ["rbac_allowed"]);
    }

    #[test]
    fn who_is_not_let_in_is_told() {
        let (scene, reply) = asked(&json!({"rules": rules(false)}), None);
        let reply = reply.unwrap();
        assert_eq!((reply.status, &reply.body[..]), (StatusCode::FORBIDDEN, b"RBAC: access denied".as_slice()));
        assert_eq!(reply.details, "rbac_access_denied_matched_policy[none]");
        assert_eq!(scene.counted(), ["rbac_denied"]);
    }

    #[test]
    fn shadow_rules_are_told_and_let_everybody_in() {
        for (allowed, result, policy) in [(true, "allowed", Some("p")), (false, "denied", None)] {
            let config = json!({"shadow_rules": rules(allowed), "shadow_rules_stat_prefix": "try_"});
            let (scene, reply) = asked(&config, None);
            assert!(reply.is_none());
            assert_eq!(scene.counted(), [format!("rbac_shadow_{result}")]);
            let fields = &scene.metadata[NAMESPACE].fields;
            let text = |name: &str| fields.get(name).map(|value| value.kind.clone().unwrap());
            assert_eq!(text("try_shadow_engine_result"), Some(StringValue(result.into())));
            assert_eq!(text("try_shadow_effective_policy_id"), policy.map(|name| StringValue(name.into())));
        }
    }

    #[test]
    fn a_route_has_other_rules_or_none() {
        let (scene, reply) = asked(&json!({"rules": rules(true)}), Some(json!({"rbac": {"rules": rules(false)}})));
        assert!(reply.is_some());
        assert_eq!(scene.counted(), ["rbac_denied"]);
        let (scene, reply) = asked(&json!({"rules": rules(false)}), Some(json!({})));
        assert!(reply.is_none());
        assert!(scene.effects.is_empty());
    }

    #[test]
    fn without_rules_there_is_nothing_to_do() {
        let (scene, reply) = asked(&json!({}), None);
        assert!(reply.is_none());
        assert!(scene.effects.is_empty());
    }
}
