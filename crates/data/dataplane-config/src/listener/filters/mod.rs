//! Listener filters, one file each: to add one, add its file and a line to [`KINDS`].

mod http_inspector;
mod original_dst;
mod tls_inspector;

use crate::pb::listener;
use crate::value::{At as _, Invalid, Valid, type_of};

const KINDS: [Kind; 3] = [http_inspector::KIND, original_dst::KIND, tls_inspector::KIND];

/// What a filter's file says of it.
struct Kind {
    /// The message that configures it, and the name of the filter without one.
    names: [&'static str; 2],
    configure: fn(&mut ListenerFilters, Inspector),
}

/// What is found out about a connection before its chain is chosen.
#[derive(Debug, Clone, Default)]
pub struct ListenerFilters {
    /// Looks up where redirected connections wanted to go.
    pub original_dst: bool,
    /// Looks for TLS, its SNI and its ALPN.
    pub tls_inspector: Option<Inspector>,
    /// Looks for HTTP.
    pub http_inspector: Option<Inspector>,
}

impl ListenerFilters {
    /// Compiles the listener filters of a listener.
    pub fn compile(from: &[listener::ListenerFilter]) -> Valid<ListenerFilters> {
        let mut out = ListenerFilters::default();
        for filter in from {
            out.add(filter).at(&format!("listener_filters {:?}", filter.name))?;
        }
        Ok(out)
    }

    fn add(&mut self, filter: &listener::ListenerFilter) -> Valid<()> {
        let disabled =
            filter.filter_disabled.as_ref().map(Predicate::compile).transpose().at("filter_disabled")?;
        let name = match &filter.config_type {
            Some(listener::listener_filter::ConfigType::TypedConfig(config)) => type_of(config),
            Some(_) => return Err(Invalid::new("config_discovery is not supported")),
            None => filter.name.as_str(),
        };
        let kind = KINDS.iter().find(|kind| kind.names.contains(&name));
        let kind = kind.ok_or_else(|| Invalid(format!("unsupported listener filter {name}")))?;
        (kind.configure)(self, Inspector { disabled });
        Ok(())
    }
}

/// A listener filter and the connections that it leaves alone.
#[derive(Debug, Clone)]
pub struct Inspector {
    disabled: Option<Predicate>,
}

/// Which connections a filter leaves alone.
#[derive(Debug, Clone)]
enum Predicate {
    Or(Vec<Predicate>),
    And(Vec<Predicate>),
    Not(Box<Predicate>),
    Any,
    Port(std::ops::Range<i32>),
}

impl Inspector {
    /// Whether the filter looks at connections to this port.
    pub fn applies(&self, port: u16) -> bool {
        !self.disabled.as_ref().is_some_and(|predicate| predicate.matches(i32::from(port)))
    }
}

impl Predicate {
    fn compile(from: &listener::ListenerFilterChainMatchPredicate) -> Valid<Predicate> {
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

    fn matches(&self, port: i32) -> bool {
        match self {
            Predicate::Or(all) => all.iter().any(|one| one.matches(port)),
            Predicate::And(all) => all.iter().all(|one| one.matches(port)),
            Predicate::Not(one) => !one.matches(port),
            Predicate::Any => true,
            Predicate::Port(range) => range.contains(&port),
        }
    }
}
