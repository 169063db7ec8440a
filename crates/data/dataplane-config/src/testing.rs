//! What tests need of the world: messages as Envoy's documentation writes them, a request on a connection, a peer.

use std::sync::LazyLock;

use http::{HeaderMap, Method};
use portolan_balance::{Environment, Moment};
use portolan_identity::CertificateFacts;
use prost::{Message, Name};
use prost_reflect::{DescriptorPool, DynamicMessage};
use rcgen::{CertificateParams, DnType, KeyPair, SanType};
use serde_json::Value;

use crate::filters::stream::{Counter, Effect, Flow, Metadata, StreamFilter, View};
use crate::message::{ConnectionFacts, PeerCertificate, Protocol, Request, TlsInfo};
use crate::peer::{LocalNode, Peers};
use crate::value::Direction;

/// The beginning of all time, and no chance.
pub(crate) struct Beginning;

impl Environment for Beginning {
    fn now(&mut self) -> Moment {
        Moment::ZERO
    }

    fn random(&mut self) -> u64 {
        0
    }
}

/// A message from its JSON.
#[track_caller]
pub(crate) fn message<M: Message + Name + Default>(json: Value) -> M {
    static POOL: LazyLock<DescriptorPool> =
        LazyLock::new(|| DescriptorPool::decode(portolan_envoy_api::DESCRIPTORS).unwrap());
    let descriptor = POOL.get_message_by_name(&M::full_name()).unwrap();
    let read = DynamicMessage::deserialize(descriptor, &json);
    let read = read.unwrap_or_else(|error| panic!("{}: {error}: {json}", M::full_name()));
    M::decode(read.encode_to_vec().as_slice()).unwrap()
}

/// `POST https://shop.example/cart?item=1`.
pub(crate) fn request() -> Request {
    Request {
        method: Method::POST,
        scheme: "https",
        authority: "shop.example".into(),
        path: "/cart?item=1".into(),
        headers: HeaderMap::new(),
        protocol: Protocol::Http2,
        upgrade: None,
        is_grpc: false,
        expect_continue: false,
    }
}

/// The same with these fields.
pub(crate) fn request_with(fields: &[(&'static str, &str)]) -> Request {
    let mut request = request();
    for (name, value) in fields {
        request.headers.append(*name, value.parse().unwrap());
    }
    request
}

/// In plaintext from 192.0.2.7:4000 to 10.0.0.1:8080.
pub(crate) fn connection() -> ConnectionFacts {
    ConnectionFacts {
        id: 1,
        remote: "192.0.2.7:4000".parse().unwrap(),
        local: "10.0.0.1:8080".parse().unwrap(),
        restored: false,
        sni: None,
        tls: None,
        own_principal: None,
    }
}

/// The same from a client whose certificate has these URI and DNS names, and the subject `CN=peer`.
pub(crate) fn connection_of(uris: &[&str], dns: &[&str]) -> ConnectionFacts {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "peer");
    let uris = uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap()));
    let dns = dns.iter().map(|name| SanType::DnsName((*name).try_into().unwrap()));
    params.subject_alt_names = uris.chain(dns).collect();
    let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
    let facts = CertificateFacts::from_der(certificate.der()).unwrap();
    let peer = Some(PeerCertificate { facts, hash: String::new() });
    ConnectionFacts { tls: Some(TlsInfo { version: "TLSv1.3", alpn: None, peer }), ..connection() }
}

/// A request as a filter sees it.
pub(crate) struct Scene {
    pub(crate) request: Request,
    pub(crate) connection: ConnectionFacts,
    pub(crate) cluster: Option<&'static str>,
    pub(crate) direction: Direction,
    pub(crate) metadata: Metadata,
    pub(crate) local: LocalNode,
    pub(crate) peers: Peers,
    /// What the filter asked for, in order.
    pub(crate) effects: Vec<Effect>,
}

impl Scene {
    pub(crate) fn of(request: Request) -> Scene {
        Scene {
            request,
            connection: connection(),
            cluster: None,
            direction: Direction::Outbound,
            metadata: Metadata::default(),
            local: LocalNode::default(),
            peers: Peers::default(),
            effects: Vec::new(),
        }
    }

    /// What `look` makes of it.
    pub(crate) fn see<T>(&mut self, look: impl FnOnce(&mut View<'_>) -> T) -> T {
        let remote = self.connection.remote.ip();
        let mut x = View::new(
            &mut self.request,
            &mut self.metadata,
            &self.connection,
            remote,
            self.cluster,
            self.direction,
            (&self.local, &self.peers),
        );
        let seen = look(&mut x);
        self.effects.append(&mut x.effects);
        seen
    }

    /// What a filter says to the request's head.
    pub(crate) fn request(&mut self, filter: &mut dyn StreamFilter) -> Flow {
        self.see(|x| filter.on_request(x, true))
    }

    /// The names of what was counted.
    pub(crate) fn counted(&self) -> Vec<&'static str> {
        let name = |effect: &Effect| match effect {
            Effect::Count(Counter(name)) => Some(*name),
            _ => None,
        };
        self.effects.iter().filter_map(name).collect()
    }
}
