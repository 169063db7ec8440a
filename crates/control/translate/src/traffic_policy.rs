//! Which settings of a DestinationRule hold for a port and subset.

use portolan_mesh::ResolvedDestinationRule;
use portolan_resources::networking::{
    ClientTlsSettings, ConnectionPoolSettings, LoadBalancerSettings, OutlierDetection, PortTrafficPolicy,
    TrafficPolicy,
};

/// The policy of one cluster.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TrafficPolicyParts<'a> {
    pub(crate) load_balancer: Option<&'a LoadBalancerSettings>,
    pub(crate) connection_pool: Option<&'a ConnectionPoolSettings>,
    pub(crate) outlier_detection: Option<&'a OutlierDetection>,
    pub(crate) tls: Option<&'a ClientTlsSettings>,
}

impl<'a> TrafficPolicyParts<'a> {
    fn of(policy: &'a TrafficPolicy) -> Self {
        Self {
            load_balancer: policy.load_balancer.as_ref(),
            connection_pool: policy.connection_pool.as_ref(),
            outlier_detection: policy.outlier_detection.as_ref(),
            tls: policy.tls.as_ref(),
        }
    }
    fn of_port(policy: &'a PortTrafficPolicy) -> Self {
        Self {
            load_balancer: policy.load_balancer.as_ref(),
            connection_pool: policy.connection_pool.as_ref(),
            outlier_detection: policy.outlier_detection.as_ref(),
            tls: policy.tls.as_ref(),
        }
    }
    fn or(self, other: Self) -> Self {
        Self {
            load_balancer: self.load_balancer.or(other.load_balancer),
            connection_pool: self.connection_pool.or(other.connection_pool),
            outlier_detection: self.outlier_detection.or(other.outlier_detection),
            tls: self.tls.or(other.tls),
        }
    }
}

fn port_level(policy: &TrafficPolicy, port: u16) -> Option<&PortTrafficPolicy> {
    policy.port_level_settings.iter().find(|p| p.port.as_ref().is_some_and(|s| s.number == u32::from(port)))
}

/// The policy for a port and subset: port-level settings replace the others, a subset's override field by field.
pub(crate) fn traffic_policy<'a>(
    rule: Option<&'a ResolvedDestinationRule>,
    port: u16,
    subset: &str,
) -> TrafficPolicyParts<'a> {
    let Some(rule) = rule else { return TrafficPolicyParts::default() };
    let of = |policy: &'a TrafficPolicy| match port_level(policy, port) {
        Some(replacing) => TrafficPolicyParts::of_port(replacing),
        None => TrafficPolicyParts::of(policy),
    };
    let base = rule.spec.traffic_policy.as_ref().map(of).unwrap_or_default();
    let subset = rule.spec.subsets.iter().find(|s| !subset.is_empty() && s.name == subset);
    match subset.and_then(|s| s.traffic_policy.as_ref()) {
        Some(policy) if port_level(policy, port).is_some() => of(policy),
        Some(policy) => of(policy).or(base),
        None => base,
    }
}
