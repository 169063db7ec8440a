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
