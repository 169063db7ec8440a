//! What is made together.

use std::{collections::BTreeMap, sync::Arc};

use portolan_derive::{Derived, Reader};
use portolan_mesh::{Dialect, Model, ProxyNode, Registry};
use portolan_xds::{
    Resource,
    istio::{NameInfo, NameTable},
    type_url,
};
use prost::Message;

use super::Made;
use crate::{cluster, context::Context, encode, endpoint, listener, route, secret, view::View};

/// Name of the only resource of the NDS type.
const NAME_TABLE: &str = "nametable";

/// What is made together.
type Resources = Arc<[Arc<Resource>]>;

/// Some resources that are made together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Piece {
    /// Names that only the mesh knows, for the agents' DNS.
    NameTable,
    /// Clusters that every proxy of the view has.
    SpecialClusters(View),
    /// The clusters of a service.
    Clusters(View, String),
    /// The endpoints of a service.
    Endpoints(View, String),
    /// The listener that takes captured connections.
    OutboundListener(View),
    /// The listener of an address and port.
    Listener(View, (String, u16)),
    /// The route configuration of a name; with its virtual hosts where they do not come by themselves.
    Routes(View, String),
    /// A virtual host of a route configuration.
    VirtualHost(View, String, String),
    /// The virtual host of a route configuration for what no other one takes.
    FallThrough(View, String),
    /// Clusters of what a workload serves itself.
    InboundClusters(Arc<ProxyNode>),
    /// The listener of a workload's inbound connections.
    InboundListener(Arc<ProxyNode>),
    /// Listeners and routes of a gateway.
    Gateway(Arc<ProxyNode>),
    /// Roots of other trust domains.
    Roots(Arc<ProxyNode>),
}

impl Derived for Piece {
    type Value = Made;

    fn derive(&self, read: &Reader<'_>) -> Made {
        let made = match self {
            Self::NameTable => Made { resources: name_table(Model::new(read)), ..Made::default() },
            Self::Endpoints(view, host) => endpoints(view, host, read),
            Self::InboundClusters(node)
            | Self::InboundListener(node)
            | Self::Gateway(node)
            | Self::Roots(node) => {
                let ctx = Context::new(Model::new(read), node);
                Made { resources: self.of_proxy(&ctx), ..Made::default() }
            }
            Self::SpecialClusters(view)
            | Self::Clusters(view, _)
            | Self::OutboundListener(view)
            | Self::Listener(view, _)
            | Self::Routes(view, _)
            | Self::VirtualHost(view, _, _)
            | Self::FallThrough(view, _) => {
                let ctx = view.context(read);
                let resources = self.of_view(&ctx, view, read);
                Made { resources, asked: ctx.scope.asked().map(Arc::new), ..Made::default() }
            }
        };
        match self.shared() {
            Some(shared) => made.instead_of(&read.get(&shared)),
            None => made,
        }
    }

    /// By the type of what is made; a gateway's listeners and routes come together.
    fn kind(&self) -> &'static str {
        match self {
            Self::NameTable => "nds",
            Self::SpecialClusters(_) | Self::Clusters(..) | Self::InboundClusters(_) => "cds",
            Self::Endpoints(..) => "eds",
            Self::OutboundListener(_) | Self::Listener(..) | Self::InboundListener(_) => "lds",
            Self::Routes(..) => "rds",
            Self::VirtualHost(..) | Self::FallThrough(..) => "vhds",
            Self::Gateway(_) => "gateway",
            Self::Roots(_) => "sds",
        }
    }
}

impl Piece {
    fn of_view(&self, ctx: &Context<'_>, view: &View, read: &Reader<'_>) -> Resources {
        match self {
            Self::SpecialClusters(_) => encoded(type_url::CLUSTER, cluster::special(ctx), |c| &c.name),
            Self::Clusters(_, host) => {
                encoded(type_url::CLUSTER, cluster::of_service(ctx, host), |c| &c.name)
            }
            Self::OutboundListener(_) => {
                encoded(type_url::LISTENER, [listener::virtual_outbound(ctx)], |l| &l.name)
            }
            Self::Listener(_, at) => {
                let claimants = listener::claimants(view, at, read);
                encoded(type_url::LISTENER, [listener::listener(ctx, &at.0, at.1, &claimants)], |l| &l.name)
            }
            Self::Routes(_, name) => {
                encoded(type_url::ROUTE, route::sidecar_configuration(view, name, read), |r| &r.name)
            }
            Self::VirtualHost(_, name, host) => {
                virtual_host(name, route::sidecar_host(ctx, view, name, host))
            }
            Self::FallThrough(_, name) => virtual_host(name, Some(route::fall_through(ctx))),
            _ => Resources::default(),
        }
    }

    fn of_proxy(&self, ctx: &Context<'_>) -> Resources {
        match self {
            Self::InboundClusters(_) => encoded(type_url::CLUSTER, cluster::inbound_all(ctx), |c| &c.name),
            Self::InboundListener(_) => {
                encoded(type_url::LISTENER, [listener::virtual_inbound(ctx)], |l| &l.name)
            }
            Self::Gateway(_) => gateway(ctx),
            Self::Roots(_) => encoded(type_url::SECRET, secret::root_ca(ctx), |s| &s.name),
            _ => Resources::default(),
        }
    }

    /// The view that it is for, if it is for one.
    fn view(&self) -> Option<&View> {
        match self {
            Self::SpecialClusters(view)
            | Self::Clusters(view, _)
            | Self::Endpoints(view, _)
            | Self::OutboundListener(view)
            | Self::Listener(view, _)
            | Self::Routes(view, _)
            | Self::VirtualHost(view, _, _)
            | Self::FallThrough(view, _) => Some(view),
            Self::NameTable
            | Self::InboundClusters(_)
            | Self::InboundListener(_)
            | Self::Gateway(_)
            | Self::Roots(_) => None,
        }
    }

    /// The same for another view; nothing when it is for none.
    pub(super) fn of(&self, view: &View) -> Option<Self> {
        self.view()?;
        let mut other = self.clone();
        match &mut other {
            Self::SpecialClusters(own)
            | Self::Clusters(own, _)
            | Self::Endpoints(own, _)
            | Self::OutboundListener(own)
            | Self::Listener(own, _)
            | Self::Routes(own, _)
            | Self::VirtualHost(own, _, _)
            | Self::FallThrough(own, _) => own.clone_from(view),
            Self::NameTable
            | Self::InboundClusters(_)
            | Self::InboundListener(_)
            | Self::Gateway(_)
            | Self::Roots(_) => {}
        }
        Some(other)
    }

    /// The piece of those with which its audience shares that it stands before.
    pub fn shared(&self) -> Option<Self> {
        let view = self.view()?;
        if matches!(self, Self::Routes(..)) && !route::hosts_apart(view.node()) {
            // Whole tables are not shared.
            return None;
        }
        self.of(view.common()?)
    }

    /// Whether it is for our own proxies; what everybody has is for no kind of proxy.
    pub fn is_ours(&self) -> bool {
        let node = match self {
            Self::InboundClusters(node)
            | Self::InboundListener(node)
            | Self::Gateway(node)
            | Self::Roots(node) => Some(&**node),
            _ => self.view().map(View::node),
        };
        node.is_some_and(|node| node.metadata.dialect == Dialect::Portolan)
    }
}

fn encoded<T: Message>(
    url: &'static str,
    messages: impl IntoIterator<Item = T>,
    name: impl Fn(&T) -> &String,
) -> Resources {
    messages.into_iter().map(|message| encode::resource(name(&message), url, &message)).collect()
}

/// A virtual host is named by its route configuration too: `<route configuration>/<virtual host>`.
fn virtual_host(routes: &str, host: Option<crate::pb::route::VirtualHost>) -> Resources {
    host.into_iter()
        .map(|host| encode::resource(&format!("{routes}/{}", host.name), type_url::VIRTUAL_HOST, &host))
        .collect()
}

/// Where nothing depends on the place, all places share what is made for none.
fn endpoints(view: &View, host: &str, read: &Reader<'_>) -> Made {
    let ctx = view.context(read);
    if !view.place().is_empty() && !endpoint::depends_on_place(&ctx, host) {
        return read.get(&Piece::Endpoints(view.at_no_place(), host.to_owned()));
    }
    let resources = endpoint::of_service(&ctx, host)
        .into_iter()
        .map(|(name, assignment)| encode::resource(&name, type_url::ENDPOINT, &assignment))
        .collect();
    Made { resources, asked: ctx.scope.asked().map(Arc::new), ..Made::default() }
}

fn gateway(ctx: &Context<'_>) -> Resources {
    let mut out: Vec<Arc<Resource>> =
        encoded(type_url::LISTENER, listener::of_gateway(ctx), |l| &l.name).to_vec();
    let routes = listener::gateway_route_names(ctx);
    let made = routes.iter().filter_map(|name| route::gateway_configuration(ctx, name));
    out.extend(encoded(type_url::ROUTE, made, |r| &r.name).iter().cloned());
    out.into()
}

fn name_table(model: Model<'_>) -> Resources {
    let info = |entry: &portolan_mesh::DnsEntry| {
        let registry = match entry.registry {
            Registry::Kubernetes => "Kubernetes",
            Registry::ServiceEntry => "External",
            Registry::Federation => "Federation",
        };
        NameInfo {
            ips: entry.addresses.iter().map(ToString::to_string).collect(),
            registry: registry.to_owned(),
            ..NameInfo::default()
        }
    };
    let table: BTreeMap<String, NameInfo> =
        model.dns_table().iter().map(|(host, entry)| (host.clone(), info(entry))).collect();
    let table = NameTable { table: table.into_iter().collect() };
    [encode::resource(NAME_TABLE, type_url::NAME_TABLE, &table)].into()
}
