use super::*;

#[test]
fn ports_are_1_to_65535() {
    assert_eq!(parse_port_list("-d", "1,65535"), Ok(vec![1, 65_535]));
    for bad in ["0", "65536", "-1", "80;flush ruleset", "http", "8 0"] {
        assert_eq!(parse_port_list("-d", bad), Err(RulesError::Port { flag: "-d", value: bad.to_owned() }));
    }
}

#[test]
fn blanks_and_empty_entries_do_not_count() {
    assert_eq!(parse_port_list("-d", " 80, 443,, "), Ok(vec![80, 443]));
    assert_eq!(parse_port_list("-d", ""), Ok(vec![]));
}

#[test]
fn a_star_is_all_where_all_makes_sense() {
    assert_eq!(parse_ports("-b", " * "), Ok(Ports::All));
    assert_eq!(parse_networks("-i", " * "), Ok(Networks::All));
    for text in ["*", "80,*"] {
        assert_eq!(parse_port_list("-d", text), Err(RulesError::Wildcard { flag: "-d" }), "{text}");
    }
    assert_eq!(parse_network_list("-x", "*"), Err(RulesError::Wildcard { flag: "-x" }));
    assert_eq!(parse_ports("-b", "80,*"), Err(RulesError::Wildcard { flag: "-b" }));
    assert_eq!(parse_networks("-i", "10.0.0.0/8,*"), Err(RulesError::Wildcard { flag: "-i" }));
}

#[test]
fn networks_are_cut_to_their_prefix() {
    let nets = parse_network_list("-x", "10.1.2.3/8,fd00::1,1.2.3.4").unwrap();
    let text: Vec<_> = nets.iter().map(ToString::to_string).collect();
    assert_eq!(text, ["10.0.0.0/8", "fd00::1/128", "1.2.3.4/32"]);
    for bad in ["10.0.0.0/33", "10.0.0", "a.b", "10.0.0.0/8;x"] {
        assert_eq!(
            parse_network_list("-x", bad),
            Err(RulesError::Network { flag: "-x", value: bad.to_owned() })
        );
    }
}

#[test]
fn ids_are_numbers() {
    assert_eq!(parse_ids("-u", "0, 4294967295"), Ok(vec![0, u32::MAX]));
    for bad in ["root", "-1", "4294967296", "*"] {
        assert_eq!(parse_ids("-u", bad), Err(RulesError::Id { flag: "-u", value: bad.to_owned() }));
    }
}

#[test]
fn a_list_has_at_most_512_entries() {
    let of = |count: usize| vec!["1"; count].join(",");
    assert_eq!(parse_port_list("-d", &of(512)).map(|list| list.len()), Ok(512));
    assert_eq!(parse_port_list("-d", &of(513)), Err(RulesError::TooMany { flag: "-d", count: 513 }));
}

#[test]
fn networks_by_family() {
    let networks = |list: &[&str]| Networks::List(list.iter().map(|net| net.parse().unwrap()).collect());
    let rules = Rules { networks: networks(&["10.0.0.0/8", "fd00::/8"]), ..Rules::default() };
    assert_eq!(rules.included(Family::V4), Some(vec!["10.0.0.0/8".parse().unwrap()]));
    assert_eq!(rules.included(Family::V6), Some(vec!["fd00::/8".parse().unwrap()]));
    assert_eq!(Rules::default().included(Family::V4), None);
    assert_eq!(Family::of_addr(&"192.0.2.1".parse().unwrap()), Family::V4);
    assert_eq!(Family::of_addr(&"::1".parse().unwrap()), Family::V6);
}

#[test]
fn inbound_is_captured_unless_no_port_is() {
    for (inbound, captured) in
        [(Ports::All, true), (Ports::List(vec![80]), true), (Ports::List(vec![]), false)]
    {
        assert_eq!(Rules { inbound, ..Rules::default() }.captures_inbound(), captured);
    }
}
