//! `envoy.filters.http.ext_authz`: asks an authorization server over HTTP whether a request may pass.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::chain::MAX_HELD;
use super::held::Held;
use super::stream::{Answer, Callout, Counter, Event, Flow, StreamFilter, View};
use super::{HttpFilter, Kind, Override, Overrides, configured, overridden};
use crate::message::matchers::StringMatch;
use crate::message::{Flags, LocalReply, Request, ResponseHead};
use crate::pb::{core, ext_authz, matcher};
use crate::value::{At as _, Invalid, PerMillion, Valid, drawn, duration, runtime_fraction};

pub(super) const KIND: Kind = Kind {
    types: &["envoy.extensions.filters.http.ext_authz.v3.ExtAuthz"],
    compile: |from| Ok(Arc::new(Filter(Arc::new(Authz::compile(&configured(from)?)?)))),
    override_types: &["envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute"],
    compile_override: |from| compile_override(&overridden(from)?),
    counters: &[OK, DENIED, ERROR, DISABLED, FAILURE_MODE_ALLOWED],
};

const OK: Counter = Counter("ext_authz_ok");
const DENIED: Counter = Counter("ext_authz_denied");
const ERROR: Counter = Counter("ext_authz_error");
const DISABLED: Counter = Counter("ext_authz_disabled");
const FAILURE_MODE_ALLOWED: Counter = Counter("ext_authz_failure_mode_allowed");

/// Tells the server whether it sees all of the body.
const PARTIAL_BODY: HeaderName = HeaderName::from_static("x-envoy-auth-partial-body");
/// By which the server names fields that the host shall not see.
const TO_REMOVE: HeaderName = HeaderName::from_static("x-envoy-auth-headers-to-remove");
/// Tells the host that nobody was asked.
const FAILURE_ALLOWED: HeaderName = HeaderName::from_static("x-envoy-auth-failure-mode-allowed");
/// Fields of a refusal that clients always get, where it is said what they get.
const ALWAYS_TO_CLIENT: [HeaderName; 2] = [header::WWW_AUTHENTICATE, header::LOCATION];
/// Fields of the server's that are of its own message.
const OF_MESSAGE: [HeaderName; 4] =
    [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION, header::HOST];

#[derive(Debug)]
struct Filter(Arc<Authz>);

impl HttpFilter for Filter {
    fn start(&self, own: &Overrides<'_>) -> Option<Box<dyn StreamFilter>> {
        let body = match own.first::<PerRoute>().as_deref() {
            None => self.0.body,
            Some(PerRoute::Disabled) => return None,
            Some(PerRoute::Check { buffer: Buffer::None }) => None,
            Some(PerRoute::Check { buffer: Buffer::OfFilter }) => self.0.body,
            Some(PerRoute::Check { buffer: Buffer::Own(body) }) => Some(*body),
        };
        Some(Box::new(Ask { authz: self.0.clone(), body, asked: false, to_client: Vec::new() }))
    }
}

/// What a route overrides.
#[derive(Debug)]
enum PerRoute {
    Disabled,
    Check { buffer: Buffer },
}

#[derive(Debug)]
enum Buffer {
    OfFilter,
    None,
    Own(WithBody),
}

fn compile_override(from: &ext_authz::ExtAuthzPerRoute) -> Valid<Override> {
    use ext_authz::check_settings::ServiceOverride as S;
    use ext_authz::ext_authz_per_route::Override as O;
    Ok(Arc::new(match from.r#override.as_ref().ok_or_else(|| Invalid::new("missing override"))? {
        O::Disabled(true) => PerRoute::Disabled,
        O::Disabled(false) => return Err(Invalid::new("disabled must be true")),
        O::CheckSettings(settings) => {
            // context_extensions are told to gRPC servers only.
            let service = match &settings.service_override {
                None => None,
                Some(S::GrpcService(_)) => Some("grpc_service"),
                Some(S::HttpService(_)) => Some("http_service"),
            };
            if let Some(service) = service {
                return Err(Invalid(format!("check_settings: {service} is not supported")));
            }
            let buffer = match &settings.with_request_body {
                Some(_) if settings.disable_request_body_buffering => {
                    return Err(Invalid::new(
                        "check_settings: disable_request_body_buffering and with_request_body exclude each other",
                    ));
                }
                Some(body) => Buffer::Own(WithBody::compile(body).at("check_settings")?),
                None if settings.disable_request_body_buffering => Buffer::None,
                None => Buffer::OfFilter,
            };
            PerRoute::Check { buffer }
        }
    }))
}

/// How much of a body the server is shown.
#[derive(Debug, Clone, Copy)]
struct WithBody {
    max: usize,
    /// Show the beginning of a longer one, instead of refusing it.
    partial: bool,
}

impl WithBody {
    fn compile(from: &ext_authz::BufferSettings) -> Valid<WithBody> {
        let max = from.max_request_bytes as usize;
        if max == 0 || max > MAX_HELD {
            return Err(Invalid(format!("with_request_body: max_request_bytes: not between 1 and {MAX_HELD}")));
        }
        Ok(WithBody { max, partial: from.allow_partial_message })
    }
}

/// Which fields, by their names.
#[derive(Debug, Default)]
struct Names(Vec<StringMatch>);

impl Names {
    fn compile(from: Option<&matcher::ListStringMatcher>, field: &str) -> Valid<Names> {
        let patterns = from.iter().flat_map(|list| &list.patterns);
        Ok(Names(patterns.map(StringMatch::compile).collect::<Valid<_>>().at(field)?))
    }

    fn has(&self, name: &HeaderName) -> bool {
        self.0.iter().any(|wanted| wanted.matches(name.as_str()))
    }
}

/// The filter, compiled.
#[derive(Debug)]
struct Authz {
    cluster: String,
    timeout: Duration,
    path_prefix: String,
    body: Option<WithBody>,
    enabled: PerMillion,
    deny_at_disable: bool,
    failure_allowed: bool,
    failure_told: bool,
    status_on_error: StatusCode,
    clear_route: bool,
    /// Bytes of a refusal's body; `None` = all.
    max_refusal: Option<usize>,
    /// Fields that the server sees.
    asked: Names,
    not_asked: Names,
    added: Vec<(HeaderName, HeaderValue)>,
    /// Fields of the server's answer: for the host, in place of the request's or behind them; for the client.
    to_host: Names,
    appended: Names,
    to_client: Names,
    on_success: Names,
}

impl Authz {
    fn compile(from: &ext_authz::ExtAuthz) -> Valid<Authz> {
        use ext_authz::ext_authz::Services as S;
        crate::ignored::refuse_ext_authz(from)?;
        let http = match from.services.as_ref().ok_or_else(|| Invalid::new("missing http_service"))? {
            S::HttpService(http) => http,
            S::GrpcService(_) => return Err(Invalid::new("grpc_service is not supported")),
        };
        crate::ignored::refuse_authz_service(http).at("http_service")?;
        let uri = http.server_uri.as_ref();
        let (cluster, timeout) = uri.map(server).transpose().at("http_service.server_uri")?.ok_or_else(|| {
            Invalid::new("http_service: missing server_uri")
        })?;
        let request = http.authorization_request.clone().unwrap_or_default();
        let response = http.authorization_response.clone().unwrap_or_default();
        if response.dynamic_metadata_from_headers.is_some() {
            return Err(Invalid::new("authorization_response: dynamic_metadata_from_headers is not supported"));
        }
        let asked = from.allowed_headers.as_ref().or(request.allowed_headers.as_ref());
        let status = from.status_on_error.as_ref().map_or(403, |status| status.code);
        let flag = from.deny_at_disable.as_ref().and_then(|flag| flag.default_value);
        Ok(Authz {
            cluster,
            timeout,
            path_prefix: http.path_prefix.clone(),
            body: from.with_request_body.as_ref().map(WithBody::compile).transpose()?,
            enabled: runtime_fraction(from.filter_enabled.as_ref()).unwrap_or(1_000_000),
            deny_at_disable: flag.is_some_and(|flag| flag.value),
            failure_allowed: from.failure_mode_allow,
            failure_told: from.failure_mode_allow_header_add,
            status_on_error: u16::try_from(status)
                .ok()
                .and_then(|code| StatusCode::from_u16(code).ok())
                .ok_or_else(|| Invalid(format!("status_on_error: {status} is no status")))?,
            clear_route: from.clear_route_cache,
            max_refusal: Some(from.max_denied_response_body_bytes as usize).filter(|max| *max > 0),
            asked: Names::compile(asked, "allowed_headers")?,
            not_asked: Names::compile(from.disallowed_headers.as_ref(), "disallowed_headers")?,
            added: request.headers_to_add.iter().map(added).collect::<Valid<_>>().at("headers_to_add")?,
            to_host: Names::compile(response.allowed_upstream_headers.as_ref(), "allowed_upstream_headers")?,
            appended: Names::compile(
                response.allowed_upstream_headers_to_append.as_ref(),
                "allowed_upstream_headers_to_append",
            )?,
            to_client: Names::compile(response.allowed_client_headers.as_ref(), "allowed_client_headers")?,
            on_success: Names::compile(
                response.allowed_client_headers_on_success.as_ref(),
                "allowed_client_headers_on_success",
            )?,
        })
    }

    /// The request to the server.
    fn question(&self, request: &Request, body: Option<(Bytes, bool)>) -> Callout {
        let mut headers = HeaderMap::new();
        for name in request.headers.keys().filter(|name| self.asks(name)) {
            headers.insert(name.clone(), joined(&request.headers, name));
        }
        if body.is_none() {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        if let Some((_, partial)) = &body {
            headers.insert(PARTIAL_BODY, HeaderValue::from_static(if *partial { "true" } else { "false" }));
        }
        for (name, value) in &self.added {
            headers.insert(name.clone(), value.clone());
        }
        Callout {
            cluster: self.cluster.clone(),
            method: request.method.clone(),
            authority: request.authority.clone(),
            path: format!("{}{}", self.path_prefix, request.path),
            headers,
            body: body.map(|(body, _)| body).unwrap_or_default(),
            timeout: self.timeout,
        }
    }

    fn asks(&self, name: &HeaderName) -> bool {
        let own = [header::CONTENT_LENGTH, header::TRANSFER_ENCODING].contains(name);
        !own && (*name == header::AUTHORIZATION || self.asked.has(name)) && !self.not_asked.has(name)
    }

    /// Whether a field of a refusal is for the client.
    fn tells_client(&self, name: &HeaderName) -> bool {
        let all = self.to_client.0.is_empty();
        !OF_MESSAGE.contains(name) && (all || ALWAYS_TO_CLIENT.contains(name) || self.to_client.has(name))
    }

    fn refusal(&self, answer: Answer) -> LocalReply {
        let mut reply = LocalReply::new(answer.status, "ext_authz_denied").flag(Flags::UNAUTHORIZED_EXTERNAL);
        let body = answer.body;
        reply.body = body.slice(..self.max_refusal.map_or(body.len(), |max| max.min(body.len())));
        for (name, value) in answer.headers.iter().filter(|(name, _)| self.tells_client(name)) {
            reply.headers.append(name.clone(), value.clone());
        }
        reply
    }

    fn failure(&self) -> LocalReply {
        LocalReply::new(self.status_on_error, "ext_authz_error").flag(Flags::UNAUTHORIZED_EXTERNAL)
    }
}

fn server(from: &core::HttpUri) -> Valid<(String, Duration)> {
    let Some(core::http_uri::HttpUpstreamType::Cluster(cluster)) = &from.http_upstream_type else {
        return Err(Invalid::new("missing cluster"));
    };
    let timeout = duration(from.timeout.as_ref()).at("timeout")?;
    Ok((cluster.clone(), timeout.ok_or_else(|| Invalid::new("missing timeout"))?))
}

fn added(from: &core::HeaderValue) -> Valid<(HeaderName, HeaderValue)> {
    let name = HeaderName::from_bytes(from.key.as_bytes())
        .map_err(|_| Invalid(format!("{:?} is not a header name", from.key)))?;
    if from.value.contains('%') || !from.raw_value.is_empty() {
        return Err(Invalid(format!("{:?}: only values without operators are supported", from.key)));
    }
    let value = HeaderValue::from_str(&from.value)
        .map_err(|_| Invalid(format!("{:?}: {:?} is no header value", from.key, from.value)))?;
    Ok((name, value))
}

/// All values of a field in one.
fn joined(headers: &HeaderMap, name: &HeaderName) -> HeaderValue {
    let mut all = headers.get_all(name).iter();
    let first = all.next().cloned().unwrap_or_else(|| HeaderValue::from_static(""));
    let rest: Vec<_> = all.collect();
    if rest.is_empty() {
        return first;
    }
    let mut text = first.as_bytes().to_vec();
    for value in rest {
        text.push(b',');
        text.extend_from_slice(value.as_bytes());
    }
    HeaderValue::from_bytes(&text).unwrap_or(first)
}

/// One request.
#[derive(Debug)]
struct Ask {
    authz: Arc<Authz>,
    body: Option<WithBody>,
    /// The server was asked.
    asked: bool,
    /// Fields that the client gets besides the host's.
    to_client: Vec<(HeaderName, HeaderValue)>,
}

impl StreamFilter for Ask {
    fn on_request(&mut self, x: &mut View<'_>, end: bool) -> Flow {
        if !drawn(self.authz.enabled) {
            x.count(DISABLED);
            return match self.authz.deny_at_disable {
                true => Flow::Reply(Box::new(self.authz.failure())),
                false => Flow::Continue,
            };
        }
        if self.body.is_some() && !end && x.request.upgrade.is_none() {
            x.read_request();
        } else {
            self.ask(x, None);
        }
        Flow::Pause
    }

    fn on_request_body(&mut self, x: &mut View<'_>, body: &mut Held) -> Flow {
        let Some(limit) = self.body.filter(|_| !self.asked) else { return Flow::Pause };
        if body.len() > limit.max && !limit.partial {
            let reply = LocalReply::new(StatusCode::PAYLOAD_TOO_LARGE, "request_payload_too_large");
            return Flow::Reply(Box::new(reply.body("Payload Too Large")));
        }
        if body.is_end() || body.len() >= limit.max && limit.partial {
            let all = body.bytes();
            let shown = all.slice(..all.len().min(limit.max));
            let partial = !body.is_end() || shown.len() < all.len();
            // What follows waits where it is until the server answered.
            x.leave_request();
            self.ask(x, Some((shown, partial)));
        }
        Flow::Pause
    }

    fn on_event(&mut self, x: &mut View<'_>, event: Event) -> Flow {
        let Event::Answer(_, answer) = event else { return Flow::Pause };
        match answer {
            Ok(answer) if answer.status == StatusCode::OK => {
                x.count(OK);
                self.pass(x, &answer.headers);
                Flow::Continue
            }
            Ok(mut answer) if !answer.status.is_server_error() => {
                x.count(DENIED);
                answer.headers.remove(TO_REMOVE);
                Flow::Reply(Box::new(self.authz.refusal(answer)))
            }
            Ok(_) | Err(_) => {
                x.count(ERROR);
                if !self.authz.failure_allowed {
                    return Flow::Reply(Box::new(self.authz.failure()));
                }
                x.count(FAILURE_MODE_ALLOWED);
                if self.authz.failure_told {
                    x.request.headers.insert(FAILURE_ALLOWED, HeaderValue::from_static("true"));
                }
                Flow::Continue
            }
        }
    }

    fn on_response(&mut self, _x: &mut View<'_>, head: &mut ResponseHead, _end: bool) -> Flow {
        for (name, value) in self.to_client.drain(..) {
            head.headers.append(name, value);
        }
        Flow::Continue
    }
}

impl Ask {
    fn ask(&mut self, x: &mut View<'_>, body: Option<(Bytes, bool)>) {
        self.asked = true;
        let question = self.authz.question(x.request, body);
        x.call_out(0, question);
    }

    /// Does what the server says of a request that may pass.
    fn pass(&mut self, x: &mut View<'_>, says: &HeaderMap) {
        let authz = &self.authz;
        let removed: Vec<HeaderName> = says
            .get_all(TO_REMOVE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
            .filter(|name| *name != header::HOST)
            .collect();
        let mut changed = !removed.is_empty();
        let headers = &mut x.request.headers;
        for (name, value) in says.iter().filter(|(name, _)| **name != TO_REMOVE && !OF_MESSAGE.contains(name)) {
            if authz.to_host.has(name) {
                headers.insert(name.clone(), value.clone());
                changed = true;
            }
        }
        for (name, value) in says.iter().filter(|(name, _)| **name != TO_REMOVE && !OF_MESSAGE.contains(name)) {
            if authz.appended.has(name) {
                headers.append(name.clone(), value.clone());
                changed = true;
            }
            if authz.on_success.has(name) {
                self.to_client.push((name.clone(), value.clone()));
            }
        }
        for name in removed {
            headers.remove(name);
        }
        if authz.clear_route && changed {
            x.clear_route();
        }
    }
}
