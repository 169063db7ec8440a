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
    fn what_has_no_room_is_marked_as_cut() {
        let mut whole = Message::response(1, OpCode::Query);
        whole.add_answers(records(&[address(1), address(2)], 5, 0));
        let length = whole.to_vec().unwrap().len();
        let decoded = |room| Message::from_vec(&encode(whole.clone(), room).unwrap()).unwrap();
        assert_eq!((decoded(length).answers.len(), decoded(length).metadata.truncation), (2, false));
        assert_eq!((decoded(length - 1).answers.len(), decoded(length - 1).metadata.truncation), (0, true));
    }
}
