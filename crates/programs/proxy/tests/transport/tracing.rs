//! Traces: what hosts are told of them, and the spans that a Zipkin collector gets.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use portolan_testing::blocking::{Backend, body, get, respond, status};
use portolan_testing::nobody;
use serde_json::{Value, json};

use crate::support::config::*;
use crate::support::{Config, Program, Proxy, eventually, on_each};

/// A request's place in a trace that began elsewhere.
const CONTEXT: &str = "x-b3-traceid: 0000000000000abc\r\nx-b3-spanid: 00000000000000d1\r\n\
x-b3-parentspanid: 00000000000000e1\r\nx-b3-sampled: 1\r\n";
const ONE: &str = "b3: 0000000000000abc-00000000000000d1-1\r\n";
const ID: &str = "x-request-id: 01234567-89ab-4cde-8123-456789abcdef\r\n";
/// Fields of a host's request that say something of traces.
const TOLD: [&str; 9] = [
    "b3",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-flags",
    "x-client-trace-id",
    "x-envoy-decorator-operation",
    "x-request-id",
];

/// What is asked: the listener, the path, and further fields.
const ASKED: [(&str, &str, &[&str]); 24] = [
    ("in", "/long/path/with/many", &["x-client-trace-id: c1\r\n", "x-tenant: t\r\n"]),
    ("in", "/fail", &[CONTEXT, ID, "user-agent: ua\r\n"]),
    ("in", "/named", &["x-answer: theirs\r\n"]),
    ("in", "/named", &["x-envoy-decorator-operation: ours\r\n"]),
    ("in", "/direct", &[ONE]),
    ("in", "/empty", &[]),
    ("in", "/grpc", &["content-type: application/grpc\r\n", "grpc-timeout: 1S\r\n"]),
    ("out", "/x?a=b", &[]),
    ("out", "/named", &[CONTEXT, "x-answer: theirs\r\n"]),
    ("out", "/x", &[ONE]),
    ("hop", "/x", &[CONTEXT]),
    ("hop", "/again", &[]),
    ("hop", "/x", &[ONE]),
    ("never", "/x", &[CONTEXT]),
    ("never", "/x", &[]),
    ("never", "/x", &["b3: 0\r\n"]),
    ("never", "/x", &["b3: nonsense\r\n", "x-b3-flags: 1\r\n"]),
    ("never", "/always", &[]),
    ("out", "/x", &["b3: d\r\n"]),
    ("none", "/named", &[]),
    ("none", "/x", &[CONTEXT]),
    ("none", "/x", &[]),
    ("none", "/x", &[]),
    ("none", "/x", &[]),
];
/// The spans of all these: of each tracer a multiple of five, so that nobody waits for the next interval.
const SPANS: usize = 25;

fn provider(cluster: &str, fields: Value) -> Value {
    let zipkin = json!({
        "collector_cluster": cluster, "collector_endpoint": "/api/v2/spans", "collector_endpoint_version": "HTTP_JSON",
    });
    json!({"name": "envoy.tracers.zipkin", "typed_config": any("config.trace.v3.ZipkinConfig", with(zipkin, fields))})
}

fn zipkin(cluster: &str) -> Value {
    json!({"provider": provider(cluster, json!({}))})
}

fn routes() -> Value {
    let to = |path: &str, cluster: &str| json!({"match": {"prefix": path}, "route": {"cluster": cluster}});
    let again = json!({"retry_policy": {"retry_on": "5xx", "num_retries": 1}, "cluster": "host"});
    json!([
        {"match": {"prefix": "/direct"}, "direct_response": {"status": 404}},
        with(to("/named", "host"), json!({"decorator": {"operation": "checkout"}})),
        with(to("/again", "host"), json!({"route": again})),
        with(to("/always", "host"), json!({"tracing": {
            "random_sampling": {"numerator": 100},
            "custom_tags": [{"tag": "place", "literal": {"value": "route"}}],
        }})),
        to("/empty", "empty"),
        to("/", "host"),
    ])
}

fn traced(name: &str, direction: &str, tracing: Value) -> Value {
    let chain = chain(manager_with(name, routes(), json!({"tracing": tracing})));
    with(listener(name, vec![chain]), json!({"traffic_direction": direction}))
}

fn config(host: SocketAddr, collector: SocketAddr) -> Config {
    let tags = json!([
        {"tag": "place", "literal": {"value": "manager"}},
        {"tag": "tenant", "request_header": {"name": "x-tenant", "default_value": "nobody"}},
        {"tag": "home", "environment": {"name": "HOME"}},
        {"tag": "unset", "environment": {"name": "PORTOLAN_NOT_SET"}},
        {"tag": "meta", "metadata": {
            "kind": {"request": {}}, "metadata_key": {"key": "a", "path": [{"key": "b"}]}, "default_value": "none",
        }},
    ]);
    let inbound = json!({"custom_tags": tags, "max_path_tag_length": 12});
    let hop = json!({"custom_tags": tags, "spawn_upstream_span": true});
    let with_zipkin = |fields| with(zipkin("zipkin"), fields);
    Config {
        listeners: vec![
            traced("in", "INBOUND", with_zipkin(inbound)),
            traced("out", "OUTBOUND", with_zipkin(json!({}))),
            traced("hop", "OUTBOUND", with_zipkin(hop)),
            traced(
                "never",
                "INBOUND",
                with_zipkin(json!({"random_sampling": {"value": 0}, "custom_tags": tags})),
            ),
            traced("none", "INBOUND", json!({})),
        ],
        clusters: vec![cluster("host", &[host]), cluster("zipkin", &[collector]), cluster("empty", &[])],
        node: Some(json!({"id": "node", "cluster": "shop", "locality": {"zone": "z1"}})),
        // As Istio has it.
        tracing: Some(json!({
            "http": provider("zipkin", json!({"trace_id_128bit": true, "shared_span_context": false})),
        })),
        ..Config::default()
    }
}

fn field<'a>(message: &'a str, wanted: &str) -> Option<&'a str> {
    let lines = message.lines().skip(1).take_while(|line| !line.is_empty());
    let mut pairs = lines.filter_map(|line| line.split_once(':'));
    pairs.find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.trim())
}

/// Gives ids the names of their first places, and ids of requests their digit that says why they are traced.
#[derive(Default)]
struct Ids(BTreeMap<String, String>);

impl Ids {
    fn name(&mut self, text: &str) -> String {
        let is_id =
            |part: &str| [16, 32].contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_hexdigit());
        if text.len() == 36 && !text.starts_with("01234567") {
            return format!("request id with {}", &text[14..15]);
        }
        let mut name = |part: &str| {
            if !is_id(part) || part.starts_with("00000") {
                return part.to_owned();
            }
            let next = format!("id {}", self.0.len());
            self.0.entry(part.to_owned()).or_insert(next).clone()
        };
        text.split('-').map(&mut name).collect::<Vec<_>>().join("-")
    }

    fn span(&mut self, mut span: Value, host: SocketAddr) -> Value {
        for id in ["traceId", "parentId", "id"] {
            if let Some(text) = span[id].as_str() {
                span[id] = self.name(text).into();
            }
        }
        for (time, least) in [("timestamp", 1_600_000_000_000_000), ("duration", 1)] {
            assert!(span[time].as_u64().is_some_and(|micros| micros >= least), "{span}");
            span[time] = Value::Null;
        }
        let address = span["localEndpoint"]["ipv4"].take();
        assert!(address.as_str().is_some_and(|text| text.parse::<std::net::Ipv4Addr>().is_ok()), "{address}");
        for event in span["annotations"].as_array_mut().unwrap() {
            event["timestamp"] = Value::Null;
        }
        for (_, tag) in span["tags"].as_object_mut().unwrap() {
            let text = tag.as_str().unwrap().replace(&host.to_string(), "host");
            *tag = self.name(&text).into();
        }
        // Difference 11.
        span["tags"].as_object_mut().unwrap().remove("canceled");
        span
    }
}

/// The spans of reports, in the order in which they began.
fn spans(reports: &[String]) -> Vec<Value> {
    let spans = reports.iter().flat_map(|report| {
        assert!(report.starts_with("POST /api/v2/spans HTTP/1.1\r\n"), "{report}");
        assert_eq!(
            (field(report, "host"), field(report, "content-type")),
            (Some("zipkin"), Some("application/json"))
        );
        let text = match field(report, "content-length") {
            Some(_) => body(report).to_owned(),
            None => unchunked(body(report)),
        };
        serde_json::from_str::<Vec<Value>>(&text).unwrap()
    });
    let mut spans: Vec<_> = spans.collect();
    spans.sort_by_key(|span| span["timestamp"].as_u64());
    spans
}

fn unchunked(mut rest: &str) -> String {
    let mut out = String::new();
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        out.push_str(&after[..size]);
        rest = &after[size + 2..];
    }
    out
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hosts_and_collectors_are_told_of_traces() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let requests = seen.clone();
    let host = Backend::new(move |request, _| {
        requests.lock().unwrap().push(request.to_owned());
        let operation =
            field(request, "x-answer").map(|name| format!("x-envoy-decorator-operation: {name}\r\n"));
        let failed = request.starts_with("GET /fail") || request.starts_with("GET /again");
        let answer = respond(if failed { 503 } else { 200 }, "ok");
        answer.replacen("\r\n", &format!("\r\ngrpc-status: 13\r\n{}", operation.unwrap_or_default()), 1)
    });
    let mut all: Vec<(Vec<String>, Vec<Value>)> = Vec::new();
    on_each(async |program| {
        seen.lock().unwrap().clear();
        let reports = Arc::new(Mutex::new(Vec::new()));
        let got = reports.clone();
        let collector = Backend::new(move |request, _| {
            got.lock().unwrap().push(request.to_owned());
            respond(202, "")
        });
        let proxy = Proxy::start(program, config(host.address, collector.address)).await;
        let mut ids = Ids::default();
        let mut told = Vec::new();
        for (name, path, fields) in ASKED {
            let address = proxy.address(name).await;
            let answer = get(address, path, &fields.concat());
            let mut line = format!(
                "{name} {path}: {} {:?}",
                status(&answer),
                field(&answer, "x-envoy-decorator-operation")
            );
            for request in std::mem::take(&mut *seen.lock().unwrap()) {
                let fields = TOLD.iter().filter_map(|name| Some((*name, ids.name(field(&request, name)?))));
                line.push_str(&format!("\n    {:?}", fields.collect::<Vec<_>>()));
            }
            told.push(line);
        }
        let spans = eventually("all spans", async || {
            let spans = spans(&reports.lock().unwrap());
            (spans.len() >= SPANS).then_some(spans)
        })
        .await;
        proxy.until_stat("tracing.zipkin.spans_sent", SPANS as u64).await;
        let stats = proxy.stats_of("tracing.zipkin").await;
        let reports = reports.lock().unwrap().len() as u64;
        assert_eq!(
            (stats["tracing.zipkin.reports_sent"], stats["tracing.zipkin.reports_failed"]),
            (reports, 0)
        );
        let mut reasons = Vec::new();
        for name in ["in", "never"] {
            let stats = proxy.stats_of(&format!("http.{name}.tracing")).await;
            reasons.extend(stats.into_iter().filter(|(name, _)| !name.ends_with("health_check")));
        }
        told.push(format!("{reasons:?}"));
        all.push((told, spans.into_iter().map(|span| ids.span(span, host.address)).collect()));
    })
    .await;
    if let [(told, spans), (envoys_told, envoys_spans)] = all.as_slice() {
        assert_eq!((told.len(), spans.len()), (envoys_told.len(), envoys_spans.len()));
        for (ours, envoys) in told.iter().zip(envoys_told) {
            assert_eq!(ours, envoys);
        }
        for (at, (ours, envoys)) in spans.iter().zip(envoys_spans).enumerate() {
            assert_eq!(ours, envoys, "span {at}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_do_not_care_for_their_collector() {
    let (host, silent) = (Backend::ok("ok"), Backend::silent());
    let broken = Backend::new(|_, _| respond(500, ""));
    let mut config = config(host.address, nobody());
    let names = ["gone", "broken", "silent", "missing"];
    config.listeners = names.iter().map(|name| traced(name, "OUTBOUND", zipkin(name))).collect();
    config.clusters.push(cluster("gone", &[nobody()]));
    config.clusters.push(cluster("broken", &[broken.address]));
    config.clusters.push(cluster("silent", &[silent.address]));
    let proxy = Proxy::start(Program::Ours, config).await;
    for name in names {
        let address = proxy.address(name).await;
        // Enough for a report, and for what a silent collector gets and does not take.
        for _ in 0..if name == "silent" { 300 } else { 5 } {
            assert_eq!(status(&get(address, "/x", "")), 200, "{name}");
        }
    }
    // The others' reports had no answer either, or none that is one.
    proxy.until_stat("tracing.zipkin.reports_dropped", 1).await;
    proxy.until_stat("tracing.zipkin.reports_skipped_no_cluster", 1).await;
    eventually("failed reports and dropped spans", async || {
        let stats = proxy.stats_of("tracing.zipkin").await;
        (stats["tracing.zipkin.reports_failed"] >= 1 && stats["tracing.zipkin.spans_dropped"] >= 1)
            .then_some(())
    })
    .await;
}
