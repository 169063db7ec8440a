//! The entry point: resources of one proxy, encoded once and shared.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError, Weak},
};

use portolan_mesh::{Model, ProxyNode};
use portolan_xds::{Resource, Version, type_url};
use prost::Message;

use crate::{cluster, context::Context, encode, endpoint, listener, route, secret};

/// Makes xDS resources out of the model.
///
/// Resources are content-addressed: whoever gets an equal resource gets the same [`Resource`], so that its bytes exist
/// once however many proxies have it.
#[derive(Debug, Default)]
pub struct Generator {
    /// Resources in use, by type, name and version. Weak: a resource that no proxy has any more goes away by itself.
    interned: Mutex<HashMap<Key, Weak<Resource>>>,
}

type Key = (&'static str, Arc<str>, Version);

/// Entries after which dead ones are swept out.
const SWEEP_AFTER: usize = 4096;

impl Generator {
    /// A generator without resources.
    pub fn new() -> Self {
        Self::default()
    }

    /// The resources of a type that a proxy gets. `names` asks for some by name (EDS, RDS, SDS are only served by name
    /// unless `names` is `None`); `None` is all. A name that there is nothing for is left out.
    pub fn generate(
        &self,
        model: Model<'_>,
        node: &ProxyNode,
        url: &str,
        names: Option<&[String]>,
    ) -> Vec<Arc<Resource>> {
        let ctx = Context::new(model, node);
        let wanted: Option<BTreeSet<&str>> = names.map(|n| n.iter().map(String::as_str).collect());
        let is_wanted = |name: &str| wanted.as_ref().is_none_or(|w| w.contains(name));
        match url {
            type_url::CLUSTER => {
                let all = clusters(&ctx);
                self.encode(
                    type_url::CLUSTER,
                    all.into_iter().filter(|c| is_wanted(&c.name)).map(|c| (c.name.clone(), c)),
                )
            }
            type_url::ENDPOINT => {
                let made = match &wanted {
                    Some(set) => set
                        .iter()
                        .filter_map(|n| Some(((*n).to_owned(), endpoint::assignment(&ctx, n)?)))
                        .collect(),
                    None => endpoints(&ctx),
                };
                self.encode(type_url::ENDPOINT, made.into_iter())
            }
            type_url::LISTENER => {
                let all = listener::listeners(&ctx);
                self.encode(
                    type_url::LISTENER,
                    all.into_iter().filter(|l| is_wanted(&l.name)).map(|l| (l.name.clone(), l)),
                )
            }
            type_url::ROUTE => {
                let list: Vec<String> = match &wanted {
                    Some(set) => set.iter().map(|s| (*s).to_owned()).collect(),
                    None => listener::route_names(&ctx),
                };
                let made = list.into_iter().filter_map(|n| route::configuration(&ctx, &n).map(|r| (n, r)));
                self.encode(type_url::ROUTE, made)
            }
            type_url::SECRET => {
                let made = secret::root_ca(&ctx).filter(|s| is_wanted(&s.name)).map(|s| (s.name.clone(), s));
                self.encode(type_url::SECRET, made.into_iter())
            }
            _ => Vec::new(),
        }
    }

    fn encode<T: Message>(
        &self,
        url: &'static str,
        messages: impl Iterator<Item = (String, T)>,
    ) -> Vec<Arc<Resource>> {
        let made: Vec<Arc<Resource>> = messages.map(|(name, m)| encode::resource(&name, url, &m)).collect();
        let mut interned = self.interned.lock().unwrap_or_else(PoisonError::into_inner);
        if interned.len() >= SWEEP_AFTER {
            interned.retain(|_, r| r.strong_count() > 0);
        }
        made.into_iter()
            .map(|resource| {
                let key = (url, resource.name.clone(), resource.version);
                if let Some(shared) = interned.get(&key).and_then(Weak::upgrade) {
                    return shared;
                }
                interned.insert(key, Arc::downgrade(&resource));
                resource
            })
            .collect()
    }
}

/// All clusters of a proxy.
fn clusters(ctx: &Context<'_>) -> Vec<crate::pb::cluster::Cluster> {
    let mut out = cluster::special(ctx);
    for host in ctx.scope.hosts().iter() {
        out.extend(cluster::of_service(ctx, host));
    }
    out.extend(cluster::inbound_all(ctx));
    out
}

/// All assignments that the clusters of a proxy ask EDS for, by name.
fn endpoints(ctx: &Context<'_>) -> BTreeMap<String, crate::pb::endpoint::ClusterLoadAssignment> {
    ctx.scope.hosts().iter().flat_map(|host| endpoint::of_service(ctx, host)).collect()
}
