use clap::Parser as _;

use super::*;
use crate::model::{Networks, Ports};

#[derive(clap::Parser)]
struct Program {
    #[command(flatten)]
    args: RedirectArgs,
}

fn args(line: &[&str]) -> RedirectArgs {
    Program::try_parse_from(std::iter::once(&"redirect").chain(line)).unwrap().args
}

fn rules(line: &[&str]) -> Result<Rules, RulesError> {
    args(line).rules("# comment\nnameserver 10.96.0.10\nsearch x\nnameserver fd00::a\n")
}

#[test]
fn the_injectors_flags() {
    let line = ["-p", "15001", "-z", "15006", "-u", "1337", "-m", "REDIRECT", "-i", "*", "-x", "", "-b", "*"];
    let mut line = line.to_vec();
    line.extend(["-d", "15090,15021,15020"]);
    assert_eq!(rules(&line), Ok(Rules::default()));
}

#[test]
fn every_flag_has_its_place() {
    let line = [
        "-p",
        "1",
        "-z",
        "2",
        "-e",
        "3",
        "-u",
        "4,5",
        "-g",
        "6",
        "-b",
        "7",
        "-d",
        "8",
        "-o",
        "9",
        "-q",
        "10",
        "-i",
        "10.0.0.0/8",
        "-x",
        "10.1.0.0/16",
        "-m",
        "",
    ];
    assert_eq!(
        rules(&line),
        Ok(Rules {
            outbound_port: 1,
            inbound_port: 2,
            tunnel_port: 3,
            proxy_uids: vec![4, 5],
            proxy_gids: vec![6],
            inbound: Ports::List(vec![7]),
            inbound_exclude: vec![8],
            outbound_exclude: vec![9],
            outbound_include: vec![10],
            networks: Networks::List(vec!["10.0.0.0/8".parse().unwrap()]),
            networks_exclude: vec!["10.1.0.0/16".parse().unwrap()],
            dns: None,
        })
    );
}

#[test]
fn empty_means_nothing() {
    let rules = rules(&[]).unwrap();
    assert_eq!(rules.inbound, Ports::List(vec![]));
    assert_eq!(rules.networks, Networks::List(vec![]));
}

#[test]
fn groups_of_the_proxy_are_its_users_when_not_given() {
    let rules = rules(&["-u", "7,8"]).unwrap();
    assert_eq!(rules.proxy_gids, [7, 8]);
}

#[test]
fn a_wrong_value_is_named_with_its_flag() {
    for (flag, value) in [
        ("-u", "root"),
        ("-g", "x"),
        ("-b", "x"),
        ("-d", "0"),
        ("-o", "65536"),
        ("-q", "-1"),
        ("-i", "10.0.0.0/33"),
        ("-x", "a.b"),
    ] {
        let text = rules(&[&format!("{flag}={value}")]).unwrap_err().to_string();
        assert!(text.starts_with(&format!("{flag}: `{value}` is not")), "{text}");
    }
    for flag in ["-d", "-o", "-q", "-x"] {
        assert_eq!(rules(&[flag, "*"]), Err(RulesError::Wildcard { flag }));
    }
}

#[test]
fn what_is_not_supported_is_refused() {
    assert_eq!(rules(&["-m", "TPROXY"]), Err(RulesError::Mode("TPROXY".into())));
    assert_eq!(rules(&["-k", "eth1"]), Err(RulesError::Kubevirt));
}

#[test]
fn dns_is_captured_from_the_servers_of_resolv_conf() {
    let dns = rules(&["--redirect-dns"]).unwrap().dns.unwrap();
    assert_eq!(dns.port, 15053);
    assert_eq!(dns.servers, ["10.96.0.10".parse::<IpAddr>().unwrap(), "fd00::a".parse().unwrap()]);
}

#[test]
fn lines_of_resolv_conf_that_name_no_server() {
    let servers = name_servers(
        "  nameserver\t192.0.2.1  \nnameserver\nnameserver x\n#nameserver 192.0.2.2\noptions y\n",
    );
    assert_eq!(servers, ["192.0.2.1".parse::<IpAddr>().unwrap()]);
    assert!(name_servers("").is_empty());
}

/// What a run prints.
fn printed(line: &[&str]) -> String {
    let mut text = String::new();
    run(&args(line), &mut |part| text.push_str(part)).unwrap();
    text
}

#[test]
fn a_dry_run_prints_the_rules_of_the_backend() {
    let rules = Rules::default();
    let all = ["-i", "*", "-b", "*", "-d", "15090,15021,15020", "--dry-run"];
    let with = |backend: &[&str]| printed(&[&all[..], backend].concat());
    assert_eq!(with(&[]), nft::render(&rules));
    assert_eq!(with(&["--backend", "nft"]), nft::render(&rules));
    let both = format!("{}{}", iptables::render_v4(&rules), iptables::render_v6(&rules));
    assert_eq!(with(&["--backend", "iptables"]), both);
}

#[test]
fn a_run_that_neither_loads_nor_checks_is_silent() {
    assert_eq!(printed(&["--skip-rule-apply"]), "");
}

#[test]
fn rules_that_capture_nothing_cannot_be_checked() {
    assert_eq!(
        printed(&["--skip-rule-apply", "--run-validation"]),
        "nothing to validate: the rules capture no IPv4 destination\n"
    );
}

#[test]
fn only_a_failed_check_has_the_status_that_the_repair_controller_looks_for() {
    let expected = "192.0.2.1:15002".parse().unwrap();
    let check = ValidateError::OriginalDestination { expected, found: "nothing".into() };
    assert_eq!(RunError::from(check).exit_code(), 126);
    assert_eq!(RunError::from(RulesError::Kubevirt).exit_code(), 1);
    assert_eq!(RunError::from(ApplyError::Privilege { program: "nft" }).exit_code(), 1);
}
