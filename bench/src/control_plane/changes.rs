//! The single changes: what is written, by what text it is known, and whom it must reach.

use serde_json::{Value, json};

use super::client::{Kind, KindSet, Wanted};
use super::credentials::Authority;
use super::mesh::{Mesh, NETWORKING, Proxy, SECURITY};
use super::objects::Object;
use crate::error::BenchError;

const CLUSTERS: KindSet = KindSet::of(&[Kind::Cluster]);
const ENDPOINTS: KindSet = KindSet::of(&[Kind::Endpoint]);
const LISTENERS: KindSet = KindSet::of(&[Kind::Listener]);
const SECRETS: KindSet = KindSet::of(&[Kind::Secret]);
/// A route is in the table of its port, or in a virtual host of its own.
const ROUTES: KindSet = KindSet::of(&[Kind::Route, Kind::VirtualHost]);

/// What is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChangeKind {
    Endpoint,
    VirtualService,
    DestinationRule,
    AuthorizationPolicy,
    Secret,
    Service,
}

/// One change.
#[derive(Debug)]
pub(crate) struct Change {
    /// Written before, and without effect by itself.
    pub(crate) before: Option<Object>,
    pub(crate) object: Object,
    /// The text that the resources that must change hold from then on, and did not before.
    pub(crate) marker: String,
    /// What each proxy must be sent.
    pub(crate) wanted: Vec<Wanted>,
}

impl ChangeKind {
    /// In the order in which they are made; what adds to the mesh comes last.
    pub(crate) const ALL: [ChangeKind; 6] = [
        ChangeKind::Endpoint,
        ChangeKind::VirtualService,
        ChangeKind::DestinationRule,
        ChangeKind::AuthorizationPolicy,
        ChangeKind::Secret,
        ChangeKind::Service,
    ];

    /// As it stands in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            ChangeKind::Endpoint => "endpoint",
            ChangeKind::VirtualService => "VirtualService",
            ChangeKind::DestinationRule => "DestinationRule, subset",
            ChangeKind::AuthorizationPolicy => "AuthorizationPolicy, one workload",
            ChangeKind::Secret => "Secret of a gateway",
            ChangeKind::Service => "new Service",
        }
    }

    /// Beginning of the names and texts that changes of this kind bring: no kind finds those of another.
    fn stem(self) -> &'static str {
        match self {
            ChangeKind::Endpoint => "endpoint",
            ChangeKind::VirtualService => "route",
            ChangeKind::DestinationRule => "subset",
            ChangeKind::AuthorizationPolicy => "policy",
            ChangeKind::Secret => "secret",
            ChangeKind::Service => "fresh",
        }
    }

    /// What a proxy that sees the target must be sent; nothing for those whom it does not concern.
    fn wanted(self, mesh: &Mesh, proxy: &Proxy) -> Wanted {
        let sees = mesh.sees_open(proxy);
        let is_target = proxy.app == Mesh::name(mesh.target());
        match (self, proxy.gateway) {
            (ChangeKind::Endpoint, _) if sees => &[ENDPOINTS],
            (ChangeKind::VirtualService, false) if sees => &[ROUTES],
            (ChangeKind::DestinationRule, _) if sees => &[CLUSTERS, ENDPOINTS],
            (ChangeKind::AuthorizationPolicy, false) if is_target => &[LISTENERS],
            (ChangeKind::Secret, true) => &[SECRETS],
            (ChangeKind::Service, true) => &[CLUSTERS, ENDPOINTS],
            (ChangeKind::Service, false) if sees => &[CLUSTERS, ENDPOINTS, LISTENERS, ROUTES],
            _ => &[],
        }
    }

    /// The change of that number.
    pub(crate) fn make(
        self,
        number: usize,
        mesh: &Mesh,
        proxies: &[Proxy],
        authority: &Authority,
    ) -> Result<Change, BenchError> {
        let (target, marker) = (mesh.target(), format!("{}-{number:05}", self.stem()));
        let named = |api_version: &str, kind: &str, spec: Value| {
            Object::new(api_version, kind, &mesh.namespace(target), "bench", json!({ "spec": spec }))
        };
        let host = mesh.host(target);
        let mut before = None;
        let (object, marker) = match self {
            ChangeKind::Endpoint => mesh.endpoint_change(number),
            ChangeKind::VirtualService => {
                let spec = json!({"hosts": [host], "http": [{
                    "headers": {"request": {"set": {"x-bench": marker}}},
                    "route": [{"destination": {"host": host, "port": {"number": 80}}}],
                }]});
                (named(NETWORKING, "VirtualService", spec), marker)
            }
            ChangeKind::DestinationRule => {
                let spec = json!({"host": host, "subsets": [{"name": marker, "labels": {"version": "v1"}}]});
                (named(NETWORKING, "DestinationRule", spec), marker)
            }
            ChangeKind::AuthorizationPolicy => {
                let spec = json!({
                    "selector": {"matchLabels": {"app": Mesh::name(target)}}, "action": "DENY",
                    "rules": [{"to": [{"operation": {"paths": [format!("/{marker}")]}}]}],
                });
                (named(SECURITY, "AuthorizationPolicy", spec), marker)
            }
            ChangeKind::Secret => authority.gateway_secret()?,
            ChangeKind::Service => {
                before = Some(mesh.slice_of_new(&marker));
                (mesh.service(&mesh.namespace(target), &marker), marker)
            }
        };
        let wanted = proxies.iter().map(|proxy| self.wanted(mesh, proxy)).collect();
        Ok(Change { before, object, marker, wanted })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control_plane::mesh::REPLICAS;
    use crate::control_plane::options::Scenario;

    fn reached(kind: ChangeKind, scenario: Scenario) -> usize {
        let mesh = Mesh { services: 100, namespaces: 20, scenario, spares: 2 };
        let change = kind.make(0, &mesh, &mesh.proxies(61), &Authority::own().unwrap()).unwrap();
        change.wanted.iter().filter(|wanted| !wanted.is_empty()).count()
    }

    #[test]
    fn whom_each_change_must_reach() {
        for (kind, plain, real) in [
            (ChangeKind::Endpoint, 61, 31),
            (ChangeKind::VirtualService, 60, 30),
            (ChangeKind::DestinationRule, 61, 31),
            (ChangeKind::AuthorizationPolicy, REPLICAS, REPLICAS),
            (ChangeKind::Secret, 1, 1),
            (ChangeKind::Service, 61, 31),
        ] {
            assert_eq!(reached(kind, Scenario::Plain), plain, "{kind:?}");
            assert_eq!(reached(kind, Scenario::Real), real, "{kind:?}");
        }
    }

    #[test]
    fn the_marker_is_in_what_is_written_and_new_each_time() {
        let mesh = Mesh { services: 100, namespaces: 20, scenario: Scenario::Plain, spares: 2 };
        let authority = Authority::own().unwrap();
        for kind in ChangeKind::ALL {
            let made = |number| kind.make(number, &mesh, &mesh.proxies(20), &authority).unwrap();
            let (first, second) = (made(0), made(1));
            assert_ne!(first.marker, second.marker);
            if kind != ChangeKind::Secret {
                assert!(first.object.value.to_string().contains(&first.marker), "{kind:?}");
            }
        }
    }
}
