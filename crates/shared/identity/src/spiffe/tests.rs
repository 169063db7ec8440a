use super::*;

fn parse(text: &str) -> Result<SpiffeId, SpiffeIdError> {
    text.parse()
}

#[test]
fn parts_of_a_workload_identity() {
    let id = parse("spiffe://west.local/ns/bookinfo/sa/reviews").unwrap();
    assert_eq!(id.trust_domain(), "west.local");
    assert_eq!(id.path(), "/ns/bookinfo/sa/reviews");
    assert_eq!(id.namespace_and_account(), Some(("bookinfo", "reviews")));
    assert_eq!(id.namespace(), Some("bookinfo"));
    assert_eq!(id.service_account(), Some("reviews"));
    assert_eq!(id.principal(), "west.local/ns/bookinfo/sa/reviews");
    assert_eq!(SpiffeId::workload("west.local", "bookinfo", "reviews"), Ok(id));
}

#[test]
fn an_identity_is_written_as_it_is_read() {
    let text = "spiffe://west.local/ns/bookinfo/sa/reviews";
    let id = parse(text).unwrap();
    assert_eq!(id.to_string(), text);
    assert_eq!(format!("{id:?}"), text);
}

#[test]
fn every_spiffe_id_is_accepted() {
    for text in [
        "spiffe://a/b",
        "spiffe://west.local/any/path/at.all",
        "spiffe://west-1_a.local/Path/WITH_capitals-and.dots",
        "spiffe://192.0.2.1/x",
        "spiffe://west.local/...",
        "spiffe://west.local/ns/.a/sa/..b",
    ] {
        assert_eq!(parse(text).map(|id| id.to_string()), Ok(text.to_owned()));
    }
}

#[test]
fn another_scheme_is_no_spiffe_id() {
    for text in [
        "",
        "west.local/ns/a/sa/b",
        "https://west.local/ns/a/sa/b",
        "SPIFFE://west.local/ns/a/sa/b",
        "spiffe:/west.local/ns/a/sa/b",
        " spiffe://west.local/ns/a/sa/b",
    ] {
        assert_eq!(parse(text), Err(SpiffeIdError::Scheme(text.into())));
    }
}

#[test]
fn trust_domains_have_a_name_in_lower_case_without_port_or_user() {
    for domain in
        ["", "WEST.local", "west.local:80", "user@west.local", "west local", "w%2e", "w\u{e9}", "*", "?"]
    {
        let expected = Err(SpiffeIdError::TrustDomain(domain.into()));
        assert_eq!(parse(&format!("spiffe://{domain}/ns/a/sa/b")), expected);
        assert_eq!(SpiffeId::workload(domain, "a", "b"), expected);
    }
}

#[test]
fn paths_are_not_empty_relative_or_encoded() {
    for path in [
        "",
        "/",
        "/ns/a/sa/b/",
        "/ns//sa/b",
        "//ns/a/sa/b",
        "/ns/./sa/b",
        "/ns/../sa/b",
        "/ns/a/sa/b?x=y",
        "/ns/a/sa/b#x",
        "/ns/a%2fb/sa/b",
        "/ns/a/sa/b ",
        "/ns/a/sa/\u{e9}",
        "/ns/a/sa/b\n",
        "/ns/a/sa/*",
        "/ns/a/sa/b:c",
    ] {
        assert_eq!(parse(&format!("spiffe://west.local{path}")), Err(SpiffeIdError::Path(path.into())));
    }
}

#[test]
fn parts_of_a_workload_do_not_reach_into_each_other() {
    for (namespace, account) in [("", "b"), ("a", ""), ("..", "b"), ("a", "."), ("a b", "c"), ("a", "b?c")] {
        let path = format!("/ns/{namespace}/sa/{account}");
        assert_eq!(SpiffeId::workload("west.local", namespace, account), Err(SpiffeIdError::Path(path)));
    }
}

#[test]
fn only_istios_form_has_a_namespace_and_an_account() {
    for path in [
        "/bookinfo",
        "/ns/bookinfo",
        "/ns/bookinfo/sa",
        "/ns/bookinfo/sa/reviews/more",
        "/ns/bookinfo/pod/reviews",
        "/namespace/bookinfo/sa/reviews",
        "/x/ns/bookinfo/sa/reviews",
        "/nsbookinfo/sa/reviews",
    ] {
        let id = parse(&format!("spiffe://west.local{path}")).unwrap();
        let parts = (id.namespace_and_account(), id.namespace(), id.service_account());
        assert_eq!(parts, (None, None, None), "{path}");
    }
}

#[test]
fn a_trust_domain_has_at_most_255_bytes() {
    let longest = "a".repeat(255);
    assert!(parse(&format!("spiffe://{longest}/x")).is_ok());
    let longer = "a".repeat(256);
    assert_eq!(parse(&format!("spiffe://{longer}/x")), Err(SpiffeIdError::TrustDomain(longer)));
}

#[test]
fn an_id_has_at_most_2048_bytes() {
    let of = |length: usize| {
        let start = "spiffe://west.local/";
        format!("{start}{}", "a".repeat(length - start.len()))
    };
    assert!(parse(&of(2048)).is_ok());
    assert_eq!(parse(&of(2049)), Err(SpiffeIdError::TooLong));
    assert_eq!(parse(&of(20_000)), Err(SpiffeIdError::TooLong));
    assert_eq!(parse(&"x".repeat(3000)), Err(SpiffeIdError::TooLong), "whatever else is wrong with it");
}

#[test]
fn no_id_is_made_that_would_not_be_accepted() {
    let account = |length: usize| "a".repeat(length - "spiffe://west.local/ns/a/sa/".len());
    assert!(SpiffeId::workload("west.local", "a", &account(2048)).is_ok());
    assert_eq!(SpiffeId::workload("west.local", "a", &account(2049)), Err(SpiffeIdError::TooLong));
}
