//! The model as a whole: facts go in, readers come out.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::{
    core::v1::{Namespace, Node, Pod, Service},
    discovery::v1::EndpointSlice,
};
use portolan_derive::{Changes, Counts, Derived, Failure, Table};
use portolan_resources::{
    AuthorizationPolicy, DestinationRule, Gateway, MeshConfig, PeerAuthentication, RequestAuthentication,
    ServiceEntry, Sidecar, VirtualService, WorkloadEntry,
};

use crate::{
    addresses::Chosen,
    facts::{
        AuthorizationPolicyFact, ChosenFact, ClusterFact, DestinationRuleFact, Fact, GatewayFact,
        ImportEndpointsFact, ImportFact, JwksFact, MeshConfigFact, NamespaceFact, NodeFact, Origin,
        PeerAuthenticationFact, PodFact, RequestAuthenticationFact, RootsFact, ServiceEntryFact, ServiceFact,
        SidecarFact, SliceFact, TrustFact, VirtualServiceFact, WorkloadEntryFact,
    },
    inputs::{ClusterContext, FederationInputs, Inputs},
    model::Model,
    object::ObjectKey,
};

/// The mesh model: facts, and what follows from them.
///
/// Whoever changes it sets facts; [`Mesh::settle`] makes true what is held and says what of that differs. Reading
/// ([`Mesh::model`]) sees all facts that were set before.
#[derive(Debug)]
pub struct Mesh {
    table: Table,
}

/// A kind of objects that the model follows from.
pub trait Kind: Sized {
    /// Sets an object of the cluster, or takes it away.
    fn set(mesh: &mut Mesh, key: ObjectKey, object: Option<Arc<Self>>) -> bool;
    /// Makes these all that the cluster has.
    fn replace(mesh: &mut Mesh, all: BTreeMap<ObjectKey, Arc<Self>>) -> bool;
    /// An object of the cluster.
    fn get(mesh: &Mesh, key: &ObjectKey) -> Option<Arc<Self>>;
    /// All objects, those of federation last.
    fn all(mesh: &Mesh) -> Vec<(ObjectKey, Arc<Self>)>;
}

macro_rules! kinds {
    ($($form:ty: $fact:ident in $field:ident;)*) => {
        $(impl Kind for $form {
            fn set(mesh: &mut Mesh, key: ObjectKey, object: Option<Arc<Self>>) -> bool {
                mesh.table.set(&$fact::of(Origin::Cluster, key), object)
            }
            fn replace(mesh: &mut Mesh, all: BTreeMap<ObjectKey, Arc<Self>>) -> bool {
                mesh.replace_objects::<$fact>(Origin::Cluster, all)
            }
            fn get(mesh: &Mesh, key: &ObjectKey) -> Option<Arc<Self>> {
                mesh.table.fact(&$fact::of(Origin::Cluster, key.clone()))
            }
            fn all(mesh: &Mesh) -> Vec<(ObjectKey, Arc<Self>)> {
                let facts = mesh.table.keys::<$fact>().into_iter();
                facts.filter_map(|fact| Some((fact.key().clone(), mesh.table.fact(&fact)?))).collect()
            }
        })*

        impl Inputs {
            fn fill(&self, mesh: &mut Mesh) {
                $(mesh.replace(self.$field.clone());)*
            }
        }
    };
}

kinds! {
    Service: ServiceFact in services;
    Pod: PodFact in pods;
    EndpointSlice: SliceFact in endpoint_slices;
    Namespace: NamespaceFact in namespaces;
    Node: NodeFact in nodes;
    VirtualService: VirtualServiceFact in virtual_services;
    DestinationRule: DestinationRuleFact in destination_rules;
    Gateway: GatewayFact in gateways;
    ServiceEntry: ServiceEntryFact in service_entries;
    WorkloadEntry: WorkloadEntryFact in workload_entries;
    Sidecar: SidecarFact in sidecars;
    PeerAuthentication: PeerAuthenticationFact in peer_authentications;
    AuthorizationPolicy: AuthorizationPolicyFact in authorization_policies;
    RequestAuthentication: RequestAuthenticationFact in request_authentications;
}

impl Default for Mesh {
    fn default() -> Self {
        Self::new(ClusterContext::default())
    }
}

impl From<&Inputs> for Mesh {
    fn from(inputs: &Inputs) -> Self {
        let mut mesh = Self::new(inputs.cluster.clone());
        mesh.set_mesh_config(inputs.mesh_config.clone());
        mesh.set_root_certificates(&inputs.root_certificates);
        mesh.set_jwks(&inputs.jwks);
        inputs.fill(&mut mesh);
        mesh.set_federation(&inputs.federation);
        mesh
    }
}

impl Mesh {
    /// A mesh without objects in a cluster.
    pub fn new(cluster: ClusterContext) -> Self {
        let mut table = Table::new();
        table.set(&ClusterFact, Some(Arc::new(cluster)));
        table.hold(&Chosen);
        Self { table }
    }

    /// Sets an object of the cluster, or takes it away; whether that is a change.
    pub fn set<T: Kind>(&mut self, key: ObjectKey, object: Option<Arc<T>>) -> bool {
        T::set(self, key, object)
    }

    /// Makes these all objects of a kind that the cluster has; whether anything differs.
    pub fn replace<T: Kind>(&mut self, all: BTreeMap<ObjectKey, Arc<T>>) -> bool {
        T::replace(self, all)
    }

    /// An object of the cluster, as it was set.
    pub fn get<T: Kind>(&self, key: &ObjectKey) -> Option<Arc<T>> {
        T::get(self, key)
    }

    /// All objects of a kind, those that federation adds last.
    pub fn all<T: Kind>(&self) -> Vec<(ObjectKey, Arc<T>)> {
        T::all(self)
    }

    /// Settings of the mesh.
    pub fn set_mesh_config(&mut self, config: Arc<MeshConfig>) -> bool {
        self.table.set(&MeshConfigFact, Some(config))
    }

    /// Root certificates of our own trust domain (PEM).
    pub fn set_root_certificates(&mut self, roots: &str) -> bool {
        self.table.set(&RootsFact, Some(roots.into()))
    }

    /// JSON Web Key Sets by `jwksUri`, or by issuer where a rule names no URI.
    pub fn set_jwks(&mut self, sets: &BTreeMap<String, String>) -> bool {
        self.table
            .replace(sets.iter().map(|(key, set)| (JwksFact(key.clone()), set.as_str().into())).collect())
    }

    /// What federation adds.
    pub fn set_federation(&mut self, inputs: &FederationInputs) -> bool {
        let configs = &inputs.configs;
        let mut differs = self.replace_objects::<GatewayFact>(Origin::Federation, keyed(&configs.gateways));
        differs |=
            self.replace_objects::<VirtualServiceFact>(Origin::Federation, keyed(&configs.virtual_services));
        differs |= self
            .replace_objects::<DestinationRuleFact>(Origin::Federation, keyed(&configs.destination_rules));
        differs |=
            self.replace_objects::<ServiceEntryFact>(Origin::Federation, keyed(&configs.service_entries));
        differs |= self.replace_objects::<AuthorizationPolicyFact>(
            Origin::Federation,
            keyed(&configs.authorization_policies),
        );
        let services = inputs.services.iter().map(|s| (ImportFact(s.host.clone()), s.clone()));
        differs |= self.table.replace(services.collect());
        let endpoints =
            inputs.endpoints.iter().map(|(host, e)| (ImportEndpointsFact(host.clone()), e.clone()));
        differs |= self.table.replace(endpoints.collect());
        differs | self.table.set(&TrustFact, Some(Arc::new(inputs.trust.clone())))
    }

    fn replace_objects<F: Fact>(&mut self, origin: Origin, all: BTreeMap<ObjectKey, Arc<F::Form>>) -> bool {
        let gone: Vec<F> = self
            .table
            .keys::<F>()
            .into_iter()
            .filter(|fact| fact.origin() == origin && !all.contains_key(fact.key()))
            .collect();
        let mut differs = false;
        for fact in gone {
            differs |= self.table.set(&fact, None);
        }
        for (key, object) in all {
            differs |= self.table.set(&F::of(origin, key), Some(object));
        }
        differs
    }

    /// Has something kept true and its changes told by [`Mesh::settle`].
    pub fn hold<D: Derived>(&mut self, key: &D) {
        self.table.hold(key);
    }

    /// Takes back a [`Mesh::hold`].
    pub fn release<D: Derived>(&mut self, key: &D) {
        self.table.release(key);
    }

    /// What is held under a key, as the last [`Mesh::settle`] left it.
    pub fn held<D: Derived>(&self, key: &D) -> Option<D::Value> {
        self.table.held(key)
    }

    /// Makes everything true that is held, and says what of it differs.
    pub fn settle(&mut self) -> Changes {
        let changes = self.table.settle();
        self.keep_addresses(&changes);
        changes
    }

    /// Chosen addresses become facts, so that hosts keep them. Nothing else follows from that: the choice stays.
    fn keep_addresses(&mut self, changes: &Changes) {
        if changes.of::<Chosen>().next().is_some() {
            let chosen = self.table.held(&Chosen).unwrap_or_default();
            self.table.replace(chosen.iter().map(|(host, ip)| (ChosenFact(host.clone()), *ip)).collect());
        }
    }

    /// The model, for reading. What is read and not held is made for this and forgotten by the next settling.
    pub fn model(&self) -> Model<'_> {
        Model::new(&self.table.reader())
    }

    /// What could not be made since this was asked last, for want of a function that does not panic.
    pub fn take_failures(&mut self) -> Vec<Failure> {
        self.table.take_failures()
    }

    /// How much work there was so far, by kind of what was made.
    pub fn counts(&self) -> BTreeMap<&'static str, Counts> {
        self.table.counts()
    }
}

fn keyed<T: kube_core::Resource>(objects: &[Arc<T>]) -> BTreeMap<ObjectKey, Arc<T>> {
    let key = |object: &Arc<T>| {
        let meta = object.meta();
        ObjectKey::new(meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
    };
    objects.iter().map(|object| (key(object), object.clone())).collect()
}
