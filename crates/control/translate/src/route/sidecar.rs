//! Routes of sidecars (docs/reference/xds.md): `<port>`, or `<host>:<port>` where the protocol is sniffed.

use std::sync::Arc;

use portolan_derive::{Derived, Reader};
use portolan_mesh::{Dialect, ProxyNode};
use portolan_names::names::MESH_GATEWAY;
use portolan_xds::names::{self, ClusterName};

use super::{
    base::{route_configuration, to_cluster, virtual_host},
    http, matches,
    owners::{Name, Owner, hosts_of, owner},
};
use crate::{context::Context, pb::*, view::View};

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
        host(&self.view.context(read), &self.view, &self.name, &self.host).map(Arc::new)
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
    let of = |host: String| {
        let key = HostOf { view: view.clone(), name: name.to_owned(), host };
        read.get(&key).map(|host| (*host).clone())
    };
    made.virtual_hosts = hosts_of(view, name, read).into_iter().filter_map(of).collect();
    made.virtual_hosts.push(fall_through(&view.context(read)));
    Some(made)
}

/// A virtual host of a route configuration.
pub(crate) fn host(ctx: &Context<'_>, view: &View, name: &str, host: &str) -> Option<route::VirtualHost> {
    let parsed = Name::parse(name)?;
    let (owner, domains) = owner(view, name, host, &ctx.model.reader())?;
    let made = host_of(ctx, parsed.port, &owner)?;
    Some(route::VirtualHost { domains: domains.to_vec(), ..made })
}

/// Everything of a route configuration but its virtual hosts.
fn shell(name: &str) -> route::RouteConfiguration {
    route_configuration(name, Vec::new())
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
