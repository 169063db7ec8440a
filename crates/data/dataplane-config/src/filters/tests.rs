//! The shape of filters, shown by one that does everything that a filter may do, against a scripted executor: no
//! socket, no clock.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde_json::{Value, json};

use super::chain::{Chain, MAX_HELD, Side, Stopped};
use super::held::Held;
use super::stream::{
    Answer, Callout, CalloutFail, Counter, Effect, Event, Flow, Metadata, StreamFilter, Token, View,
};
use super::{FilterStats, HttpFilters, KINDS, PerFilter};
use crate::message::{ConnectionFacts, LocalReply, Protocol, Request, ResponseHead};
use crate::peer::{LocalNode, Peers};
use crate::testing::{Scene, message, request};
use crate::value::{Direction, Valid};

const SEEN: HeaderName = HeaderName::from_static("x-seen");

/// Collects the body, asks another cluster about it, waits, then replaces the body or refuses.
#[derive(Debug, Default)]
struct Probe {
    allowed: bool,
}

impl StreamFilter for Probe {
    fn on_request(&mut self, x: &mut View<'_>, end: bool) -> Flow {
        assert!(!end, "these tests send bodies");
        x.read_request();
        x.read_response();
        Flow::Pause
    }

    fn on_request_body(&mut self, x: &mut View<'_>, body: &mut Held) -> Flow {
        if body.is_end() {
            x.call_out(
                7,
                Callout {
                    cluster: "authorizer".into(),
                    method: Method::POST,
                    authority: "authorizer".into(),
                    path: "/check".into(),
                    headers: HeaderMap::new(),
                    body: body.bytes(),
                    timeout: Duration::from_secs(1),
                },
            );
        }
        if self.allowed { Flow::Continue } else { Flow::Pause }
    }

    fn on_event(&mut self, x: &mut View<'_>, event: Event) -> Flow {
        match event {
            Event::Answer(7, Ok(answer)) if answer.status == StatusCode::OK => {
                let user = answer.headers.get("x-user").unwrap().clone();
                x.request.headers.insert("x-user", user);
                x.wake_after(8, Duration::from_millis(5));
                Flow::Pause
            }
            Event::Answer(7, Ok(answer)) => Flow::Reply(Box::new(
                LocalReply::new(StatusCode::FORBIDDEN, "probe_refused").body(answer.body),
            )),
            Event::Answer(7, Err(_)) => {
                Flow::Reply(Box::new(LocalReply::new(StatusCode::SERVICE_UNAVAILABLE, "probe_failed")))
            }
            Event::Wake(8) => {
                self.allowed = true;
                Flow::Continue
            }
            other => panic!("{other:?} was never asked for"),
        }
    }

    fn on_response(&mut self, _x: &mut View<'_>, head: &mut ResponseHead, _end: bool) -> Flow {
        head.headers.insert("x-probe", HeaderValue::from_static("yes"));
        Flow::Continue
    }

    fn on_response_body(&mut self, _x: &mut View<'_>, body: &mut Held) -> Flow {
        if !body.is_end() {
            return Flow::Pause;
        }
        let upper = String::from_utf8(body.bytes().to_vec()).unwrap().to_uppercase();
        body.replace(upper);
        let trailers = body.trailers_mut().get_or_insert_default();
        trailers.insert("x-length", HeaderValue::from_static("known"));
        Flow::Continue
    }
}

/// Writes down what came by, and lets it pass.
#[derive(Debug)]
struct Note(&'static str);

impl StreamFilter for Note {
    fn on_request(&mut self, x: &mut View<'_>, _end: bool) -> Flow {
        x.request.headers.append(SEEN, HeaderValue::from_static(self.0));
        Flow::Continue
    }

    fn on_response(&mut self, _x: &mut View<'_>, head: &mut ResponseHead, _end: bool) -> Flow {
        head.headers.append(SEEN, HeaderValue::from_static(self.0));
        Flow::Continue
    }
}

/// Puts other bytes in the place of each piece, and holds nothing back.
#[derive(Debug)]
struct Double;

impl StreamFilter for Double {
    fn on_request(&mut self, x: &mut View<'_>, _end: bool) -> Flow {
        x.read_request();
        Flow::Continue
    }

    fn on_request_body(&mut self, _x: &mut View<'_>, body: &mut Held) -> Flow {
        let twice = [body.bytes(), body.bytes()].concat();
        body.replace(twice);
        Flow::Continue
    }
}

/// Looks at the first piece of a body, asks about it, and leaves the rest alone.
#[derive(Debug)]
struct Peek;

impl StreamFilter for Peek {
    fn on_request(&mut self, x: &mut View<'_>, _end: bool) -> Flow {
        x.read_request();
        Flow::Pause
    }

    fn on_request_body(&mut self, x: &mut View<'_>, _body: &mut Held) -> Flow {
        x.leave_request();
        x.wake_after(1, Duration::from_millis(5));
        Flow::Pause
    }

    fn on_event(&mut self, _x: &mut View<'_>, _event: Event) -> Flow {
        Flow::Continue
    }
}

/// Plays the connection manager: holds the request, and what filters asked for.
struct Script {
    chain: Chain,
    request: Request,
    metadata: Metadata,
    connection: ConnectionFacts,
    local: LocalNode,
    peers: Peers,
    asked: Vec<Effect>,
}

impl Script {
    fn new(filters: Vec<Box<dyn StreamFilter>>) -> Script {
        let mut chain = Chain::default();
        filters.into_iter().for_each(|filter| chain.push(filter));
        let address = "10.0.0.1:1000".parse().unwrap();
        Script {
            chain,
            request: Request {
                method: Method::POST,
                scheme: "http",
                authority: "test".into(),
                path: "/".into(),
                headers: HeaderMap::new(),
                protocol: Protocol::Http11,
                upgrade: None,
                is_grpc: false,
                expect_continue: false,
            },
            metadata: Metadata::default(),
            connection: ConnectionFacts {
                id: 1,
                remote: address,
                local: address,
                restored: false,
                sni: None,
                tls: None,
                own_principal: None,
            },
            local: LocalNode::default(),
            peers: Peers::default(),
            asked: Vec::new(),
        }
    }

    fn tell(
        &mut self,
        what: impl FnOnce(&mut Chain, &mut View<'_>) -> Result<(), Stopped>,
    ) -> Result<(), Stopped> {
        let remote = self.connection.remote.ip();
        let mut x = View::new(
            &mut self.request,
            &mut self.metadata,
            &self.connection,
            remote,
            None,
            Direction::Outbound,
            (&self.local, &self.peers),
        );
        let told = what(&mut self.chain, &mut x);
        self.asked.extend(x.effects);
        told
    }

    fn request(&mut self) {
        self.tell(|chain, x| chain.request(x, false)).unwrap();
    }

    fn send(&mut self, data: &'static str) -> Result<(), Stopped> {
        self.tell(|chain, x| chain.body(Side::Request, x, Held::data(data.into()), None))
    }

    fn send_end(&mut self) {
        self.tell(|chain, x| chain.body(Side::Request, x, Held::end(None), None)).unwrap();
    }

    fn called_out(&mut self) -> (Token, Callout) {
        match self.asked.pop() {
            Some(Effect::CallOut { at, callout }) => (at, *callout),
            other => panic!("{other:?} instead of a callout"),
        }
    }

    fn answer(&mut self, at: Token, answer: Result<Answer, CalloutFail>) -> Result<(), Stopped> {
        self.tell(|chain, x| chain.event(x, at, Event::Answer(at.id(), answer), None))
    }

    fn passed(&mut self, side: Side) -> (Bytes, bool) {
        let mut held = self.chain.take(side);
        (held.bytes(), held.is_end())
    }

    fn seen(&self) -> Vec<&[u8]> {
        self.request.headers.get_all(SEEN).iter().map(HeaderValue::as_bytes).collect()
    }
}

fn answer(status: StatusCode, body: &'static str) -> Answer {
    let mut headers = HeaderMap::new();
    headers.insert("x-user", HeaderValue::from_static("alice"));
    Answer { status, headers, body: body.into() }
}

fn probed() -> Script {
    Script::new(vec![Box::new(Note("first")), Box::new(Probe::default()), Box::new(Note("last"))])
}

/// A script whose probe has asked about a body.
fn asking() -> (Script, Token) {
    let mut script = probed();
    script.request();
    script.send("ab").unwrap();
    script.send("cd").unwrap();
    script.send_end();
    let (at, callout) = script.called_out();
    assert_eq!((callout.cluster.as_str(), callout.body), ("authorizer", Bytes::from("abcd")));
    (script, at)
}

#[test]
fn a_pause_holds_the_head_and_the_body() {
    let mut script = probed();
    script.request();
    script.send("ab").unwrap();
    assert!(!script.chain.has_passed(Side::Request));
    assert_eq!(script.seen(), [b"first"]);
    assert_eq!(script.passed(Side::Request), (Bytes::new(), false));
}

#[test]
fn an_answer_and_a_timer_end_a_pause() {
    let (mut script, at) = asking();
    script.answer(at, Ok(answer(StatusCode::OK, ""))).unwrap();
    assert!(!script.chain.has_passed(Side::Request), "the timer runs");
    let Some(Effect::Wake { at, after }) = script.asked.pop() else { panic!("no timer") };
    assert_eq!(after, Duration::from_millis(5));
    script.tell(|chain, x| chain.event(x, at, Event::Wake(at.id()), None)).unwrap();
    assert!(script.chain.has_passed(Side::Request));
    assert_eq!(script.seen(), [b"first".as_slice(), b"last"]);
    assert_eq!(script.request.headers["x-user"], "alice");
    assert_eq!(script.passed(Side::Request), (Bytes::from("abcd"), true));
}

#[test]
fn a_filter_that_leaves_a_body_lets_it_wait() {
    let mut script = Script::new(vec![Box::new(Peek), Box::new(Note("last"))]);
    script.request();
    assert!(script.chain.reads(Side::Request));
    script.send("ab").unwrap();
    assert!(!script.chain.reads(Side::Request), "the client is not read any further");
    script.send("cd").unwrap();
    let Some(Effect::Wake { at, .. }) = script.asked.pop() else { panic!("no timer") };
    assert!(script.asked.is_empty(), "the second piece was shown");
    script.tell(|chain, x| chain.event(x, at, Event::Wake(at.id()), None)).unwrap();
    assert_eq!(script.seen(), [b"last"]);
    assert_eq!(script.passed(Side::Request), (Bytes::from("abcd"), false));
    script.send("ef").unwrap();
    assert_eq!(script.passed(Side::Request), (Bytes::from("ef"), false));
}

#[test]
fn an_answer_becomes_an_answer_of_our_own() {
    let (mut script, at) = asking();
    let reply = script.answer(at, Ok(answer(StatusCode::UNAUTHORIZED, "who?"))).unwrap_err();
    assert_eq!((reply.status, &reply.body[..]), (StatusCode::FORBIDDEN, b"who?".as_slice()));
    assert_eq!(script.seen(), [b"first"], "the next filters never saw it");
}

#[test]
fn a_failed_callout_is_told() {
    let (mut script, at) = asking();
    let reply = script.answer(at, Err(CalloutFail::Timeout)).unwrap_err();
    assert_eq!(reply.details, "probe_failed");
}

#[test]
fn a_response_is_held_and_replaced() {
    let mut script = probed();
    script.request();
    let mut head = ResponseHead::new(StatusCode::OK);
    script.tell(|chain, x| chain.response(x, &mut head, false)).unwrap();
    let seen: Vec<_> = head.headers.get_all(SEEN).iter().collect();
    assert_eq!(seen, ["last", "first"], "responses pass the filters the other way round");
    assert_eq!(head.headers["x-probe"], "yes");
    script.tell(|chain, x| chain.body(Side::Response, x, Held::data("abc".into()), None)).unwrap();
    assert_eq!(script.passed(Side::Response), (Bytes::new(), false));
    script.tell(|chain, x| chain.body(Side::Response, x, Held::end(None), None)).unwrap();
    let mut passed = script.chain.take(Side::Response);
    assert_eq!((passed.bytes(), passed.is_end()), (Bytes::from("ABC"), true));
    assert_eq!(passed.trailers_mut().as_ref().unwrap()["x-length"], "known");
}

#[test]
fn pieces_are_changed_as_they_pass() {
    let mut script = Script::new(vec![Box::new(Double), Box::new(Double)]);
    script.request();
    assert!(script.chain.has_passed(Side::Request));
    script.send("a").unwrap();
    assert_eq!(script.passed(Side::Request), (Bytes::from("aaaa"), false));
    script.send_end();
    assert_eq!(script.passed(Side::Request), (Bytes::new(), true));
}

#[test]
fn a_body_waits_behind_a_head_that_another_filter_holds() {
    let mut script = Script::new(vec![Box::new(Double), Box::new(Probe::default())]);
    script.request();
    script.send("a").unwrap();
    script.send_end();
    let (_, callout) = script.called_out();
    assert_eq!(callout.body, Bytes::from("aa"));
}

#[test]
fn more_than_a_filter_may_hold_is_refused() {
    let mut script = probed();
    script.request();
    let piece = Bytes::from(vec![0; MAX_HELD / 2 + 1]);
    let mut send = || {
        let piece = Held::data(piece.clone());
        script.tell(|chain, x| chain.body(Side::Request, x, piece, None))
    };
    send().unwrap();
    assert_eq!(send().unwrap_err().details, "request_payload_too_large");
}

#[test]
fn an_answer_of_our_own_passes_all_filters_at_once() {
    let mut script = probed();
    let mut head = ResponseHead::new(StatusCode::FORBIDDEN);
    script
        .tell(|chain, x| {
            chain.local_response(x, &mut head);
            Ok(())
        })
        .unwrap();
    assert!(script.chain.has_passed(Side::Response));
    assert_eq!(head.headers.get_all(SEEN).iter().count(), 2);
}

const FILTERS: &str = "type.googleapis.com/envoy.extensions.filters.http";

fn typed(kind: &str, fields: Value) -> Value {
    let mut config = fields;
    config["@type"] = json!(format!("{FILTERS}.{kind}"));
    config
}

fn router() -> Value {
    json!({"name": "router", "typed_config": typed("router.v3.Router", json!({}))})
}

fn compile(filters: Value) -> Valid<HttpFilters> {
    let all: Vec<_> = filters.as_array().unwrap().iter().cloned().map(message).collect();
    HttpFilters::compile(&all)
}

/// Aborts every request.
fn fault() -> Value {
    typed("fault.v3.HTTPFault", json!({"abort": {"http_status": 500, "percentage": {"numerator": 100}}}))
}

fn per_filter(json: Value) -> Valid<PerFilter> {
    let map = json.as_object().unwrap().clone();
    PerFilter::compile(&map.into_iter().map(|(name, config)| (name, message(config))).collect())
}

/// Whether a request is stopped by the fault of its listener, where its route says this.
fn stopped(filter: Value, own: &[Value]) -> bool {
    let levels: Vec<_> = own.iter().map(|json| per_filter(json.clone()).unwrap()).collect();
    let levels: Vec<_> = levels.iter().collect();
    let mut chain = compile(json!([filter, router()])).unwrap().start(&levels);
    Scene::of(request()).see(|x| chain.request(x, true)).is_err()
}

#[test]
fn filters_take_part_unless_they_are_disabled() {
    let named = || json!({"name": "f", "typed_config": fault()});
    let route = |fields: Value| {
        let mut config = fields;
        config["@type"] = json!("type.googleapis.com/envoy.config.route.v3.FilterConfig");
        json!({ "f": config })
    };
    assert!(stopped(named(), &[]));
    let mut disabled = named();
    disabled["disabled"] = json!(true);
    assert!(!stopped(disabled, &[]));
    assert!(!stopped(named(), &[route(json!({"disabled": true}))]));
    assert!(!stopped(named(), &[json!({}), route(json!({"disabled": true}))]));
    assert!(stopped(named(), &[route(json!({"disabled": false}))]));
    assert!(!stopped(named(), &[route(json!({"config": typed("fault.v3.HTTPFault", json!({}))}))]));
}

#[test]
fn the_most_specific_override_counts() {
    let named = json!({"name": "f", "typed_config": fault()});
    let (off, on) = (json!({"f": typed("fault.v3.HTTPFault", json!({}))}), json!({ "f": fault() }));
    assert!(!stopped(named.clone(), &[off.clone(), on.clone()]));
    assert!(stopped(named.clone(), &[on.clone(), off]));
    assert!(stopped(named, &[json!({"other": typed("fault.v3.HTTPFault", json!({}))})]), "another filter's");
}

#[test]
fn overrides_that_cannot_be_read_are_refused() {
    let wrap = |inner: Value, optional: bool| {
        json!({"f": {
            "@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "config": inner, "is_optional": optional,
        }})
    };
    let inner = json!({"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig"});
    let unknown = typed("router.v3.Router", json!({}));
    let refusal = "typed_per_filter_config \"f\": unsupported per-route configuration \
                   envoy.extensions.filters.http.router.v3.Router";
    let error = |json: Value| per_filter(json).unwrap_err().0;
    assert_eq!(error(wrap(inner, true)), "typed_per_filter_config \"f\": a FilterConfig in another");
    assert_eq!(error(json!({ "f": unknown })), refusal);
    assert_eq!(error(wrap(unknown.clone(), false)), refusal);
    assert!(per_filter(wrap(unknown.clone(), true)).is_ok());
    assert!(per_filter(json!({ "istio.alpn": unknown })).is_ok(), "Istio's own have nothing to configure");
}

#[test]
fn lists_of_filters_end_with_the_router() {
    let error = |filters: Value| compile(filters).unwrap_err().0;
    let last = "http_filters: the last filter must be the router";
    assert_eq!(error(json!([])), last);
    assert_eq!(error(json!([router(), {"name": "f", "typed_config": fault()}])), last);
    assert_eq!(error(json!([{"name": "f"}, router()])), "http_filters \"f\": missing typed_config");
    let discovery = json!([{"name": "f", "config_discovery": {}}, router()]);
    assert_eq!(error(discovery), "http_filters \"f\": config_discovery is not supported");
    let unknown = typed("buffer.v3.Buffer", json!({}));
    let reason = "unsupported filter envoy.extensions.filters.http.buffer.v3.Buffer";
    let with =
        |optional: bool| json!([{"name": "f", "typed_config": unknown, "is_optional": optional}, router()]);
    assert_eq!(error(with(false)), format!("http_filters \"f\": {reason}"));
    assert!(compile(with(true)).is_ok());
}

#[test]
fn the_router_decides_for_its_manager() {
    let options = |fields: Value| {
        compile(json!([{"name": "router", "typed_config": typed("router.v3.Router", fields)}]))
            .map(|all| all.options)
    };
    assert!(!options(json!({})).unwrap().suppress_envoy_headers);
    assert!(options(json!({"suppress_envoy_headers": true})).unwrap().suppress_envoy_headers);
    for field in
        [json!({"upstream_http_filters": [{}]}), json!({"strict_check_headers": ["x-envoy-max-retries"]})]
    {
        let error = options(field).unwrap_err().0;
        assert!(
            error.ends_with("upstream_http_filters and strict_check_headers are not supported"),
            "{error}"
        );
    }
}

#[test]
fn istios_filters_are_known_by_name() {
    let mut script = Script::new(Vec::new());
    let named = json!([{"name": "istio.alpn"}, {"name": "istio.metadata_exchange"}, {"name": "istio.stats"}, router()]);
    script.chain = compile(named).unwrap().start(&[]);
    script.request();
    script
        .tell(|chain, x| {
            chain.end(x);
            Ok(())
        })
        .unwrap();
    assert!(matches!(script.asked[..], [Effect::StandardMetrics]));
}

#[test]
fn statistics_of_filters_are_summed_over_workers() {
    let (one, two) = (FilterStats::default(), FilterStats::default());
    let counter = KINDS.iter().flat_map(|kind| kind.counters).next().unwrap();
    one.count(*counter);
    two.count(*counter);
    two.count(Counter("unknown"));
    let totals = FilterStats::totals([one, two].iter());
    let count = |name: &str| totals.iter().find(|(known, ..)| *known == name).map(|(.., count)| *count);
    assert_eq!((count(counter.0), count("unknown")), (Some(2), None));
    assert_eq!(totals.iter().map(|(.., count)| count).sum::<u64>(), 2);
}

#[test]
fn pieces_are_held_in_order_to_their_end() {
    let mut held = Held::data("ab".into());
    assert!(!held.is_empty() && !held.is_end());
    held.append(Held::data("cd".into()));
    assert_eq!((held.len(), held.pop().unwrap()), (4, Bytes::from("ab")));
    held.append(Held::end(Some(HeaderMap::new())));
    assert!(held.is_end() && held.trailers_mut().is_some());
    assert_eq!(held.bytes(), "cd");
    held.replace("");
    assert_eq!((held.len(), held.pop(), held.is_empty()), (0, None, false));
    assert!(Held::default().is_empty() && !Held::end(None).is_empty());
    held.replace("ef");
    let (pieces, trailers) = held.into_parts();
    assert_eq!((pieces, trailers), ([Bytes::from("ef")].into(), Some(HeaderMap::new())));
}

/// Waits for the first piece of the body, and lets everything pass then.
#[derive(Debug)]
struct Gate;

impl StreamFilter for Gate {
    fn on_request(&mut self, x: &mut View<'_>, _end: bool) -> Flow {
        x.read_request();
        Flow::Pause
    }
}

#[test]
fn a_piece_of_the_body_ends_a_pause() {
    let mut script = Script::new(vec![Box::new(Gate), Box::new(Note("last"))]);
    script.request();
    assert!(script.seen().is_empty());
    script.send("a").unwrap();
    assert!(script.chain.has_passed(Side::Request));
    assert_eq!(script.seen(), [b"last"]);
    script.send("b").unwrap();
    assert_eq!(script.passed(Side::Request), (Bytes::from("ab"), false));
}

#[test]
fn a_chain_reads_what_one_of_its_filters_reads() {
    let reads = |filters: Vec<Box<dyn StreamFilter>>| {
        let mut script = Script::new(filters);
        script.request();
        (script.chain.reads(Side::Request), script.chain.reads(Side::Response))
    };
    assert_eq!(reads(vec![Box::new(Note("one"))]), (false, false));
    assert_eq!(reads(vec![Box::new(Note("one")), Box::new(Double)]), (true, false));
    assert_eq!(reads(vec![Box::new(Probe::default())]), (true, true));
}

/// Lets a probe that has asked go on.
fn let_go(script: &mut Script) {
    let (at, _) = script.called_out();
    script.answer(at, Ok(answer(StatusCode::OK, ""))).unwrap();
    script.asked.clear();
    script.tell(|chain, x| chain.event(x, at, Event::Wake(8), None)).unwrap();
}

#[test]
fn what_was_held_goes_to_the_next_filter() {
    let mut script = Script::new(vec![Box::new(Double), Box::new(Probe::default()), Box::new(Double)]);
    script.request();
    script.send("a").unwrap();
    script.send_end();
    let_go(&mut script);
    assert_eq!(script.passed(Side::Request), (Bytes::from("aaaa"), true));
    assert!(script.asked.is_empty(), "the filter that let it go does not see it again");
}

#[test]
fn an_event_before_the_response_moves_the_request_only() {
    let mut script = Script::new(vec![Box::new(Probe::default())]);
    script.request();
    script.send("a").unwrap();
    script.send_end();
    let_go(&mut script);
    assert!(script.chain.has_passed(Side::Request));
    assert!(!script.chain.has_passed(Side::Response));
}

#[test]
fn what_a_filter_may_hold_has_an_exact_limit() {
    let held = |filter: Box<dyn StreamFilter>, size: usize| {
        let mut script = Script::new(vec![filter]);
        script.request();
        let piece = Held::data(vec![0; size].into());
        script.tell(|chain, x| chain.body(Side::Request, x, piece, None)).is_ok()
    };
    assert!(held(Box::<Probe>::default(), MAX_HELD));
    assert!(!held(Box::<Probe>::default(), MAX_HELD + 1));
    assert!(held(Box::new(Double), MAX_HELD + 1), "what passes at once is not held");
}
