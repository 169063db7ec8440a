//! Retry policies.

use std::borrow::Cow;
use std::time::Duration;

use http::{HeaderMap, HeaderName};
use portolan_balance::Environment;
use portolan_balance::retry::Backoff;

use crate::message::ResponseHead;
use crate::message::matchers::HeaderMatch;
use crate::pb::route;
use crate::value::{At as _, Valid, duration, u32_or};

/// What a request may ask for by itself.
pub const RETRY_ON: HeaderName = HeaderName::from_static("x-envoy-retry-on");
/// Conditions that concern gRPC statuses.
pub const RETRY_GRPC_ON: HeaderName = HeaderName::from_static("x-envoy-retry-grpc-on");
/// How often.
pub const MAX_RETRIES_ASKED: HeaderName = HeaderName::from_static("x-envoy-max-retries");
/// On which statuses.
pub const STATUS_CODES_ASKED: HeaderName = HeaderName::from_static("x-envoy-retriable-status-codes");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// Most retries that a policy or a request may ask for; more only multiplies an outage.
const MAX_RETRIES: u32 = 64;

/// Bits of `retry_on`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RetryOn(u32);

macro_rules! retry_on {
    ($($name:ident = $bit:literal $text:literal,)*) => {
        impl RetryOn {
            $(const $name: u32 = 1 << $bit;)*
            /// Reads a comma separated list; unknown words are ignored, as by Envoy.
            pub fn parse(text: &str) -> RetryOn {
                let mut bits = 0;
                for word in text.split(',').map(str::trim) {
                    match word { $($text => bits |= Self::$name,)* _ => {} }
                }
                RetryOn(bits)
            }
        }
    };
}

retry_on! {
    SERVER_ERROR = 0 "5xx",
    GATEWAY_ERROR = 1 "gateway-error",
    RESET = 2 "reset",
    CONNECT_FAILURE = 3 "connect-failure",
    RATELIMITED = 4 "envoy-ratelimited",
    RETRIABLE_4XX = 5 "retriable-4xx",
    REFUSED_STREAM = 6 "refused-stream",
    STATUS_CODES = 7 "retriable-status-codes",
    HEADERS = 8 "retriable-headers",
    CANCELLED = 9 "cancelled",
    DEADLINE_EXCEEDED = 10 "deadline-exceeded",
    INTERNAL = 11 "internal",
    RESOURCE_EXHAUSTED = 12 "resource-exhausted",
    UNAVAILABLE = 13 "unavailable",
    RESET_BEFORE_REQUEST = 14 "reset-before-request",
}

/// What went wrong with an attempt without a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// There was no connection.
    Connect,
    /// The stream was refused before any work.
    Refused,
    /// The connection or the stream broke.
    Reset,
    /// A try took too long.
    PerTryTimeout,
}

/// A compiled policy.
#[derive(Debug, Clone)]
pub struct RetryPolicy {
    /// When.
    pub on: RetryOn,
    /// How often at most.
    pub retries: u32,
    /// Of one try.
    pub per_try_timeout: Option<Duration>,
    /// Statuses for the condition `retriable-status-codes`.
    pub status_codes: Vec<u16>,
    /// Response fields for the condition `retriable-headers`.
    pub headers: Vec<HeaderMatch>,
    /// Request fields without which nothing is tried again.
    pub request_headers: Vec<HeaderMatch>,
    /// The pause between tries.
    pub backoff: Backoff,
    /// Whether hosts that were tried are avoided.
    pub avoid_previous: bool,
    /// How often another host is looked for.
    pub host_attempts: u32,
}

impl RetryPolicy {
    /// Compiles the message.
    pub fn compile(from: &route::RetryPolicy) -> Valid<RetryPolicy> {
        let back_off = from.retry_back_off.as_ref();
        let base = duration(back_off.and_then(|b| b.base_interval.as_ref())).at("retry_back_off")?;
        let max = duration(back_off.and_then(|b| b.max_interval.as_ref())).at("retry_back_off")?;
        let avoid_previous = from
            .retry_host_predicate
            .iter()
            .any(|one| one.name == "envoy.retry_host_predicates.previous_hosts");
        Ok(RetryPolicy {
            on: RetryOn::parse(&from.retry_on),
            retries: u32_or(from.num_retries.as_ref(), 1).min(MAX_RETRIES),
            per_try_timeout: duration(from.per_try_timeout.as_ref())
                .at("per_try_timeout")?
                .filter(|t| !t.is_zero()),
            status_codes: from
                .retriable_status_codes
                .iter()
                .filter_map(|code| u16::try_from(*code).ok())
                .collect(),
            headers: HeaderMatch::compile_all(&from.retriable_headers)?,
            request_headers: HeaderMatch::compile_all(&from.retriable_request_headers)?,
            backoff: Backoff::new(base, max),
            avoid_previous,
            host_attempts: u32::try_from(from.host_selection_retry_max_attempts).unwrap_or(1).clamp(1, 32),
        })
    }

    /// The policy that request headers ask for, on top of the route's (internal requests only).
    pub fn with_headers<'a>(
        own: Option<&'a RetryPolicy>,
        headers: &HeaderMap,
    ) -> Option<Cow<'a, RetryPolicy>> {
        let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let asked = text(&RETRY_ON).into_iter().chain(text(&RETRY_GRPC_ON)).collect::<Vec<_>>().join(",");
        if asked.is_empty() {
            return own.map(Cow::Borrowed);
        }
        let mut policy = own.cloned().unwrap_or(RetryPolicy {
            on: RetryOn::default(),
            retries: 1,
            per_try_timeout: None,
            status_codes: Vec::new(),
            headers: Vec::new(),
            request_headers: Vec::new(),
            backoff: Backoff::default(),
            avoid_previous: false,
            host_attempts: 1,
        });
        policy.on.0 |= RetryOn::parse(&asked).0;
        if let Some(retries) = text(&MAX_RETRIES_ASKED).and_then(|text| text.parse().ok()) {
            policy.retries = u32::min(retries, MAX_RETRIES);
        }
        if let Some(codes) = text(&STATUS_CODES_ASKED) {
            policy.status_codes.extend(codes.split(',').filter_map(|code| code.trim().parse::<u16>().ok()));
        }
        Some(Cow::Owned(policy))
    }

    fn has(&self, bits: u32) -> bool {
        self.on.0 & bits != 0
    }

    /// Whether a response is to be thrown away for another try.
    pub fn wants_response(&self, head: &ResponseHead) -> bool {
        let code = head.status.as_u16();
        if (self.has(RetryOn::SERVER_ERROR) && (500..600).contains(&code))
            || (self.has(RetryOn::GATEWAY_ERROR) && (502..=504).contains(&code))
            || (self.has(RetryOn::RETRIABLE_4XX) && code == 409)
            || (self.has(RetryOn::STATUS_CODES) && self.status_codes.contains(&code))
            || (self.has(RetryOn::RATELIMITED) && head.headers.contains_key("x-envoy-ratelimited"))
            || (self.has(RetryOn::HEADERS)
                && self.headers.iter().any(|header| header.matches_fields(&head.headers)))
        {
            return true;
        }
        let grpc = head.headers.get(&GRPC_STATUS).and_then(|value| value.to_str().ok());
        let bit = match grpc {
            Some("1") => RetryOn::CANCELLED,
            Some("4") => RetryOn::DEADLINE_EXCEEDED,
            Some("8") => RetryOn::RESOURCE_EXHAUSTED,
            Some("13") => RetryOn::INTERNAL,
            Some("14") => RetryOn::UNAVAILABLE,
            _ => return false,
        };
        self.has(bit)
    }

    /// Whether a failure without a response is worth another try.
    pub fn wants_failure(&self, failure: Failure) -> bool {
        let bits = match failure {
            Failure::Connect => RetryOn::CONNECT_FAILURE | RetryOn::SERVER_ERROR | RetryOn::GATEWAY_ERROR,
            Failure::Refused => RetryOn::REFUSED_STREAM | RetryOn::SERVER_ERROR | RetryOn::RESET,
            Failure::Reset => RetryOn::RESET | RetryOn::SERVER_ERROR | RetryOn::GATEWAY_ERROR,
            Failure::PerTryTimeout => RetryOn::SERVER_ERROR | RetryOn::GATEWAY_ERROR | RetryOn::RESET,
        };
        self.has(bits)
    }

    /// Pause before the retry after `retried` retries.
    pub fn pause(&self, retried: u32, environment: &mut impl Environment) -> Duration {
        self.backoff.pause(retried, environment)
    }
}

#[cfg(test)]
mod tests {
    use portolan_envoy_api::pb::google::protobuf;
    use serde_json::json;

    use super::*;
    use crate::testing::{Beginning, message, request_with};

    #[test]
    fn the_longest_back_off_overflows_nothing() {
        let longest = Some(protobuf::Duration { seconds: 315_576_000_000, nanos: 0 });
        for max_interval in [None, longest] {
            let back_off = route::retry_policy::RetryBackOff { base_interval: longest, max_interval };
            let from = route::RetryPolicy { retry_back_off: Some(back_off), ..Default::default() };
            let policy = RetryPolicy::compile(&from).unwrap();
            assert!(
                (0..100)
                    .all(|retried| policy.pause(retried, &mut Beginning) <= Duration::from_secs(24 * 3600))
            );
        }
    }

    fn policy(json: serde_json::Value) -> RetryPolicy {
        RetryPolicy::compile(&message(json)).unwrap()
    }

    fn on(conditions: &str) -> RetryPolicy {
        policy(
            json!({ "retry_on": conditions, "retriable_status_codes": [418], "retriable_headers": [{"name": "x-again"}] }),
        )
    }

    fn head(status: u16, field: Option<(&'static str, &str)>) -> ResponseHead {
        let mut head = ResponseHead::new(http::StatusCode::from_u16(status).unwrap());
        if let Some((name, value)) = field {
            head.headers.insert(name, value.parse().unwrap());
        }
        head
    }

    #[test]
    fn what_is_not_set_has_a_default() {
        let plain = policy(json!({}));
        assert_eq!((plain.retries, plain.per_try_timeout, plain.host_attempts), (1, None, 1));
        assert!(!plain.avoid_previous && plain.status_codes.is_empty());
        assert_eq!(plain.on, RetryOn::default());
    }

    #[test]
    fn what_is_set_is_taken_over_within_bounds() {
        let set = policy(json!({
            "num_retries": 5, "per_try_timeout": "3s", "retriable_status_codes": [418, 65954],
            "host_selection_retry_max_attempts": 7,
            "retry_host_predicate": [{"name": "envoy.retry_host_predicates.previous_hosts"}],
        }));
        assert_eq!((set.retries, set.per_try_timeout), (5, Some(Duration::from_secs(3))));
        assert_eq!((set.status_codes, set.host_attempts, set.avoid_previous), (vec![418], 7, true));
        let much = policy(
            json!({"num_retries": 1000, "host_selection_retry_max_attempts": 1000, "per_try_timeout": "0s",
            "retry_host_predicate": [{"name": "other"}]}),
        );
        assert_eq!((much.retries, much.host_attempts, much.per_try_timeout), (64, 32, None));
        assert!(!much.avoid_previous);
    }

    #[test]
    fn conditions_are_told_apart_by_the_response() {
        let table: [(&str, ResponseHead, ResponseHead); 13] = [
            ("5xx", head(500, None), head(499, None)),
            ("5xx", head(599, None), head(600, None)),
            ("gateway-error", head(502, None), head(501, None)),
            ("gateway-error", head(504, None), head(505, None)),
            ("retriable-4xx", head(409, None), head(410, None)),
            ("retriable-status-codes", head(418, None), head(419, None)),
            ("envoy-ratelimited", head(429, Some(("x-envoy-ratelimited", "true"))), head(429, None)),
            ("retriable-headers", head(200, Some(("x-again", ""))), head(200, None)),
            ("cancelled", head(200, Some(("grpc-status", "1"))), head(200, Some(("grpc-status", "2")))),
            ("deadline-exceeded", head(200, Some(("grpc-status", "4"))), head(200, None)),
            ("resource-exhausted", head(200, Some(("grpc-status", "8"))), head(200, None)),
            ("internal", head(200, Some(("grpc-status", "13"))), head(200, None)),
            ("unavailable", head(200, Some(("grpc-status", "14"))), head(200, Some(("grpc-status", "13")))),
        ];
        for (condition, again, enough) in &table {
            assert!(on(condition).wants_response(again), "{condition} {again:?}");
            assert!(!on(condition).wants_response(enough), "{condition} {enough:?}");
            assert!(!on("").wants_response(again), "{again:?} without {condition}");
            assert!(on(&format!("other, {condition}")).wants_response(again), "{condition} in a list");
        }
    }

    #[test]
    fn conditions_are_told_apart_by_the_failure() {
        use Failure::{Connect, PerTryTimeout, Refused, Reset};
        for (condition, wanted) in [
            ("5xx", vec![Connect, Refused, Reset, PerTryTimeout]),
            ("gateway-error", vec![Connect, Reset, PerTryTimeout]),
            ("reset", vec![Refused, Reset, PerTryTimeout]),
            ("connect-failure", vec![Connect]),
            ("refused-stream", vec![Refused]),
            ("retriable-4xx", vec![]),
        ] {
            let all = [Connect, Refused, Reset, PerTryTimeout].into_iter();
            let seen: Vec<_> = all.filter(|failure| on(condition).wants_failure(*failure)).collect();
            assert_eq!(seen, wanted, "{condition}");
        }
    }

    fn asked(own: Option<&RetryPolicy>, fields: &[(&'static str, &str)]) -> Option<RetryPolicy> {
        RetryPolicy::with_headers(own, &request_with(fields).headers).map(Cow::into_owned)
    }

    #[test]
    fn a_request_without_wishes_has_the_routes_policy() {
        assert!(asked(None, &[("x-envoy-max-retries", "3")]).is_none());
        assert_eq!(asked(Some(&on("5xx")), &[]).unwrap().on, RetryOn::parse("5xx"));
    }

    #[test]
    fn wishes_of_a_request_come_on_top_of_the_routes_policy() {
        let fields = [
            ("x-envoy-retry-on", "reset"),
            ("x-envoy-retry-grpc-on", "cancelled"),
            ("x-envoy-max-retries", "3"),
            ("x-envoy-retriable-status-codes", "420, x,421"),
        ];
        let alone = asked(None, &fields).unwrap();
        assert_eq!((alone.on, alone.retries), (RetryOn::parse("reset,cancelled"), 3));
        assert_eq!(alone.status_codes, [420, 421]);
        let both = asked(Some(&on("5xx")), &fields).unwrap();
        assert_eq!(both.on, RetryOn::parse("5xx,reset,cancelled"));
        assert_eq!(both.status_codes, [418, 420, 421]);
        assert_eq!(asked(None, &[fields[0]]).unwrap().retries, 1);
        assert_eq!(asked(Some(&on("5xx,reset")), &[fields[0]]).unwrap().on, RetryOn::parse("5xx,reset"));
        assert_eq!(asked(None, &[fields[0], ("x-envoy-max-retries", "1000")]).unwrap().retries, 64);
    }

    /// As long as it may take.
    struct Longest;

    impl Environment for Longest {
        fn now(&mut self) -> portolan_balance::Moment {
            portolan_balance::Moment::ZERO
        }

        fn random(&mut self) -> u64 {
            u64::MAX
        }
    }

    #[test]
    fn pauses_follow_the_back_off() {
        let policy = policy(json!({"retry_back_off": {"base_interval": "1s", "max_interval": "3s"}}));
        let seconds = |retried| policy.pause(retried, &mut Longest).as_secs_f64().ceil();
        assert_eq!([0, 1, 2].map(seconds), [1.0, 2.0, 3.0]);
    }
}
