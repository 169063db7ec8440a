//! What in a resource the data plane would refuse, and the same resource without it: one bad object harms itself alone.
//!
//! A virtual host stays as it was last good; without that, its routes that are at fault answer 503, and if the fault is not
//! in a route, all of it does. A filter chain stays as it was last good too, unless it decides who gets in: one that cannot
//! say that lets nobody in.

use portolan_dataplane_config::{Kind, check};
use portolan_envoy_api::pb::{
    envoy::{
        config::{
            core::v3::Metadata,
            listener::v3::{Filter, FilterChain, Listener, filter::ConfigType},
            route::v3::{
                DirectResponseAction, Route, RouteConfiguration, RouteMatch, VirtualHost, route::Action,
                route_match::PathSpecifier,
            },
        },
        extensions::filters::network::tcp_proxy::v3::{TcpProxy, tcp_proxy::ClusterSpecifier},
    },
    google::protobuf::{Any, Struct, Value, value::Kind as Is},
};
use portolan_names::names;
use portolan_xds::names::BLACK_HOLE;
use prost::{Message, Name};

use super::source::Source;

/// Something that the data plane would refuse.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Fault {
    /// What of the resource; nothing when it is all of it.
    pub(super) part: String,
    /// What the data plane has against it.
    pub(super) reason: String,
    /// The object that asked for it, if that is known.
    pub(super) source: Option<Source>,
}

/// A resource without what the data plane would refuse, and what that was. Nothing when no part of it is at fault by itself.
/// `before` is what was published of it, which is good.
pub(super) fn isolate(kind: Kind, body: &[u8], before: Option<&[u8]>) -> Option<(Vec<u8>, Vec<Fault>)> {
    let mut faults = Vec::new();
    let body = match kind {
        Kind::Routes => {
            let mut table = RouteConfiguration::decode(body).ok()?;
            let before: Option<RouteConfiguration> = before.and_then(|body| Message::decode(body).ok());
            for host in &mut table.virtual_hosts {
                let good = before.iter().flat_map(|table| &table.virtual_hosts);
                let good =
                    good.into_iter().find(|good| good.name == host.name && good.domains == host.domains);
                mend_host(host, good, &mut faults);
            }
            table.encode_to_vec()
        }
        Kind::VirtualHost => {
            let mut host = VirtualHost::decode(body).ok()?;
            let good: Option<VirtualHost> = before.and_then(|body| Message::decode(body).ok());
            mend_host(&mut host, good.as_ref(), &mut faults);
            host.encode_to_vec()
        }
        Kind::Listener => {
            let mut listener = Listener::decode(body).ok()?;
            let before: Option<Listener> = before.and_then(|body| Message::decode(body).ok());
            mend_chains(&mut listener, before.as_ref(), &mut faults);
            listener.encode_to_vec()
        }
        Kind::Cluster | Kind::Endpoints | Kind::Secret => return None,
    };
    (!faults.is_empty() && refusal(kind, &body).is_none()).then_some((body, faults))
}

/// What the data plane has against a resource.
pub(super) fn refusal(kind: Kind, body: &[u8]) -> Option<String> {
    check(kind, body).err().map(|error| error.0)
}

fn mend_host(host: &mut VirtualHost, good: Option<&VirtualHost>, faults: &mut Vec<Fault>) {
    let Some(reason) = refusal(Kind::VirtualHost, &host.encode_to_vec()) else { return };
    let mut alone = VirtualHost { routes: Vec::new(), ..host.clone() };
    let mut found = Vec::new();
    let mut mended = host.clone();
    for route in &mut mended.routes {
        alone.routes = vec![route.clone()];
        let Some(reason) = refusal(Kind::VirtualHost, &alone.encode_to_vec()) else { continue };
        let source = Source::of_metadata(route.metadata.as_ref());
        let part = format!("virtual host {}, route {:?}", host.name, route.name);
        let closed = closed_route(route.r#match.take(), source.as_ref());
        *route = Route { name: std::mem::take(&mut route.name), ..closed };
        found.push(Fault { part, reason, source });
    }
    if refusal(Kind::VirtualHost, &mended.encode_to_vec()).is_some() {
        // No route to blame, or nothing to know it by.
        let source = found.pop().and_then(|fault: Fault| fault.source);
        let route = closed_route(None, source.as_ref());
        mended = VirtualHost {
            name: host.name.clone(),
            domains: host.domains.clone(),
            routes: vec![route],
            require_tls: host.require_tls,
            ..Default::default()
        };
        found = vec![Fault { part: format!("virtual host {}", host.name), reason, source }];
    }
    faults.append(&mut found);
    *host = good.cloned().unwrap_or(mended);
}

/// A route that answers for one that cannot be; without a match it stands for all.
fn closed_route(wanted: Option<RouteMatch>, source: Option<&Source>) -> Route {
    let all =
        RouteMatch { path_specifier: Some(PathSpecifier::Prefix("/".to_owned())), ..Default::default() };
    let named = source.map_or_else(|| "unknown".to_owned(), ToString::to_string);
    let refused = Value { kind: Some(Is::StringValue(named)) };
    let ours = Struct { fields: [(names::REFUSED_METADATA.to_owned(), refused)].into() };
    Route {
        r#match: Some(wanted.unwrap_or(all)),
        metadata: Some(Metadata {
            filter_metadata: [(names::PORTOLAN_METADATA.to_owned(), ours)].into(),
            ..Default::default()
        }),
        action: Some(Action::DirectResponse(DirectResponseAction { status: 503, ..Default::default() })),
        ..Default::default()
    }
}

fn mend_chains(listener: &mut Listener, before: Option<&Listener>, faults: &mut Vec<Fault>) {
    let mut alone = Listener { default_filter_chain: None, filter_chains: Vec::new(), ..listener.clone() };
    let chains = listener.filter_chains.iter_mut().chain(&mut listener.default_filter_chain);
    for chain in chains {
        alone.filter_chains = vec![chain.clone()];
        let Some(reason) = refusal(Kind::Listener, &alone.encode_to_vec()) else { continue };
        let source = Source::of_policy(&reason);
        faults.push(Fault { part: format!("filter chain {:?}", chain.name), reason, source });
        let good = before.iter().flat_map(|b| b.filter_chains.iter().chain(&b.default_filter_chain));
        let mut good = good.into_iter().filter(|good| good.filter_chain_match == chain.filter_chain_match);
        *chain = match good.next().filter(|_| !decides(chain)) {
            Some(good) => good.clone(),
            None => closed_chain(chain),
        };
    }
}

/// Whether a chain decides who gets in.
fn decides(chain: &FilterChain) -> bool {
    let encoded = chain.encode_to_vec();
    let holds = |name: &str| encoded.windows(name.len()).any(|window| window == name.as_bytes());
    ["envoy.filters.http.rbac", "envoy.filters.network.rbac", "envoy.filters.http.jwt_authn"]
        .into_iter()
        .any(holds)
}

/// A chain for the same connections that leads nowhere.
fn closed_chain(chain: &FilterChain) -> FilterChain {
    let to_nowhere = TcpProxy {
        stat_prefix: BLACK_HOLE.to_owned(),
        cluster_specifier: Some(ClusterSpecifier::Cluster(BLACK_HOLE.to_owned())),
        ..Default::default()
    };
    let config = Any { type_url: TcpProxy::type_url(), value: to_nowhere.encode_to_vec() };
    FilterChain {
        name: chain.name.clone(),
        filter_chain_match: chain.filter_chain_match.clone(),
        filters: vec![Filter {
            name: "envoy.filters.network.tcp_proxy".to_owned(),
            config_type: Some(ConfigType::TypedConfig(config)),
        }],
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use portolan_envoy_api::pb::envoy::{
        config::{
            core::v3::{Address, HeaderValue, HeaderValueOption, SocketAddress, address, socket_address},
            listener::v3::FilterChainMatch,
            rbac::v3::{Permission, Policy, Principal, Rbac, permission, principal},
            route::v3::RouteAction,
        },
        extensions::filters::network::rbac::v3::Rbac as RbacFilter,
    };
    use portolan_envoy_api::pb::google::protobuf::UInt32Value;

    use super::*;

    fn metadata(name: &str) -> Option<Metadata> {
        let path = format!("/apis/networking.istio.io/v1alpha3/namespaces/shop/virtual-service/{name}");
        let config = Value { kind: Some(Is::StringValue(path)) };
        let istio = Struct { fields: [("config".to_owned(), config)].into() };
        Some(Metadata { filter_metadata: [("istio".to_owned(), istio)].into(), ..Default::default() })
    }

    /// A route of the VirtualService of its name; one with a header that cannot be set is refused.
    fn route(name: &str, header: &str) -> Route {
        let to = portolan_envoy_api::pb::envoy::config::route::v3::route_action::ClusterSpecifier::Cluster(
            "c".to_owned(),
        );
        let path = PathSpecifier::Prefix(format!("/{name}"));
        let set = HeaderValue { key: header.to_owned(), value: "v".to_owned(), ..Default::default() };
        Route {
            name: name.to_owned(),
            r#match: Some(RouteMatch { path_specifier: Some(path), ..Default::default() }),
            metadata: metadata(name),
            action: Some(Action::Route(RouteAction { cluster_specifier: Some(to), ..Default::default() })),
            request_headers_to_add: vec![HeaderValueOption { header: Some(set), ..Default::default() }],
            ..Default::default()
        }
    }

    fn host(name: &str, routes: Vec<Route>) -> VirtualHost {
        VirtualHost { name: name.to_owned(), domains: vec![name.to_owned()], routes, ..Default::default() }
    }

    fn table(virtual_hosts: Vec<VirtualHost>) -> Vec<u8> {
        RouteConfiguration { name: "80".to_owned(), virtual_hosts, ..Default::default() }.encode_to_vec()
    }

    fn source(kind: &'static str, name: &str) -> Option<Source> {
        Some(Source { kind, namespace: "shop".to_owned(), name: name.to_owned() })
    }

    /// Prefixes and, where it is one of ours, the status of each route.
    fn routes(host: &VirtualHost) -> Vec<(String, u32)> {
        let shown = |route: &Route| {
            let Some(PathSpecifier::Prefix(path)) =
                route.r#match.as_ref().and_then(|m| m.path_specifier.clone())
            else {
                panic!("{route:?}")
            };
            match &route.action {
                Some(Action::DirectResponse(direct)) => (path, direct.status),
                _ => (path, 0),
            }
        };
        host.routes.iter().map(shown).collect()
    }

    #[test]
    fn a_route_at_fault_answers_503_and_names_its_object() {
        let bad = table(vec![
            host("a", vec![route("one", "x-a"), route("two", "a b"), route("three", "x-a")]),
            host("b", vec![route("four", "x-a")]),
        ]);
        let (mended, faults) = isolate(Kind::Routes, &bad, None).unwrap();
        let mended = RouteConfiguration::decode(mended.as_slice()).unwrap();
        let expected = [("/one", 0), ("/two", 503), ("/three", 0)].map(|(path, s)| (path.to_owned(), s));
        assert_eq!(routes(&mended.virtual_hosts[0]), expected);
        assert_eq!(mended.virtual_hosts[1], host("b", vec![route("four", "x-a")]));
        let ours = &mended.virtual_hosts[0].routes[1].metadata.as_ref().unwrap().filter_metadata["portolan"];
        let named = Value { kind: Some(Is::StringValue("VirtualService shop/two".to_owned())) };
        assert_eq!(ours.fields["refused"], named);
        assert_eq!(faults.len(), 1);
        assert_eq!(faults[0].part, "virtual host a, route \"two\"");
        assert_eq!(faults[0].source, source("VirtualService", "two"));
        assert!(faults[0].reason.contains("a b"), "{}", faults[0].reason);
    }

    #[test]
    fn a_virtual_host_stays_as_it_was_good_and_others_go_on() {
        let before = table(vec![host("a", vec![route("old", "x-a")]), host("b", vec![route("old", "x-a")])]);
        let bad = table(vec![host("a", vec![route("new", "a b")]), host("b", vec![route("new", "x-a")])]);
        let (mended, _) = isolate(Kind::Routes, &bad, Some(&before)).unwrap();
        let mended = RouteConfiguration::decode(mended.as_slice()).unwrap();
        let expected = [host("a", vec![route("old", "x-a")]), host("b", vec![route("new", "x-a")])];
        assert_eq!(mended.virtual_hosts, expected);
        // The same where a virtual host comes by itself.
        let (good, bad) = (host("a", vec![route("old", "x-a")]), host("a", vec![route("new", "a b")]));
        let mended = isolate(Kind::VirtualHost, &bad.encode_to_vec(), Some(&good.encode_to_vec()));
        assert_eq!(mended.unwrap().0, good.encode_to_vec());
    }

    #[test]
    fn a_virtual_host_with_a_fault_of_its_own_answers_503() {
        let mut odd = route("one", "x-a");
        odd.r#match = None;
        let (mended, faults) = isolate(Kind::Routes, &table(vec![host("a", vec![odd])]), None).unwrap();
        let mended = RouteConfiguration::decode(mended.as_slice()).unwrap();
        assert_eq!(routes(&mended.virtual_hosts[0]), [("/".to_owned(), 503)]);
        assert_eq!(faults[0].source, source("VirtualService", "one"));
        // Where no part is at fault alone, nothing can be mended.
        assert_eq!(isolate(Kind::Routes, &table(vec![host("a", vec![]), host("a", vec![])]), None), None);
        assert_eq!(isolate(Kind::Routes, &table(vec![host("a", vec![route("one", "x-a")])]), None), None);
    }

    fn listener(filter_chains: Vec<FilterChain>) -> Vec<u8> {
        let socket = SocketAddress {
            address: "127.0.0.1".to_owned(),
            port_specifier: Some(socket_address::PortSpecifier::PortValue(80)),
            ..Default::default()
        };
        Listener {
            name: "l".to_owned(),
            address: Some(Address { address: Some(address::Address::SocketAddress(socket)) }),
            filter_chains,
            ..Default::default()
        }
        .encode_to_vec()
    }

    fn chain(port: u32, filters: Vec<Filter>) -> FilterChain {
        FilterChain {
            filter_chain_match: Some(FilterChainMatch {
                destination_port: Some(UInt32Value { value: port }),
                ..Default::default()
            }),
            filters,
            ..Default::default()
        }
    }

    fn filter<M: Message + Name>(name: &str, config: &M) -> Filter {
        let any = Any { type_url: M::type_url(), value: config.encode_to_vec() };
        Filter { name: name.to_owned(), config_type: Some(ConfigType::TypedConfig(any)) }
    }

    fn to(cluster: &str) -> Filter {
        let config = TcpProxy {
            stat_prefix: "p".to_owned(),
            cluster_specifier: (!cluster.is_empty()).then(|| ClusterSpecifier::Cluster(cluster.to_owned())),
            ..Default::default()
        };
        filter("envoy.filters.network.tcp_proxy", &config)
    }

    fn policy(regex: &str) -> Filter {
        use portolan_envoy_api::pb::envoy::r#type::matcher::v3::{
            RegexMatcher, StringMatcher, string_matcher::MatchPattern,
        };
        let by = StringMatcher {
            match_pattern: Some(MatchPattern::SafeRegex(RegexMatcher {
                regex: regex.to_owned(),
                ..Default::default()
            })),
            ..Default::default()
        };
        let sni = permission::Rule::RequestedServerName(by);
        let policy = Policy {
            permissions: vec![Permission { rule: Some(sni) }],
            principals: vec![Principal { identifier: Some(principal::Identifier::Any(true)) }],
            ..Default::default()
        };
        let rules = Rbac {
            policies: [("ns[shop]-policy[p]-rule[0]".to_owned(), policy)].into(),
            ..Default::default()
        };
        let config = RbacFilter { rules: Some(rules), stat_prefix: "p".to_owned(), ..Default::default() };
        filter("envoy.filters.network.rbac", &config)
    }

    fn clusters(listener: &[u8]) -> Vec<String> {
        let listener = Listener::decode(listener).unwrap();
        let of = |chain: &FilterChain| {
            let last = chain.filters.last().unwrap();
            let Some(ConfigType::TypedConfig(config)) = &last.config_type else { panic!("{last:?}") };
            match TcpProxy::decode(&*config.value).unwrap().cluster_specifier {
                Some(ClusterSpecifier::Cluster(cluster)) => cluster,
                other => panic!("{other:?}"),
            }
        };
        listener.filter_chains.iter().map(of).collect()
    }

    #[test]
    fn a_filter_chain_stays_as_it_was_good_or_leads_nowhere() {
        let before = listener(vec![chain(1, vec![to("old")]), chain(2, vec![to("old")])]);
        let bad = listener(vec![chain(1, vec![to("")]), chain(2, vec![to("new")]), chain(3, vec![to("")])]);
        let (mended, faults) = isolate(Kind::Listener, &bad, Some(&before)).unwrap();
        assert_eq!(
            (clusters(&mended), faults.len()),
            (vec!["old".into(), "new".into(), BLACK_HOLE.into()], 2)
        );
    }

    /// Otherwise a rule that denies would not hold, and nobody would notice.
    #[test]
    fn who_gets_in_is_not_decided_by_rules_of_old() {
        let before = listener(vec![chain(1, vec![policy("a"), to("old")])]);
        let bad = listener(vec![chain(1, vec![policy("("), to("new")]), chain(2, vec![to("new")])]);
        let (mended, faults) = isolate(Kind::Listener, &bad, Some(&before)).unwrap();
        assert_eq!(clusters(&mended), [BLACK_HOLE, "new"]);
        assert_eq!(faults[0].source, source("AuthorizationPolicy", "p"), "{}", faults[0].reason);
    }
}
