//! Which requests are logged.

use super::super::format::Context;
use crate::message::Flags;
use crate::message::matchers::HeaderMatch;
use crate::pb::accesslog;
use crate::value::{Invalid, PerMillion, Valid, drawn, fraction};

/// `access_log.filter`, compiled.
#[derive(Debug)]
pub(super) enum Filter {
    Status(i32, u32),
    Duration(i32, u32),
    Runtime(PerMillion),
    And(Vec<Filter>),
    Or(Vec<Filter>),
    Header(HeaderMatch),
    Flags(Vec<Flags>),
    Always,
}

impl Filter {
    pub(super) fn compile(filter: &accesslog::AccessLogFilter) -> Valid<Filter> {
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

    pub(super) fn passes(&self, context: &Context<'_>) -> bool {
        let info = context.info;
        match self {
            Filter::Status(op, value) => compare(*op, u64::from(info.response_code), u64::from(*value)),
            Filter::Duration(op, value) => {
                let elapsed = context.now.saturating_duration_since(info.start).as_millis();
                compare(*op, u64::try_from(elapsed).unwrap_or(u64::MAX), u64::from(*value))
            }
            Filter::Runtime(share) => drawn(*share),
            Filter::And(filters) => filters.iter().all(|filter| filter.passes(context)),
            Filter::Or(filters) => filters.iter().any(|filter| filter.passes(context)),
            Filter::Header(header) => context.request.is_some_and(|request| header.matches(request)),
            Filter::Flags(flags) if flags.is_empty() => !info.flags.is_empty(),
            Filter::Flags(flags) => flags.iter().any(|flag| info.flags.contains(*flag)),
            Filter::Always => true,
        }
    }
}

fn compare(op: i32, left: u64, right: u64) -> bool {
    match op {
        1 => left >= right,
        2 => left <= right,
        3 => left != right,
        _ => left == right,
    }
}
