//! Network filters, one file each: to add one, add its file and a line to [`KINDS`].

#[cfg(test)]
mod tests;

mod http;
mod istio_stats;
mod metadata_exchange;
mod rbac;
mod sni_cluster;
mod tcp;

use std::sync::Arc;

use prost::Message;

use super::compile::Compile;
use super::connection_manager::Hcm;
use super::tcp_proxy::TcpProxy;
use crate::message::ConnectionFacts;
use crate::pb::listener;
use crate::value::{Invalid, Valid, type_of, unpack};

const KINDS: [Kind; 6] =
    [http::KIND, istio_stats::KIND, metadata_exchange::KIND, rbac::KIND, sni_cluster::KIND, tcp::KIND];

/// What a filter's file says of it.
struct Kind {
    /// Message types that configure it; for filters without a message, names of the filter.
    types: &'static [&'static str],
    compile: fn(&listener::Filter, Compile) -> Valid<Compiled>,
}

/// A filter that looks at a connection before the last one takes it.
pub trait NetworkFilter: std::fmt::Debug + Send + Sync {
    /// Once, when the chain was chosen and TLS is established. An error closes the connection.
    fn on_connection(&self, x: &mut ConnectionView<'_>) -> Result<(), Denied>;
}

/// A connection as network filters see it.
#[derive(Debug)]
pub struct ConnectionView<'a> {
    /// What is known of it.
    pub connection: &'a ConnectionFacts,
    /// The cluster that it goes to, whatever the TCP proxy says.
    pub cluster: Option<Arc<str>>,
    /// Whether it is counted in Istio's TCP metrics.
    pub counts: bool,
}

/// Why a connection is closed: `%CONNECTION_TERMINATION_DETAILS%`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied(pub String);

/// The last filter.
#[derive(Debug)]
pub enum Terminal {
    /// HTTP.
    Http(Box<Hcm>),
    /// Bytes.
    Tcp(Box<TcpProxy>),
    /// No filters: Envoy closes such connections.
    Close,
}

/// What a filter comes to.
pub(super) enum Compiled {
    Filter(Arc<dyn NetworkFilter>),
    Terminal(Terminal),
    Nothing,
}

pub(super) fn compile(from: &listener::Filter, context: Compile) -> Valid<Compiled> {
    // Istio's own filters come with code for a virtual machine, or with nothing; the name says which one it is.
    if let Some(kind) = KINDS.iter().find(|kind| kind.types.contains(&from.name.as_str())) {
        return (kind.compile)(from, context);
    }
    let Some(listener::filter::ConfigType::TypedConfig(config)) = &from.config_type else {
        return Err(Invalid::new("missing typed_config"));
    };
    let name = type_of(config);
    let kind = KINDS.iter().find(|kind| kind.types.contains(&name));
    let kind = kind.ok_or_else(|| Invalid(format!("unsupported network filter {name}")))?;
    (kind.compile)(from, context)
}

/// The message of a filter.
fn configured<M: Message + Default>(from: &listener::Filter) -> Valid<M> {
    match &from.config_type {
        Some(listener::filter::ConfigType::TypedConfig(config)) => unpack(config),
        _ => Err(Invalid::new("missing typed_config")),
    }
}
