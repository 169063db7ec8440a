//! Would the data plane take this resource? One entry point for every kind.

use std::collections::HashMap;

use portolan_balance::Moment;
use prost::Message;

use crate::cluster::{Assignment, ClusterConfig};
use crate::ignored::{self, Ignored};
use crate::listener::Listener;
use crate::pb::{cluster, endpoint, listener, route, tls};
use crate::route::{RouteConfig, VirtualHost};
use crate::tls::check_secret;
use crate::value::{Invalid, Loader, Valid, unread};

/// The kinds of resources that the data plane runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// `envoy.config.listener.v3.Listener`.
    Listener,
    /// `envoy.config.route.v3.RouteConfiguration`.
    Routes,
    /// `envoy.config.route.v3.VirtualHost`, as a resource of its own.
    VirtualHost,
    /// `envoy.config.cluster.v3.Cluster`.
    Cluster,
    /// `envoy.config.endpoint.v3.ClusterLoadAssignment`.
    Endpoints,
    /// `envoy.extensions.transport_sockets.tls.v3.Secret`.
    Secret,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 6] =
        [Kind::Listener, Kind::Routes, Kind::VirtualHost, Kind::Cluster, Kind::Endpoints, Kind::Secret];

    /// The full name of its message.
    pub fn message(self) -> &'static str {
        match self {
            Kind::Listener => "envoy.config.listener.v3.Listener",
            Kind::Routes => "envoy.config.route.v3.RouteConfiguration",
            Kind::VirtualHost => "envoy.config.route.v3.VirtualHost",
            Kind::Cluster => "envoy.config.cluster.v3.Cluster",
            Kind::Endpoints => "envoy.config.endpoint.v3.ClusterLoadAssignment",
            Kind::Secret => "envoy.extensions.transport_sockets.tls.v3.Secret",
        }
    }

    /// The kind of a type URL, with or without the part before the slash.
    pub fn of_type_url(url: &str) -> Option<Kind> {
        let name = url.rsplit_once('/').map_or(url, |(_, name)| name);
        Kind::ALL.into_iter().find(|kind| kind.message() == name)
    }
}

/// What a resource compiles to.
#[derive(Debug)]
pub struct Compiled {
    /// The name that the message gives itself.
    pub name: String,
    /// What would run.
    pub resource: Resource,
    /// Fields that are set and mean nothing here, each with its reason. See [`ignored`].
    pub ignored: Vec<Ignored>,
}

/// A compiled resource.
#[derive(Debug)]
pub enum Resource {
    /// See [`Kind::Listener`].
    Listener(Box<Listener>),
    /// See [`Kind::Routes`].
    Routes(Box<RouteConfig>),
    /// See [`Kind::VirtualHost`].
    VirtualHost(Box<VirtualHost>),
    /// See [`Kind::Cluster`].
    Cluster(Box<ClusterConfig>),
    /// See [`Kind::Endpoints`].
    Endpoints(Box<Assignment>),
    /// See [`Kind::Secret`]; secrets are only looked at.
    Secret,
}

/// Checks a resource that another machine will run: what lies in files there is not looked at.
///
/// # Errors
/// When the data plane would refuse it, with the field and the reason.
pub fn check(kind: Kind, message: &[u8]) -> Valid<Compiled> {
    compile(kind, message, unread)
}

/// Compiles a resource.
///
/// # Errors
/// When it is not usable, with the field and the reason.
pub fn compile(kind: Kind, message: &[u8], load: Loader) -> Valid<Compiled> {
    match kind {
        Kind::Listener => {
            let message: listener::Listener = decode(message)?;
            let resource = Resource::Listener(Box::new(Listener::compile(&message, load)?));
            Ok(Compiled { ignored: ignored::of_listener(&message), name: message.name, resource })
        }
        Kind::Routes => {
            let message: route::RouteConfiguration = decode(message)?;
            let resource = Resource::Routes(Box::new(RouteConfig::compile(&message, load)?));
            Ok(Compiled { ignored: ignored::of_routes(&message), name: message.name, resource })
        }
        Kind::VirtualHost => {
            let message: route::VirtualHost = decode(message)?;
            let resource = Resource::VirtualHost(Box::new(VirtualHost::compile(&message, load)?));
            Ok(Compiled { ignored: ignored::of_virtual_host(&message), name: message.name, resource })
        }
        Kind::Cluster => {
            let message: cluster::Cluster = decode(message)?;
            let config = ClusterConfig::compile(&message, load)?;
            if let Some(assignment) = &config.load_assignment {
                let resolved = config.dns_names().into_iter().map(|name| (name, Vec::new())).collect();
                config.hosts(assignment, None, &resolved, Moment::default())?;
            }
            let resource = Resource::Cluster(Box::new(config));
            Ok(Compiled { ignored: ignored::of_cluster(&message), name: message.name, resource })
        }
        Kind::Endpoints => {
            let message: endpoint::ClusterLoadAssignment = decode(message)?;
            let cluster = cluster::Cluster {
                name: message.cluster_name.clone(),
                cluster_discovery_type: Some(cluster::cluster::ClusterDiscoveryType::Type(
                    cluster::cluster::DiscoveryType::Eds.into(),
                )),
                eds_cluster_config: Some(cluster::cluster::EdsClusterConfig::default()),
                ..Default::default()
            };
            let config = ClusterConfig::compile(&cluster, load)?;
            let hosts = config.hosts(&message, None, &HashMap::new(), Moment::default())?;
            let resource = Resource::Endpoints(Box::new(hosts));
            Ok(Compiled { ignored: Vec::new(), name: message.cluster_name, resource })
        }
        Kind::Secret => {
            let message: tls::Secret = decode(message)?;
            check_secret(&message, load)?;
            Ok(Compiled { ignored: Vec::new(), name: message.name, resource: Resource::Secret })
        }
    }
}

fn decode<M: Message + Default>(message: &[u8]) -> Valid<M> {
    M::decode(message).map_err(|error| Invalid(format!("cannot decode: {error}")))
}

#[cfg(test)]
mod tests;
