//! Circuit breakers, compiled.

use portolan_balance::breaker::{Limits, RetryBudget};

use crate::pb::cluster;
use crate::value::{At as _, Invalid, Valid, duration, u32_or};

/// Envoy's `budget_percent`.
const DEFAULT_BUDGET: f64 = 20.0;
/// Envoy's `min_retry_concurrency`.
const DEFAULT_MINIMUM: u32 = 3;

/// The limits of the default and the high routing priority.
pub(super) fn compile(from: Option<&cluster::CircuitBreakers>) -> Valid<[Limits; 2]> {
    let mut limits = [Limits::default(); 2];
    let Some(from) = from else { return Ok(limits) };
    // Of several thresholds for one priority the first one counts (Envoy).
    for (priority, limits) in limits.iter_mut().enumerate() {
        let of_priority = |one: &&cluster::circuit_breakers::Thresholds| one.priority == priority as i32;
        if let Some(thresholds) = from.thresholds.iter().find(of_priority) {
            *limits = of_thresholds(thresholds)?;
        }
        if let Some(thresholds) = from.per_host_thresholds.iter().find(of_priority)
            && let Some(most) = &thresholds.max_connections
        {
            limits.connections_per_host = u64::from(most.value);
        }
    }
    Ok(limits)
}

fn of_thresholds(from: &cluster::circuit_breakers::Thresholds) -> Valid<Limits> {
    let default = Limits::default();
    let or = |value: &Option<portolan_envoy_api::pb::google::protobuf::UInt32Value>, default: u64| {
        value.as_ref().map_or(default, |value| u64::from(value.value))
    };
    let retry_budget = match &from.retry_budget {
        None => None,
        Some(budget) => {
            if duration(budget.budget_interval.as_ref())
                .at("budget_interval")?
                .is_some_and(|time| !time.is_zero())
            {
                return Err(Invalid::new("budget_interval is not supported"));
            }
            Some(RetryBudget {
                percent: budget.budget_percent.as_ref().map_or(DEFAULT_BUDGET, |percent| percent.value),
                minimum: u64::from(u32_or(budget.min_retry_concurrency.as_ref(), DEFAULT_MINIMUM)),
            })
        }
    };
    Ok(Limits {
        connections: or(&from.max_connections, default.connections),
        pending: or(&from.max_pending_requests, default.pending),
        requests: or(&from.max_requests, default.requests),
        retries: or(&from.max_retries, default.retries),
        retry_budget,
        ..default
    })
}
