//! DestinationRules with full names, merged where several are for one host (Istio: DestinationRule).

use std::sync::Arc;

use portolan_resources::{DestinationRule, networking::DestinationRuleSpec};

use crate::{export_to::Visibility, host::resolve_short_name, object::ConfigMeta};

/// A DestinationRule, or several for the same host and namespace merged.
#[derive(Clone, Debug, PartialEq)]
pub struct ResolvedDestinationRule {
    /// Metadata of the oldest object.
    pub meta: ConfigMeta,
    /// Full host name.
    pub host: String,
    /// The (merged) spec.
    pub spec: DestinationRuleSpec,
}

/// Resolves and merges DestinationRules, oldest first.
pub(crate) fn resolve<'a>(
    objects: impl Iterator<Item = &'a Arc<DestinationRule>>,
    domain: &str,
    default_export: &[String],
) -> Vec<ResolvedDestinationRule> {
    let mut resolved: Vec<_> = objects
        .map(|object| {
            let mut meta = ConfigMeta::of(&object.metadata);
            meta.visibility = Visibility::parse(&object.spec.export_to, &meta.key.namespace, default_export);
            let host = resolve_short_name(&object.spec.host, &meta.key.namespace, domain);
            ResolvedDestinationRule { meta, host, spec: object.spec.clone() }
        })
        .collect();
    resolved.sort_by(|a, b| a.meta.precedence().cmp(&b.meta.precedence()));
    let mut merged: Vec<ResolvedDestinationRule> = Vec::new();
    for rule in resolved {
        let same = merged.iter_mut().find(|m| {
            m.host == rule.host
                && m.meta.key.namespace == rule.meta.key.namespace
                && m.meta.visibility == rule.meta.visibility
        });
        match same {
            None => merged.push(rule),
            Some(first) => {
                if first.spec.traffic_policy.is_none() {
                    first.spec.traffic_policy = rule.spec.traffic_policy;
                }
                for subset in rule.spec.subsets {
                    if first.spec.subsets.iter().all(|s| s.name != subset.name) {
                        first.spec.subsets.push(subset);
                    }
                }
            }
        }
    }
    merged
}
