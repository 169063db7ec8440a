//! Connections and connection managers for the tests of this room.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use portolan_h1::{BodyDecoder, BodyFraming, HeaderCase};
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;

use super::manager::Scope;
use super::respond::Responder;
use crate::io::Trailers;
use crate::io::buffered::BufferedIo;
use crate::io::stream::{RawStream, Socket, Stream};
use crate::listener::compile::{Compile, StatScopes};
use crate::listener::connection_manager::Hcm;
use crate::message::{ConnectionInfo, Protocol};
use crate::pb::hcm::http_connection_manager::RouteSpecifier;
use crate::pb::hcm::{HttpConnectionManager, HttpFilter, http_filter::ConfigType};
use crate::pb::{Any, route};
use crate::serve::worker::Worker;
use crate::store::Shared;
use crate::telemetry::access_log::LogWriter;
use crate::telemetry::peer::LocalNode;
use crate::value::Direction;

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
    let mut scopes = StatScopes::default();
    let context =
        Compile { workers: 1, scopes: RefCell::new(&mut scopes), direction: Direction::Unspecified };
    let hcm = Arc::new(Hcm::compile(&message, &context).unwrap());
    let local = LocalNode::default();
    let shared = Arc::new(Shared::new(1, local, DRAIN_TIME, u64::MAX));
    let logs = LogWriter::start().unwrap().buffers();
    let connection = Rc::new(ConnectionInfo {
        id: 1,
        remote: "192.0.2.1:1000".parse().unwrap(),
        local: "192.0.2.2:80".parse().unwrap(),
        restored: false,
        sni: None,
        tls: None,
        drain: CancellationToken::new(),
        own_principal: None,
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
