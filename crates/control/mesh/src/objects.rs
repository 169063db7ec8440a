//! Objects of a kind as the model keeps them, in their order of precedence.

use std::sync::Arc;

use portolan_derive::{Derived, Reader};
use portolan_resources::{
    networking::{GatewaySpec, SidecarSpec},
    security::{AuthorizationPolicySpec, PeerAuthenticationSpec, RequestAuthenticationSpec},
};

use crate::{
    facts::{
        AuthorizationPolicyFact, GatewayFact, PeerAuthenticationFact, RequestAuthenticationFact, SidecarFact,
        Tag,
    },
    object::{ConfigMeta, Resolved},
};

/// Some objects, oldest first.
pub(crate) type Objects<T> = Arc<[Arc<Resolved<T>>]>;

fn sorted<T>(mut all: Vec<Arc<Resolved<T>>>) -> Objects<T> {
    all.sort_by(|a, b| a.meta.precedence().cmp(&b.meta.precedence()));
    all.into()
}

macro_rules! single {
    ($name:ident: $fact:ident => $spec:ty) => {
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        struct $name($fact);

        impl Derived for $name {
            type Value = Option<Arc<Resolved<$spec>>>;
            fn derive(&self, read: &Reader<'_>) -> Self::Value {
                let object = read.fact(&self.0)?;
                Some(Arc::new(Resolved { meta: ConfigMeta::of(&object.metadata), spec: object.spec.clone() }))
            }
        }
    };
}

macro_rules! by_namespace {
    ($($name:ident, $in:ident: $fact:ident => $spec:ty;)*) => {$(
        single!($name: $fact => $spec);

        /// The objects of a namespace.
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(crate) struct $in(pub(crate) String);

        impl Derived for $in {
            type Value = Objects<$spec>;
            fn derive(&self, read: &Reader<'_>) -> Self::Value {
                let keys = read.tagged::<$fact>(&Tag::Namespace(self.0.clone()));
                sorted(keys.iter().filter_map(|key| read.get(&$name(key.clone()))).collect())
            }
        }
    )*};
}

by_namespace! {
    PeerAuthentication, PeerAuthenticationsIn: PeerAuthenticationFact => PeerAuthenticationSpec;
    AuthorizationPolicy, AuthorizationPoliciesIn: AuthorizationPolicyFact => AuthorizationPolicySpec;
    RequestAuthentication, RequestAuthenticationsIn: RequestAuthenticationFact => RequestAuthenticationSpec;
    Sidecar, SidecarsIn: SidecarFact => SidecarSpec;
}

single!(Gateway: GatewayFact => GatewaySpec);

/// All Gateways: they hold for workloads of any namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Gateways;

impl Derived for Gateways {
    type Value = Objects<GatewaySpec>;
    fn derive(&self, read: &Reader<'_>) -> Self::Value {
        let keys = read.keys::<GatewayFact>();
        sorted(keys.iter().filter_map(|key| read.get(&Gateway(key.clone()))).collect())
    }
}
