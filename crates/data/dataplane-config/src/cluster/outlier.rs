//! Outlier detection, compiled.

use std::time::Duration;

use portolan_balance::outlier::{FailurePercentage, Settings, SuccessRate};
use portolan_envoy_api::pb::google::protobuf;

use crate::pb::cluster;
use crate::value::{At as _, Invalid, Valid, bool_or, duration, u32_or};

/// Reads the settings; what is not set is as by Envoy.
///
/// `always_eject_one_host` is younger than Istio 1.9, whose Envoy always ejected one host: where it is not set, that
/// still holds, or small services that never asked for anything else would lose their outlier detection.
pub(super) fn compile(from: &cluster::OutlierDetection) -> Valid<Settings> {
    let default = Settings::default();
    if !from.monitors.is_empty() {
        return Err(Invalid::new("monitors are not supported"));
    }
    if bool_or(from.detect_degraded_hosts.as_ref(), false) {
        return Err(Invalid::new("detect_degraded_hosts is not supported"));
    }
    let base_ejection_time =
        positive(from.base_ejection_time.as_ref(), default.base_ejection_time).at("base_ejection_time")?;
    let max_ejection_time =
        positive(from.max_ejection_time.as_ref(), default.max_ejection_time.max(base_ejection_time))
            .at("max_ejection_time")?;
    if max_ejection_time < base_ejection_time {
        return Err(Invalid::new("max_ejection_time is less than base_ejection_time"));
    }
    let [consecutive_5xx, gateway, local, rate, local_rate, failures, local_failures] = default.enforcing;
    let enforcing = [
        (&from.enforcing_consecutive_5xx, consecutive_5xx, "enforcing_consecutive_5xx"),
        (&from.enforcing_consecutive_gateway_failure, gateway, "enforcing_consecutive_gateway_failure"),
        (
            &from.enforcing_consecutive_local_origin_failure,
            local,
            "enforcing_consecutive_local_origin_failure",
        ),
        (&from.enforcing_success_rate, rate, "enforcing_success_rate"),
        (&from.enforcing_local_origin_success_rate, local_rate, "enforcing_local_origin_success_rate"),
        (&from.enforcing_failure_percentage, failures, "enforcing_failure_percentage"),
        (
            &from.enforcing_failure_percentage_local_origin,
            local_failures,
            "enforcing_failure_percentage_local_origin",
        ),
    ];
    let mut shares = default.enforcing;
    for (share, (value, default, field)) in shares.iter_mut().zip(enforcing) {
        *share = percent(value.as_ref(), default).at(field)?;
    }
    let max_ejection_percent = percent(from.max_ejection_percent.as_ref(), default.max_ejection_percent)
        .at("max_ejection_percent")?;
    let rates = default.success_rate;
    let percentages = default.failure_percentage;
    Ok(Settings {
        interval: positive(from.interval.as_ref(), default.interval).at("interval")?,
        base_ejection_time,
        max_ejection_time,
        max_ejection_time_jitter: duration(from.max_ejection_time_jitter.as_ref())
            .at("max_ejection_time_jitter")?
            .unwrap_or(default.max_ejection_time_jitter),
        max_ejection_percent,
        always_eject_one_host: bool_or(from.always_eject_one_host.as_ref(), max_ejection_percent > 0),
        consecutive_5xx: u32_or(from.consecutive_5xx.as_ref(), default.consecutive_5xx),
        consecutive_gateway_failure: u32_or(
            from.consecutive_gateway_failure.as_ref(),
            default.consecutive_gateway_failure,
        ),
        consecutive_local_origin_failure: u32_or(
            from.consecutive_local_origin_failure.as_ref(),
            default.consecutive_local_origin_failure,
        ),
        split_local_origin: from.split_external_local_origin_errors,
        success_rate: SuccessRate {
            minimum_hosts: u32_or(from.success_rate_minimum_hosts.as_ref(), rates.minimum_hosts),
            request_volume: u32_or(from.success_rate_request_volume.as_ref(), rates.request_volume),
            stdev_factor: from
                .success_rate_stdev_factor
                .as_ref()
                .map_or(rates.stdev_factor, |factor| f64::from(factor.value) / 1000.0),
        },
        failure_percentage: FailurePercentage {
            threshold: percent(from.failure_percentage_threshold.as_ref(), percentages.threshold)
                .at("failure_percentage_threshold")?,
            minimum_hosts: u32_or(from.failure_percentage_minimum_hosts.as_ref(), percentages.minimum_hosts),
            request_volume: u32_or(
                from.failure_percentage_request_volume.as_ref(),
                percentages.request_volume,
            ),
        },
        enforcing: shares,
    })
}

fn percent(value: Option<&protobuf::UInt32Value>, default: u32) -> Valid<u32> {
    match u32_or(value, default) {
        value @ 0..=100 => Ok(value),
        value => Err(Invalid(format!("{value} is more than 100"))),
    }
}

fn positive(value: Option<&protobuf::Duration>, default: Duration) -> Valid<Duration> {
    match duration(value)? {
        None => Ok(default),
        Some(value) if value.is_zero() => Err(Invalid::new("must be more than zero")),
        Some(value) => Ok(value),
    }
}
