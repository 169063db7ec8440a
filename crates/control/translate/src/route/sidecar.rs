//! Routes of sidecars (docs/reference/xds.md): `<port>`, or `<host>:<port>` where the protocol is sniffed.

use std::{collections::BTreeMap, sync::Arc};

use portolan_derive::{Derived, Reader, Relation};
use portolan_mesh::{Dialect, Protocol, ProxyNode, ResolvedVirtualService, is_wildcard};
use portolan_names::names::MESH_GATEWAY;
use portolan_xds::names::{self, ClusterName};

use super::{
    base::{route_configuration, to_cluster, virtual_host},
    domains::{self, Taken},
    http, matches,
};
use crate::{context::Context, pb::*, view::View};

/// Hosts of VirtualServices that are no service are served on this port only.
const DEFAULT_HTTP_PORT: u16 = 80;

/// Whose virtual host it is.
#[derive(Clone, Debug, PartialEq)]
enum Owner {
    /// The service of this host.
    Service(String),
    /// A host of a VirtualService that is no service.
    VirtualService(Arc<ResolvedVirtualService>, String),
}

impl Owner {
    fn host(&self) -> &str {
        match self {
            Self::Service(host) | Self::VirtualService(_, host) => host,
        }
    }
}

/// What a route configuration's name says.
#[derive(Clone, Copy)]
struct Name<'a> {
    /// Only this host; `None` is all of the port.
    only: Option<&'a str>,
    port: u16,
}

impl<'a> Name<'a> {
    fn parse(name: &'a str) -> Option<Self> {
        match name.rsplit_once(':') {
            Some((host, port)) => Some(Self { only: Some(host), port: port.parse().ok()? }),
            None => Some(Self { only: None, port: name.parse().ok()? }),
        }
    }
}

/// Who has a virtual host in a route configuration, with its domains, by host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Owners {
    view: View,
    name: String,
}

impl Relation for Owners {
    type Entry = String;
    type Value = (Owner, Arc<[String]>);
    fn derive(&self, read: &Reader<'_>) -> BTreeMap<String, Self::Value> {
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
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct HostNames {
    pub(crate) view: View,
    pub(crate) name: String,
}

impl Derived for HostNames {
    type Value = Arc<[String]>;
    fn derive(&self, read: &Reader<'_>) -> Self::Value {
        let owners = Owners { view: self.view.clone(), name: self.name.clone() };
        read.whole(&owners).keys().cloned().collect()
    }
}

/// A virtual host of a route configuration as it is put into the table for those who get it whole.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct HostOf {
    view: View,
    name: String,
    host: String,
}

impl Derived for HostOf {
    type Value = Option<Arc<route::VirtualHost>>;
    fn derive(&self, read: &Reader<'_>) -> Self::Value {
        host(&self.view, &self.name, &self.host, read).map(Arc::new)
    }
}

/// Whether proxies get virtual hosts one by one: ours do (docs/reference/xds.md).
pub(crate) fn hosts_apart(node: &ProxyNode) -> bool {
    node.metadata.dialect == Dialect::Portolan
}

/// The route configuration of a name.
pub(crate) fn configuration(view: &View, name: &str, read: &Reader<'_>) -> Option<route::RouteConfiguration> {
    Name::parse(name)?;
    let mut made = shell(name);
    if hosts_apart(view.node()) {
        let ads = core::config_source::ConfigSourceSpecifier::Ads(Default::default());
        let config_source = Some(core::ConfigSource {
            config_source_specifier: Some(ads),
            resource_api_version: core::ApiVersion::V3.into(),
            ..Default::default()
        });
        made.vhds = Some(route::Vhds { config_source });
        return Some(made);
    }
    let hosts = read.get(&HostNames { view: view.clone(), name: name.to_owned() });
    let of = |host: &String| {
        let key = HostOf { view: view.clone(), name: name.to_owned(), host: host.clone() };
        read.get(&key).map(|host| (*host).clone())
    };
    made.virtual_hosts = hosts.iter().filter_map(of).collect();
    made.virtual_hosts.push(fall_through(&view.context(read)));
    Some(made)
}

/// A virtual host of a route configuration.
pub(crate) fn host(view: &View, name: &str, host: &str, read: &Reader<'_>) -> Option<route::VirtualHost> {
    let parsed = Name::parse(name)?;
    let owners = Owners { view: view.clone(), name: name.to_owned() };
    let (owner, domains) = read.entry(&owners, &host.to_owned())?;
    let made = host_of(&view.context(read), parsed.port, &owner)?;
    Some(route::VirtualHost { domains: domains.to_vec(), ..made })
}

/// Everything of a route configuration but its virtual hosts.
fn shell(name: &str) -> route::RouteConfiguration {
    route_configuration(name, Vec::new())
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

/// The virtual host of an owner, without domains; `None` when there is nothing to route.
fn host_of(ctx: &Context<'_>, port: u16, owner: &Owner) -> Option<route::VirtualHost> {
    let routes = match owner {
        Owner::Service(host) => service_routes(ctx, host, port),
        Owner::VirtualService(vs, _) => http::routes(ctx, vs, MESH_GATEWAY, port),
    };
    let name = format!("{}:{port}", owner.host());
    (!routes.is_empty()).then(|| virtual_host(&name, Vec::new(), routes))
}

fn service_routes(ctx: &Context<'_>, host: &str, port: u16) -> Vec<route::Route> {
    if let Some(vs) = ctx.scope.virtual_service_for(host) {
        let routes = http::routes(ctx, &vs, MESH_GATEWAY, port);
        if !routes.is_empty() {
            return routes;
        }
    }
    vec![default_route(ctx, host, port)]
}

/// Everything to the service itself, with the default retries.
fn default_route(ctx: &Context<'_>, host: &str, port: u16) -> route::Route {
    let name = ClusterName::outbound(port, "", host);
    let mut made = to_cluster("default", &name.to_string(), &format!("{}:{port}/*", host));
    if let Some(route::route::Action::Route(action)) = &mut made.action {
        action.retry_policy = http::retry_policy(None);
        action.hash_policy = http::hash_policies_of(ctx, &name);
    }
    made
}

/// What happens to hosts that nobody knows.
pub(crate) fn fall_through(ctx: &Context<'_>) -> route::VirtualHost {
    let all = vec!["*".to_owned()];
    if ctx.scope.allow_any() {
        return virtual_host("allow_any", all, vec![to_cluster("allow_any", names::PASSTHROUGH, "")]);
    }
    let refuse = route::Route {
        name: "block_all".to_owned(),
        r#match: Some(matches::everything()),
        action: Some(route::route::Action::DirectResponse(route::DirectResponseAction {
            status: 502,
            ..Default::default()
        })),
        ..Default::default()
    };
    virtual_host("block_all", all, vec![refuse])
}
