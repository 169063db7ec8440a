//! The certificates of Gateway servers (`credentialName`) out of Kubernetes Secrets, over SDS (spec/istio.md 2.3).

use std::{collections::HashMap, sync::Arc, time::Duration};

use envoy_types::pb::envoy::{
    config::core::v3::{DataSource, data_source::Specifier},
    extensions::transport_sockets::tls::v3::{CertificateValidationContext, Secret, TlsCertificate, secret},
};
use futures::StreamExt;
use k8s_openapi::api::{
    authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
    core::v1::Secret as KubeSecret,
};
use kube::{
    Api, Client,
    api::PostParams,
    runtime::{WatchStreamExt, watcher::watch_object},
};
use parking_lot::Mutex;
use portolan_mesh::ProxyNode;
use portolan_xds::{Resource, type_url};
use prost::Message;
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

use super::resources::resource;
use crate::{auth::Caller, push::Published};

/// Prefix of names that mean a Kubernetes Secret.
const KUBERNETES: &str = "kubernetes://";

/// Suffix of names that mean the CA certificate in a Secret.
const CA_SUFFIX: &str = "-cacert";

/// Kubernetes Secrets that are followed at the same time; further ones are not served.
const MAX_FOLLOWED: usize = 10_000;

/// How long a first look at a Secret may take.
const FIRST_LOOK: Duration = Duration::from_secs(5);

/// How long "this service account may read Secrets here" is believed.
const ACCESS_CACHE: Duration = Duration::from_secs(60);

type Followed = watch::Receiver<Option<Option<Arc<KubeSecret>>>>;

/// Kubernetes Secrets for gateways, read when first asked for and followed from then on.
pub struct SecretSource {
    client: Client,
    published: Arc<watch::Sender<Published>>,
    followed: Mutex<HashMap<(String, String), Followed>>,
    access: Mutex<HashMap<(String, String), (bool, Instant)>>,
}

impl SecretSource {
    /// Changes are announced to all streams by publishing anew.
    pub fn new(client: Client, published: Arc<watch::Sender<Published>>) -> Self {
        Self { client, published, followed: Mutex::default(), access: Mutex::default() }
    }

    /// The secret of that SDS name, if the proxy may have it: it is a gateway, the Secret is in its own namespace, and
    /// its service account may read Secrets there.
    pub(super) async fn get(&self, node: &ProxyNode, caller: &Caller, name: &str) -> Option<Arc<Resource>> {
        let path = name.strip_prefix(KUBERNETES)?;
        let (namespace, object) = match path.split_once('/') {
            Some((namespace, object)) => (namespace, object),
            None => (node.namespace.as_str(), path),
        };
        if !node.is_router() || namespace != caller.namespace() || object.is_empty() {
            tracing::warn!(
                proxy = node.id,
                secret = name,
                "secret refused: only gateways get secrets, of their own namespace"
            );
            return None;
        }
        if !self.may_read(caller).await {
            tracing::warn!(
                proxy = node.id,
                secret = name,
                "secret refused: the service account may not list secrets; bind a Role that allows it"
            );
            return None;
        }
        // `x-cacert` means the CA in x, or a Secret of that very name.
        match object.strip_suffix(CA_SUFFIX) {
            Some(base) => {
                for (object, key) in
                    [(object, "cacert"), (object, "ca.crt"), (base, "cacert"), (base, "ca.crt")]
                {
                    if let Some(found) = self.look(namespace, object).await
                        && let Some(roots) = text(&found, &[key])
                    {
                        let context = CertificateValidationContext {
                            trusted_ca: inline(roots),
                            ..CertificateValidationContext::default()
                        };
                        return Some(secret_resource(name, secret::Type::ValidationContext(context)));
                    }
                }
                None
            }
            None => {
                let found = self.look(namespace, object).await?;
                let certificate = TlsCertificate {
                    certificate_chain: inline(text(&found, &["tls.crt", "cert"])?),
                    private_key: inline(text(&found, &["tls.key", "key"])?),
                    ..TlsCertificate::default()
                };
                Some(secret_resource(name, secret::Type::TlsCertificate(certificate)))
            }
        }
    }

    async fn look(&self, namespace: &str, name: &str) -> Option<Arc<KubeSecret>> {
        let mut receiver = self.follow(namespace, name)?;
        let seen = timeout(FIRST_LOOK, receiver.wait_for(Option::is_some)).await;
        match seen {
            Ok(Ok(value)) => value.clone().flatten(),
            _ => None,
        }
    }

    fn follow(&self, namespace: &str, name: &str) -> Option<Followed> {
        let mut followed = self.followed.lock();
        let key = (namespace.to_owned(), name.to_owned());
        if let Some(receiver) = followed.get(&key) {
            return Some(receiver.clone());
        }
        if followed.len() >= MAX_FOLLOWED {
            tracing::error!(
                namespace,
                secret = name,
                "not served: {MAX_FOLLOWED} Secrets are followed already"
            );
            return None;
        }
        let (sender, receiver) = watch::channel(None);
        let api: Api<KubeSecret> = Api::namespaced(self.client.clone(), namespace);
        let (object, published) = (name.to_owned(), self.published.clone());
        tokio::spawn(async move {
            let mut states = watch_object(api, &object).default_backoff().boxed();
            while let Some(state) = states.next().await {
                let Ok(state) = state else { continue };
                let first = sender.borrow().is_none();
                sender.send_replace(Some(state.map(Arc::new)));
                if !first {
                    published.send_modify(Published::touch);
                }
            }
        });
        followed.insert(key, receiver.clone());
        Some(receiver)
    }

    async fn may_read(&self, caller: &Caller) -> bool {
        let key = (caller.namespace().to_owned(), caller.service_account().to_owned());
        if let Some((allowed, at)) = self.access.lock().get(&key)
            && at.elapsed() < ACCESS_CACHE
        {
            return *allowed;
        }
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(format!(
                    "system:serviceaccount:{}:{}",
                    caller.namespace(),
                    caller.service_account()
                )),
                resource_attributes: Some(ResourceAttributes {
                    namespace: Some(caller.namespace().to_owned()),
                    verb: Some("list".to_owned()),
                    resource: Some("secrets".to_owned()),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let api: Api<SubjectAccessReview> = Api::all(self.client.clone());
        match api.create(&PostParams::default(), &review).await {
            Ok(answer) => {
                let allowed = answer.status.is_some_and(|status| status.allowed);
                let mut access = self.access.lock();
                access.retain(|_, (_, at)| at.elapsed() < ACCESS_CACHE);
                access.insert(key, (allowed, Instant::now()));
                allowed
            }
            Err(error) => {
                tracing::warn!(%error, "access to Secrets can't be checked; refused");
                false
            }
        }
    }
}

fn text(secret: &KubeSecret, keys: &[&str]) -> Option<String> {
    let data = secret.data.as_ref()?;
    keys.iter().find_map(|key| String::from_utf8(data.get(*key)?.0.clone()).ok())
}

fn inline(text: String) -> Option<DataSource> {
    Some(DataSource { specifier: Some(Specifier::InlineString(text)), watched_directory: None })
}

fn secret_resource(name: &str, kind: secret::Type) -> Arc<Resource> {
    let secret = Secret { name: name.to_owned(), r#type: Some(kind) };
    resource(name, type_url::SECRET, secret.encode_to_vec().into())
}
