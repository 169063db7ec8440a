//! Everything that logs and metrics want to know about one request or TCP connection.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::peer::PeerMetadata;
use crate::message::{ConnectionInfo, Flags, Protocol};
use crate::pb;
use crate::upstream::{Cluster, Host};

/// The record of one request or TCP connection.
#[derive(Debug)]
pub(crate) struct StreamInfo {
    pub(crate) connection: Rc<ConnectionInfo>,
    pub(crate) start: Instant,
    pub(crate) start_time: SystemTime,
    pub(crate) protocol: Option<Protocol>,
    /// 0 until there is an answer.
    pub(crate) response_code: u16,
    pub(crate) flags: Flags,
    pub(crate) details: Cow<'static, str>,
    pub(crate) termination_details: Option<Cow<'static, str>>,
    pub(crate) bytes_received: u64,
    pub(crate) bytes_sent: u64,
    pub(crate) request_end: Option<Instant>,
    pub(crate) response_first: Option<Instant>,
    pub(crate) cluster: Option<Arc<Cluster>>,
    /// Cluster name of the route, even when there is no such cluster.
    pub(crate) cluster_name: Option<Arc<str>>,
    pub(crate) host: Option<Arc<Host>>,
    pub(crate) upstream_local: Option<SocketAddr>,
    pub(crate) upstream_protocol: Option<Protocol>,
    pub(crate) upstream_failure: Option<String>,
    /// URI name of the upstream peer's certificate.
    pub(crate) upstream_principal: Option<Arc<str>>,
    pub(crate) route_name: Option<Arc<str>>,
    pub(crate) attempts: u32,
    pub(crate) metadata: HashMap<String, pb::Struct>,
    pub(crate) downstream_peer: Option<Rc<PeerMetadata>>,
    pub(crate) upstream_peer: Option<Rc<PeerMetadata>>,
    pub(crate) grpc_status: Option<u32>,
    /// Client address after `x-forwarded-for` was taken into account.
    pub(crate) remote: SocketAddr,
}

impl StreamInfo {
    pub(crate) fn new(connection: Rc<ConnectionInfo>, start: Instant) -> Self {
        let remote = connection.remote;
        StreamInfo {
            connection,
            start,
            start_time: SystemTime::now(),
            protocol: None,
            response_code: 0,
            flags: Flags::default(),
            details: Cow::Borrowed(""),
            termination_details: None,
            bytes_received: 0,
            bytes_sent: 0,
            request_end: None,
            response_first: None,
            cluster: None,
            cluster_name: None,
            host: None,
            upstream_local: None,
            upstream_protocol: None,
            upstream_failure: None,
            upstream_principal: None,
            route_name: None,
            attempts: 0,
            metadata: HashMap::new(),
            downstream_peer: None,
            upstream_peer: None,
            grpc_status: None,
            remote,
        }
    }

    /// Sets one string of the dynamic metadata.
    pub(crate) fn set_metadata(&mut self, namespace: &str, key: &str, value: String) {
        let fields = &mut self.metadata.entry(namespace.to_owned()).or_default().fields;
        fields.insert(key.to_owned(), pb::Value { kind: Some(pb::Kind::StringValue(value)) });
    }
}
