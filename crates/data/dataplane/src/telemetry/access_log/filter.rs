//! Which requests are logged.

use portolan_dataplane_config::access_log::Filter;

use crate::telemetry::format::Context;
use crate::value::drawn;

pub(super) fn passes(filter: &Filter, context: &Context<'_>) -> bool {
    let info = context.info;
    match filter {
        Filter::Status(op, value) => compare(*op, u64::from(info.response_code), u64::from(*value)),
        Filter::Duration(op, value) => {
            let elapsed = context.now.saturating_duration_since(info.start).as_millis();
            compare(*op, u64::try_from(elapsed).unwrap_or(u64::MAX), u64::from(*value))
        }
        Filter::Runtime(share) => drawn(*share),
        Filter::And(filters) => filters.iter().all(|filter| passes(filter, context)),
        Filter::Or(filters) => filters.iter().any(|filter| passes(filter, context)),
        Filter::Header(header) => context.request.is_some_and(|request| header.matches(request)),
        Filter::Flags(flags) if flags.is_empty() => !info.flags.is_empty(),
        Filter::Flags(flags) => flags.iter().any(|flag| info.flags.contains(*flag)),
        Filter::Always => true,
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
