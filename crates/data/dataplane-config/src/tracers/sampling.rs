//! Which requests are traced: as Envoy decides it, and notes it in `x-request-id` so that every proxy behind decides the
//! same ("Tracing" in Envoy's architecture overview).

use http::{HeaderMap, HeaderName, HeaderValue};

use super::Random;
use crate::pb::{hcm, route, types};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Asks for a trace, and names it.
const CLIENT_TRACE_ID: HeaderName = HeaderName::from_static("x-client-trace-id");
/// Asks for a trace; only internal clients may send it.
const FORCE_TRACE: HeaderName = HeaderName::from_static("x-envoy-force-trace");
/// Length of a UUID, and the digit in it (otherwise its version) that says why it is traced.
const UUID_LENGTH: usize = 36;
const REASON_AT: usize = 14;
/// What random and overall shares of a connection manager are drawn from.
const TEN_THOUSAND: u64 = 10_000;

/// Why a request is traced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It is not.
    NotTraceable,
    /// Chance.
    Sampled,
    /// `x-envoy-force-trace`.
    Forced,
    /// `x-client-trace-id`.
    Client,
}

impl Reason {
    fn digit(self) -> u8 {
        match self {
            Reason::NotTraceable => b'4',
            Reason::Sampled => b'9',
            Reason::Forced => b'a',
            Reason::Client => b'b',
        }
    }
}

/// A part of the requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    numerator: u64,
    denominator: u64,
}

impl Share {
    const ALL: Share = Share { numerator: 1, denominator: 1 };

    /// Whether a number is in it.
    fn takes(self, number: u64) -> bool {
        number % self.denominator < self.numerator
    }

    /// Of a percentage, in steps of `1 / denominator`.
    fn of_percent(from: Option<&types::Percent>, denominator: u64) -> Share {
        let Some(from) = from else { return Share::ALL };
        let steps = (from.value / 100.0 * denominator as f64 + 1e-9).clamp(0.0, denominator as f64);
        Share { numerator: if denominator == 100 { steps as u64 } else { steps.round() as u64 }, denominator }
    }

    fn of_fraction(from: Option<&types::FractionalPercent>) -> Share {
        let Some(from) = from else { return Share::ALL };
        let denominator = match from.denominator {
            1 => TEN_THOUSAND,
            2 => 1_000_000,
            _ => 100,
        };
        Share { numerator: from.numerator.into(), denominator }
    }
}

/// How many requests are traced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampling {
    /// Of those that ask by `x-client-trace-id`.
    client: Share,
    /// Of those that do not ask.
    random: Share,
    /// Of all that would be.
    overall: Share,
}

impl Sampling {
    /// That of a connection manager. The client's share is in whole percent, as with Envoy.
    pub fn of_manager(from: &hcm::http_connection_manager::Tracing) -> Sampling {
        Sampling {
            client: Share::of_percent(from.client_sampling.as_ref(), 100),
            random: Share::of_percent(from.random_sampling.as_ref(), TEN_THOUSAND),
            overall: Share::of_percent(from.overall_sampling.as_ref(), TEN_THOUSAND),
        }
    }

    /// That of a route, which stands in the place of the connection manager's.
    pub fn of_route(from: &route::Tracing) -> Sampling {
        Sampling {
            client: Share::of_fraction(from.client_sampling.as_ref()),
            random: Share::of_fraction(from.random_sampling.as_ref()),
            overall: Share::of_fraction(from.overall_sampling.as_ref()),
        }
    }

    /// Decides for a request, and notes it in its id.
    pub fn decide(&self, headers: &mut HeaderMap, random: &mut Random<'_>) -> Reason {
        let id = headers.get(REQUEST_ID).map(HeaderValue::as_bytes).unwrap_or_default();
        // Every proxy takes the same number for the same request, and so decides the same.
        let Some(number) = number_of(id) else { return Reason::NotTraceable };
        let noted = noted(id);
        let mut reason = noted;
        if noted == Reason::NotTraceable {
            if headers.contains_key(CLIENT_TRACE_ID) && self.client.takes(random()) {
                reason = Reason::Client;
            } else if headers.contains_key(FORCE_TRACE) {
                reason = Reason::Forced;
            } else if self.random.takes(number) {
                reason = Reason::Sampled;
            }
        }
        if reason != Reason::NotTraceable && !self.overall.takes(number) {
            reason = Reason::NotTraceable;
        }
        if reason != noted {
            note(headers, reason);
        }
        reason
    }
}

/// Takes out of a request's id why it is traced: whoever sent it has no say in that.
pub fn forget(headers: &mut HeaderMap) {
    note(headers, Reason::NotTraceable);
}

fn number_of(id: &[u8]) -> Option<u64> {
    let digits = id.get(..8).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
    let number = u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    Some(number % TEN_THOUSAND)
}

fn noted(id: &[u8]) -> Reason {
    let digit = id.get(REASON_AT).filter(|_| id.len() == UUID_LENGTH);
    let reasons = [Reason::Sampled, Reason::Forced, Reason::Client];
    reasons.into_iter().find(|reason| digit == Some(&reason.digit())).unwrap_or(Reason::NotTraceable)
}

fn note(headers: &mut HeaderMap, reason: Reason) {
    let Some(value) = headers.get_mut(REQUEST_ID).filter(|id| id.len() == UUID_LENGTH) else { return };
    let mut id = value.as_bytes().to_vec();
    if let Some(digit) = id.get_mut(REASON_AT) {
        *digit = reason.digit();
    }
    if let Ok(id) = HeaderValue::from_bytes(&id) {
        *value = id;
    }
}
