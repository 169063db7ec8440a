//! Virtual hosts as resources of their own.

use portolan_dataplane::config::{DumpState, Rejection, Upsert};
use prost::Message;

use crate::support::*;

/// Route configuration `r`, which gets its virtual hosts as resources of their own.
fn routes() -> route::RouteConfiguration {
    let source = core::config_source::ConfigSourceSpecifier::Ads(core::AggregatedConfigSource::default());
    let source = core::ConfigSource { config_source_specifier: Some(source), ..Default::default() };
    route::RouteConfiguration {
        name: "r".into(),
        vhds: Some(route::Vhds { config_source: Some(source) }),
        ..Default::default()
    }
}

/// A virtual host that answers its domains with its name.
fn host(name: &str, domains: &[&str]) -> route::VirtualHost {
    says(name, domains, name)
}

fn says(name: &str, domains: &[&str], text: &str) -> route::VirtualHost {
    let body = core::DataSource {
        specifier: Some(core::data_source::Specifier::InlineString(text.to_owned())),
        ..Default::default()
    };
    route::VirtualHost {
        name: name.into(),
        domains: domains.iter().map(|domain| (*domain).to_owned()).collect(),
        routes: vec![route::Route {
            r#match: prefix("/"),
            action: Some(route::route::Action::DirectResponse(route::DirectResponseAction {
                status: 200,
                body: Some(body),
                ..Default::default()
            })),
            ..Default::default()
        }],
        ..Default::default()
    }
}

impl Plane {
    /// A listener that waits for route configuration `r`.
    fn waiting() -> Plane {
        let plane = Plane::new();
        let mut manager = manager(table("unused", vec![]));
        manager.route_specifier = Some(hcm::http_connection_manager::RouteSpecifier::Rds(hcm::Rds {
            route_config_name: "r".into(),
            ..Default::default()
        }));
        plane.apply(ResourceKind::Listener, "l", &listener("l", vec![chain(any(&manager))]));
        plane
    }

    /// One response with these virtual hosts. Returns what is refused.
    fn respond(&self, hosts: &[route::VirtualHost], removed: &[&str]) -> Vec<Rejection> {
        let mut update = ConfigUpdate::new(ResourceKind::VirtualHost);
        update.upserts.extend(hosts.iter().map(|host| Upsert {
            name: format!("r/{}", host.name),
            version: "1".into(),
            body: host.encode_to_vec().into(),
        }));
        update.removed = removed.iter().map(|name| format!("r/{name}")).collect();
        self.plane.config().apply(update).err().unwrap_or_default()
    }

    /// Waits until a request for a host is answered with this; nothing: until it finds no route.
    fn answers(&self, host: &str, wanted: Option<&str>) {
        let at = self.address("l");
        eventually("the host answers as it should", || {
            let answer =
                exchange(at, &format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"));
            let found = (status(&answer) == 200).then(|| body(&answer));
            (found == wanted).then_some(())
        });
    }

    fn waits_for(&self) -> Vec<String> {
        self.plane.config().status().listeners.remove(0).waits_for
    }
}

#[test]
fn a_listener_waits_for_the_first_virtual_host() {
    let plane = Plane::waiting();
    assert_eq!(plane.waits_for(), ["route configuration r"]);
    assert!(!plane.plane.config().needs().borrow().virtual_hosts);
    plane.apply(ResourceKind::Routes, "r", &routes());
    assert_eq!(plane.waits_for(), ["virtual hosts of route configuration r"]);
    assert!(plane.plane.config().needs().borrow().virtual_hosts);
    assert_eq!(plane.respond(&[host("a", &["a.com"]), host("any", &["*"])], &[]), []);
    assert_eq!(plane.waits_for(), [""; 0]);
    plane.answers("a.com", Some("a"));
    plane.answers("b.com", Some("any"));
}

#[test]
fn virtual_hosts_that_came_first_are_there_with_their_route_configuration() {
    let plane = Plane::waiting();
    assert_eq!(plane.respond(&[host("a", &["a.com"])], &[]), []);
    plane.apply(ResourceKind::Routes, "r", &routes());
    plane.answers("a.com", Some("a"));
}

#[test]
fn virtual_hosts_come_and_go_one_by_one() {
    let plane = Plane::waiting();
    plane.apply(ResourceKind::Routes, "r", &routes());
    plane.respond(&[host("a", &["a.com"]), host("b", &["b.com"]), host("any", &["*"])], &[]);
    plane.respond(&[says("a", &["a.com"], "new")], &["b"]);
    plane.answers("a.com", Some("new"));
    plane.answers("b.com", Some("any"));
    plane.respond(&[], &["any"]);
    plane.answers("b.com", None);
    plane.answers("a.com", Some("new"));
}

#[test]
fn a_domain_moves_to_another_virtual_host_in_one_response() {
    let plane = Plane::waiting();
    plane.apply(ResourceKind::Routes, "r", &routes());
    plane.respond(&[host("a", &["a.com"]), host("b", &["b.com", "x.com"])], &[]);
    assert_eq!(plane.respond(&[host("a", &["a.com", "x.com"]), host("b", &["b.com"])], &[]), []);
    plane.answers("x.com", Some("a"));
}

#[test]
fn a_refused_virtual_host_keeps_its_last_version_and_others_move_on() {
    let plane = Plane::waiting();
    plane.apply(ResourceKind::Routes, "r", &routes());
    plane.respond(&[host("a", &["a.com"]), host("b", &["b.com"]), host("c", &["c.com"])], &[]);
    let mut broken = says("a", &["a.com"], "new");
    broken.routes[0].action = None;
    let taken = says("b", &["b.com", "c.com"], "new");
    let refused = plane.respond(&[broken.clone(), taken, host("d", &["d.com"])], &[]);
    let refused: Vec<String> = refused.iter().map(ToString::to_string).collect();
    assert_eq!(
        refused,
        [r#"r/a: route 0 "": missing action"#, r#"r/b: domain "c.com" is listed in virtual host "c" too"#,]
    );
    plane.answers("d.com", Some("d"));
    plane.answers("a.com", Some("a"));
    plane.answers("b.com", Some("b"));

    let dump = plane.plane.config().dump();
    let error = dump.iter().find(|entry| entry.name == "r").unwrap().error.clone().unwrap();
    assert!(error.2.starts_with("virtual host \""), "{error:?}");
    broken.routes[0].action = says("", &[], "good").routes.remove(0).action;
    assert_eq!(plane.respond(&[broken, host("b", &["b.com"])], &[]), []);
    plane.answers("a.com", Some("good"));
    assert!(plane.plane.config().dump().iter().all(|entry| entry.error.is_none()));
}

#[test]
fn names_must_fit() {
    let plane = Plane::waiting();
    plane.apply(ResourceKind::Routes, "r", &routes());
    let message = host("a", &["a.com"]);
    assert_eq!(plane.reject(ResourceKind::VirtualHost, "r/b", &message), r#"r/b: the message is named "a""#);
    let reason = plane.reject(ResourceKind::VirtualHost, "a", &message);
    assert!(reason.contains("<route configuration>/<virtual host>"), "{reason}");
    plane.apply(ResourceKind::VirtualHost, "r/r/c", &host("r/c", &["c.com"]));
    plane.apply(ResourceKind::VirtualHost, "r/d", &host("r/d", &["d.com"]));
    plane.answers("c.com", Some("r/c"));
    plane.answers("d.com", Some("r/d"));
}

#[test]
fn the_dump_shows_route_configurations_with_their_virtual_hosts() {
    let plane = Plane::waiting();
    let mut message = routes();
    message.virtual_hosts.push(host("own", &["own.com"]));
    plane.apply(ResourceKind::Routes, "r", &message);
    let entry = || plane.plane.config().dump().into_iter().find(|entry| entry.name == "r").unwrap();
    assert_eq!((entry().state, entry().body.to_vec()), (DumpState::Warming, message.encode_to_vec()));

    plane.respond(&[host("b", &["b.com"]), host("a", &["a.com"])], &[]);
    let other = ConfigUpdate::new(ResourceKind::VirtualHost).upsert(
        "r2/a",
        "1",
        host("a", &["other.com"]).encode_to_vec(),
    );
    plane.plane.config().apply(other).unwrap();
    message.virtual_hosts.extend([host("a", &["a.com"]), host("b", &["b.com"])]);
    assert_eq!(entry().state, DumpState::Active);
    assert_eq!(route::RouteConfiguration::decode(entry().body).unwrap(), message);
    let kinds = plane.plane.config().dump().into_iter().map(|entry| entry.kind);
    assert!(kinds.into_iter().all(|kind| kind != ResourceKind::VirtualHost));
}

#[test]
fn vhds_is_refused_where_virtual_hosts_cannot_come_from() {
    let plane = Plane::new();
    let update = ConfigUpdate::new(ResourceKind::Routes).upsert("r", "1", routes().encode_to_vec());
    let refused = plane.plane.config().apply(update.without_vhds()).unwrap_err();
    assert_eq!(refused[0].to_string(), "r: vhds works only over a delta ADS stream");
    let manager = manager(routes());
    let reason = plane.reject(ResourceKind::Listener, "l", &listener("l", vec![chain(any(&manager))]));
    assert!(reason.contains("vhds works only in route configurations that come by RDS"), "{reason}");
}
