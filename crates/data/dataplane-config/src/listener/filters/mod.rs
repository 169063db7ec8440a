//! Listener filters: what looks at a connection before its filter chain is chosen.
//!
//! A filter is a file here and a line in [`KINDS`].

mod hello;
mod http_inspector;
mod original_dst;
mod predicate;
mod tls_inspector;

use self::predicate::Predicate;
use crate::pb::listener;
use crate::value::{At as _, Invalid, Valid, type_of};

/// A listener filter. It looks; reading is done for it.
pub trait ListenerFilter: std::fmt::Debug + Send + Sync {
    /// Whether it wants to know where a redirected connection wanted to go.
    fn restores_destination(&self) -> bool {
        false
    }

    /// Looks at the first bytes of a connection, of which there may be none yet. Called again with more until it is done,
    /// or nothing more comes.
    fn inspect(&self, _bytes: &[u8], _found: &mut Inspected) -> Verdict {
        Verdict::Done
    }
}

/// What a filter makes of the bytes that it was shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It has seen enough.
    Done,
    /// They are too few.
    More,
}

/// What the filters found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Inspected {
    /// It begins like TLS.
    pub is_tls: bool,
    /// The name in the client's hello.
    pub sni: Option<String>,
    /// ALPN, or what the HTTP inspector made of plaintext.
    pub protocols: Vec<Vec<u8>>,
}

/// First bytes that filters get to see at most: the largest hello, or a first line of HTTP.
pub const MAX_INSPECTED: usize = hello::MAX_HELLO + http_inspector::MAX_FIRST_LINE;

/// How a filter is asked for.
struct Kind {
    message: &'static str,
    /// The name that says it alone, without a message.
    name: &'static str,
    make: fn() -> Box<dyn ListenerFilter>,
}

/// The filters that there are.
const KINDS: [Kind; 3] = [original_dst::KIND, tls_inspector::KIND, http_inspector::KIND];

/// A filter of a listener, and the connections that it leaves alone.
#[derive(Debug)]
pub struct ConfiguredFilter {
    filter: Box<dyn ListenerFilter>,
    disabled: Option<Predicate>,
}

impl ConfiguredFilter {
    pub(super) fn compile_all(from: &[listener::ListenerFilter]) -> Valid<Vec<Self>> {
        let one = |filter: &listener::ListenerFilter| {
            Self::compile(filter).at(&format!("listener_filters {:?}", filter.name))
        };
        from.iter().map(one).collect()
    }

    fn compile(from: &listener::ListenerFilter) -> Valid<Self> {
        let disabled =
            from.filter_disabled.as_ref().map(Predicate::compile).transpose().at("filter_disabled")?;
        let name = match &from.config_type {
            Some(listener::listener_filter::ConfigType::TypedConfig(config)) => type_of(config),
            Some(_) => return Err(Invalid::new("config_discovery is not supported")),
            None => from.name.as_str(),
        };
        let kind = KINDS.iter().find(|kind| kind.message == name || kind.name == name);
        let kind = kind.ok_or_else(|| Invalid(format!("unsupported listener filter {name}")))?;
        Ok(ConfiguredFilter { filter: (kind.make)(), disabled })
    }

    /// The filter, if it looks at connections to this port.
    pub fn of_port(&self, port: u16) -> Option<&dyn ListenerFilter> {
        let disabled = self.disabled.as_ref().is_some_and(|predicate| predicate.matches(i32::from(port)));
        (!disabled).then_some(&*self.filter)
    }

    /// Whether it wants to know where a redirected connection wanted to go.
    pub fn restores_destination(&self) -> bool {
        self.filter.restores_destination()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::Any;

    fn named(name: &str) -> listener::ListenerFilter {
        listener::ListenerFilter { name: name.into(), ..Default::default() }
    }

    fn typed(message: &str) -> listener::ListenerFilter {
        let any = Any { type_url: format!("type.googleapis.com/{message}"), value: Vec::new() };
        let config_type = Some(listener::listener_filter::ConfigType::TypedConfig(any));
        listener::ListenerFilter { name: "any".into(), config_type, ..Default::default() }
    }

    #[test]
    fn each_kind_is_found_by_message_and_by_name() {
        for kind in &KINDS {
            for from in [named(kind.name), typed(kind.message)] {
                let wanted = format!("{:?}", (kind.make)());
                assert_eq!(format!("{:?}", ConfiguredFilter::compile(&from).unwrap().filter), wanted);
            }
        }
    }

    #[test]
    fn an_unknown_filter_is_refused_by_name() {
        let error = ConfiguredFilter::compile(&typed("some.Filter")).unwrap_err();
        assert_eq!(error.0, "unsupported listener filter some.Filter");
    }

    #[test]
    fn a_filter_leaves_the_ports_alone_that_it_is_disabled_for() {
        use listener::listener_filter_chain_match_predicate::Rule;
        let range = crate::pb::types::Int32Range { start: 3306, end: 3307 };
        let mut from = named("envoy.filters.listener.tls_inspector");
        from.filter_disabled = Some(listener::ListenerFilterChainMatchPredicate {
            rule: Some(Rule::DestinationPortRange(range)),
        });
        let filter = ConfiguredFilter::compile(&from).unwrap();
        assert!(filter.of_port(3306).is_none());
        assert!(filter.of_port(3307).is_some());
    }
}
