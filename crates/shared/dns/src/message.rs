//! Messages made of what a zone answers: pure.

use std::net::IpAddr;
use std::str::FromStr as _;

use hickory_proto::op::{Edns, Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, PTR, SRV};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use crate::limits::{MAX_DATAGRAM, PLAIN_DATAGRAM};
use crate::zone::{Data, Kind};

/// The zone's kind of a record type.
pub(crate) fn kind(record_type: RecordType) -> Kind {
    match record_type {
        RecordType::A => Kind::A,
        RecordType::AAAA => Kind::Aaaa,
        RecordType::SRV => Kind::Srv,
        RecordType::PTR => Kind::Ptr,
        RecordType::ANY => Kind::Any,
        _ => Kind::Other,
    }
}

/// A name in the form that zones know it by: lower case, without the final dot.
pub(crate) fn plain(name: &Name) -> String {
    let mut name = name.to_lowercase().to_ascii();
    name.truncate(name.trim_end_matches('.').len());
    name
}

/// A response to `question` without records.
pub(crate) fn response(question: &Message) -> Message {
    let mut response = Message::response(question.metadata.id, question.metadata.op_code);
    response.add_queries(question.queries.iter().cloned());
    response.metadata.recursion_desired = question.metadata.recursion_desired;
    response.metadata.recursion_available = true;
    if let Some(edns) = &question.edns {
        let mut reply = Edns::new();
        // What a client offers is said back as far as it is used (RFC 6891 6.2.3).
        let payload = edns.max_payload().clamp(PLAIN_DATAGRAM as u16, MAX_DATAGRAM as u16);
        reply.set_max_payload(payload).set_version(0);
        response.set_edns(reply);
    }
    response
}

/// A response that says why there is none.
pub(crate) fn refusal(question: &Message, code: ResponseCode) -> Option<Vec<u8>> {
    let mut response = response(question);
    response.metadata.response_code = code;
    response.to_vec().ok()
}

/// A question of our own for `name`.
pub(crate) fn question(name: &str, record_type: RecordType) -> Option<Vec<u8>> {
    let mut question = Message::query();
    question.add_query(Query::query(fully_qualified(name)?, record_type));
    question.metadata.recursion_desired = true;
    question.to_vec().ok()
}

/// Whether this is a plain query of the Internet class for one name, the only thing that a zone answers.
pub(crate) fn sole_query(question: &Message) -> Result<&Query, ResponseCode> {
    if question.metadata.op_code != OpCode::Query {
        return Err(ResponseCode::NotImp);
    }
    let [query] = question.queries.as_slice() else { return Err(ResponseCode::FormErr) };
    if query.query_class() == hickory_proto::rr::DNSClass::IN { Ok(query) } else { Err(ResponseCode::NotImp) }
}

/// Records of the zone's data. Addresses of one owner begin at a random place (`random`), so that clients that take
/// the first one spread.
pub(crate) fn records(list: &[(String, Data)], ttl: u32, random: usize) -> Vec<Record> {
    let mut records: Vec<Record> = list.iter().filter_map(|entry| record(entry, ttl)).collect();
    if !records.is_empty() && list.iter().all(|(_, data)| matches!(data, Data::Address(_))) {
        let start = random % records.len();
        records.rotate_left(start);
    }
    records
}

fn record((owner, data): &(String, Data), ttl: u32) -> Option<Record> {
    let data = match data {
        Data::Address(IpAddr::V4(a)) => RData::A(A(*a)),
        Data::Address(IpAddr::V6(a)) => RData::AAAA(AAAA(*a)),
        Data::Alias(target) => RData::CNAME(CNAME(fully_qualified(target)?)),
        Data::Pointer(target) => RData::PTR(PTR(fully_qualified(target)?)),
        Data::Service { port, target } => RData::SRV(SRV::new(0, 100, *port, fully_qualified(target)?)),
    };
    Some(Record::from_rdata(fully_qualified(owner)?, ttl, data))
}

fn fully_qualified(name: &str) -> Option<Name> {
    Name::from_str(&format!("{name}.")).ok()
}

/// The largest answer that a datagram may carry to this client.
pub(crate) fn datagram_room(question: &Message) -> usize {
    question
        .edns
        .as_ref()
        .map_or(PLAIN_DATAGRAM, |edns| usize::from(edns.max_payload()).clamp(PLAIN_DATAGRAM, MAX_DATAGRAM))
}

/// The response in at most `room` bytes; without its records when they have no room, and then the client asks again
/// over TCP.
pub(crate) fn encode(mut response: Message, room: usize) -> Option<Vec<u8>> {
    let encoded = response.to_vec().ok()?;
    if encoded.len() <= room {
        return Some(encoded);
    }
    response.answers.clear();
    response.additionals.clear();
    response.metadata.truncation = true;
    response.to_vec().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u8) -> (String, Data) {
        ("a.test".into(), Data::Address(IpAddr::from([10, 0, 0, n])))
    }

    fn shown(records: &[Record]) -> Vec<String> {
        records.iter().map(|record| record.data.to_string()).collect()
    }

    #[test]
    fn addresses_begin_at_a_random_place() {
        let list = [address(1), address(2), address(3)];
        assert_eq!(shown(&records(&list, 5, 4)), ["10.0.0.2", "10.0.0.3", "10.0.0.1"]);
        assert!(records(&[], 5, 4).is_empty());
    }

    #[test]
    fn an_alias_stays_before_what_it_stands_for() {
        let list = [("b.test".to_owned(), Data::Alias("a.test".into())), address(1)];
        assert_eq!(shown(&records(&list, 5, 1)), ["a.test.", "10.0.0.1"]);
    }

    #[test]
    fn names_are_compared_in_lower_case_without_the_dot() {
        assert_eq!(plain(&Name::from_ascii("WEB.a.Test.").unwrap()), "web.a.test");
    }

    #[test]
    fn types_that_a_zone_has_no_data_of_are_others() {
        for (record_type, wanted) in [
            (RecordType::A, Kind::A),
            (RecordType::AAAA, Kind::Aaaa),
            (RecordType::SRV, Kind::Srv),
            (RecordType::PTR, Kind::Ptr),
            (RecordType::ANY, Kind::Any),
            (RecordType::TXT, Kind::Other),
        ] {
            assert_eq!(kind(record_type), wanted, "{record_type}");
        }
    }

    #[test]
    fn each_data_is_a_record_of_its_type() {
        for (data, shown_as) in [
            (Data::Address("10.0.0.1".parse().unwrap()), "A 10.0.0.1"),
            (Data::Address("fd00::1".parse().unwrap()), "AAAA fd00::1"),
            (Data::Alias("b.test".into()), "CNAME b.test."),
            (Data::Pointer("b.test".into()), "PTR b.test."),
            (Data::Service { port: 80, target: "b.test".into() }, "SRV 0 100 80 b.test."),
        ] {
            let [one] = records(&[("a.test".to_owned(), data)], 7, 0).try_into().unwrap();
            let Record { name, ttl, data, .. } = &one;
            assert_eq!(format!("{} {data}", one.record_type()), shown_as);
            assert_eq!((name.to_ascii().as_str(), *ttl), ("a.test.", 7));
        }
    }

    fn asking(edit: impl FnOnce(&mut Message)) -> Message {
        let mut message = Message::from_vec(&question("a.test", RecordType::A).unwrap()).unwrap();
        edit(&mut message);
        message
    }

    #[test]
    fn a_response_repeats_what_was_asked() {
        for wanted in [true, false] {
            let asked = asking(|message| message.metadata.recursion_desired = wanted);
            let answer = response(&asked);
            assert_eq!((answer.metadata.id, &answer.queries), (asked.metadata.id, &asked.queries));
            assert_eq!(answer.metadata.recursion_desired, wanted);
            assert!(answer.metadata.recursion_available && answer.edns.is_none());
        }
    }

    #[test]
    fn a_refusal_says_why() {
        let bytes = refusal(&asking(|_| {}), ResponseCode::ServFail).unwrap();
        assert_eq!(Message::from_vec(&bytes).unwrap().metadata.response_code, ResponseCode::ServFail);
    }

    #[test]
    fn our_own_questions_ask_for_recursion() {
        let asked = asking(|_| {});
        assert!(asked.metadata.recursion_desired);
        assert_eq!((asked.queries[0].name().to_ascii().as_str(), asked.queries.len()), ("a.test.", 1));
        assert!(question(&"x".repeat(300), RecordType::A).is_none());
    }

    #[test]
    fn only_one_question_of_the_internet_is_answered() {
        let of = |edit: fn(&mut Message)| sole_query(&asking(edit)).map(|query| query.query_type());
        assert_eq!(of(|_| {}), Ok(RecordType::A));
        assert_eq!(of(|message| message.metadata.op_code = OpCode::Notify), Err(ResponseCode::NotImp));
        assert_eq!(of(|message| message.queries.clear()), Err(ResponseCode::FormErr));
        let twice = |message: &mut Message| {
            let same = message.queries[0].clone();
            message.add_query(same);
        };
        assert_eq!(of(twice), Err(ResponseCode::FormErr));
        let chaos = |message: &mut Message| {
            message.queries[0].set_query_class(hickory_proto::rr::DNSClass::CH);
        };
        assert_eq!(of(chaos), Err(ResponseCode::NotImp));
    }

    #[test]
    fn a_datagram_has_the_room_that_its_client_offers() {
        let room = |offered: u16| {
            datagram_room(&asking(|message| {
                message.set_edns(Edns::new());
                if let Some(edns) = &mut message.edns {
                    edns.set_max_payload(offered);
                }
            }))
        };
        assert_eq!(datagram_room(&asking(|_| {})), 512);
        assert_eq!([0, 512, 1232, 4096, u16::MAX].map(room), [512, 512, 1232, 4096, 4096]);
    }

    #[test]
    fn what_has_no_room_is_marked_as_cut() {
        let mut whole = Message::response(1, OpCode::Query);
        whole.add_answers(records(&[address(1), address(2)], 5, 0));
        let length = whole.to_vec().unwrap().len();
        let decoded = |room| Message::from_vec(&encode(whole.clone(), room).unwrap()).unwrap();
        assert_eq!((decoded(length).answers.len(), decoded(length).metadata.truncation), (2, false));
        assert_eq!((decoded(length - 1).answers.len(), decoded(length - 1).metadata.truncation), (0, true));
    }
}
