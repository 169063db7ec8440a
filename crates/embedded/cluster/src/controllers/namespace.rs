//! Namespace life cycle: a deleted namespace loses its content first, then its finalizer. Every namespace that
//! lives has a ServiceAccount `default` and a ConfigMap `kube-root-ca.crt`.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::core::{DynamicObject, PartialObjectMeta};
use kube::discovery::{Scope, verbs};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Api, Client, Discovery, ResourceExt};

use super::meta;
use super::queue::{Key, Next};

/// The finalizer in `spec.finalizers` that stands for "content is still there".
const FINALIZER: &str = "kubernetes";
/// Pods need their grace period: how often a namespace on its way out is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(300);
/// Name of the ConfigMap with the cluster's certificate authority.
pub(crate) const ROOT_CA: &str = "kube-root-ca.crt";
/// Name of the account that Pods get when they name none.
pub(crate) const DEFAULT_ACCOUNT: &str = "default";

/// The controller.
pub(crate) struct Controller {
    pub(crate) client: Client,
    pub(crate) namespaces: Store<Namespace>,
    pub(crate) accounts: Store<ServiceAccount>,
    pub(crate) root_cas: Store<ConfigMap>,
    /// PEM of the authority that signs the API server's certificate.
    pub(crate) root_ca: String,
}

impl Controller {
    /// Furnishes or empties one namespace.
    pub(crate) async fn reconcile(&self, key: Key) -> kube::Result<Next> {
        let Some(namespace) = self.namespaces.get(&ObjectRef::new(&key.name)) else { return Ok(Next::Idle) };
        if namespace.metadata.deletion_timestamp.is_none() {
            return self.furnish(&key.name).await.map(|()| Next::Idle);
        }
        let held = namespace
            .spec
            .as_ref()
            .and_then(|spec| spec.finalizers.as_ref())
            .is_some_and(|finalizers| finalizers.iter().any(|finalizer| finalizer == FINALIZER));
        if !held {
            return Ok(Next::Idle);
        }
        if self.empty(&key.name).await? > 0 {
            return Ok(Next::After(LOOK_AGAIN));
        }
        self.finalize(&namespace).await.map(|()| Next::Idle)
    }

    async fn furnish(&self, name: &str) -> kube::Result<()> {
        if self.accounts.get(&ObjectRef::new(DEFAULT_ACCOUNT).within(name)).is_none() {
            let account = ServiceAccount {
                metadata: ObjectMeta { name: Some(DEFAULT_ACCOUNT.to_owned()), ..ObjectMeta::default() },
                ..ServiceAccount::default()
            };
            let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), name);
            exists_is_fine(api.create(&PostParams::default(), &account).await)?;
        }
        let data = BTreeMap::from([("ca.crt".to_owned(), self.root_ca.clone())]);
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), name);
        match self.root_cas.get(&ObjectRef::new(ROOT_CA).within(name)) {
            None => {
                let map = ConfigMap {
                    metadata: ObjectMeta { name: Some(ROOT_CA.to_owned()), ..ObjectMeta::default() },
                    data: Some(data),
                    ..ConfigMap::default()
                };
                exists_is_fine(api.create(&PostParams::default(), &map).await)?;
            }
            Some(map) if map.data.as_ref() != Some(&data) => {
                let mut map = (*map).clone();
                map.data = Some(data);
                api.replace(ROOT_CA, &PostParams::default(), &map).await?;
            }
            Some(_) => {}
        }
        Ok(())
    }

    /// Deletes what a namespace holds; how many objects are still there.
    async fn empty(&self, name: &str) -> kube::Result<usize> {
        let discovery = Discovery::new(self.client.clone()).run().await?;
        let mut left = 0;
        for (resource, capabilities) in
            discovery.groups().flat_map(kube::discovery::ApiGroup::recommended_resources)
        {
            if capabilities.scope != Scope::Namespaced
                || !capabilities.supports_operation(verbs::LIST)
                || !capabilities.supports_operation(verbs::DELETE)
            {
                continue;
            }
            let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), name, &resource);
            let objects: Vec<PartialObjectMeta<DynamicObject>> =
                api.list_metadata(&ListParams::default()).await?.items;
            // What keeps the data of the kind's own objects (mirrored events, slices) goes with the rest.
            left += objects.len();
            for object in objects.iter().filter(|object| object.metadata.deletion_timestamp.is_none()) {
                meta::gone_is_fine(api.delete(&object.name_any(), &DeleteParams::background()).await)?;
            }
        }
        Ok(left)
    }

    async fn finalize(&self, namespace: &Namespace) -> kube::Result<()> {
        let mut namespace = namespace.clone();
        if let Some(spec) = &mut namespace.spec {
            spec.finalizers.get_or_insert_default().retain(|finalizer| finalizer != FINALIZER);
        }
        let name = namespace.name_any();
        let api: Api<Namespace> = Api::all(self.client.clone());
        meta::gone_is_fine(
            api.replace_subresource("finalize", &name, &PostParams::default(), &namespace).await,
        )
    }
}

fn exists_is_fine<T>(result: kube::Result<T>) -> kube::Result<()> {
    match result {
        Ok(_) => Ok(()),
        Err(error) if meta::is_race(&error) => Ok(()),
        Err(error) => Err(error),
    }
}
