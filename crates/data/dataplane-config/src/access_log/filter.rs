//! Which requests are logged.

use crate::message::Flags;
use crate::message::matchers::HeaderMatch;
use crate::pb::accesslog;
use crate::value::{Invalid, PerMillion, Valid, fraction};

/// `access_log.filter`, compiled.
#[derive(Debug)]
pub enum Filter {
    /// By status: operator and value of Envoy's `ComparisonFilter`.
    Status(i32, u32),
    /// By duration in milliseconds: operator and value.
    Duration(i32, u32),
    /// A share of all requests.
    Runtime(PerMillion),
    /// Those that all filters pass.
    And(Vec<Filter>),
    /// Those that one filter passes.
    Or(Vec<Filter>),
    /// Those whose header matches.
    Header(HeaderMatch),
    /// Those with one of these flags; without any listed, those with a flag at all.
    Flags(Vec<Flags>),
    /// All of them.
    Always,
}

impl Filter {
    /// Compiles the message.
    pub fn compile(filter: &accesslog::AccessLogFilter) -> Valid<Filter> {
        use accesslog::access_log_filter::FilterSpecifier as S;
        let comparison = |comparison: &Option<accesslog::ComparisonFilter>| {
            let comparison = comparison.as_ref().ok_or_else(|| Invalid::new("missing comparison"))?;
            Ok::<_, Invalid>((
                comparison.op,
                comparison.value.as_ref().map_or(0, |value| value.default_value),
            ))
        };
        let many = |filters: &[accesslog::AccessLogFilter]| {
            filters.iter().map(Filter::compile).collect::<Valid<Vec<_>>>()
        };
        Ok(match &filter.filter_specifier {
            Some(S::StatusCodeFilter(status)) => {
                comparison(&status.comparison).map(|(op, value)| Filter::Status(op, value))?
            }
            Some(S::DurationFilter(duration)) => {
                comparison(&duration.comparison).map(|(op, value)| Filter::Duration(op, value))?
            }
            Some(S::RuntimeFilter(runtime)) => Filter::Runtime(fraction(runtime.percent_sampled.as_ref())),
            Some(S::AndFilter(and)) => Filter::And(many(&and.filters)?),
            Some(S::OrFilter(or)) => Filter::Or(many(&or.filters)?),
            Some(S::HeaderFilter(header)) => {
                let header = header.header.as_ref().ok_or_else(|| Invalid::new("missing header"))?;
                Filter::Header(HeaderMatch::compile(header)?)
            }
            Some(S::ResponseFlagFilter(flags)) => Filter::Flags(
                flags
                    .flags
                    .iter()
                    .map(|flag| {
                        Flags::parse(flag).ok_or_else(|| Invalid(format!("unknown response flag {flag:?}")))
                    })
                    .collect::<Valid<_>>()?,
            ),
            Some(S::NotHealthCheckFilter(_) | S::TraceableFilter(_)) => Filter::Always,
            Some(_) => return Err(Invalid::new("unsupported access log filter")),
            None => return Err(Invalid::new("empty access log filter")),
        })
    }
}
