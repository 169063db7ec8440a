use super::*;
use crate::fixture::offer;

/// What of one offer is taken, or why it is not.
fn accepted(change: impl FnOnce(&mut ServiceMessage)) -> Result<ServiceMessage, Refused> {
    let mut message = offer("ratings", "bookinfo");
    change(&mut message);
    let (mut taken, mut refused) = ServiceList { checksum: 0, services: vec![message] }.accept("east.local");
    assert_eq!(taken.len() + refused.len(), 1, "one offer has one answer");
    refused.pop().map_or_else(|| Ok(taken.remove(0)), Err)
}

const HOST: &str = "ratings.bookinfo.svc.west-exports.local";

#[test]
fn the_wire_form() {
    let list = ServiceList { checksum: u64::MAX, services: vec![offer("ratings", "bookinfo")] };
    let text = serde_json::to_string(&list).unwrap();
    assert_eq!(
        text,
        r#"{"checksum":18446744073709551615,"services":[{"name":"ratings","namespace":"bookinfo","hostname":"ratings.bookinfo.svc.west-exports.local","servicePorts":[{"name":"http","port":9080,"protocol":"HTTP"}],"serviceAccounts":["spiffe://east.local/ns/istio-system/sa/west-ingress-service-account"]}]}"#
    );
    assert_eq!(serde_json::from_str::<ServiceList>(&text).unwrap(), list);
}

#[test]
fn empty_parts_are_not_written() {
    assert_eq!(serde_json::to_string(&ServiceList::new(vec![])).unwrap(), r#"{"checksum":0}"#);
    let empty = ServiceMessage { service_ports: vec![ServicePortMessage::default()], ..Default::default() };
    assert_eq!(serde_json::to_string(&empty).unwrap(), r#"{"servicePorts":[{}]}"#);
}

#[test]
fn fields_of_other_releases_are_ignored() {
    let text = r#"{"checksum":1,"networkGatewayEndpoints":[{"port":15443,"hostname":"x"}],"services":[{"name":"a","later":1}]}"#;
    let list: ServiceList = serde_json::from_str(text).unwrap();
    assert_eq!(list.services[0].name, "a");
    let event: WatchEvent = serde_json::from_str(r#"{"action":"update","checksum":7}"#).unwrap();
    assert_eq!(event, WatchEvent { action: Action::Update, service: None, checksum: 7 });
}

#[test]
fn a_list_is_ordered_by_host() {
    let list = ServiceList::new(vec![offer("b", "x"), offer("a", "x"), offer("a", "a")]);
    let hosts: Vec<_> = list.services.iter().map(|service| service.hostname.as_str()).collect();
    assert_eq!(
        hosts,
        ["a.a.svc.west-exports.local", "a.x.svc.west-exports.local", "b.x.svc.west-exports.local"]
    );
}

#[test]
fn checksums_do_not_depend_on_order() {
    let (a, b) = (offer("a", "x"), offer("b", "x"));
    assert_eq!(checksum(&[a.clone(), b.clone()]), checksum(&[b.clone(), a.clone()]));
    assert_eq!(ServiceList::new(vec![a.clone(), b.clone()]), ServiceList::new(vec![b, a]));
}

#[test]
fn checksums_change_with_every_part() {
    type Change = fn(&mut ServiceMessage);
    let changes: [(&str, Change); 8] = [
        ("name", |s| s.name = "other".into()),
        ("namespace", |s| s.namespace = "other".into()),
        ("host", |s| s.hostname = "other".into()),
        ("port name", |s| s.service_ports[0].name = "other".into()),
        ("port number", |s| s.service_ports[0].port = 9081),
        ("protocol", |s| s.service_ports[0].protocol = "TCP".into()),
        ("identity", |s| s.service_accounts[0] = "other".into()),
        ("the border between name and namespace", |s| {
            (s.name, s.namespace) = ("ratingsb".into(), "ookinfo".into());
        }),
    ];
    let original = offer("ratings", "bookinfo");
    for (what, change) in changes {
        let mut changed = original.clone();
        change(&mut changed);
        assert_ne!(checksum(&[changed]), checksum(std::slice::from_ref(&original)), "{what}");
    }
    assert_ne!(
        checksum(&[original.clone(), offer("reviews", "bookinfo")]),
        checksum(&[original]),
        "one more"
    );
}

#[test]
fn an_honest_offer_is_taken_as_it_is() {
    assert_eq!(accepted(|_| {}), Ok(offer("ratings", "bookinfo")));
}

#[test]
fn names_and_namespaces_are_dns_labels() {
    let with = |name: &str, namespace: &str| accepted(|s| *s = offer(name, namespace)).err();
    let refused = |text: &str| Some(Refused::Name(text.into()));
    let longest = "a".repeat(63);
    assert_eq!(with(&longest, &longest), None);
    assert_eq!(with(&"a".repeat(64), "bookinfo"), refused(&"a".repeat(64)));
    assert_eq!(with("ratings", &"a".repeat(64)), refused(&"a".repeat(64)));
    for bad in ["", "*", "kubernetes.default", "Ratings", "a_b", "-a", "a-", "a/b"] {
        assert_eq!(with(bad, "bookinfo"), refused(bad), "name {bad:?}");
        assert_eq!(with("ratings", bad), refused(bad), "namespace {bad:?}");
    }
}

#[test]
fn a_host_is_made_of_name_namespace_and_an_exports_domain() {
    let with = |host: &str| accepted(|s| s.hostname = host.into()).err();
    for good in [HOST, "ratings.bookinfo.svc.anything-exports.local", "ratings.bookinfo.svc.a-exports.local"]
    {
        assert_eq!(with(good), None, "{good}");
    }
    for (what, bad) in [
        ("no host", ""),
        ("a host of ours", "ratings.bookinfo.svc.cluster.local"),
        ("an import of ours", "ratings.bookinfo.svc.west-imports.local"),
        ("a host of another service", "reviews.bookinfo.svc.west-exports.local"),
        ("a host of another namespace", "ratings.shop.svc.west-exports.local"),
        ("more in front", "x.ratings.bookinfo.svc.west-exports.local"),
        ("more behind", "ratings.bookinfo.svc.west-exports.local.example"),
        ("a mesh name of two labels", "ratings.bookinfo.svc.a.b-exports.local"),
        ("no mesh name", "ratings.bookinfo.svc.-exports.local"),
        ("a wildcard mesh name", "ratings.bookinfo.svc.*-exports.local"),
        ("a mesh name in capitals", "ratings.bookinfo.svc.WEST-exports.local"),
        ("no svc", "ratings.bookinfo.west-exports.local"),
    ] {
        assert_eq!(with(bad), Some(Refused::Host(bad.into())), "{what}");
    }
}

/// `count` valid ports.
fn ports(count: u32) -> Vec<ServicePortMessage> {
    (1..=count)
        .map(|port| ServicePortMessage { name: format!("p{port}"), port, protocol: "TCP".into() })
        .collect()
}

#[test]
fn ports_are_few_distinct_and_real() {
    type Change = fn(&mut Vec<ServicePortMessage>);
    let rows: [(&str, Change, bool); 15] = [
        ("the lowest number", |p| p[0].port = 1, true),
        ("the highest number", |p| p[0].port = 65_535, true),
        ("zero", |p| p[0].port = 0, false),
        ("above the highest", |p| p[0].port = 65_536, false),
        ("none at all", Vec::clear, false),
        ("as many as there may be", |p| *p = ports(64), true),
        ("one more", |p| *p = ports(65), false),
        ("one number twice", |p| p.push(ServicePortMessage { name: "other".into(), ..p[0].clone() }), false),
        ("the second one bad", |p| p.push(ServicePortMessage::default()), false),
        ("no name", |p| p[0].name.clear(), true),
        ("the longest name", |p| p[0].name = "a".repeat(63), true),
        ("a longer name", |p| p[0].name = "a".repeat(64), false),
        ("a name with a line end", |p| p[0].name = "http\r\nx".into(), false),
        ("a name with a slash", |p| p[0].name = "a/b".into(), false),
        ("a name in capitals", |p| p[0].name = "HTTP".into(), false),
    ];
    for (what, change, expected) in rows {
        let found = accepted(|s| change(&mut s.service_ports));
        assert_eq!(found.is_ok(), expected, "{what}");
        if !expected {
            assert_eq!(found, Err(Refused::Ports(HOST.into())), "{what}");
        }
    }
}

#[test]
fn identities_are_of_the_peers_trust_domain() {
    const OWN: &str = "spiffe://east.local/ns/a/sa/b";
    let with = |identities: &[&str]| {
        accepted(|s| s.service_accounts = identities.iter().map(|text| (*text).to_owned()).collect()).err()
    };
    assert_eq!(with(&[OWN, "spiffe://east.local/other"]), None);
    for bad in [
        "",
        "east.local/ns/a/sa/b",
        "spiffe://west.local/ns/a/sa/b",
        "spiffe://east.local.example/ns/a/sa/b",
        "spiffe://sub.east.local/ns/a/sa/b",
        "spiffe://east.local",
        "spiffe://east.local/",
        "spiffe://EAST.local/ns/a/sa/b",
        "https://east.local/ns/a/sa/b",
        "*",
    ] {
        let expected = Some(Refused::Identity {
            host: HOST.into(),
            identity: bad.into(),
            trust_domain: "east.local".into(),
        });
        assert_eq!(with(&[bad]), expected, "{bad:?} alone");
        assert_eq!(with(&[OWN, bad]), expected, "{bad:?} behind a good one");
        assert_eq!(with(&[bad, OWN]), expected, "{bad:?} before a good one");
    }
}

#[test]
fn identities_are_at_least_one_and_not_too_many() {
    let with = |count: usize| {
        accepted(|s| {
            s.service_accounts = (0..count).map(|n| format!("spiffe://east.local/ns/a/sa/s{n}")).collect();
        })
        .err()
    };
    assert_eq!(with(0), Some(Refused::Identities(HOST.into())));
    assert_eq!(with(1), None);
    assert_eq!(with(MAX_SERVICE_ACCOUNTS), None);
    assert_eq!(with(MAX_SERVICE_ACCOUNTS + 1), Some(Refused::Identities(HOST.into())));
}

#[test]
fn repeated_identities_are_taken_once_and_in_order() {
    let (a, b) = ("spiffe://east.local/a".to_owned(), "spiffe://east.local/b".to_owned());
    let taken = accepted(|s| s.service_accounts = vec![b.clone(), a.clone(), b.clone()]).unwrap();
    assert_eq!(taken.service_accounts, [a, b]);
}

#[test]
fn one_bad_offer_leaves_the_others() {
    let bad = ServiceMessage { service_ports: vec![], ..offer("ratings", "bookinfo") };
    let (taken, refused) = ServiceList::new(vec![offer("a", "x"), bad, offer("z", "x")]).accept("east.local");
    assert_eq!(taken, [offer("a", "x"), offer("z", "x")]);
    assert_eq!(refused, [Refused::Ports(HOST.into())]);
}

#[test]
fn of_two_offers_for_one_host_the_first_is_taken() {
    let first = offer("ratings", "bookinfo");
    let second = ServiceMessage { service_ports: ports(2), ..first.clone() };
    let list = ServiceList { checksum: 0, services: vec![first.clone(), second] };
    assert_eq!(list.accept("east.local"), (vec![first], vec![Refused::Duplicate(HOST.into())]));
}

#[test]
fn a_refused_offer_does_not_take_the_host_from_a_good_one() {
    let bad = ServiceMessage { service_ports: vec![], ..offer("ratings", "bookinfo") };
    let list = ServiceList { checksum: 0, services: vec![bad, offer("ratings", "bookinfo")] };
    assert_eq!(
        list.accept("east.local"),
        (vec![offer("ratings", "bookinfo")], vec![Refused::Ports(HOST.into())])
    );
}

#[test]
fn services_beyond_the_limit_are_not_taken() {
    let offers = |count: usize| ServiceList {
        checksum: 0,
        services: (0..count).map(|n| offer(&format!("s{n}"), "x")).collect(),
    };
    let (taken, refused) = offers(MAX_SERVICES).accept("east.local");
    assert_eq!((taken.len(), refused), (MAX_SERVICES, vec![]));
    let (taken, refused) = offers(MAX_SERVICES + 2).accept("east.local");
    assert_eq!((taken.len(), refused), (MAX_SERVICES, vec![Refused::TooMany]));
    assert_eq!(taken.last().unwrap().name, format!("s{}", MAX_SERVICES - 1));
}

#[test]
fn a_full_list_fits_into_its_bytes() {
    let list = ServiceList::new((0..MAX_SERVICES).map(|n| offer(&format!("s{n}"), "bookinfo")).collect());
    let bytes = serde_json::to_vec(&list).unwrap().len();
    assert!(bytes <= MAX_LIST_BYTES, "{bytes}");
    assert_eq!(MAX_LIST_BYTES, 1 << 24);
}

#[test]
fn reasons_do_not_repeat_endless_text() {
    let endless = "x".repeat(10_000);
    assert_eq!(accepted(|s| s.name = endless.clone()), Err(Refused::Name("x".repeat(80))));
    assert_eq!(accepted(|s| s.hostname = endless.clone()), Err(Refused::Host("x".repeat(300))));
    let Err(Refused::Identity { identity, .. }) = accepted(|s| s.service_accounts = vec![endless.clone()])
    else {
        panic!("an identity that is none was taken");
    };
    assert_eq!(identity, "x".repeat(300));
}
