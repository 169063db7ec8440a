//! `envoy.filters.http.cors` (spec/dataplane.md 73).

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use crate::config::matchers::StringMatch;
use crate::config::pb::cors;
use crate::config::value::{At as _, Invalid, Valid, bool_or};
use crate::http::{Request, ResponseHead};

/// A compiled policy.
#[derive(Debug)]
pub(crate) struct CorsPolicy {
    origins: Vec<StringMatch>,
    methods: Option<HeaderValue>,
    headers: Option<HeaderValue>,
    expose: Option<HeaderValue>,
    max_age: Option<HeaderValue>,
    credentials: bool,
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
            credentials: bool_or(from.allow_credentials.as_ref(), false),
        })
    }

    /// The request's origin if it may read answers.
    pub(crate) fn allowed_origin(&self, request: &Request) -> Option<HeaderValue> {
        let origin = request.headers.get(header::ORIGIN)?;
        let text = origin.to_str().ok()?;
        self.origins
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
        self.common(&mut head.headers, origin);
        let mut set = |name: HeaderName, value: &Option<HeaderValue>| {
            if let Some(value) = value {
                head.headers.insert(name, value.clone());
            }
        };
        set(header::ACCESS_CONTROL_ALLOW_METHODS, &self.methods);
        set(header::ACCESS_CONTROL_ALLOW_HEADERS, &self.headers);
        set(header::ACCESS_CONTROL_MAX_AGE, &self.max_age);
        Some(head)
    }

    /// Adds the fields to the answer of an ordinary request.
    pub(crate) fn decorate(&self, headers: &mut HeaderMap, origin: HeaderValue) {
        self.common(headers, origin);
        if let Some(expose) = &self.expose {
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, expose.clone());
        }
    }

    fn common(&self, headers: &mut HeaderMap, origin: HeaderValue) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        if self.credentials {
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
    }
}
