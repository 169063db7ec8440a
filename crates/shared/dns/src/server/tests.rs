use std::net::SocketAddr;

use hickory_proto::op::OpCode;
use tokio::io::AsyncWriteExt as _;

use super::*;
use crate::limits::MAX_DATAGRAM;
use crate::zone::ZoneBuilder;

/// As the node's: names of services, the domain its own.
fn name_server(behind: Vec<SocketAddr>) -> Server {
    let server = Server::new(Role::NameServer, 5, Forwarder::new(behind));
    let mut zone = ZoneBuilder::default();
    zone.own("cluster.local");
    zone.hosts("10.96.0.7 web.a.svc.cluster.local\n");
    zone.add("alias.a.svc.cluster.local", Data::Alias("web.a.svc.cluster.local".into()));
    zone.add("outside.a.svc.cluster.local", Data::Alias("example.com".into()));
    zone.add("loop.cluster.local", Data::Alias("loop.cluster.local".into()));
    let service = Data::Service { port: 443, target: "web.a.svc.cluster.local".into() };
    zone.add("_https._tcp.web.a.svc.cluster.local", service);
    zone.hosts(&(0..100).map(|n| format!("10.9.0.{n} many.test\n")).collect::<String>());
    server.set_zone(zone.build());
    server
}

/// As the agent's: names of the mesh, everything else somebody else's.
fn interceptor(behind: Vec<SocketAddr>) -> Server {
    let server = Server::new(Role::Interceptor, 30, Forwarder::new(behind));
    let mut zone = ZoneBuilder::default();
    zone.search(vec!["bookinfo.svc.cluster.local".into(), "svc.cluster.local".into()]);
    zone.hosts("240.241.0.1 ratings.east.local\nfd00::1 ratings.east.local\n");
    server.set_zone(zone.build());
    server
}

fn query(name: &str, kind: RecordType) -> Vec<u8> {
    question(name.trim_end_matches('.'), kind).unwrap()
}

async fn ask_over(server: &Server, name: &str, kind: RecordType, transport: Transport) -> Message {
    let bytes = query(name, kind);
    let answer = Message::from_vec(&server.answer(&bytes, transport).await.unwrap()).unwrap();
    let question = Message::from_vec(&bytes).unwrap();
    assert_eq!((answer.metadata.id, &answer.queries), (question.metadata.id, &question.queries));
    answer
}

async fn ask(server: &Server, name: &str, kind: RecordType) -> Message {
    ask_over(server, name, kind, Transport::Udp).await
}

fn texts(message: &Message) -> Vec<String> {
    message.answers.iter().map(|record| record.data.to_string()).collect()
}

/// A server behind that answers one question with `code`, and says which it was.
async fn behind(code: ResponseCode) -> (SocketAddr, tokio::task::JoinHandle<Message>) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let asked = tokio::spawn(async move {
        let mut buffer = [0; MAX_QUESTION];
        let (length, peer) = socket.recv_from(&mut buffer).await.unwrap();
        let question = Message::from_vec(&buffer[..length]).unwrap();
        let mut answer = question.clone().into_response();
        answer.metadata.response_code = code;
        socket.send_to(&answer.to_vec().unwrap(), peer).await.unwrap();
        question
    });
    (address, asked)
}

#[tokio::test]
async fn a_name_server_answers_for_its_zone() {
    let server = name_server(Vec::new());
    for (name, kind, code, answers) in [
        ("WEB.a.svc.cluster.local.", RecordType::A, ResponseCode::NoError, 1),
        ("web.a.svc.cluster.local.", RecordType::AAAA, ResponseCode::NoError, 0),
        ("web.a.svc.cluster.local.", RecordType::TXT, ResponseCode::NoError, 0),
        ("none.a.svc.cluster.local.", RecordType::A, ResponseCode::NXDomain, 0),
        ("alias.a.svc.cluster.local.", RecordType::A, ResponseCode::NoError, 2),
    ] {
        let answer = ask(&server, name, kind).await;
        assert_eq!((answer.metadata.response_code, answer.answers.len()), (code, answers), "{name} {kind}");
        assert!(answer.metadata.authoritative && answer.metadata.recursion_available);
    }
}

#[tokio::test]
async fn the_address_of_a_service_comes_along() {
    let answer = ask(&name_server(Vec::new()), "_https._tcp.web.a.svc.cluster.local.", RecordType::SRV).await;
    assert_eq!(texts(&answer), ["0 100 443 web.a.svc.cluster.local."]);
    assert_eq!(answer.additionals.len(), 1);
}

#[tokio::test]
async fn an_alias_outside_is_asked_for_by_type() {
    let (address, asked) = behind(ResponseCode::NoError).await;
    let answer = ask(&name_server(vec![address]), "outside.a.svc.cluster.local.", RecordType::AAAA).await;
    assert_eq!(texts(&answer), ["example.com."]);
    let asked = asked.await.unwrap();
    assert_eq!(asked.queries[0].query_type(), RecordType::AAAA);
    assert_eq!(asked.queries[0].name().to_ascii(), "example.com.");
}

#[tokio::test]
async fn an_alias_of_itself_ends() {
    let answer = ask(&name_server(Vec::new()), "loop.cluster.local.", RecordType::A).await;
    assert_eq!(answer.answers.len(), MAX_ALIASES);
}

#[tokio::test]
async fn without_a_server_behind_the_rest_fails() {
    let answer = ask(&name_server(Vec::new()), "example.com.", RecordType::A).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
}

#[tokio::test]
async fn a_name_server_says_what_it_does_not_implement() {
    let server = name_server(Vec::new());
    let mut update = Message::from_vec(&query("web.a.svc.cluster.local.", RecordType::A)).unwrap();
    update.metadata.op_code = OpCode::Update;
    let answer = server.answer(&update.to_vec().unwrap(), Transport::Udp).await.unwrap();
    assert_eq!(Message::from_vec(&answer).unwrap().metadata.response_code, ResponseCode::NotImp);
    let none = Message::query().to_vec().unwrap();
    let answer = server.answer(&none, Transport::Udp).await.unwrap();
    assert_eq!(Message::from_vec(&answer).unwrap().metadata.response_code, ResponseCode::FormErr);
}

#[tokio::test]
async fn an_interceptor_answers_addresses_of_what_it_knows() {
    let server = interceptor(Vec::new());
    let v4 = ask(&server, "Ratings.east.local.", RecordType::A).await;
    assert_eq!((texts(&v4), v4.answers[0].ttl), (vec!["240.241.0.1".to_owned()], 30));
    let v6 = ask(&server, "ratings.east.local.", RecordType::AAAA).await;
    assert_eq!(texts(&v6), ["fd00::1"]);
    let alias = ask(&server, "ratings.east.local.svc.cluster.local.", RecordType::A).await;
    assert_eq!(texts(&alias), ["ratings.east.local.", "240.241.0.1"]);
}

#[tokio::test]
async fn an_interceptor_passes_other_types_on() {
    let (address, asked) = behind(ResponseCode::NXDomain).await;
    let answer = ask(&interceptor(vec![address]), "ratings.east.local.", RecordType::TXT).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
    assert_eq!(asked.await.unwrap().queries[0].query_type(), RecordType::TXT);
}

#[tokio::test]
async fn an_interceptor_passes_other_operations_on() {
    let (address, asked) = behind(ResponseCode::NoError).await;
    let mut update = Message::from_vec(&query("ratings.east.local.", RecordType::A)).unwrap();
    update.metadata.op_code = OpCode::Update;
    interceptor(vec![address]).answer(&update.to_vec().unwrap(), Transport::Udp).await.unwrap();
    assert_eq!(asked.await.unwrap().metadata.op_code, OpCode::Update);
}

#[tokio::test]
async fn large_answers_go_over_tcp() {
    let server = name_server(Vec::new());
    let short = ask(&server, "many.test.", RecordType::A).await;
    assert!(short.metadata.truncation && short.answers.is_empty());
    let whole = ask_over(&server, "many.test.", RecordType::A, Transport::Tcp).await;
    assert_eq!(whole.answers.len(), 100);
}

#[tokio::test]
async fn a_client_that_offers_room_gets_it_up_to_the_limit() {
    let server = name_server(Vec::new());
    for (offered, said, whole) in
        [(100, 512, false), (1232, 1232, false), (4000, 4000, true), (u16::MAX, MAX_DATAGRAM as u16, true)]
    {
        let mut question = Message::from_vec(&query("many.test.", RecordType::A)).unwrap();
        let mut edns = hickory_proto::op::Edns::new();
        edns.set_max_payload(offered);
        question.set_edns(edns);
        let answer = server.answer(&question.to_vec().unwrap(), Transport::Udp).await.unwrap();
        let answer = Message::from_vec(&answer).unwrap();
        assert_eq!(answer.edns.as_ref().unwrap().max_payload(), said, "{offered}");
        assert_eq!(!answer.metadata.truncation, whole, "{offered}");
    }
}

#[tokio::test]
async fn what_is_no_question_gets_no_answer() {
    let response =
        Message::from_vec(&query("web.a.svc.cluster.local.", RecordType::A)).unwrap().into_response();
    for bytes in [b"".to_vec(), b"x".to_vec(), vec![0xff; 40], response.to_vec().unwrap()] {
        assert!(name_server(Vec::new()).answer(&bytes, Transport::Udp).await.is_none());
        assert!(interceptor(Vec::new()).answer(&bytes, Transport::Udp).await.is_none());
    }
}

#[tokio::test]
async fn both_sockets_serve() {
    let server = name_server(Vec::new());
    let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addresses = (udp.local_addr().unwrap(), tcp.local_addr().unwrap());
    let mut serving = JoinSet::new();
    serving.spawn(server.clone().serve_udp(udp));
    serving.spawn(server.serve_tcp(tcp));
    let behind = Forwarder::new(vec![addresses.0]);
    assert!(behind.ask(&query("web.a.svc.cluster.local.", RecordType::A), false).await.is_some());
    let behind = Forwarder::new(vec![addresses.1]);
    assert!(behind.ask(&query("web.a.svc.cluster.local.", RecordType::A), true).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_its_answer_is_left() {
    // Room for the question, not for the answer of 100 addresses.
    let (mut client, stream) = tokio::io::duplex(64);
    framing::write(&mut client, &query("many.test.", RecordType::A)).await.unwrap();
    let server = name_server(Vec::new());
    let served = timeout(TCP_IDLE * 3, server.serve_stream(stream)).await.expect("the connection is held");
    assert_eq!(served.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_half_a_question_is_left() {
    let (mut client, stream) = tokio::io::duplex(64);
    client.write_all(&[0, 40, 1, 2, 3]).await.unwrap();
    let server = name_server(Vec::new());
    let served = timeout(TCP_IDLE * 2, server.serve_stream(stream)).await.expect("the connection is held");
    assert_eq!(served.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
}

#[tokio::test]
async fn a_question_that_is_too_long_ends_the_connection() {
    let (mut client, stream) = tokio::io::duplex(64);
    client.write_all(&(MAX_QUESTION as u16 + 1).to_be_bytes()).await.unwrap();
    assert!(name_server(Vec::new()).serve_stream(stream).await.is_err());
}
