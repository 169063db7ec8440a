//! The server: UDP and TCP around a zone and the servers behind it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::RecordType;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::forward::Forwarder;
use crate::framing;
use crate::limits::{ERROR_PAUSE, MAX_ALIASES, MAX_CONNECTIONS, MAX_QUESTION, MAX_QUESTIONS, TCP_IDLE};
use crate::message::{datagram_room, encode, kind, plain, question, records, refusal, response, sole_query};
use crate::zone::{Answer, Data, Kind, Zone};

/// Where the server stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Clients are pointed at it: it answers for all types and says what it does not implement.
    NameServer,
    /// It stands in the way of questions for other servers: addresses of the names that it knows are answered, and
    /// everything else is theirs.
    Interceptor,
}

/// How a question arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// In a datagram, which limits the answer.
    Udp,
    /// On a connection.
    Tcp,
}

/// Answers questions. Cheap to clone; clones share the zone.
#[derive(Debug, Clone)]
pub struct Server {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    role: Role,
    /// Seconds that an answer may be kept.
    ttl: u32,
    /// Replaced as a whole by whoever knows the names; read by every question.
    zone: ArcSwap<Zone>,
    forwarder: Forwarder,
}

impl Server {
    /// A server that knows no name yet. Its answers may be kept for `ttl` seconds.
    pub fn new(role: Role, ttl: u32, forwarder: Forwarder) -> Self {
        Server { inner: Arc::new(Inner { role, ttl, zone: ArcSwap::default(), forwarder }) }
    }

    /// Replaces all names.
    pub fn set_zone(&self, zone: Zone) {
        self.inner.zone.store(Arc::new(zone));
    }

    /// Serves datagrams, without end; dropping the future ends what is being worked on.
    pub async fn serve_udp(self, socket: UdpSocket) {
        let socket = Arc::new(socket);
        let mut questions = JoinSet::new();
        let mut buffer = vec![0; MAX_QUESTION];
        loop {
            while questions.try_join_next().is_some() {}
            let (length, peer) = match socket.recv_from(&mut buffer).await {
                Ok(received) => received,
                // An ICMP error of an earlier answer; the socket stays good.
                Err(error) => {
                    tracing::debug!(%error, "DNS socket");
                    tokio::time::sleep(ERROR_PAUSE).await;
                    continue;
                }
            };
            if questions.len() >= MAX_QUESTIONS {
                continue;
            }
            let question = buffer.get(..length).unwrap_or_default().to_vec();
            let (server, socket) = (self.clone(), socket.clone());
            questions.spawn(async move {
                if let Some(answer) = server.answer(&question, Transport::Udp).await {
                    let _ = socket.send_to(&answer, peer).await;
                }
            });
        }
    }

    /// Serves connections, without end; dropping the future closes them.
    pub async fn serve_tcp(self, listener: TcpListener) {
        let open = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            let Ok(slot) = open.clone().acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let server = self.clone();
                    connections.spawn(async move {
                        let _slot = slot;
                        let _ = server.serve_stream(stream).await;
                    });
                }
                Err(error) => {
                    tracing::debug!(%error, "DNS listener");
                    tokio::time::sleep(ERROR_PAUSE).await;
                }
            }
        }
    }

    /// Serves one connection until its client is silent, does not read, or says what is no question.
    async fn serve_stream(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin) -> std::io::Result<()> {
        loop {
            let question = timeout(TCP_IDLE, framing::read(&mut stream, MAX_QUESTION)).await??;
            let Some(answer) = self.answer(&question, Transport::Tcp).await else { return Ok(()) };
            timeout(TCP_IDLE, framing::write(&mut stream, &answer)).await??;
        }
    }

    /// The answer to one question; `None`: say nothing, since it is none.
    pub async fn answer(&self, bytes: &[u8], transport: Transport) -> Option<Vec<u8>> {
        let question = Message::from_vec(bytes).ok()?;
        if question.metadata.message_type != MessageType::Query {
            return None;
        }
        let query = match (sole_query(&question), self.inner.role) {
            (Ok(query), _) => query,
            (Err(code), Role::NameServer) => return refusal(&question, code),
            (Err(_), Role::Interceptor) => return self.forward(&question, bytes, transport).await,
        };
        let kind = kind(query.query_type());
        if self.inner.role == Role::Interceptor && !matches!(kind, Kind::A | Kind::Aaaa) {
            return self.forward(&question, bytes, transport).await;
        }
        let zone = self.inner.zone.load_full();
        let mut response = response(&question);
        response.metadata.authoritative = true;
        match zone.lookup(&plain(query.name()), kind) {
            Answer::Forward => return self.forward(&question, bytes, transport).await,
            Answer::NoName => response.metadata.response_code = ResponseCode::NXDomain,
            Answer::NoData => {}
            Answer::Records(records) => {
                self.fill(&zone, records, kind, query.query_type(), &mut response).await;
            }
        }
        let room = match transport {
            Transport::Udp => datagram_room(&question),
            Transport::Tcp => usize::from(u16::MAX),
        };
        encode(response, room)
    }

    /// The answer of the servers behind, as it came.
    async fn forward(&self, question: &Message, bytes: &[u8], transport: Transport) -> Option<Vec<u8>> {
        match self.inner.forwarder.ask(bytes, transport == Transport::Tcp).await {
            Some(answer) => Some(answer),
            None => refusal(question, ResponseCode::ServFail),
        }
    }

    /// Adds the records, following aliases inside and outside the zone.
    async fn fill(
        &self,
        zone: &Zone,
        mut found: Vec<(String, Data)>,
        kind: Kind,
        wanted: RecordType,
        response: &mut Message,
    ) {
        let ttl = self.inner.ttl;
        for _ in 0..MAX_ALIASES {
            response.add_answers(records(&found, ttl, fastrand::usize(..)));
            for (_, data) in &found {
                if let Data::Service { target, .. } = data
                    && let Answer::Records(glue) = zone.lookup(target, Kind::A)
                {
                    response.add_additionals(records(&glue, ttl, 0));
                }
            }
            let alias = found.into_iter().find_map(|(_, data)| match data {
                Data::Alias(target) => Some(target),
                _ => None,
            });
            let Some(target) = alias else { return };
            match zone.lookup(&target, kind) {
                Answer::Records(more) => found = more,
                Answer::Forward => {
                    response.add_answers(self.resolve_outside(&target, wanted).await);
                    return;
                }
                Answer::NoData | Answer::NoName => return,
            }
        }
    }

    async fn resolve_outside(&self, name: &str, wanted: RecordType) -> Vec<hickory_proto::rr::Record> {
        let Some(bytes) = question(name, wanted) else { return Vec::new() };
        let answer = self.inner.forwarder.ask(&bytes, false).await;
        answer.and_then(|answer| Message::from_vec(&answer).ok()).map(|m| m.answers).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
