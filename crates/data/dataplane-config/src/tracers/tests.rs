//! Which requests are traced, what hops tell each other, and what collectors get.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName};
use prost::{Message as _, Name};
use serde_json::{Value, json};

use super::sampling::{Reason, Sampling, forget};
use super::settings::{RouteTracing, Tracing};
use super::span::{Carrier, Endpoint, MAX_TEXT, Span, SpanContext, SpanKind, Tags};
use super::{Role, Tracer};
use crate::format::{Format, Render};
use crate::pb::{Any, hcm, route, trace};
use crate::testing::{message, request_with};
use crate::value::{External, Invalid, Valid, unread};

const ID: &str = "01234567-89ab-4cde-8123-456789abcdef";
/// `0x01234567 % 10,000`: what shares are compared with.
const NUMBER: f64 = 8743.0;
const INGRESS: Role = Role { egress: false, hop: false };
const EGRESS: Role = Role { egress: true, hop: false };

fn fields(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap())
}

fn manager(json: Value) -> hcm::http_connection_manager::Tracing {
    let wrapped: hcm::HttpConnectionManager = message(json!({"tracing": json}));
    wrapped.tracing.unwrap()
}

fn provider(fields: Value) -> trace::tracing::Http {
    let config = trace::ZipkinConfig {
        collector_cluster: "zipkin".into(),
        collector_endpoint: "/api/v2/spans".into(),
        collector_endpoint_version: 1,
        ..Default::default()
    };
    let mut value = config.encode_to_vec();
    value.extend(message::<trace::ZipkinConfig>(fields).encode_to_vec());
    let config = Any { type_url: trace::ZipkinConfig::type_url(), value };
    trace::tracing::Http {
        config_type: Some(trace::tracing::http::ConfigType::TypedConfig(config)),
        ..Default::default()
    }
}

fn tracer(fields: Value) -> std::sync::Arc<dyn Tracer> {
    super::compile(&provider(fields)).unwrap()
}

/// 0x11, 0x12 and so on.
fn counting() -> impl FnMut() -> u64 {
    let mut next = 0x10;
    move || {
        next += 1;
        next
    }
}

#[track_caller]
fn decides(sampling: Value, asked: &[(&'static str, &str)], id: &str, wanted: (Reason, &str)) {
    let mut headers = fields(asked);
    headers.insert("x-request-id", id.parse().unwrap());
    let sampling = Sampling::of_manager(&manager(sampling));
    let reason = sampling.decide(&mut headers, &mut || 42);
    assert_eq!((reason, text(&headers, "x-request-id").unwrap()), wanted);
}

#[test]
fn requests_are_sampled_by_their_id_and_say_so_in_it() {
    let sampled = "01234567-89ab-9cde-8123-456789abcdef";
    let share = |share: f64| json!({"random_sampling": {"value": share}});
    decides(json!({}), &[], ID, (Reason::Sampled, sampled));
    decides(share(0.0), &[], ID, (Reason::NotTraceable, ID));
    decides(share((NUMBER + 1.0) / 100.0), &[], ID, (Reason::Sampled, sampled));
    decides(share(NUMBER / 100.0), &[], ID, (Reason::NotTraceable, ID));
    // Decided by a proxy before this one.
    decides(share(0.0), &[], sampled, (Reason::Sampled, sampled));
    // No UUID: nothing is decided, or it cannot be noted.
    decides(json!({}), &[], "hello", (Reason::NotTraceable, "hello"));
    decides(json!({}), &[], "01234567", (Reason::Sampled, "01234567"));
    let mut without = HeaderMap::new();
    let sampling = Sampling::of_manager(&manager(json!({})));
    assert_eq!(sampling.decide(&mut without, &mut || 0), Reason::NotTraceable);
}

#[test]
fn clients_and_services_may_ask_for_a_trace() {
    let client = "01234567-89ab-bcde-8123-456789abcdef";
    let forced = "01234567-89ab-acde-8123-456789abcdef";
    let none = json!({"random_sampling": {"value": 0}});
    let asks = [("x-client-trace-id", "7")];
    decides(none.clone(), &asks, ID, (Reason::Client, client));
    let at = |share: u32| json!({"random_sampling": {"value": 0}, "client_sampling": {"value": share}});
    decides(at(43), &asks, ID, (Reason::Client, client));
    decides(at(42), &asks, ID, (Reason::NotTraceable, ID));
    decides(none.clone(), &[("x-envoy-force-trace", "")], ID, (Reason::Forced, forced));
    decides(none, &[("x-envoy-force-trace", ""), asks[0]], ID, (Reason::Client, client));
}

#[test]
fn the_overall_share_limits_all_others() {
    let at = |share: f64| json!({"overall_sampling": {"value": share}});
    let forced = "01234567-89ab-acde-8123-456789abcdef";
    let asks = [("x-envoy-force-trace", "")];
    decides(at(NUMBER / 100.0), &asks, ID, (Reason::NotTraceable, ID));
    decides(at(NUMBER / 100.0), &asks, forced, (Reason::NotTraceable, ID));
    decides(at((NUMBER + 1.0) / 100.0), &asks, ID, (Reason::Forced, forced));
}

#[test]
fn a_route_has_shares_of_its_own() {
    let route = |json| Sampling::of_route(&message::<route::Tracing>(json));
    let mut headers = fields(&[("x-request-id", ID)]);
    let none = route(json!({"random_sampling": {"numerator": 0}}));
    assert_eq!(none.decide(&mut headers, &mut || 0), Reason::NotTraceable);
    // 0x01234567 % 10,000 % 100 = 43
    let hundreds = |numerator: u32| route(json!({"random_sampling": {"numerator": numerator}}));
    assert_eq!(hundreds(43).decide(&mut headers, &mut || 0), Reason::NotTraceable);
    let million = json!({"random_sampling": {"numerator": 8744, "denominator": "MILLION"}});
    assert_eq!(route(million).decide(&mut headers.clone(), &mut || 0), Reason::Sampled);
    assert_eq!(hundreds(44).decide(&mut headers, &mut || 0), Reason::Sampled);
}

#[test]
fn what_an_id_from_outside_says_can_be_forgotten() {
    let mut headers = fields(&[("x-request-id", "01234567-89ab-bcde-8123-456789abcdef")]);
    forget(&mut headers);
    assert_eq!(text(&headers, "x-request-id"), Some(ID));
}

/// What goes out for what came in; `None`: nothing that came in is changed.
#[track_caller]
fn passes(config: Value, role: Role, came: &[(&'static str, &str)]) -> Option<BTreeMap<String, String>> {
    let tracer = tracer(config);
    let context = tracer.begin(&fields(came), true, role, &mut counting())?;
    let mut out = HeaderMap::new();
    tracer.inject(&context, &mut out);
    Some(out.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().into())).collect())
}

fn b3(trace: &str, span: &str, parent: Option<&str>, sampled: &str) -> Option<BTreeMap<String, String>> {
    let all = [
        ("traceid", Some(trace)),
        ("spanid", Some(span)),
        ("parentspanid", parent),
        ("sampled", Some(sampled)),
    ];
    let set = all.into_iter().filter_map(|(name, value)| Some((format!("x-b3-{name}"), value?.to_owned())));
    Some(set.collect())
}

#[test]
fn a_trace_begins_where_none_came_in() {
    let (own, high) = ("0000000000000011", "0000000000000012");
    for role in [INGRESS, EGRESS, Role { hop: true, ..EGRESS }] {
        assert_eq!(passes(json!({}), role, &[]), b3(own, own, None, "1"));
    }
    let wide = json!({"trace_id_128bit": true});
    assert_eq!(passes(wide, INGRESS, &[]), b3(&format!("{high}{own}"), own, None, "1"));
    // Half of a context is none; that it shall not be recorded counts all the same.
    let half = [("x-b3-traceid", "0abc"), ("x-b3-sampled", "0")];
    assert_eq!(passes(json!({}), INGRESS, &half), b3(own, own, None, "0"));
}

#[test]
fn a_server_shares_its_clients_span_and_others_begin_one() {
    let (trace, span, parent) = ("0000000000000abc", "00000000000000d1", "00000000000000e1");
    let came = [
        ("x-b3-traceid", trace),
        ("x-b3-spanid", span),
        ("x-b3-parentspanid", parent),
        ("x-b3-sampled", "0"),
    ];
    let (shared, own) = (b3(trace, span, Some(parent), "0"), b3(trace, "0000000000000011", Some(span), "0"));
    assert_eq!(passes(json!({}), INGRESS, &came), shared);
    assert_eq!(passes(json!({}), Role { hop: true, ..EGRESS }, &came), shared);
    assert_eq!(passes(json!({}), EGRESS, &came), own);
    assert_eq!(passes(json!({"shared_span_context": false}), INGRESS, &came), own);
    // Parents of zero are none, and short ids are filled up.
    let came = [("x-b3-traceid", "1"), ("x-b3-spanid", "2"), ("x-b3-parentspanid", "0")];
    assert_eq!(passes(json!({}), INGRESS, &came), b3("0000000000000001", "0000000000000002", None, "1"));
}

#[test]
fn an_attempt_is_the_clients_side_of_a_hop() {
    let tracer = tracer(json!({}));
    let hop = Role { egress: false, hop: true };
    let came = fields(&[("x-b3-traceid", "a"), ("x-b3-spanid", "b"), ("x-b3-sampled", "true")]);
    let parent = tracer.begin(&came, false, hop, &mut counting()).unwrap();
    assert_eq!((parent.kind, parent.shared, parent.sampled), (SpanKind::Server, true, true));
    let child = tracer.child(&parent, &mut counting());
    let wanted = SpanContext {
        trace: 10,
        span: 0x11,
        parent: Some(11),
        sampled: true,
        kind: SpanKind::Client,
        shared: false,
        carrier: Carrier::Many,
    };
    assert_eq!(child, wanted);
    let one = SpanContext { carrier: Carrier::One, ..parent };
    assert_eq!(tracer.child(&one, &mut counting()).carrier, Carrier::One);
}

#[test]
fn one_field_for_all_is_answered_by_one() {
    let full = "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1-05e3ac9a4f6e3b90";
    let one = |came: &str, role| passes(json!({}), role, &[("b3", came), ("x-b3-sampled", "0")]);
    let wanted = |value: &str| Some(BTreeMap::from([("b3".to_owned(), value.to_owned())]));
    assert_eq!(one(full, INGRESS), wanted(full));
    let own = "80f198ee56343ba864fe8b2a57d3eff7-0000000000000011-1-e457b5a2e4d86bd1";
    assert_eq!(one(full, EGRESS), wanted(own));
    for (flag, sampled) in [("0", "0"), ("1", "1"), ("d", "1")] {
        assert_eq!(one(flag, INGRESS), wanted(&format!("0000000000000011-0000000000000011-{sampled}")));
    }
    let short = "64fe8b2a57d3eff7-e457b5a2e4d86bd1";
    assert_eq!(one(short, INGRESS), wanted(&format!("{short}-1")));
    assert_eq!(one(&format!("{short}-d"), INGRESS), wanted(&format!("{short}-1")));
}

#[test]
fn fields_without_sense_pass_as_they_are() {
    let long = format!("{}-e457b5a2e4d86bd1", "0".repeat(17));
    for one in [
        "",
        "x",
        "nonsense",
        "1-2",
        "64fe8b2a57d3eff7-e457b5a2e4d86bd1-2",
        "64fe8b2a57d3eff7-e457b5a2e4d86bd1-",
        "64fe8b2a57d3eff7-e457b5a2e4d86bd1-1-05e3",
        "64fe8b2a57d3eff7-e457b5a2e4d86bd1-1-05e3ac9a4f6e3b90-1",
        "64fe8b2a57d3eff7-+457b5a2e4d86bd1",
        &long,
    ] {
        assert_eq!(passes(json!({}), INGRESS, &[("b3", one)]), None, "{one}");
    }
    for (trace, span, parent) in [
        ("zz", "1", "1"),
        ("1", "", "1"),
        ("1", "1", "-1"),
        ("+1", "1", "1"),
        ("11111111111111111", "1", "1"),
    ] {
        let came = [("x-b3-traceid", trace), ("x-b3-spanid", span), ("x-b3-parentspanid", parent)];
        assert_eq!(passes(json!({}), INGRESS, &came), None, "{came:?}");
    }
}

#[test]
fn collectors_get_the_json_of_the_second_version() {
    let local = Endpoint { service: "shop".into(), address: "10.0.0.1".parse().unwrap() };
    let mut tags = Tags::default();
    tags.set("component", "proxy");
    tags.set("lit", "old");
    tags.set("lit", "new");
    tags.set("empty", "");
    tags.set("long", "x".repeat(MAX_TEXT + 1));
    let server = SpanContext {
        trace: 1 << 64 | 2,
        span: 3,
        parent: Some(4),
        sampled: true,
        kind: SpanKind::Server,
        shared: true,
        carrier: Carrier::Many,
    };
    let client =
        SpanContext { trace: 2, parent: None, kind: SpanKind::Client, shared: false, ..server.clone() };
    let spans = [
        Span { context: server, name: "shop.example".into(), start: 1_000, duration: 20, tags },
        Span { context: client, name: String::new(), start: 5, duration: 6, tags: Tags::default() },
    ];
    let tracer = tracer(json!({"collector_hostname": "zipkin.example"}));
    let sent = tracer.report(&spans, &local);
    assert_eq!((sent.cluster.as_str(), sent.method.as_str()), ("zipkin", "POST"));
    assert_eq!((sent.authority.as_str(), sent.path.as_str()), ("zipkin.example", "/api/v2/spans"));
    assert_eq!(text(&sent.headers, "content-type"), Some("application/json"));
    let endpoint = json!({"serviceName": "shop", "ipv4": "10.0.0.1", "port": 0});
    let wanted = json!([
        {
            "traceId": "00000000000000010000000000000002", "id": "0000000000000003", "parentId": "0000000000000004",
            "kind": "SERVER", "shared": true, "name": "shop.example", "timestamp": 1_000, "duration": 20,
            "localEndpoint": endpoint, "annotations": [{"timestamp": 1_020, "value": "ss"}],
            "tags": {"component": "proxy", "lit": "new", "long": "x".repeat(MAX_TEXT)},
        },
        {
            "traceId": "0000000000000002", "id": "0000000000000003", "kind": "CLIENT", "timestamp": 5, "duration": 6,
            "localEndpoint": endpoint, "annotations": [{"timestamp": 11, "value": "cr"}], "tags": {},
        },
    ]);
    assert_eq!(serde_json::from_slice::<Value>(&sent.body).unwrap(), wanted);
    let local = Endpoint { service: String::new(), address: "::1".parse().unwrap() };
    let sent: Value = serde_json::from_slice(&tracer.report(&spans[1..], &local).body).unwrap();
    assert_eq!(sent[0]["localEndpoint"], json!({"ipv6": "::1", "port": 0}));
}

#[test]
fn a_tracer_that_cannot_be_had_is_refused() {
    for (fields, reason) in [
        (
            json!({"collector_endpoint_version": "HTTP_PROTO"}),
            "collector_endpoint_version: only HTTP_JSON is supported",
        ),
        (
            json!({"trace_context_option": "USE_B3_WITH_W3C_PROPAGATION"}),
            "trace_context_option: only USE_B3 is supported",
        ),
        (json!({"split_spans_for_request": true}), "split_spans_for_request is not supported"),
        (json!({"timestamp_trace_ids": true}), "timestamp_trace_ids is not supported"),
        (json!({"collector_service": {}}), "collector_service is not supported"),
    ] {
        let error = super::compile(&provider(fields)).unwrap_err().0;
        assert_eq!(error, format!("typed_config: {reason}"));
    }
    for (cluster, endpoint, missing) in [("", "/", "cluster"), ("c", "", "endpoint")] {
        let config = trace::ZipkinConfig {
            collector_cluster: cluster.into(),
            collector_endpoint: endpoint.into(),
            collector_endpoint_version: 1,
            ..Default::default()
        };
        let mut from = provider(json!({}));
        from.config_type = Some(trace::tracing::http::ConfigType::TypedConfig(Any {
            type_url: trace::ZipkinConfig::type_url(),
            value: config.encode_to_vec(),
        }));
        assert_eq!(
            super::compile(&from).unwrap_err().0,
            format!("typed_config: missing collector_{missing}")
        );
    }
    let other = Any { type_url: "/envoy.config.trace.v3.LightstepConfig".into(), ..Default::default() };
    let other = trace::tracing::Http {
        config_type: Some(trace::tracing::http::ConfigType::TypedConfig(other)),
        ..Default::default()
    };
    let error = super::compile(&other).unwrap_err().0;
    assert_eq!(error, "unsupported tracer envoy.config.trace.v3.LightstepConfig");
    assert_eq!(super::compile(&trace::tracing::Http::default()).unwrap_err().0, "missing typed_config");
}

fn only_shop(from: External<'_>) -> Valid<Option<Vec<u8>>> {
    match from {
        External::Variable("SHOP") => Ok(Some(b"berlin".to_vec())),
        _ => Err(Invalid::new("not there")),
    }
}

/// Shows what it was asked for.
struct Shown;

impl Render for Shown {
    fn text(&self, format: &Format) -> String {
        format.literal().map_or_else(|| format!("{:?}", format.0), str::to_owned)
    }
}

#[test]
fn custom_tags_have_values_or_defaults() {
    let tracing = manager(json!({"custom_tags": [
        {"tag": "literal", "literal": {"value": "v"}},
        {"tag": "set", "environment": {"name": "SHOP", "default_value": "d"}},
        {"tag": "unset", "environment": {"name": "NOPE", "default_value": "d"}},
        {"tag": "nothing", "environment": {"name": "NOPE"}},
        {"tag": "field", "request_header": {"name": "X-Tenant", "default_value": "d"}},
        {"tag": "no field", "request_header": {"name": "x-other", "default_value": "d"}},
        {"tag": "metadata", "metadata": {"kind": {"request": {}}, "metadata_key": {"key": "a", "path": [{"key": "b"}]}}},
        {"tag": "format", "value": "text"},
    ]}));
    let tracing = Tracing::compile(&tracing, only_shop).unwrap();
    let request = request_with(&[("x-tenant", "t")]);
    let mut tags = Tags::default();
    tracing.tags.iter().for_each(|tag| tag.apply(&request, &Shown, &mut tags));
    let found: Vec<_> = tags.iter().collect();
    let wanted = [
        ("literal", "v"),
        ("set", "berlin"),
        ("unset", "d"),
        ("field", "t"),
        ("no field", "d"),
        ("metadata", r#"[Command(DynamicMetadata(["a", "b"]), None)]"#),
        ("format", "text"),
    ];
    assert_eq!(found, wanted);
}

#[test]
fn what_tracing_cannot_do_is_refused_with_its_path() {
    let tag = |tag: Value| json!({"custom_tags": [tag]});
    let of = |kind: &str| {
        tag(
            json!({"tag": "t", "metadata": {"kind": {kind: {}}, "metadata_key": {"key": "a", "path": [{"key": "b"}]}}}),
        )
    };
    for (fields, reason) in [
        (json!({"operation": "x"}), "operation is not supported"),
        (json!({"upstream_operation": "x"}), "upstream_operation is not supported"),
        (of("route"), "custom_tags \"t\": metadata: kind.route is not supported"),
        (of("cluster"), "custom_tags \"t\": metadata: kind.cluster is not supported"),
        (of("host"), "custom_tags \"t\": metadata: kind.host is not supported"),
        (tag(json!({"tag": "t", "metadata": {}})), "custom_tags \"t\": metadata: missing metadata_key"),
        (tag(json!({"tag": "t"})), "custom_tags \"t\": missing type"),
        (tag(json!({"tag": "t", "value": "%NOPE%"})), "custom_tags \"t\": value: unknown operator %NOPE%"),
        (
            tag(json!({"tag": "t", "request_header": {"name": "a b"}})),
            "custom_tags \"t\": request_header: \"a b\" is not a header name",
        ),
        (json!({"custom_tags": vec![json!({"tag": "t"}); 65]}), "custom_tags: more than 64"),
        (json!({"provider": {}}), "provider: missing typed_config"),
    ] {
        assert_eq!(Tracing::compile(&manager(fields), unread).unwrap_err().0, reason);
    }
    let route: route::Route = message(json!({"tracing": {"operation": "x"}}));
    assert_eq!(RouteTracing::compile(&route, unread).unwrap_err().0, "tracing: operation is not supported");
}

#[test]
fn a_route_names_its_operation() {
    let compile = |json| RouteTracing::compile(&message::<route::Route>(json), unread).unwrap();
    assert!(compile(json!({})).is_none());
    let named = compile(json!({"decorator": {"operation": "checkout"}})).unwrap();
    assert_eq!((named.operation.as_deref(), named.tell_operation), (Some("checkout"), true));
    assert!(named.sampling.is_none());
    let quiet =
        compile(json!({"decorator": {"operation": "checkout", "propagate": false}, "tracing": {}})).unwrap();
    assert!(!quiet.tell_operation && quiet.sampling.is_some());
}

#[test]
fn a_manager_has_envoys_defaults() {
    let plain = Tracing::compile(&manager(json!({})), unread).unwrap();
    assert!(plain.tracer.is_none() && plain.propagate && !plain.spawn_upstream);
    assert_eq!(plain.max_path, 256);
    let other =
        json!({"max_path_tag_length": 9, "spawn_upstream_span": true, "no_context_propagation": true});
    let other = Tracing::compile(&manager(other), unread).unwrap();
    assert!(!other.propagate && other.spawn_upstream);
    assert_eq!(other.max_path, 9);
}
