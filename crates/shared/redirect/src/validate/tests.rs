use super::*;
use crate::Networks;

fn probe(networks: Networks, networks_exclude: &[&str], outbound_exclude: &[u16]) -> Option<String> {
    let rules = Rules {
        networks,
        networks_exclude: networks_exclude.iter().map(|net| net.parse().unwrap()).collect(),
        outbound_exclude: outbound_exclude.to_vec(),
        ..Rules::default()
    };
    probe_address(&rules).map(|address| address.to_string())
}

fn list(networks: &[&str]) -> Networks {
    Networks::List(networks.iter().map(|net| net.parse().unwrap()).collect())
}

#[test]
fn the_probe_goes_where_the_rules_capture() {
    for (networks, expected) in [
        (Networks::All, Some("192.0.2.1")),
        (list(&["10.0.0.0/8"]), Some("10.0.0.1")),
        (list(&["10.1.2.3/32", "10.0.0.0/8"]), Some("10.1.2.3")),
        (list(&["fd00::/8", "10.0.0.0/8"]), Some("10.0.0.1")),
        (list(&["fd00::/8"]), None),
        (list(&[]), None),
    ] {
        assert_eq!(probe(networks.clone(), &[], &[]).as_deref(), expected, "{networks:?}");
    }
}

#[test]
fn the_probe_does_not_go_where_the_rules_let_through() {
    assert_eq!(probe(Networks::All, &["192.0.2.0/24"], &[]), None);
    assert_eq!(probe(list(&["10.0.0.0/8"]), &["10.0.0.0/16"], &[]), None);
    assert_eq!(probe(Networks::All, &["198.51.100.0/24"], &[80]).as_deref(), Some("192.0.2.1"));
    assert_eq!(probe(Networks::All, &[], &[ports::CAPTURE_VALIDATION]), None);
}

#[test]
fn rules_without_a_destination_are_not_checked() {
    let rules = Rules { networks: Networks::List(vec![]), ..Rules::default() };
    assert!(matches!(validate(&rules), Ok(false)));
}

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let error = validate(&Rules { outbound_port: port, ..Rules::default() }).unwrap_err();
    assert!(matches!(error, ValidateError::Listen { port: found, .. } if found == port), "{error}");
}

#[test]
fn the_destination_must_have_been_kept() {
    let [here, there]: [SocketAddr; 2] =
        ["192.0.2.1:15002".parse().unwrap(), "192.0.2.1:15001".parse().unwrap()];
    assert!(matches!(kept(here, Ok(here.into())), Ok(true)));
    for lost in [Ok(there.into()), Err(io::Error::other("no such entry"))] {
        let error = kept(here, lost).unwrap_err();
        assert!(
            matches!(error, ValidateError::OriginalDestination { expected, .. } if expected == here),
            "{error}"
        );
    }
}
