//! Single settings, so that who reads one is not concerned by others.

use std::sync::Arc;

use portolan_derive::{Derived, Reader};
use portolan_resources::MeshConfig;

use crate::{
    facts::{ClusterFact, MeshConfigFact},
    inputs::ClusterContext,
};

pub(crate) fn cluster(read: &Reader<'_>) -> Arc<ClusterContext> {
    read.fact(&ClusterFact).unwrap_or_default()
}

pub(crate) fn mesh_config(read: &Reader<'_>) -> Arc<MeshConfig> {
    read.fact(&MeshConfigFact).unwrap_or_default()
}

macro_rules! text {
    ($($(#[$doc:meta])* $name:ident, $function:ident: $value:ty = $from:expr;)*) => {$(
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        struct $name;

        impl Derived for $name {
            type Value = $value;
            fn derive(&self, read: &Reader<'_>) -> $value {
                let from: fn(&MeshConfig) -> $value = $from;
                from(&mesh_config(read))
            }
        }

        $(#[$doc])*
        pub(crate) fn $function(read: &Reader<'_>) -> $value {
            read.get(&$name)
        }
    )*};
}

text! {
    /// Our trust domain.
    TrustDomain, trust_domain: Arc<str> = |mesh| mesh.trust_domain.as_str().into();
    /// Its other names.
    Aliases, trust_domain_aliases: Arc<[String]> = |mesh| mesh.trust_domain_aliases.as_slice().into();
    /// The namespace whose objects hold for the whole mesh.
    Root, root_namespace: Arc<str> = |mesh| mesh.root_namespace.as_str().into();
    /// Who sees services that do not say.
    ServiceExport, service_export: Arc<[String]> = |mesh| mesh.default_service_export_to.as_slice().into();
    /// Who sees VirtualServices that do not say.
    VirtualServiceExport, virtual_service_export: Arc<[String]> =
        |mesh| mesh.default_virtual_service_export_to.as_slice().into();
    /// Who sees DestinationRules that do not say.
    DestinationRuleExport, destination_rule_export: Arc<[String]> =
        |mesh| mesh.default_destination_rule_export_to.as_slice().into();
    /// Unknown destinations are passed through.
    AllowAny, allow_any: bool = MeshConfig::allow_any;
}
