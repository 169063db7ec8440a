use std::sync::Arc;

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use parking_lot::RwLock;
use serde_json::json;

use super::*;

fn server() -> Server {
    let service = |v| Arc::new(serde_json::from_value(v).unwrap());
    let services = [
        service(
            json!({ "metadata": { "namespace": "a", "name": "web" }, "spec": { "clusterIP": "10.96.0.7" } }),
        ),
        service(json!({ "metadata": { "namespace": "a", "name": "alias" },
            "spec": { "type": "ExternalName", "externalName": "web.a.svc.cluster.local" } })),
    ];
    let many: String = (0..100).map(|n| format!("10.9.0.{n} many.test\n")).collect();
    let zone = Zone::build(&services, &[], &many);
    // No upstream: whatever is forwarded fails at once.
    Server { zone: Arc::new(RwLock::new(Arc::new(zone))), forwarder: Arc::new(Forwarder::new(Vec::new())) }
}

async fn ask(name: &str, kind: RecordType, tcp: bool) -> Message {
    let mut question = Message::query();
    question.add_query(Query::query(Name::from_str(name).unwrap(), kind));
    let bytes = question.to_vec().unwrap();
    let answer = server().answer(&bytes, tcp).await.unwrap();
    let answer = Message::from_vec(&answer).unwrap();
    assert_eq!(answer.metadata.id, question.metadata.id);
    assert_eq!(answer.queries, question.queries);
    answer
}

#[tokio::test]
async fn answers() {
    let answer = ask("WEB.a.svc.cluster.local.", RecordType::A, false).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
    assert_eq!(answer.answers.len(), 1);
    let answer = ask("web.a.svc.cluster.local.", RecordType::AAAA, false).await;
    assert_eq!((answer.metadata.response_code, answer.answers.len()), (ResponseCode::NoError, 0));
    let answer = ask("none.a.svc.cluster.local.", RecordType::A, false).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
    let answer = ask("alias.a.svc.cluster.local.", RecordType::A, false).await;
    assert_eq!(answer.answers.len(), 2, "the alias and its address");
    let answer = ask("example.com.", RecordType::A, false).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
}

#[tokio::test]
async fn large_answers() {
    let short = ask("many.test.", RecordType::A, false).await;
    assert!(short.metadata.truncation && short.answers.is_empty());
    let whole = ask("many.test.", RecordType::A, true).await;
    assert_eq!(whole.answers.len(), 100);
}

#[tokio::test]
async fn damaged_questions_get_no_answer() {
    for bytes in [&b""[..], b"x", &[0xff; 40]] {
        assert!(server().answer(bytes, false).await.is_none());
    }
}
