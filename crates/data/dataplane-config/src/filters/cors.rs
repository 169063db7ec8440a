//! `envoy.filters.http.cors`: which origins may read answers in browsers.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use super::stream::{Flow, StreamFilter, View};
use super::{HttpFilter, Kind, Override, Overrides, overridden};
use crate::message::matchers::StringMatch;
use crate::message::{LocalReply, Request, ResponseHead};
use crate::pb::{cors, route};
use crate::value::{At as _, Invalid, Valid};

pub(super) const KIND: Kind = Kind {
    types: &["envoy.extensions.filters.http.cors.v3.Cors"],
    compile: |_| Ok(Arc::new(Filter)),
    override_types: &["envoy.extensions.filters.http.cors.v3.CorsPolicy"],
    compile_override: |from| Ok(Arc::new(CorsPolicy::compile(&overridden(from)?)?)),
    counters: &[],
};

/// The `cors` field of routes and virtual hosts, from before the filter had a message of its own.
pub(super) fn compile_legacy(from: &route::CorsPolicy) -> Valid<Override> {
    Ok(Arc::new(CorsPolicy::compile(&cors::CorsPolicy {
        allow_origin_string_match: from.allow_origin_string_match.clone(),
        allow_methods: from.allow_methods.clone(),
        allow_headers: from.allow_headers.clone(),
        expose_headers: from.expose_headers.clone(),
        max_age: from.max_age.clone(),
        allow_credentials: from.allow_credentials,
        ..Default::default()
    })?))
}

/// Does nothing by itself: policies stand on routes.
#[derive(Debug)]
struct Filter;

impl HttpFilter for Filter {
    fn start(&self, own: &Overrides<'_>) -> Option<Box<dyn StreamFilter>> {
        let policies = own.all::<CorsPolicy>();
        (!policies.is_empty()).then(|| Box::new(Share { policies: Policies(policies), origin: None }) as _)
    }
}

/// One request.
#[derive(Debug)]
struct Share {
    policies: Policies,
    /// The request's, if it may read answers.
    origin: Option<HeaderValue>,
}

impl StreamFilter for Share {
    fn on_request(&mut self, x: &mut View<'_>, _end: bool) -> Flow {
        if let Some(head) = self.policies.preflight(x.request) {
            let mut reply = LocalReply::new(head.status, "cors_response");
            reply.headers = head.headers;
            return Flow::Reply(Box::new(reply));
        }
        self.origin = self.policies.allowed_origin(x.request);
        Flow::Continue
    }

    fn on_response(&mut self, _x: &mut View<'_>, head: &mut ResponseHead, _end: bool) -> Flow {
        if let Some(origin) = self.origin.take() {
            self.policies.decorate(&mut head.headers, origin);
        }
        Flow::Continue
    }
}

/// A compiled policy.
#[derive(Debug)]
struct CorsPolicy {
    origins: Vec<StringMatch>,
    methods: Option<HeaderValue>,
    headers: Option<HeaderValue>,
    expose: Option<HeaderValue>,
    max_age: Option<HeaderValue>,
    credentials: Option<bool>,
}

impl CorsPolicy {
    fn compile(from: &cors::CorsPolicy) -> Valid<CorsPolicy> {
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
#[derive(Debug)]
struct Policies(Vec<Arc<CorsPolicy>>);

impl Policies {
    fn first(&self, field: impl Fn(&CorsPolicy) -> Option<&HeaderValue>) -> Option<HeaderValue> {
        self.0.iter().find_map(|policy| field(policy)).cloned()
    }

    /// The request's origin if it may read answers.
    fn allowed_origin(&self, request: &Request) -> Option<HeaderValue> {
        let origin = request.headers.get(header::ORIGIN)?;
        let text = origin.to_str().ok()?;
        let origins = self.0.iter().map(|policy| &policy.origins).find(|origins| !origins.is_empty())?;
        origins
            .iter()
            .any(|wanted| wanted.matches(text) || matches!(wanted, StringMatch::Exact(any) if any == "*"))
            .then(|| origin.clone())
    }

    /// The answer to a preflight, if the request is one.
    fn preflight(&self, request: &Request) -> Option<ResponseHead> {
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
    fn decorate(&self, headers: &mut HeaderMap, origin: HeaderValue) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        if self.0.iter().find_map(|policy| policy.credentials).unwrap_or(false) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        if let Some(expose) = self.first(|policy| policy.expose.as_ref()) {
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, expose);
        }
    }
}
