//! Inputs become a [`Snapshot`]. What did not change is shared with the snapshot before.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::{
    authz, destination_rule, gateway,
    inputs::Inputs,
    object::{ConfigMeta, Resolved, share},
    registry::{self, Before, Registered},
    snapshot::Snapshot,
    virtual_service,
    workload::Workloads,
};

impl Snapshot {
    /// Builds the model. `before` is the last one: what did not change is shared with it, and automatic addresses stay.
    pub fn build(inputs: &Inputs, before: Option<&Snapshot>) -> Self {
        let mesh = &inputs.mesh_config;
        let domain = inputs.cluster.domain.as_str();
        let workloads = Workloads::build(&inputs.pods, &mesh.trust_domain, before.map(|b| &b.workloads));
        let old = before.map(|b| Before {
            services: &b.services,
            endpoints: &b.endpoints,
            auto_addresses: &b.auto_addresses,
        });
        let Registered { services, endpoints, auto_addresses } = registry::merge(inputs, &workloads, old);

        let fed = &inputs.federation.configs;
        let export = &mesh.default_virtual_service_export_to;
        let resolved: Vec<_> = inputs
            .virtual_services
            .values()
            .chain(&fed.virtual_services)
            .map(|v| virtual_service::resolve(v, domain, export))
            .collect();
        let mut virtual_services = virtual_service::merge_delegates(resolved);
        virtual_services.sort_by(|a, b| a.meta.precedence().cmp(&b.meta.precedence()));
        let old_vs: BTreeMap<_, _> =
            before.iter().flat_map(|b| b.virtual_services.iter()).map(|v| (&v.meta.key, v)).collect();
        let virtual_services = virtual_services
            .into_iter()
            .map(|v| {
                let old = old_vs.get(&v.meta.key).copied();
                share(v, old)
            })
            .collect();

        let destination_rules = destination_rule::resolve(
            inputs.destination_rules.values().chain(&fed.destination_rules),
            domain,
            &mesh.default_destination_rule_export_to,
        );
        let old_dr: BTreeMap<_, _> =
            before.iter().flat_map(|b| b.destination_rules.iter()).map(|d| (&d.meta.key, d)).collect();
        let destination_rules = destination_rules
            .into_iter()
            .map(|d| {
                let old = old_dr.get(&d.meta.key).copied();
                share(d, old)
            })
            .collect();

        let mut gateways: Vec<_> =
            inputs.gateways.values().chain(&fed.gateways).map(|g| Arc::new(gateway::resolve(g))).collect();
        gateways.sort_by(|a, b| a.meta.precedence().cmp(&b.meta.precedence()));

        let mut peer_authentications: Vec<_> = inputs
            .peer_authentications
            .values()
            .map(|p| Resolved { meta: ConfigMeta::of(&p.metadata), spec: p.spec.clone() })
            .collect();
        peer_authentications.sort_by(|a, b| a.meta.precedence().cmp(&b.meta.precedence()));

        Self {
            cluster: Arc::new(inputs.cluster.clone()),
            mesh_config: mesh.clone(),
            root_certificates: inputs.root_certificates.as_str().into(),
            jwks: inputs.jwks.iter().map(|(name, keys)| (name.clone(), keys.as_str().into())).collect(),
            trust: Arc::new(inputs.federation.trust.clone()),
            services: Arc::new(services),
            endpoints: Arc::new(endpoints),
            virtual_services,
            destination_rules,
            gateways: gateways.into(),
            kube_services: inputs.services.clone(),
            workloads,
            sidecars: by_namespace(inputs.sidecars.values().map(|s| (&s.metadata, &s.spec))),
            peer_authentications,
            authorization_policies: by_namespace(
                inputs
                    .authorization_policies
                    .values()
                    .chain(&fed.authorization_policies)
                    .map(|p| (&p.metadata, &p.spec)),
            ),
            request_authentications: by_namespace(
                inputs.request_authentications.values().map(|p| (&p.metadata, &p.spec)),
            ),
            auto_addresses,
            scopes: Mutex::default(),
        }
    }
}

fn by_namespace<'a, T: Clone + 'a>(
    objects: impl Iterator<Item = (&'a ObjectMeta, &'a T)>,
) -> authz::ByNamespace<T> {
    let mut out: authz::ByNamespace<T> = BTreeMap::new();
    for (meta, spec) in objects {
        let resolved = Resolved { meta: ConfigMeta::of(meta), spec: spec.clone() };
        out.entry(resolved.meta.key.namespace.clone()).or_default().push(Arc::new(resolved));
    }
    for list in out.values_mut() {
        list.sort_by(|a, b| a.meta.precedence().cmp(&b.meta.precedence()));
    }
    out
}
