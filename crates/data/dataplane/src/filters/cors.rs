//! `envoy.filters.http.cors` (spec/dataplane.md 73).

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use crate::message::matchers::StringMatch;
use crate::message::{Request, ResponseHead};
use crate::pb::cors;
use crate::value::{At as _, Invalid, Valid};

/// A compiled policy.
#[derive(Debug)]
pub(crate) struct CorsPolicy {
    origins: Vec<StringMatch>,
    methods: Option<HeaderValue>,
    headers: Option<HeaderValue>,
    expose: Option<HeaderValue>,
    max_age: Option<HeaderValue>,
    credentials: Option<bool>,
}

impl CorsPolicy {
    pub(crate) fn compile(from: &cors::CorsPolicy) -> Valid<CorsPolicy> {
        let value = |text: &str| match text {
            "" => Ok(None),
            text => HeaderValue::from_str(text)
                .map(Some)
                .map_err(|_| Invalid(format!("{text:?} is no header value"))),
        };
        Ok(CorsPolicy {
            origins: from
                .allow_origin_string_match
                .iter()
                .map(StringMatch::compile)
                .collect::<Valid<_>>()
                .at("allow_origin_string_match")?,
            methods: value(&from.allow_methods)?,
            headers: value(&from.allow_headers)?,
            expose: value(&from.expose_headers)?,
            max_age: value(&from.max_age)?,
            credentials: from.allow_credentials.as_ref().map(|value| value.value),
        })
    }
}

/// The policies of all levels, most specific first: each field is taken from the first that has it.
pub(crate) struct Policies<'a>(pub(crate) &'a [Arc<CorsPolicy>]);

impl Policies<'_> {
    fn first(&self, field: impl Fn(&CorsPolicy) -> Option<&HeaderValue>) -> Option<HeaderValue> {
        self.0.iter().find_map(|policy| field(policy)).cloned()
    }

    /// The request's origin if it may read answers.
    pub(crate) fn allowed_origin(&self, request: &Request) -> Option<HeaderValue> {
        let origin = request.headers.get(header::ORIGIN)?;
        let text = origin.to_str().ok()?;
        let origins = self.0.iter().map(|policy| &policy.origins).find(|origins| !origins.is_empty())?;
        origins
            .iter()
            .any(|wanted| wanted.matches(text) || matches!(wanted, StringMatch::Exact(any) if any == "*"))
            .then(|| origin.clone())
    }

    /// The answer to a preflight, if the request is one.
    pub(crate) fn preflight(&self, request: &Request) -> Option<ResponseHead> {
        if request.method != Method::OPTIONS
            || !request.headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
        {
            return None;
        }
        let origin = self.allowed_origin(request)?;
        let mut head = ResponseHead::new(StatusCode::OK);
        self.decorate(&mut head.headers, origin);
        let mut set = |name: HeaderName, value: Option<HeaderValue>| {
            if let Some(value) = value {
                head.headers.insert(name, value);
            }
        };
        set(header::ACCESS_CONTROL_ALLOW_METHODS, self.first(|policy| policy.methods.as_ref()));
        set(header::ACCESS_CONTROL_ALLOW_HEADERS, self.first(|policy| policy.headers.as_ref()));
        set(header::ACCESS_CONTROL_MAX_AGE, self.first(|policy| policy.max_age.as_ref()));
        Some(head)
    }

    /// Adds the fields that every answer to an allowed origin has.
    pub(crate) fn decorate(&self, headers: &mut HeaderMap, origin: HeaderValue) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        if self.0.iter().find_map(|policy| policy.credentials).unwrap_or(false) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        if let Some(expose) = self.first(|policy| policy.expose.as_ref()) {
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, expose);
        }
    }
}
