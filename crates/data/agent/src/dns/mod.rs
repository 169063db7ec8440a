//! The DNS proxy (`ISTIO_META_DNS_CAPTURE`): answers the mesh's names, passes the rest on.
//!
//! Captured questions of the application arrive on port 15053, over UDP and TCP. What the control plane's name
//! table knows is answered here; everything else goes to the servers of `/etc/resolv.conf`, and their answer is
//! passed back as it is.

mod table;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use portolan_xds::istio::NameTable;
use prost::Message as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use self::table::Table;
use crate::xds_client::NameTableSink;

/// Seconds that an answer of ours may be kept (Istio's value): addresses of the mesh change rarely, and
/// routing goes by host name anyway.
const TTL: u32 = 30;
/// How long one upstream server may take.
const UPSTREAM_TIMEOUT: Duration = Duration::from_secs(3);
/// Questions in progress; more are dropped over UDP (the resolver asks again) and wait over TCP.
const MAX_QUESTIONS: usize = 1024;
/// Largest datagram in either direction (EDNS).
const MAX_DATAGRAM: usize = 4096;
/// Largest answer without EDNS, RFC 1035 4.2.1.
const PLAIN_DATAGRAM: usize = 512;
/// How long a TCP connection may be silent.
const TCP_IDLE: Duration = Duration::from_secs(10);

/// The table and the servers behind. Cheap to clone.
#[derive(Clone)]
pub struct DnsProxy {
    inner: Arc<Inner>,
}

struct Inner {
    table: ArcSwap<Table>,
    namespace: String,
    upstreams: Vec<SocketAddr>,
    search: Vec<String>,
    slots: Arc<Semaphore>,
}

impl std::fmt::Debug for DnsProxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DnsProxy").field("upstreams", &self.inner.upstreams).finish_non_exhaustive()
    }
}

impl DnsProxy {
    /// A proxy for a workload in `namespace`; servers and search domains are read from the text of
    /// `/etc/resolv.conf`.
    pub fn new(namespace: &str, resolv_conf: &str) -> Self {
        let words = |key: &'static str| {
            resolv_conf
                .lines()
                .filter_map(move |line| line.trim().strip_prefix(key)?.strip_prefix([' ', '\t']))
        };
        let upstreams = words("nameserver")
            .filter_map(|ip| ip.trim().parse::<IpAddr>().ok())
            .map(|ip| (ip, 53).into())
            .collect();
        let search = words("search")
            .flat_map(str::split_whitespace)
            .map(|domain| domain.trim_end_matches('.').to_ascii_lowercase())
            .collect();
        DnsProxy {
            inner: Arc::new(Inner {
                table: ArcSwap::default(),
                namespace: namespace.to_owned(),
                upstreams,
                search,
                slots: Arc::new(Semaphore::new(MAX_QUESTIONS)),
            }),
        }
    }

    /// Binds both sockets on loopback.
    pub async fn bind(port: u16) -> std::io::Result<(UdpSocket, TcpListener)> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Ok((UdpSocket::bind(address).await?, TcpListener::bind(address).await?))
    }

    /// Serves until `stop` is cancelled.
    pub async fn serve(self, udp: UdpSocket, tcp: TcpListener, stop: CancellationToken) {
        let udp = Arc::new(udp);
        let mut buffer = vec![0; MAX_DATAGRAM];
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                received = udp.recv_from(&mut buffer) => {
                    let Ok((length, peer)) = received else { continue };
                    let Ok(slot) = self.inner.slots.clone().try_acquire_owned() else { continue };
                    let question = buffer.get(..length).unwrap_or_default().to_vec();
                    let (proxy, udp) = (self.clone(), udp.clone());
                    tokio::spawn(async move {
                        let _slot = slot;
                        if let Some(answer) = proxy.answer(&question, Transport::Udp).await {
                            let _ = udp.send_to(&answer, peer).await;
                        }
                    });
                }
                accepted = tcp.accept() => {
                    let Ok((stream, _)) = accepted else {
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        continue;
                    };
                    let (proxy, stop) = (self.clone(), stop.clone());
                    tokio::spawn(async move {
                        tokio::select! {
                            () = stop.cancelled() => {}
                            _ = proxy.serve_stream(stream) => {}
                        }
                    });
                }
            }
        }
    }

    async fn serve_stream(&self, mut stream: TcpStream) -> std::io::Result<()> {
        loop {
            let question = tokio::time::timeout(TCP_IDLE, read_framed(&mut stream)).await??;
            let Ok(_slot) = self.inner.slots.acquire().await else { return Ok(()) };
            let Some(answer) = self.answer(&question, Transport::Tcp).await else { return Ok(()) };
            write_framed(&mut stream, &answer).await?;
        }
    }

    /// The answer to one question. `None` when it is not a question at all.
    async fn answer(&self, bytes: &[u8], transport: Transport) -> Option<Vec<u8>> {
        let question = Message::from_vec(bytes).ok()?;
        if question.metadata.message_type != MessageType::Query {
            return None;
        }
        if let Some(answer) = self.own_answer(&question, transport) {
            return Some(answer);
        }
        for upstream in &self.inner.upstreams {
            let asked = tokio::time::timeout(UPSTREAM_TIMEOUT, transport.ask(*upstream, bytes)).await;
            match asked {
                Ok(Ok(answer)) if answer.get(..2) == bytes.get(..2) => return Some(answer),
                Ok(Ok(_)) => tracing::debug!(%upstream, "DNS server answered another question"),
                Ok(Err(error)) => tracing::debug!(%upstream, %error, "DNS server not reachable"),
                Err(_) => tracing::debug!(%upstream, "DNS server does not answer in {UPSTREAM_TIMEOUT:?}"),
            }
        }
        Message::error_msg(question.metadata.id, question.metadata.op_code, ResponseCode::ServFail)
            .to_vec()
            .ok()
    }

    /// The answer from the table, if it knows the name.
    fn own_answer(&self, question: &Message, transport: Transport) -> Option<Vec<u8>> {
        let [query] = question.queries.as_slice() else { return None };
        let kind = query.query_type();
        if question.metadata.op_code != OpCode::Query
            || query.query_class() != DNSClass::IN
            || !matches!(kind, RecordType::A | RecordType::AAAA)
        {
            return None;
        }
        let name = query.name().to_ascii().to_ascii_lowercase();
        let table = self.inner.table.load();
        let known = table.look_up(name.trim_end_matches('.'), &self.inner.search)?;

        let mut response = Message::response(question.metadata.id, question.metadata.op_code);
        response.add_query(query.clone());
        response.metadata.recursion_desired = question.metadata.recursion_desired;
        response.metadata.recursion_available = true;
        response.metadata.authoritative = true;
        let mut owner = query.name().clone();
        if let Some(target) = known.alias_of {
            let target = Name::from_ascii(format!("{target}.")).ok()?;
            response.add_answer(Record::from_rdata(owner, TTL, RData::CNAME(CNAME(target.clone()))));
            owner = target;
        }
        // Started at a random place, so that clients that take the first address spread.
        let wanted: Vec<&IpAddr> =
            known.addresses.iter().filter(|ip| ip.is_ipv4() == (kind == RecordType::A)).collect();
        let start = fastrand::usize(..wanted.len().max(1));
        for ip in wanted.iter().cycle().skip(start).take(wanted.len()) {
            let data = match ip {
                IpAddr::V4(ip) => RData::A(A(*ip)),
                IpAddr::V6(ip) => RData::AAAA(AAAA(*ip)),
            };
            response.add_answer(Record::from_rdata(owner.clone(), TTL, data));
        }
        let encoded = response.to_vec().ok()?;
        let room = match (transport, &question.edns) {
            (Transport::Tcp, _) => usize::from(u16::MAX),
            (Transport::Udp, None) => PLAIN_DATAGRAM,
            (Transport::Udp, Some(edns)) => {
                usize::from(edns.max_payload()).clamp(PLAIN_DATAGRAM, MAX_DATAGRAM)
            }
        };
        if encoded.len() <= room {
            return Some(encoded);
        }
        response.answers.clear();
        response.metadata.truncation = true;
        response.to_vec().ok()
    }
}

impl NameTableSink for DnsProxy {
    fn set_table(&self, body: &[u8]) -> Result<(), String> {
        let names = NameTable::decode(body).map_err(|error| format!("not a NameTable: {error}"))?;
        self.inner.table.store(Arc::new(Table::new(&names, &self.inner.namespace)));
        Ok(())
    }
}

#[derive(Debug, Clone, Copy)]
enum Transport {
    Udp,
    Tcp,
}

impl Transport {
    async fn ask(self, upstream: SocketAddr, question: &[u8]) -> std::io::Result<Vec<u8>> {
        match self {
            Transport::Udp => {
                let any: IpAddr = if upstream.is_ipv4() {
                    Ipv4Addr::UNSPECIFIED.into()
                } else {
                    std::net::Ipv6Addr::UNSPECIFIED.into()
                };
                let socket = UdpSocket::bind((any, 0)).await?;
                socket.connect(upstream).await?;
                socket.send(question).await?;
                let mut answer = vec![0; MAX_DATAGRAM];
                let length = socket.recv(&mut answer).await?;
                answer.truncate(length);
                Ok(answer)
            }
            Transport::Tcp => {
                let mut stream = TcpStream::connect(upstream).await?;
                write_framed(&mut stream, question).await?;
                read_framed(&mut stream).await
            }
        }
    }
}

/// Messages over TCP have their length in front (RFC 1035 4.2.2).
async fn read_framed(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut message = vec![0; usize::from(length)];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

async fn write_framed(stream: &mut TcpStream, message: &[u8]) -> std::io::Result<()> {
    let length = u16::try_from(message.len()).map_err(std::io::Error::other)?;
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend_from_slice(message);
    stream.write_all(&framed).await
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use hickory_proto::op::Query;
    use portolan_xds::istio::NameInfo;

    use super::*;

    fn proxy(upstream: Option<SocketAddr>) -> DnsProxy {
        let mut proxy = DnsProxy::new("bookinfo", "search bookinfo.svc.cluster.local svc.cluster.local\n");
        if let (Some(upstream), Some(inner)) = (upstream, Arc::get_mut(&mut proxy.inner)) {
            inner.upstreams = vec![upstream];
        }
        let info = |ips: &[&str]| NameInfo {
            ips: ips.iter().map(|ip| (*ip).to_owned()).collect(),
            ..NameInfo::default()
        };
        let many: Vec<String> = (0..60).map(|n| format!("10.0.0.{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let table = BTreeMap::from([
            ("ratings.east.local".to_owned(), info(&["240.241.0.1", "fd00::1"])),
            ("many.east.local".to_owned(), info(&many)),
        ]);
        proxy.set_table(&NameTable { table }.encode_to_vec()).unwrap();
        proxy
    }

    fn question(name: &str, kind: RecordType) -> Vec<u8> {
        let mut message = Message::query();
        message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
        message.to_vec().unwrap()
    }

    async fn ask(proxy: &DnsProxy, name: &str, kind: RecordType, transport: Transport) -> Message {
        let answer = proxy.answer(&question(name, kind), transport).await.unwrap();
        Message::from_vec(&answer).unwrap()
    }

    #[tokio::test]
    async fn the_table_answers() {
        let proxy = proxy(None);
        let texts = |m: &Message| m.answers.iter().map(|r| r.data.to_string()).collect::<Vec<_>>();
        let v4 = ask(&proxy, "Ratings.east.local.", RecordType::A, Transport::Udp).await;
        assert_eq!(texts(&v4), ["240.241.0.1"]);
        let v6 = ask(&proxy, "ratings.east.local.", RecordType::AAAA, Transport::Udp).await;
        assert_eq!(texts(&v6), ["fd00::1"]);
        let alias = ask(&proxy, "ratings.east.local.svc.cluster.local.", RecordType::A, Transport::Udp).await;
        assert_eq!(texts(&alias), ["ratings.east.local.", "240.241.0.1"]);
        let many = ask(&proxy, "many.east.local.", RecordType::A, Transport::Udp).await;
        assert!(many.metadata.truncation && many.answers.is_empty());
        let many = ask(&proxy, "many.east.local.", RecordType::A, Transport::Tcp).await;
        assert_eq!(many.answers.len(), 60);
        let unknown = ask(&proxy, "elsewhere.org.", RecordType::A, Transport::Udp).await;
        assert_eq!(unknown.metadata.response_code, ResponseCode::ServFail);
        assert!(proxy.answer(b"nonsense", Transport::Udp).await.is_none());
    }

    #[tokio::test]
    async fn the_rest_is_passed_on() {
        let upstream = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = upstream.local_addr().unwrap();
        tokio::spawn(async move {
            let mut buffer = [0; 512];
            let (length, peer) = upstream.recv_from(&mut buffer).await.unwrap();
            let mut message = Message::from_vec(&buffer[..length]).unwrap().into_response();
            message.metadata.response_code = ResponseCode::NXDomain;
            upstream.send_to(&message.to_vec().unwrap(), peer).await.unwrap();
        });
        let stop = CancellationToken::new();
        let (udp, tcp) = DnsProxy::bind(0).await.unwrap();
        let front = udp.local_addr().unwrap();
        tokio::spawn(proxy(Some(address)).serve(udp, tcp, stop.clone()));
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        client.send_to(&question("elsewhere.org.", RecordType::A), front).await.unwrap();
        let mut buffer = [0; 512];
        let (length, _) = client.recv_from(&mut buffer).await.unwrap();
        let answer = Message::from_vec(&buffer[..length]).unwrap();
        assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
        stop.cancel();
    }
}
