//! Which connections a listener filter leaves alone (`filter_disabled`).

use crate::pb::listener;
use crate::value::{Invalid, Valid};

#[derive(Debug, Clone)]
pub(super) enum Predicate {
    Or(Vec<Predicate>),
    And(Vec<Predicate>),
    Not(Box<Predicate>),
    Any,
    Port(std::ops::Range<i32>),
}

impl Predicate {
    pub(super) fn compile(from: &listener::ListenerFilterChainMatchPredicate) -> Valid<Predicate> {
        use listener::listener_filter_chain_match_predicate::Rule as R;
        let all = |set: &listener::listener_filter_chain_match_predicate::MatchSet| {
            set.rules.iter().map(Predicate::compile).collect::<Valid<Vec<_>>>()
        };
        Ok(match from.rule.as_ref().ok_or_else(|| Invalid::new("empty predicate"))? {
            R::OrMatch(set) => Predicate::Or(all(set)?),
            R::AndMatch(set) => Predicate::And(all(set)?),
            R::NotMatch(inner) => Predicate::Not(Box::new(Predicate::compile(inner)?)),
            R::AnyMatch(_) => Predicate::Any,
            R::DestinationPortRange(range) => Predicate::Port(range.start..range.end),
        })
    }

    pub(super) fn matches(&self, port: i32) -> bool {
        match self {
            Predicate::Or(all) => all.iter().any(|one| one.matches(port)),
            Predicate::And(all) => all.iter().all(|one| one.matches(port)),
            Predicate::Not(one) => !one.matches(port),
            Predicate::Any => true,
            Predicate::Port(range) => range.contains(&port),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::message;

    fn takes(json: Value, port: i32) -> bool {
        Predicate::compile(&message(json)).unwrap().matches(port)
    }

    #[test]
    fn predicates_are_combined() {
        let range = |start: i32, end: i32| json!({"destination_port_range": {"start": start, "end": end}});
        let (low, high) = (range(1, 10), range(5, 20));
        for (predicate, ports) in [
            (json!({"any_match": true}), [true, true, true, true]),
            (low.clone(), [true, true, false, false]),
            (json!({ "not_match": low }), [false, false, true, true]),
            (json!({"or_match": {"rules": [low, high]}}), [true, true, true, false]),
            (json!({"and_match": {"rules": [low, high]}}), [false, true, false, false]),
        ] {
            assert_eq!([1, 9, 10, 20].map(|port| takes(predicate.clone(), port)), ports, "{predicate}");
        }
    }

    #[test]
    fn an_empty_predicate_is_refused() {
        assert_eq!(Predicate::compile(&message(json!({}))).unwrap_err().0, "empty predicate");
    }
}
