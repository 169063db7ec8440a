//! CoreDNS' place: the cluster's name server, at the DNS address inside the node namespace.

mod forward;
mod zone;

use std::net::SocketAddr;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, PTR, SRV};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use parking_lot::RwLock;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::mirror::{HOSTS_KEY, Mirror};
use crate::network::{Network, NetworkError};
use forward::Forwarder;
use zone::{Answer, Data, Kind, Zone};

/// Seconds that an answer may be kept (CoreDNS' default for the cluster zone).
const TTL: u32 = 5;
const PORT: u16 = 53;
/// Largest question.
const MAX_QUESTION: usize = 4096;
/// Largest answer over UDP without EDNS (RFC 1035 2.3.4).
const MAX_PLAIN_UDP: usize = 512;
/// Questions over UDP that are being worked on.
const MAX_UDP_PENDING: usize = 256;
/// Open TCP connections.
const MAX_TCP: usize = 64;
/// A TCP connection without a question is closed.
const TCP_IDLE: Duration = Duration::from_secs(10);
/// Aliases that are followed.
const MAX_ALIASES: usize = 4;

/// Answers questions; cheap to clone.
#[derive(Clone)]
struct Server {
    /// Replaced as a whole by the mirror's task.
    zone: Arc<RwLock<Arc<Zone>>>,
    forwarder: Arc<Forwarder>,
}

/// Opens the sockets and serves in `tasks`.
pub(crate) async fn start(
    network: &Network,
    mirror: Mirror,
    tasks: &mut JoinSet<()>,
) -> Result<(), NetworkError> {
    let address = SocketAddr::new(network.plan().dns_address().into(), PORT);
    let io = |e| NetworkError::io(format!("DNS server on {address}"), e);
    let handle = network.handle().clone();
    let sockets = tokio::task::spawn_blocking(move || {
        Ok::<_, NetworkError>((handle.bind_udp(address)?, handle.listen_tcp(address)?))
    });
    let (udp, tcp) = sockets.await.map_err(|e| io(std::io::Error::other(e)))??;
    let udp = Arc::new(UdpSocket::from_std(udp).map_err(io)?);
    let tcp = TcpListener::from_std(tcp).map_err(io)?;
    let server = Server { zone: Arc::default(), forwarder: Arc::new(Forwarder::of_machine()) };
    tasks.spawn(keep_zone(server.zone.clone(), mirror));
    tasks.spawn(serve_udp(server.clone(), udp));
    tasks.spawn(serve_tcp(server, tcp));
    Ok(())
}

async fn keep_zone(zone: Arc<RwLock<Arc<Zone>>>, mut mirror: Mirror) {
    loop {
        let maps = mirror.hosts.state();
        let hosts = maps.first().and_then(|m| m.data.as_ref()).and_then(|d| d.get(HOSTS_KEY));
        let fresh = Zone::build(
            &mirror.services.state(),
            &mirror.slices.state(),
            hosts.map(String::as_str).unwrap_or_default(),
        );
        *zone.write() = Arc::new(fresh);
        if !mirror.changed().await {
            return;
        }
    }
}

async fn serve_udp(server: Server, socket: Arc<UdpSocket>) {
    let pending = Arc::new(Semaphore::new(MAX_UDP_PENDING));
    let mut buffer = vec![0; MAX_QUESTION];
    loop {
        let (length, peer) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            // An ICMP error of an earlier answer; the socket stays good.
            Err(error) => {
                tracing::debug!(%error, "DNS socket");
                continue;
            }
        };
        // Too many at once: the client asks again.
        let Ok(permit) = pending.clone().try_acquire_owned() else { continue };
        let question = buffer.get(..length).unwrap_or_default().to_vec();
        let (server, socket) = (server.clone(), socket.clone());
        tokio::spawn(async move {
            if let Some(answer) = server.answer(&question, false).await {
                let _ = socket.send_to(&answer, peer).await;
            }
            drop(permit);
        });
    }
}

async fn serve_tcp(server: Server, listener: TcpListener) {
    let open = Arc::new(Semaphore::new(MAX_TCP));
    loop {
        let Ok(permit) = open.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let server = server.clone();
                tokio::spawn(async move {
                    let _ = serve_stream(server, stream).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "DNS listener");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn serve_stream(server: Server, mut stream: TcpStream) -> std::io::Result<()> {
    loop {
        let length = tokio::time::timeout(TCP_IDLE, stream.read_u16()).await??;
        if usize::from(length) > MAX_QUESTION {
            return Ok(());
        }
        let mut question = vec![0; length.into()];
        tokio::time::timeout(TCP_IDLE, stream.read_exact(&mut question)).await??;
        let Some(answer) = server.answer(&question, true).await else { return Ok(()) };
        let Ok(length) = u16::try_from(answer.len()) else { return Ok(()) };
        let mut framed = length.to_be_bytes().to_vec();
        framed.extend_from_slice(&answer);
        tokio::time::timeout(TCP_IDLE, stream.write_all(&framed)).await??;
    }
}

impl Server {
    /// The answer's bytes; `None`: say nothing (not a question).
    async fn answer(&self, bytes: &[u8], tcp: bool) -> Option<Vec<u8>> {
        let question = Message::from_vec(bytes).ok()?;
        if question.metadata.message_type != MessageType::Query {
            return None;
        }
        let (id, op_code) = (question.metadata.id, question.metadata.op_code);
        if op_code != OpCode::Query {
            return Message::error_msg(id, op_code, ResponseCode::NotImp).to_vec().ok();
        }
        let [query] = question.queries.as_slice() else {
            return Message::error_msg(id, op_code, ResponseCode::FormErr).to_vec().ok();
        };
        let mut response = Message::response(id, op_code);
        response.add_query(query.clone());
        response.metadata.recursion_desired = question.metadata.recursion_desired;
        response.metadata.recursion_available = true;
        let name = query.name().to_lowercase().to_ascii();
        let name = name.trim_end_matches('.');
        let zone = self.zone.read().clone();
        let kind = match query.query_type() {
            RecordType::A => Kind::A,
            RecordType::AAAA => Kind::Aaaa,
            RecordType::SRV => Kind::Srv,
            RecordType::PTR => Kind::Ptr,
            RecordType::ANY => Kind::Any,
            _ => Kind::Other,
        };
        match zone.lookup(name, kind) {
            Answer::Forward => match self.forwarder.ask(bytes, tcp).await {
                Some(answer) => return Some(answer),
                None => response.metadata.response_code = ResponseCode::ServFail,
            },
            Answer::NoName => {
                response.metadata.authoritative = true;
                response.metadata.response_code = ResponseCode::NXDomain;
            }
            Answer::NoData => response.metadata.authoritative = true,
            Answer::Records(records) => {
                response.metadata.authoritative = true;
                self.fill(&zone, records, kind, query.query_type(), &mut response).await;
            }
        }
        let limit = if tcp {
            usize::from(u16::MAX)
        } else {
            question.edns.as_ref().map_or(MAX_PLAIN_UDP, |e| usize::from(e.max_payload()).max(MAX_PLAIN_UDP))
        };
        if let Some(edns) = &question.edns {
            let mut reply = hickory_proto::op::Edns::new();
            reply.set_max_payload(edns.max_payload().min(MAX_QUESTION as u16)).set_version(0);
            response.set_edns(reply);
        }
        let encoded = response.to_vec().ok()?;
        if encoded.len() <= limit {
            return Some(encoded);
        }
        // The client asks again over TCP.
        response.answers.clear();
        response.additionals.clear();
        response.metadata.truncation = true;
        response.to_vec().ok()
    }

    /// Adds the records, following aliases inside and outside the zone.
    async fn fill(
        &self,
        zone: &Zone,
        mut records: Vec<(String, Data)>,
        kind: Kind,
        wanted: RecordType,
        response: &mut Message,
    ) {
        for _ in 0..MAX_ALIASES {
            response.add_answers(records.iter().filter_map(record));
            for target in records.iter().filter_map(|(_, d)| match d {
                Data::Service { target, .. } => Some(target),
                _ => None,
            }) {
                if let Answer::Records(glue) = zone.lookup(target, Kind::A) {
                    response.add_additionals(glue.iter().filter_map(record));
                }
            }
            let alias = records.iter().find_map(|(_, d)| match d {
                Data::Alias(target) => Some(target.clone()),
                _ => None,
            });
            let Some(target) = alias else { return };
            match zone.lookup(&target, kind) {
                Answer::Records(more) => records = more,
                Answer::Forward => {
                    let answers = self.resolve_outside(&target, wanted).await;
                    response.add_answers(answers);
                    return;
                }
                Answer::NoData | Answer::NoName => return,
            }
        }
    }

    async fn resolve_outside(&self, name: &str, wanted: RecordType) -> Vec<Record> {
        let Ok(name) = Name::from_str(&format!("{name}.")) else { return Vec::new() };
        let mut question = Message::query();
        question.add_query(hickory_proto::op::Query::query(name, wanted));
        question.metadata.recursion_desired = true;
        let Ok(bytes) = question.to_vec() else { return Vec::new() };
        let answer = self.forwarder.ask(&bytes, false).await;
        answer.and_then(|a| Message::from_vec(&a).ok()).map(|m| m.answers).unwrap_or_default()
    }
}

fn record((owner, data): &(String, Data)) -> Option<Record> {
    let name = |text: &str| Name::from_str(&format!("{text}.")).ok();
    let data = match data {
        Data::Address(std::net::IpAddr::V4(a)) => RData::A(A(*a)),
        Data::Address(std::net::IpAddr::V6(a)) => RData::AAAA(AAAA(*a)),
        Data::Alias(target) => RData::CNAME(CNAME(name(target)?)),
        Data::Pointer(target) => RData::PTR(PTR(name(target)?)),
        Data::Service { port, target } => RData::SRV(SRV::new(0, 100, *port, name(target)?)),
    };
    Some(Record::from_rdata(name(owner)?, TTL, data))
}

#[cfg(test)]
mod tests;
