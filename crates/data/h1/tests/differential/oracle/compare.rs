//! The codec and hyper on the same bytes. Whatever we accept, hyper accepts too and reads the same out of it, down to
//! the boundary of the next message. What only hyper accepts is one of `stricter::STRICTER`.

use http::Method;
use portolan_h1::{BodyFraming, Limits};

use super::ours::{self, Read, Stop};
use super::seen::Seen;
use super::stricter::{Evidence, STRICTER};
use super::theirs;

/// How a comparison went that found nothing wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// How many messages both read.
    pub both: usize,
    /// Why we stopped.
    pub stop: Stop,
    /// The rule by which we refused what hyper accepted.
    pub rule: Option<&'static str>,
}

/// Compares requests on one connection.
pub fn requests(input: &[u8]) -> Outcome {
    let ours = ours::requests(&[input], Limits::default());
    let theirs = theirs::requests(input);
    for (at, message) in ours.messages.iter().enumerate() {
        same(&Seen::request(message), theirs.messages.get(at), &theirs.stop);
    }
    let extra = theirs.messages.get(ours.messages.len());
    let rule = extra.map(|extra| rule_of(&ours, extra, input));
    Outcome { both: ours.messages.len(), stop: ours.stop, rule }
}

/// Compares the responses on one connection, each to a request with `method`.
pub fn responses(input: &[u8], method: &Method) -> Outcome {
    let (mut rest, mut both) = (input, 0);
    loop {
        let ours = ours::response(&[rest], method, Limits::default());
        let framing = ours.messages.first().map(|message| message.head.framing);
        let eof = framing.is_none_or(|framing| framing == BodyFraming::UntilClose);
        let theirs = theirs::response(rest, method, eof);
        for (at, message) in ours.informational.iter().enumerate() {
            same(&Seen::response(message), theirs.informational.get(at), &theirs.stop);
        }
        let Some(message) = ours.messages.first() else {
            let extra = theirs.informational.get(ours.informational.len()).or(theirs.messages.first());
            let rule = extra.map(|extra| rule_of(&ours, extra, rest));
            return Outcome { both, stop: ours.stop, rule };
        };
        both += 1;
        assert_eq!(ours.informational.len(), theirs.informational.len());
        same(&Seen::response(message), theirs.messages.first(), &theirs.stop);
        assert_eq!(rest.len() - ours.taken, theirs.left, "the next message starts elsewhere");
        if !eof && theirs.left == 0 && !ours::is_tunnel(&message.head, method) {
            assert!(!message.head.keep_alive || theirs.persistent, "hyper closes: {}", theirs.stop);
            if !message.head.keep_alive && theirs.persistent {
                let rule = Some(rule_of(&ours, &Seen::response(message), rest));
                return Outcome { both, stop: ours.stop, rule };
            }
        }
        rest = &rest[ours.taken..];
        if ours.stop == Stop::Closed || rest.is_empty() {
            return Outcome { both, stop: ours.stop, rule: None };
        }
    }
}

fn same(ours: &Seen, theirs: Option<&Seen>, stop: &str) {
    let Some(theirs) = theirs else { panic!("we accept what hyper refuses ({stop}): {ours:?}") };
    assert_eq!(ours, theirs, "ours is left, hyper's is right");
}

/// The rule by which we did not accept what hyper accepted.
fn rule_of<H>(ours: &Read<H>, extra: &Seen, input: &[u8]) -> &'static str {
    let evidence =
        Evidence { message: &input[ours.message_at..], refused: &input[ours.taken..], seen: extra };
    let rule = STRICTER.iter().find(|rule| rule.stop == ours.stop && (rule.holds)(&evidence));
    let Some(rule) = rule else { panic!("hyper accepts what ends with {:?} for us: {extra:?}", ours.stop) };
    rule.rule
}
