//! Connections and connection managers for the tests of this room.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use portolan_h1::{BodyDecoder, BodyFraming, HeaderCase};
use prost::{Message as _, Name as _};
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;

use super::respond::Responder;
use super::state::Scope;
use crate::io::Trailers;
use crate::io::buffered::BufferedIo;
use crate::io::stream::{RawStream, Socket, Stream};
use crate::listener::scopes::StatScopes;
use crate::listener::{Listener, Terminal};
use crate::message::{ConnectionFacts, ConnectionInfo, Protocol};
use crate::pb::hcm::http_connection_manager::RouteSpecifier;
use crate::pb::hcm::{HttpConnectionManager, HttpFilter, http_filter::ConfigType};
use crate::pb::{Any, core, listener, route};
use crate::serve::worker::Worker;
use crate::store::Shared;
use crate::telemetry::access_log::LogWriter;
use crate::telemetry::peer::LocalNode;
use crate::telemetry::spans::TracingNode;

/// How long the connections of [`scope`] may go on after a drain began.
pub(super) const DRAIN_TIME: std::time::Duration = std::time::Duration::from_secs(45);

/// A connection manager without routes, on a connection of its own.
pub(super) fn scope(change: impl FnOnce(&mut HttpConnectionManager)) -> Scope {
    let router = Any {
        type_url: "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router".into(),
        value: Vec::new(),
    };
    let mut message = HttpConnectionManager {
        stat_prefix: "test".into(),
        http_filters: vec![HttpFilter {
            name: "router".into(),
            config_type: Some(ConfigType::TypedConfig(router)),
            ..Default::default()
        }],
        route_specifier: Some(RouteSpecifier::RouteConfig(route::RouteConfiguration::default())),
        ..Default::default()
    };
    change(&mut message);
    let manager = Any { type_url: HttpConnectionManager::type_url(), value: message.encode_to_vec() };
    let socket = core::SocketAddress {
        address: "192.0.2.2".into(),
        port_specifier: Some(core::socket_address::PortSpecifier::PortValue(80)),
        ..Default::default()
    };
    let message = listener::Listener {
        address: Some(core::Address { address: Some(core::address::Address::SocketAddress(socket)) }),
        filter_chains: vec![listener::FilterChain {
            filters: vec![listener::Filter {
                name: "manager".into(),
                config_type: Some(listener::filter::ConfigType::TypedConfig(manager)),
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let listener = Listener::compile(&message, 1, &mut StatScopes::default(), None).unwrap();
    let Some(Terminal::Http(hcm)) = listener.all_chains().next().map(|chain| &chain.terminal) else {
        panic!("the chain does not end in a connection manager")
    };
    let hcm = hcm.clone();
    let local = LocalNode::default();
    let shared = Arc::new(Shared::new(1, local, DRAIN_TIME, u64::MAX, TracingNode::default()));
    let logs = LogWriter::start().unwrap().buffers();
    let connection = Rc::new(ConnectionInfo {
        facts: ConnectionFacts {
            id: 1,
            remote: "192.0.2.1:1000".parse().unwrap(),
            local: "192.0.2.2:80".parse().unwrap(),
            restored: false,
            sni: None,
            tls: None,
            own_principal: None,
        },
        drain: CancellationToken::new(),
    });
    Scope { worker: Rc::new(Worker::new(0, shared, logs)), hcm, connection }
}

/// Our end of a connection, and the client's.
pub(super) fn pair() -> (Stream, UnixStream) {
    let (ours, client) = UnixStream::pair().unwrap();
    (Stream::Plain(RawStream::new(Socket::Unix(ours))), client)
}

/// Where the response of a request without a body goes.
pub(super) fn responder(stream: Stream) -> Responder {
    let io = Rc::new(RefCell::new(BufferedIo::new(stream)));
    let decoder = Rc::new(RefCell::new(BodyDecoder::new(BodyFraming::None)));
    Responder::h1(io, decoder, Protocol::Http11, false, true, HeaderCase::Lower, Trailers::Drop)
}
