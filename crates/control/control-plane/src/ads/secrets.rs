//! The certificates of Gateway servers (`credentialName`) out of Kubernetes Secrets, over SDS (Envoy: secret discovery service;
//! Istio: Gateway, ServerTLSSettings).

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Weak},
    time::Duration,
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
use portolan_envoy_api::pb::envoy::{
    config::core::v3::{DataSource, data_source::Specifier},
    extensions::transport_sockets::tls::v3::{CertificateValidationContext, Secret, TlsCertificate, secret},
};
use portolan_mesh::ProxyNode;
use portolan_xds::{Resource, type_url};
use prost::Message;
use tokio::{
    sync::{Notify, watch},
    task::AbortHandle,
    time::{Instant, timeout},
};

use crate::auth::Caller;

/// Prefix of names that mean a Kubernetes Secret.
const KUBERNETES: &str = "kubernetes://";

/// Suffix of names that mean the CA certificate in a Secret.
const CA_SUFFIX: &str = "-cacert";

/// Kubernetes Secrets that are followed at the same time: over all, in one namespace, for one proxy. Further ones are not
/// served. A proxy may name Secrets of its own namespace only, so none takes the room of other namespaces.
const MAX_FOLLOWED: usize = 10_000;
const MAX_FOLLOWED_IN_NAMESPACE: usize = 2_000;
const MAX_FOLLOWED_BY_PROXY: usize = 500;

/// How long a first look at a Secret may take.
const FIRST_LOOK: Duration = Duration::from_secs(5);

/// How long "this service account may read Secrets here" is believed.
const ACCESS_CACHE: Duration = Duration::from_secs(60);

/// Namespace and name.
type Key = (String, String);

/// A Secret that is followed; nothing in it before the first look, or when it does not exist.
struct Following {
    state: watch::Receiver<Option<Option<Arc<KubeSecret>>>>,
    task: AbortHandle,
    /// Proxies that hear of changes, as long as they are there.
    listeners: Listeners,
}

type Listeners = Arc<Mutex<Vec<Weak<Notify>>>>;

impl Following {
    fn tell(&self, listener: &Arc<Notify>) {
        let mut listeners = self.listeners.lock();
        listeners.retain(|other| other.strong_count() > 0);
        if !listeners.iter().any(|other| std::ptr::eq(other.as_ptr(), Arc::as_ptr(listener))) {
            listeners.push(Arc::downgrade(listener));
        }
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The Secrets that one proxy has followed, by the SDS names for which it asks. A Secret is followed for as long as some
/// proxy has it here.
#[derive(Default)]
pub(super) struct Followed {
    by_name: BTreeMap<Arc<str>, BTreeMap<Key, Arc<Following>>>,
    news: Arc<Notify>,
}

impl Followed {
    /// Woken when one of them differs.
    pub(super) async fn changed(&self) {
        self.news.notified().await;
    }

    /// Lets go of everything but what these names mean.
    fn keep(&mut self, names: &BTreeSet<Arc<str>>) {
        self.by_name.retain(|name, _| names.contains(name));
    }

    fn len(&self) -> usize {
        self.by_name.values().map(BTreeMap::len).sum()
    }
}

/// Kubernetes Secrets for gateways, read when first asked for and followed for as long as somebody asks.
pub struct SecretSource {
    client: Client,
    followed: Mutex<HashMap<Key, Weak<Following>>>,
    access: Mutex<HashMap<(String, String), (bool, Instant)>>,
}

impl SecretSource {
    /// Nothing is followed yet.
    pub fn new(client: Client) -> Self {
        Self { client, followed: Mutex::default(), access: Mutex::default() }
    }

    /// The secrets of these SDS names that the proxy may have. `followed` is the proxy's own: what it no longer asks for is
    /// followed no longer.
    pub(super) async fn all(
        &self,
        node: &ProxyNode,
        caller: &Caller,
        names: &BTreeSet<Arc<str>>,
        followed: &mut Followed,
    ) -> Vec<Arc<Resource>> {
        followed.keep(names);
        let mut found = Vec::new();
        for name in names {
            found.extend(self.get(node, caller, name, followed).await);
        }
        found
    }

    /// The secret of that SDS name, if the proxy may have it: it is a gateway, the Secret is in its own namespace, and
    /// its service account may read Secrets there.
    async fn get(
        &self,
        node: &ProxyNode,
        caller: &Caller,
        name: &Arc<str>,
        followed: &mut Followed,
    ) -> Option<Arc<Resource>> {
        let path = name.strip_prefix(KUBERNETES)?;
        let (namespace, object) = match path.split_once('/') {
            Some((namespace, object)) => (namespace, object),
            None => (node.namespace.as_str(), path),
        };
        if !node.is_router() || namespace != caller.namespace() || object.is_empty() {
            tracing::warn!(
                proxy = node.id,
                secret = &**name,
                "secret refused: only gateways get secrets, of their own namespace"
            );
            return None;
        }
        if !self.may_read(caller).await {
            tracing::warn!(
                proxy = node.id,
                secret = &**name,
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
                    if let Some(found) = self.look(namespace, object, name, followed).await
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
                let found = self.look(namespace, object, name, followed).await?;
                let certificate = TlsCertificate {
                    certificate_chain: inline(text(&found, &["tls.crt", "cert"])?),
                    private_key: inline(text(&found, &["tls.key", "key"])?),
                    ..TlsCertificate::default()
                };
                Some(secret_resource(name, secret::Type::TlsCertificate(certificate)))
            }
        }
    }

    async fn look(
        &self,
        namespace: &str,
        object: &str,
        name: &Arc<str>,
        followed: &mut Followed,
    ) -> Option<Arc<KubeSecret>> {
        let key = (namespace.to_owned(), object.to_owned());
        let mut state = self.follow(key, name, followed)?.state.clone();
        let seen = timeout(FIRST_LOOK, state.wait_for(Option::is_some)).await;
        match seen {
            Ok(Ok(value)) => value.clone().flatten(),
            _ => None,
        }
    }

    /// Follows a Secret for a proxy that asks for it by an SDS name; nothing when there is no room.
    fn follow(&self, key: Key, name: &Arc<str>, followed: &mut Followed) -> Option<Arc<Following>> {
        let known = followed.by_name.get(name).and_then(|of_name| of_name.get(&key));
        if let Some(following) = known {
            return Some(following.clone());
        }
        let (namespace, object) = (key.0.clone(), key.1.clone());
        let refuse = |limit: usize, whose: &str| {
            tracing::error!(
                namespace,
                secret = object,
                "not served: {whose} already has {limit} Secrets followed"
            );
            None
        };
        if followed.len() >= MAX_FOLLOWED_BY_PROXY {
            return refuse(MAX_FOLLOWED_BY_PROXY, "the proxy");
        }
        let mut all = self.followed.lock();
        let following = match all.get(&key).and_then(Weak::upgrade) {
            Some(following) => following,
            None => {
                all.retain(|_, following| following.strong_count() > 0);
                if all.keys().filter(|(of, _)| *of == key.0).count() >= MAX_FOLLOWED_IN_NAMESPACE {
                    return refuse(MAX_FOLLOWED_IN_NAMESPACE, "the namespace");
                }
                if all.len() >= MAX_FOLLOWED {
                    return refuse(MAX_FOLLOWED, "the control plane");
                }
                let following = Arc::new(self.start(&key));
                all.insert(key.clone(), Arc::downgrade(&following));
                following
            }
        };
        following.tell(&followed.news);
        followed.by_name.entry(name.clone()).or_default().insert(key, following.clone());
        Some(following)
    }

    /// Starts to follow a Secret.
    fn start(&self, (namespace, object): &Key) -> Following {
        let (sender, state) = watch::channel(None);
        let api: Api<KubeSecret> = Api::namespaced(self.client.clone(), namespace);
        let (object, listeners) = (object.clone(), Listeners::default());
        let told = listeners.clone();
        let task = tokio::spawn(async move {
            let mut states = watch_object(api, &object).default_backoff().boxed();
            while let Some(state) = states.next().await {
                let Ok(state) = state else { continue };
                sender.send_replace(Some(state.map(Arc::new)));
                // The first word too: who asked may have waited for it no longer.
                told.lock().iter().filter_map(Weak::upgrade).for_each(|listener| listener.notify_one());
            }
        });
        Following { state, task: task.abort_handle(), listeners }
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
    Arc::new(Resource::new(name, type_url::SECRET, secret.encode_to_vec().into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A source whose API server never answers.
    fn source() -> SecretSource {
        let silent = tower::service_fn(|_: http::Request<kube::client::Body>| {
            std::future::pending::<Result<http::Response<kube::client::Body>, std::io::Error>>()
        });
        SecretSource::new(Client::new(silent, "default"))
    }

    /// How many of `count` Secrets of a namespace are followed for a proxy.
    fn ask(
        source: &SecretSource,
        proxy: &mut Followed,
        namespace: &str,
        prefix: &str,
        count: usize,
    ) -> usize {
        let follow = |n: usize| {
            let object = format!("{prefix}-{n}");
            let name: Arc<str> = format!("kubernetes://{object}").into();
            source.follow((namespace.to_owned(), object), &name, proxy).is_some()
        };
        (0..count).map(follow).filter(|served| *served).count()
    }

    #[tokio::test]
    async fn a_proxy_that_asks_for_too_much_takes_no_room_of_others() {
        let source = source();
        let (mut greedy, mut modest) = (Followed::default(), Followed::default());
        assert_eq!(ask(&source, &mut greedy, "a", "x", 20_000), MAX_FOLLOWED_BY_PROXY);
        assert_eq!(ask(&source, &mut modest, "a", "y", 10), 10);
    }

    #[tokio::test]
    async fn a_namespace_that_asks_for_too_much_takes_no_room_of_others() {
        let source = source();
        let mut proxies: Vec<Followed> = (0..30).map(|_| Followed::default()).collect();
        let served: usize = proxies
            .iter_mut()
            .enumerate()
            .map(|(n, proxy)| ask(&source, proxy, "a", &format!("p{n}"), MAX_FOLLOWED_BY_PROXY))
            .sum();
        assert_eq!(served, MAX_FOLLOWED_IN_NAMESPACE);
        assert_eq!(ask(&source, &mut Followed::default(), "b", "y", 10), 10);
    }

    #[tokio::test]
    async fn what_is_no_longer_asked_for_is_no_longer_followed() {
        let source = source();
        let (mut first, mut second) = (Followed::default(), Followed::default());
        for round in 0..10 {
            // Other names each time, as from a proxy whose configuration changes.
            let served = ask(&source, &mut first, "a", &format!("r{round}"), MAX_FOLLOWED_BY_PROXY);
            assert_eq!(served, MAX_FOLLOWED_BY_PROXY, "round {round}");
            first.keep(&BTreeSet::new());
        }
        assert_eq!(ask(&source, &mut first, "a", "shared", 1), 1);
        assert_eq!(ask(&source, &mut second, "a", "shared", 1), 1);
        assert_eq!(source.followed.lock().len(), 1, "one watch serves both");
        let watch = source.followed.lock().values().next().cloned().unwrap();
        drop(first);
        assert!(watch.upgrade().is_some(), "the second proxy still asks");
        drop(second);
        assert!(watch.upgrade().is_none());
    }
}
