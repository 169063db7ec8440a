//! Who has a virtual host in a sidecar's route configuration, with which domains.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use portolan_derive::{Derived, Reader, Relation};
use portolan_mesh::{Protocol, ResolvedVirtualService, is_wildcard};
use portolan_names::names::MESH_GATEWAY;

use super::domains::{self, Taken};
use crate::{context::Context, listener::RouteNames, view::View};

/// Hosts of VirtualServices that are no service are served on this port only.
const DEFAULT_HTTP_PORT: u16 = 80;

/// Whose virtual host it is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Owner {
    /// The service of this host.
    Service(String),
    /// A host of a VirtualService that is no service.
    VirtualService(Arc<ResolvedVirtualService>, String),
}

impl Owner {
    pub(super) fn host(&self) -> &str {
        match self {
            Self::Service(host) | Self::VirtualService(_, host) => host,
        }
    }
}

/// What a route configuration's name says.
#[derive(Clone, Copy)]
pub(super) struct Name<'a> {
    /// Only this host; `None` is all of the port.
    only: Option<&'a str>,
    pub(super) port: u16,
}

impl<'a> Name<'a> {
    pub(super) fn parse(name: &'a str) -> Option<Self> {
        match name.rsplit_once(':') {
            Some((host, port)) => Some(Self { only: Some(host), port: port.parse().ok()? }),
            None => Some(Self { only: None, port: name.parse().ok()? }),
        }
    }
}

/// An owner and its domains.
type Owned = (Owner, Arc<[String]>);

/// Who has a virtual host in a route configuration, with its domains, by host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Owners {
    view: View,
    name: String,
}

impl Relation for Owners {
    type Entry = String;
    type Value = Owned;
    fn derive(&self, read: &Reader<'_>) -> BTreeMap<String, Owned> {
        let Some(parsed) = Name::parse(&self.name) else { return BTreeMap::new() };
        let ctx = self.view.context(read);
        let mut owners = services(&ctx, parsed);
        if parsed.only.is_none() && parsed.port == DEFAULT_HTTP_PORT {
            owners.extend(read.get(&Strangers(self.view.clone())).iter().cloned());
        }
        let wanted = owners.into_iter().map(|owner| {
            let domains = domains_of(&ctx, parsed.port, &owner);
            (owner, domains)
        });
        let settled = Taken::settle(wanted).into_iter();
        settled.map(|(owner, domains)| (owner.host().to_owned(), (owner, domains.into()))).collect()
    }
}

/// The hosts that have a virtual host in a route configuration.
pub(crate) fn hosts_of(view: &View, name: &str, read: &Reader<'_>) -> Vec<String> {
    read.whole(&settled(view, name, read)).keys().cloned().collect()
}

/// Where it stands who has a virtual host: with the view, or with what it has in common with others.
fn settled(view: &View, name: &str, read: &Reader<'_>) -> Owners {
    let shared =
        view.common().filter(|_| !read.get(&SettledApart { view: view.clone(), name: name.to_owned() }));
    Owners { view: shared.unwrap_or(view).clone(), name: name.to_owned() }
}

/// The owner of a virtual host of a route configuration, with its domains.
pub(super) fn owner(view: &View, name: &str, host: &str, read: &Reader<'_>) -> Option<Owned> {
    let owners = settled(view, name, read);
    let (owner, domains) = read.entry(&owners, &host.to_owned())?;
    if owners.view == *view {
        return Some((owner, domains));
    }
    let port = Name::parse(name)?.port;
    let shared = domains_of(&owners.view.context(read), port, &owner);
    let mut own = domains_of(&view.context(read), port, &owner);
    // What it wants more than in other namespaces nobody else wants; of the rest it has what it has there.
    own.retain(|domain| !shared.contains(domain) || domains.contains(domain));
    Some((owner, own.into()))
}

/// Whether it has to be settled anew for a view that shares with others who has which domain of a route configuration:
/// where its namespace sees more than everybody, or the names of its own services that only it may use are not free.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct SettledApart {
    view: View,
    name: String,
}

impl Derived for SettledApart {
    type Value = bool;
    fn derive(&self, read: &Reader<'_>) -> bool {
        let (Some(common), Some(parsed)) = (self.view.common(), Name::parse(&self.name)) else { return true };
        let ctx = self.view.context(read);
        let apart = ctx.scope.apart().unwrap_or_default();
        if !apart.services.is_empty() || !apart.routes.is_empty() {
            return true;
        }
        let taken = read.get(&Shortest { view: common.clone(), name: self.name.clone() });
        if taken.is_empty() {
            return false;
        }
        let shared = common.context(read);
        own_hosts_of(&self.view, common, read).iter().filter(|(name, _)| *name == self.name).any(
            |(_, host)| {
                let owner = Owner::Service(host.clone());
                let also = domains_of(&shared, parsed.port, &owner);
                let mut more = domains_of(&ctx, parsed.port, &owner);
                more.retain(|domain| !also.contains(domain));
                more.iter().any(|domain| taken.contains(&domain.to_ascii_lowercase()))
            },
        )
    }
}

/// The domains of a route configuration that services of some namespace may want for their shortest names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Shortest {
    view: View,
    name: String,
}

impl Derived for Shortest {
    type Value = Arc<BTreeSet<String>>;
    fn derive(&self, read: &Reader<'_>) -> Self::Value {
        let all = read.whole(&Owners { view: self.view.clone(), name: self.name.clone() });
        let domains = all.values().flat_map(|(_, domains)| domains.iter());
        Arc::new(domains.filter(|d| domains::is_shortest(d)).map(|d| d.to_ascii_lowercase()).collect())
    }
}

/// Route configurations and the services in them, by the namespace whose proxies have more names for these than others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct ByNamespace(View);

impl Relation for ByNamespace {
    type Entry = String;
    type Value = Arc<[(String, String)]>;
    fn derive(&self, read: &Reader<'_>) -> BTreeMap<String, Self::Value> {
        let mut all: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
        for name in read.get(&RouteNames(self.0.clone())).iter() {
            let owners = read.whole(&Owners { view: self.0.clone(), name: name.clone() });
            for host in owners.keys() {
                if let Some(namespace) = domains::namespace_of(host, &self.0.node().dns_domain) {
                    all.entry(namespace.to_owned()).or_default().push((name.clone(), host.clone()));
                }
            }
        }
        all.into_iter().map(|(namespace, hosts)| (namespace, hosts.into())).collect()
    }
}

fn own_hosts_of(view: &View, common: &View, read: &Reader<'_>) -> Arc<[(String, String)]> {
    let namespace = view.node().dns_domain.split('.').next().unwrap_or_default();
    read.entry(&ByNamespace(common.clone()), &namespace.to_owned()).unwrap_or_default()
}

/// Route configurations and hosts whose virtual hosts a view has apart from those with which it shares, because of their
/// domains.
pub(crate) fn own_hosts(view: &View, common: &View, read: &Reader<'_>) -> BTreeSet<(String, String)> {
    let mut out: BTreeSet<(String, String)> = own_hosts_of(view, common, read).iter().cloned().collect();
    let of_common = read.get(&RouteNames(common.clone()));
    for name in read.get(&RouteNames(view.clone())).iter() {
        let is_shared = of_common.binary_search(name).is_ok();
        if is_shared && Name::parse(name).is_none_or(|parsed| parsed.only.is_some()) {
            // There is but one that could have a domain.
            continue;
        }
        let settled = settled(view, name, read);
        if is_shared && settled.view == *common {
            continue;
        }
        let own = read.whole(&settled);
        let shared = match is_shared {
            true => read.whole(&Owners { view: common.clone(), name: name.clone() }),
            false => Arc::default(),
        };
        let differs = |host: &&String| own.get(*host) != shared.get(*host);
        out.extend(own.keys().chain(shared.keys()).filter(differs).map(|host| (name.clone(), host.clone())));
    }
    out
}

/// The services of a route configuration: real hosts before wildcards, each by age.
fn services(ctx: &Context<'_>, name: Name<'_>) -> Vec<Owner> {
    let all: Arc<[String]> = match name.only {
        Some(host) => Arc::from([host.to_owned()]),
        None => ctx.scope.hosts_by_age(),
    };
    let (wildcards, hosts): (Vec<&String>, Vec<&String>) =
        all.iter().filter(|host| is_routed(ctx, name, host)).partition(|host| is_wildcard(host));
    hosts.into_iter().chain(wildcards).map(|host| Owner::Service(host.clone())).collect()
}

/// Whether a service has a virtual host in a route configuration.
fn is_routed(ctx: &Context<'_>, name: Name<'_>, host: &str) -> bool {
    let Some(service) = ctx.scope.visible_exact(host) else { return false };
    service.port(name.port).is_some_and(|p| {
        // Sniffed ports with an address have a listener and routes of their own.
        name.only.is_some()
            || p.protocol.is_http()
            || (p.protocol == Protocol::Auto && service.virtual_addresses().is_empty())
    })
}

/// Hosts of VirtualServices that are no service of the registry, by age of the object. Most meshes have few: a change of
/// another VirtualService goes no further than this list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Strangers(View);

impl Derived for Strangers {
    type Value = Arc<[Owner]>;
    fn derive(&self, read: &Reader<'_>) -> Self::Value {
        let ctx = self.0.context(read);
        let mut out = Vec::new();
        for vs in ctx.scope.virtual_services_of(MESH_GATEWAY) {
            for host in vs.spec.hosts.iter().filter(|h| *h != "*" && ctx.scope.visible_exact(h).is_none()) {
                // A wildcard over services holds for those services; alone it would also take hosts of outside.
                if is_wildcard(host) && ctx.scope.any_host_matches(host) {
                    continue;
                }
                out.push(Owner::VirtualService(vs.clone(), host.clone()));
            }
        }
        out.into()
    }
}

/// The domains that an owner would have if nobody else did.
fn domains_of(ctx: &Context<'_>, port: u16, owner: &Owner) -> Vec<String> {
    match owner {
        Owner::Service(host) => ctx
            .scope
            .visible_exact(host)
            .map(|service| domains::of_service(&service, port, &ctx.node.dns_domain))
            .unwrap_or_default(),
        Owner::VirtualService(_, host) => domains::with_port(host, port),
    }
}
