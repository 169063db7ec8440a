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
        match self {
            Self::NameTable => name_table(Model::new(read)),
            Self::SpecialClusters(view) => {
                encoded(type_url::CLUSTER, cluster::special(&view.context(read)), |c| &c.name)
            }
            Self::Clusters(view, host) => {
                encoded(type_url::CLUSTER, cluster::of_service(&view.context(read), host), |c| &c.name)
            }
            Self::Endpoints(view, host) => endpoints(view, host, read),
            Self::OutboundListener(view) => {
                encoded(type_url::LISTENER, [listener::virtual_outbound(&view.context(read))], |l| &l.name)
            }
            Self::Listener(view, at) => {
                let claimants = read.entry(&listener::Claimants(view.clone()), at).unwrap_or_default();
                let made = listener::listener(&view.context(read), &at.0, at.1, &claimants);
                encoded(type_url::LISTENER, [made], |l| &l.name)
            }
            Self::Routes(view, name) => {
                let made = route::sidecar_configuration(view, name, read);
                encoded(type_url::ROUTE, made, |r| &r.name)
            }
            Self::VirtualHost(view, name, host) => {
                virtual_host(name, route::sidecar_host(view, name, host, read))
            }
            Self::FallThrough(view, name) => {
                virtual_host(name, Some(route::fall_through(&view.context(read))))
            }
            Self::InboundClusters(node) => {
                let ctx = Context::new(Model::new(read), node);
                encoded(type_url::CLUSTER, cluster::inbound_all(&ctx), |c| &c.name)
            }
            Self::InboundListener(node) => {
                let ctx = Context::new(Model::new(read), node);
                encoded(type_url::LISTENER, [listener::virtual_inbound(&ctx)], |l| &l.name)
            }
            Self::Gateway(node) => gateway(&Context::new(Model::new(read), node)),
            Self::Roots(node) => {
                let ctx = Context::new(Model::new(read), node);
                encoded(type_url::SECRET, secret::root_ca(&ctx), |s| &s.name)
            }
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
    /// Whether it is for our own proxies; what everybody has is for no kind of proxy.
    pub fn is_ours(&self) -> bool {
        let node = match self {
            Self::NameTable => return false,
            Self::SpecialClusters(view)
            | Self::Clusters(view, _)
            | Self::Endpoints(view, _)
            | Self::OutboundListener(view)
            | Self::Listener(view, _)
            | Self::Routes(view, _)
            | Self::VirtualHost(view, _, _)
            | Self::FallThrough(view, _) => view.node(),
            Self::InboundClusters(node)
            | Self::InboundListener(node)
            | Self::Gateway(node)
            | Self::Roots(node) => node,
        };
        node.metadata.dialect == Dialect::Portolan
    }
}

fn encoded<T: Message>(
    url: &'static str,
    messages: impl IntoIterator<Item = T>,
    name: impl Fn(&T) -> &String,
) -> Made {
    messages.into_iter().map(|message| encode::resource(name(&message), url, &message)).collect()
}

/// A virtual host is named by its route configuration too: `<route configuration>/<virtual host>`.
fn virtual_host(routes: &str, host: Option<crate::pb::route::VirtualHost>) -> Made {
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
    endpoint::of_service(&ctx, host)
        .into_iter()
        .map(|(name, assignment)| encode::resource(&name, type_url::ENDPOINT, &assignment))
        .collect()
}

fn gateway(ctx: &Context<'_>) -> Made {
    let mut out: Vec<Arc<Resource>> =
        encoded(type_url::LISTENER, listener::of_gateway(ctx), |l| &l.name).to_vec();
    let routes = listener::gateway_route_names(ctx);
    let made = routes.iter().filter_map(|name| route::gateway_configuration(ctx, name));
    out.extend(encoded(type_url::ROUTE, made, |r| &r.name).iter().cloned());
    out.into()
}

fn name_table(model: Model<'_>) -> Made {
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
