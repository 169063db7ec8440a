//! An authorization server that is asked before requests pass: what is counted, and clients that do not wait.

use portolan_testing::blocking::{Backend, connect, get, respond, status};
use portolan_testing::nobody;
use serde_json::{Value, json};

use crate::support::config::*;
use crate::support::{Config, Proxy, eventually, on_each};

/// A listener whose requests pass when the server of `cluster` says so.
fn guarded(name: &str, cluster: &str, fields: Value) -> Value {
    let server = json!({"server_uri": {"uri": "http://authz", "cluster": cluster, "timeout": "20s"}});
    let filters = json!([
        {"name": "authz", "typed_config": any(
            "extensions.filters.http.ext_authz.v3.ExtAuthz", with(json!({"http_service": server}), fields),
        )},
        {"name": "router", "typed_config": any("extensions.filters.http.router.v3.Router", json!({}))},
    ]);
    let routes = json!([{"match": {"prefix": "/"}, "route": {"cluster": "host"}}]);
    listener(name, vec![chain(manager_with(name, routes, json!({"http_filters": filters})))])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verdicts_are_counted() {
    let host = Backend::ok("ok");
    let server = Backend::new(|request, _| {
        let code =
            request.split('/').nth(1).and_then(|rest| rest.get(..3)).and_then(|code| code.parse().ok());
        respond(code.unwrap_or(200), "")
    });
    let mut all = Vec::new();
    on_each(async |program| {
        let off = json!({"filter_enabled": {"default_value": {"numerator": 0}}});
        let config = Config {
            listeners: vec![
                guarded("asked", "authz", json!({})),
                guarded("lax", "gone", json!({"failure_mode_allow": true})),
                guarded("off", "authz", off),
            ],
            clusters: vec![
                cluster("host", &[host.address]),
                cluster("authz", &[server.address]),
                cluster("gone", &[nobody()]),
            ],
            ..Config::default()
        };
        let proxy = Proxy::start(program, config).await;
        let asked = proxy.address("asked").await;
        for (path, code) in [("/200", 200), ("/200", 200), ("/401", 401), ("/503", 403)] {
            assert_eq!(status(&get(asked, path, "")), code, "{path}");
        }
        assert_eq!(status(&get(proxy.address("lax").await, "/x", "")), 200);
        assert_eq!(status(&get(proxy.address("off").await, "/403", "")), 200);
        let mut counted = Vec::new();
        for name in ["asked", "lax", "off"] {
            for verdict in ["ok", "denied", "error", "disabled", "failure_mode_allowed"] {
                let stat = format!("http.{name}.ext_authz.{verdict}");
                counted.push((proxy.stat(&stat).await, stat));
            }
        }
        all.push(counted.into_iter().filter(|(count, _)| *count > 0).collect::<Vec<_>>());
    })
    .await;
    let wanted = [
        (2, "http.asked.ext_authz.ok"),
        (1, "http.asked.ext_authz.denied"),
        (1, "http.asked.ext_authz.error"),
        (1, "http.lax.ext_authz.error"),
        (1, "http.lax.ext_authz.failure_mode_allowed"),
        (1, "http.off.ext_authz.disabled"),
    ];
    for counted in all {
        let counted: Vec<_> = counted.iter().map(|(count, stat)| (*count, stat.as_str())).collect();
        assert_eq!(counted, wanted);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_ends_the_question() {
    let (host, server) = (Backend::ok("ok"), Backend::silent());
    on_each(async |program| {
        let config = Config {
            listeners: vec![guarded("asked", "authz", json!({}))],
            clusters: vec![cluster("host", &[host.address]), cluster("authz", &[server.address])],
            ..Config::default()
        };
        let proxy = Proxy::start(program, config).await;
        let before = server.count();
        let mut client = connect(proxy.address("asked").await);
        std::io::Write::write_all(&mut client, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
        eventually("the question", async || (server.count() > before).then_some(())).await;
        assert_eq!(proxy.stat("http.asked.downstream_rq_active").await, 1);
        drop(client);
        proxy.until_stat("http.asked.downstream_rq_active", 0).await;
    })
    .await;
}
