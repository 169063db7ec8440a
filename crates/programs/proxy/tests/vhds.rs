//! Virtual hosts as resources of their own, from a control plane double to requests.

mod support;

use serde_json::{Value, json};
use support::istiod::{Istiod, LISTENER, ROUTES, Seen, VIRTUAL_HOST};
use support::program::Program;
use support::{eventually, free_port, http};

fn listener(port: u16) -> Value {
    let manager = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
    let router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
    json!({
        "name": "l",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": {
            "@type": manager,
            "stat_prefix": "outbound",
            "rds": {"route_config_name": "80", "config_source": {"ads": {}, "resource_api_version": "V3"}},
            "http_filters": [{"name": "router", "typed_config": {"@type": router}}],
        }}]}],
    })
}

fn routes() -> Value {
    json!({"name": "80", "vhds": {"config_source": {"ads": {}, "resource_api_version": "V3"}}})
}

/// A virtual host that answers with this text.
fn host(name: &str, domain: &str, text: &str) -> Value {
    json!({
        "name": name,
        "domains": [domain],
        "routes": [{"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": text}}}],
    })
}

/// The proxy of the test and the control plane that it has.
struct Bed {
    istiod: Istiod,
    program: Program,
    port: u16,
}

impl Bed {
    async fn start() -> Bed {
        let istiod = Istiod::start().await;
        let port = free_port();
        istiod.set(LISTENER, "l", listener(port));
        let program = Program::start(&istiod, &[], &[]);
        Bed { istiod, program, port }
    }

    fn host(&self, name: &str, domain: &str, text: &str) {
        self.istiod.set(VIRTUAL_HOST, &format!("80/{name}"), host(name, domain, text));
    }

    async fn get(&self, host: &str) -> Option<(u16, String)> {
        // In the target: the client has a `host` of its own already.
        http("GET", &format!("127.0.0.1:{}", self.port), &format!("http://{host}/")).await
    }

    /// Waits until a host is answered with this.
    async fn answers(&self, host: &str, text: &str) {
        eventually(&format!("{text} from {host}"), async || {
            self.get(host).await.filter(|answer| *answer == (200, text.to_owned()))
        })
        .await;
    }

    async fn seen(&self, what: &str, check: impl Fn(&Seen) -> bool) -> Seen {
        eventually(what, async || self.istiod.seen().into_iter().find(&check)).await
    }

    fn asked(&self) -> bool {
        let asked =
            |seen: &Seen| matches!(seen, Seen::Subscribe { type_url, .. } if type_url == VIRTUAL_HOST);
        self.istiod.seen().iter().any(asked)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_go_where_virtual_hosts_say() {
    let bed = Bed::start().await;
    bed.istiod.set(ROUTES, "80", routes());
    let subscribed = bed
        .seen(
            "the subscription to virtual hosts",
            |seen| matches!(seen, Seen::Subscribe { type_url, .. } if type_url == VIRTUAL_HOST),
        )
        .await;
    assert!(matches!(subscribed, Seen::Subscribe { names, held: 0, .. } if names.is_empty()));
    assert_eq!(bed.get("a.com").await, None, "the listener waits for the first virtual host");
    bed.host("any", "*", "any");
    bed.answers("a.com", "any").await;
    bed.host("a", "a.com", "one");
    bed.answers("a.com", "one").await;
    bed.answers("b.com", "any").await;

    // A bad one is refused by name, the rest goes on.
    bed.istiod.set(VIRTUAL_HOST, "80/a", json!({"name": "a", "domains": ["a.com"], "routes": [{}]}));
    let nack = bed.seen("the NACK", |seen| matches!(seen, Seen::Nack { .. })).await;
    assert!(
        matches!(&nack, Seen::Nack { type_url, reason } if type_url == VIRTUAL_HOST && reason.starts_with("80/a: ")),
        "{nack:?}"
    );
    bed.host("c", "c.com", "three");
    bed.answers("c.com", "three").await;
    bed.answers("a.com", "one").await;

    // The dump has them in their route configuration, where istioctl looks for them.
    let (_, dump) =
        http("GET", &bed.program.admin(), "/config_dump?resource=dynamic_route_configs").await.unwrap();
    let dump: Value = serde_json::from_str(&dump).unwrap();
    let config = &dump["configs"][0];
    assert_eq!(config["route_config"]["name"], "80", "{config:#}");
    let names: Vec<&str> = config["route_config"]["virtual_hosts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|host| host["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["a", "any", "c"]);
    let error = config["error_state"]["details"].as_str().unwrap();
    assert!(error.starts_with("virtual host \"a\": "), "{error}");
    assert!(bed.program.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_one_virtual_host_leaves_requests_of_others_alone() {
    let bed = Bed::start().await;
    bed.istiod.set(ROUTES, "80", routes());
    bed.host("a", "a.com", "0");
    bed.host("b", "b.com", "b");
    bed.answers("b.com", "b").await;
    for version in 1..=20 {
        let wanted = (200, version.to_string());
        bed.host("a", "a.com", &wanted.1);
        eventually("the new version", async || {
            assert_eq!(bed.get("b.com").await, Some((200, "b".to_owned())));
            bed.get("a.com").await.filter(|answer| *answer == wanted)
        })
        .await;
    }
    bed.istiod.remove(VIRTUAL_HOST, "80/a");
    eventually("the end of a.com", async || bed.get("a.com").await.filter(|(status, _)| *status == 404))
        .await;
    assert_eq!(bed.get("b.com").await, Some((200, "b".to_owned())));
    assert!(bed.program.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reconnected_proxy_says_which_virtual_hosts_it_has() {
    let bed = Bed::start().await;
    bed.istiod.set(ROUTES, "80", routes());
    bed.host("a", "a.com", "a");
    bed.host("b", "b.com", "b");
    bed.answers("b.com", "b").await;
    bed.istiod.forget();
    bed.istiod.cut();
    bed.seen("the resumed subscription", |seen| {
        matches!(seen, Seen::Subscribe { type_url, names, held: 2 } if type_url == VIRTUAL_HOST && names.is_empty())
    })
    .await;
    bed.host("c", "c.com", "c");
    bed.answers("c.com", "c").await;
    bed.answers("a.com", "a").await;
    assert!(bed.program.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_plane_whose_route_configurations_are_whole_is_not_asked() {
    let bed = Bed::start().await;
    bed.istiod.set(ROUTES, "80", json!({"name": "80", "virtual_hosts": [host("a", "a.com", "whole")]}));
    bed.answers("a.com", "whole").await;
    assert!(!bed.asked());
    // One that learns to: what was whole serves until the first virtual host is there.
    bed.istiod.set(ROUTES, "80", routes());
    bed.seen(
        "the subscription to virtual hosts",
        |seen| matches!(seen, Seen::Subscribe { type_url, .. } if type_url == VIRTUAL_HOST),
    )
    .await;
    assert_eq!(bed.get("a.com").await, Some((200, "whole".to_owned())));
    bed.host("a", "a.com", "part");
    bed.answers("a.com", "part").await;
    // And one that forgets it again.
    bed.istiod.set(ROUTES, "80", json!({"name": "80", "virtual_hosts": [host("a", "a.com", "whole again")]}));
    bed.answers("a.com", "whole again").await;
    assert!(bed.program.terminate().await.success());
}
