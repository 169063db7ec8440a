//! Which virtual host and which route a request gets.

use std::sync::Arc;

use http::{HeaderMap, Method};

use super::action::Action;
use super::config::RouteConfig;
use super::table::{RouteTable, VirtualHost};
use crate::message::{ConnectionFacts, Protocol, Request};
use crate::pb::{core, matcher, route};
use crate::value::unread;

fn host(name: &str, domains: &[&str], routes: Vec<route::Route>) -> route::VirtualHost {
    route::VirtualHost {
        name: name.into(),
        domains: domains.iter().map(|domain| (*domain).to_owned()).collect(),
        routes,
        ..Default::default()
    }
}

fn to(
    name: &str,
    path: route::route_match::PathSpecifier,
    edit: impl FnOnce(&mut route::RouteMatch),
) -> route::Route {
    let mut wanted = route::RouteMatch { path_specifier: Some(path), ..Default::default() };
    edit(&mut wanted);
    route::Route {
        name: name.into(),
        r#match: Some(wanted),
        action: Some(route::route::Action::DirectResponse(route::DirectResponseAction {
            status: 200,
            ..Default::default()
        })),
        ..Default::default()
    }
}

use route::route_match::PathSpecifier as P;

fn table(hosts: Vec<route::VirtualHost>) -> Arc<RouteTable> {
    let from = route::RouteConfiguration { virtual_hosts: hosts, ..Default::default() };
    Arc::new(RouteTable::compile(&from, unread).unwrap())
}

fn request(authority: &str, path: &str) -> Request {
    Request {
        method: Method::GET,
        scheme: "http",
        authority: authority.into(),
        path: path.into(),
        headers: HeaderMap::new(),
        protocol: Protocol::Http11,
        upgrade: None,
        is_grpc: false,
        expect_continue: false,
    }
}

fn connection() -> ConnectionFacts {
    let address = "10.0.0.1:80".parse().unwrap();
    ConnectionFacts {
        id: 1,
        remote: address,
        local: address,
        restored: false,
        sni: None,
        tls: None,
        own_principal: None,
    }
}

fn found(table: &Arc<RouteTable>, request: &Request) -> Option<String> {
    table.find(request, &connection(), false).map(|matched| matched.route.name.to_string())
}

#[track_caller]
fn check(table: &Arc<RouteTable>, authority: &str, path: &str, wanted: Option<&str>) {
    assert_eq!(found(table, &request(authority, path)).as_deref(), wanted, "{authority}{path}");
}

#[test]
fn the_most_specific_domain_wins() {
    let all = |name: &str| vec![to(name, P::Prefix("/".into()), |_| {})];
    let table = table(vec![
        host("any", &["*"], all("any")),
        host("short suffix", &["*.com"], all("short suffix")),
        host("suffix", &["*.example.com"], all("suffix")),
        host("prefix", &["www.*"], all("prefix")),
        host("exact", &["www.example.com"], all("exact")),
    ]);
    check(&table, "www.example.com", "/", Some("exact"));
    check(&table, "WWW.Example.com", "/", Some("exact"));
    check(&table, "a.example.com", "/", Some("suffix"));
    check(&table, "www.other.com", "/", Some("short suffix"));
    check(&table, "www.other.org", "/", Some("prefix"));
    check(&table, "www.example.com:80", "/", Some("prefix"));
    check(&table, "other.org", "/", Some("any"));
}

#[test]
fn a_wildcard_stands_for_at_least_one_character() {
    let table =
        table(vec![host("suffix", &["*.example.com"], vec![to("one", P::Prefix("/".into()), |_| {})])]);
    check(&table, ".example.com", "/", None);
    check(&table, "example.com", "/", None);
    check(&table, "x.example.com", "/", Some("one"));
}

#[test]
fn the_port_is_ignored_when_it_is_to_be() {
    let routes = vec![to("one", P::Prefix("/".into()), |_| {})];
    let from = route::RouteConfiguration {
        virtual_hosts: vec![host("one", &["example.com"], routes)],
        ignore_port_in_host_matching: true,
        ..Default::default()
    };
    let table = Arc::new(RouteTable::compile(&from, unread).unwrap());
    check(&table, "example.com:8080", "/", Some("one"));
    check(&table, "example.com", "/", Some("one"));
}

#[test]
fn a_domain_stands_in_one_host_only() {
    let from = route::RouteConfiguration {
        virtual_hosts: vec![host("one", &["example.com"], vec![]), host("two", &["EXAMPLE.com"], vec![])],
        ..Default::default()
    };
    let error = RouteTable::compile(&from, unread).unwrap_err().0;
    assert!(error.contains("listed twice"), "{error}");
}

#[test]
fn a_host_lists_a_domain_once() {
    let error = VirtualHost::compile(&host("one", &["a.com", "A.com"], vec![]), unread).unwrap_err().0;
    assert_eq!(error, "domain \"a.com\" is listed twice");
}

fn vhds(source: Option<core::config_source::ConfigSourceSpecifier>) -> Option<route::Vhds> {
    let source = core::ConfigSource { config_source_specifier: source, ..Default::default() };
    Some(route::Vhds { config_source: Some(source) })
}

#[test]
fn hosts_in_the_message_and_hosts_beside_it_make_one_table() {
    let all = |name: &str| vec![to(name, P::Prefix("/".into()), |_| {})];
    let from = route::RouteConfiguration {
        virtual_hosts: vec![
            host("inline", &["inline.com", "both.com", "*.both.com"], all("inline")),
            host("prefix", &["www.*"], all("prefix")),
        ],
        vhds: vhds(Some(core::config_source::ConfigSourceSpecifier::Ads(Default::default()))),
        ..Default::default()
    };
    let config = RouteConfig::compile(&from, unread).unwrap();
    assert!(config.has_vhds());
    let compile = |from: route::VirtualHost| Arc::new(VirtualHost::compile(&from, unread).unwrap());
    let more = [
        compile(host("a", &["a.com", "both.com", "*.both.com"], all("a"))),
        compile(host("any", &["*", "www.longer.*"], all("any"))),
    ];
    let table = Arc::new(config.table(&more));
    check(&table, "inline.com", "/", Some("inline"));
    check(&table, "a.com", "/", Some("a"));
    check(&table, "both.com", "/", Some("inline"));
    check(&table, "x.both.com", "/", Some("inline"));
    check(&table, "www.a.org", "/", Some("prefix"));
    check(&table, "www.longer.org", "/", Some("any"));
    check(&table, "other.org", "/", Some("any"));
    assert!(
        table.hosts.iter().any(|host| Arc::ptr_eq(host, &more[0])),
        "hosts are shared, not compiled again"
    );
}

#[test]
fn virtual_hosts_come_over_ads_or_not_at_all() {
    use core::config_source::ConfigSourceSpecifier as S;
    for source in [None, Some(S::Self_(Default::default())), Some(S::PathConfigSource(Default::default()))] {
        let from = route::RouteConfiguration { vhds: vhds(source), ..Default::default() };
        let error = RouteConfig::compile(&from, unread).unwrap_err().0;
        assert_eq!(error, "vhds: config_source: only ads is supported");
    }
}

#[test]
fn a_table_in_a_listener_is_whole() {
    let source = core::config_source::ConfigSourceSpecifier::Ads(Default::default());
    let from = route::RouteConfiguration { vhds: vhds(Some(source)), ..Default::default() };
    let error = RouteTable::compile(&from, unread).unwrap_err().0;
    assert_eq!(error, "vhds works only in route configurations that come by RDS");
}

#[test]
fn the_first_route_that_matches_wins() {
    let regex = |text: &str| matcher::RegexMatcher { regex: text.into(), ..Default::default() };
    let table = table(vec![host(
        "all",
        &["*"],
        vec![
            to("exact", P::Path("/a".into()), |_| {}),
            to("separated", P::PathSeparatedPrefix("/a".into()), |_| {}),
            to("regex", P::SafeRegex(regex("/r/[0-9]+")), |_| {}),
            to("fold", P::Prefix("/Fold".into()), |wanted| {
                wanted.case_sensitive =
                    Some(portolan_envoy_api::pb::google::protobuf::BoolValue { value: false });
            }),
            to("prefix", P::Prefix("/ab".into()), |_| {}),
        ],
    )]);
    check(&table, "x", "/a", Some("exact"));
    check(&table, "x", "/a?query", Some("exact"));
    check(&table, "x", "/a/b", Some("separated"));
    check(&table, "x", "/abc", Some("prefix"));
    check(&table, "x", "/r/12", Some("regex"));
    check(&table, "x", "/r/12/x", None);
    check(&table, "x", "/FOLD/x", Some("fold"));
    check(&table, "x", "/A", None);
}

#[test]
fn connect_requests_have_routes_of_their_own() {
    let table = table(vec![host(
        "all",
        &["*"],
        vec![
            to("prefix", P::Prefix("/".into()), |_| {}),
            to("connect", P::ConnectMatcher(route::route_match::ConnectMatcher::default()), |_| {}),
        ],
    )]);
    let mut tunnel = request("x:443", "");
    tunnel.method = Method::CONNECT;
    assert_eq!(found(&table, &tunnel).as_deref(), Some("connect"));
    check(&table, "x", "/", Some("prefix"));
}

#[test]
fn headers_and_parameters_must_match_too() {
    use route::header_matcher::HeaderMatchSpecifier as H;
    let header = |name: &str, specifier: Option<H>, invert_match: bool| route::HeaderMatcher {
        name: name.into(),
        header_match_specifier: specifier,
        invert_match,
        ..Default::default()
    };
    let number = Some(H::RangeMatch(crate::pb::types::Int64Range { start: 1, end: 7 }));
    let table = table(vec![host(
        "all",
        &["*"],
        vec![
            to("query", P::Prefix("/".into()), |wanted| {
                wanted.query_parameters =
                    vec![route::QueryParameterMatcher { name: "q".into(), ..Default::default() }];
            }),
            to("range", P::Prefix("/".into()), |wanted| {
                wanted.headers = vec![header("x-number", number, false)];
            }),
            to("absent", P::Prefix("/".into()), |wanted| wanted.headers = vec![header("x-a", None, true)]),
            to("present", P::Prefix("/".into()), |wanted| wanted.headers = vec![header("x-a", None, false)]),
        ],
    )]);
    check(&table, "x", "/?q=1", Some("query"));
    check(&table, "x", "/?qq=1", Some("absent"));
    for (value, wanted) in [("1", "range"), ("6", "range"), ("7", "absent"), ("0", "absent"), ("x", "absent")]
    {
        let mut request = request("x", "/");
        request.headers.insert("x-number", value.parse().unwrap());
        assert_eq!(found(&table, &request).as_deref(), Some(wanted), "{value}");
    }
    let mut request = request("x", "/");
    request.headers.insert("x-a", "1".parse().unwrap());
    assert_eq!(found(&table, &request).as_deref(), Some("present"));
}

#[test]
fn plain_requests_are_led_to_https_before_any_route() {
    let of = |require: i32| {
        let only = to("only", P::Path("/only".into()), |_| {});
        let host = route::VirtualHost { require_tls: require, ..host("h", &["h.test"], vec![only]) };
        table(vec![host])
    };
    let found = |table: &Arc<RouteTable>, scheme: &'static str, path: &str, internal: bool| {
        let request = Request { scheme, ..request("h.test", path) };
        let matched = table.find(&request, &connection(), internal)?;
        Some(if matches!(matched.route.action, Action::Https) {
            "https".into()
        } else {
            matched.route.name.to_string()
        })
    };
    use route::virtual_host::TlsRequirementType as T;
    for (require, internal, wanted) in [
        (T::None, false, [Some("only"), None]),
        (T::All, false, [Some("https"); 2]),
        (T::All, true, [Some("https"); 2]),
        (T::ExternalOnly, false, [Some("https"); 2]),
        (T::ExternalOnly, true, [Some("only"), None]),
    ] {
        let table = of(require.into());
        let plain = ["/only", "/other"].map(|path| found(&table, "http", path, internal));
        assert_eq!(plain.each_ref().map(Option::as_deref), wanted, "{require:?} {internal}");
        let secure = ["/only", "/other"].map(|path| found(&table, "https", path, internal));
        assert_eq!(secure.each_ref().map(Option::as_deref), [Some("only"), None], "{require:?} {internal}");
    }
}
