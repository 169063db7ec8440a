//! Envoy mode: a stock Envoy runs from our bootstrap, with configuration and certificates through our sockets.
//!
//! The program is taken from `PORTOLAN_ENVOY`.

mod support;

use std::time::Duration;

use serde_json::json;
use support::istiod::{CLUSTER, ENDPOINTS, Istiod, LISTENER, ROUTES, SECRET, Seen};
use support::program::Program;
use support::{eventually, free_port, http, https};

fn envoy() -> Option<String> {
    Some(portolan_testing::needs::envoy()?.display().to_string())
}

/// SDS through the agent's socket.
fn sds(name: &str) -> serde_json::Value {
    json!({
        "name": name,
        "sds_config": {
            "api_config_source": {
                "api_type": "GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": true,
                "grpc_services": [{"envoy_grpc": {"cluster_name": "sds-grpc"}}],
            },
            "initial_fetch_timeout": "0s",
            "resource_api_version": "V3",
        },
    })
}

/// A listener with mutual TLS that answers from a route table by RDS.
fn listener(port: u16) -> serde_json::Value {
    json!({
        "name": "in",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{
            "transport_socket": {
                "name": "envoy.transport_sockets.tls",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
                    "require_client_certificate": true,
                    "common_tls_context": {
                        "tls_certificate_sds_secret_configs": [sds("default")],
                        "combined_validation_context": {
                            "default_validation_context": {},
                            "validation_context_sds_secret_config": sds("ROOTCA"),
                        },
                    },
                },
            },
            "filters": [{
                "name": "envoy.filters.network.http_connection_manager",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                    "stat_prefix": "in",
                    "rds": {"route_config_name": "r", "config_source": {"ads": {}, "resource_api_version": "V3"}},
                    "http_filters": [{
                        "name": "envoy.filters.http.router",
                        "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
                    }],
                },
            }],
        }],
    })
}

fn routes(body: &str) -> serde_json::Value {
    json!({
        "name": "r",
        "virtual_hosts": [{
            "name": "all",
            "domains": ["*"],
            "routes": [{
                "match": {"prefix": "/"},
                "direct_response": {"status": 200, "body": {"inline_string": body}},
            }],
        }],
    })
}

/// How long certificates live where they are to be seen rotating.
const CERTIFICATE_TTL: Duration = Duration::from_secs(6);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn envoy_serves_with_our_certificates_and_configuration() {
    let Some(envoy) = envoy() else { return };
    let istiod = Istiod::start().await;
    let port = free_port();
    istiod.set(
        CLUSTER,
        "c",
        json!({
            "name": "c", "type": "EDS", "connect_timeout": "1s",
            "eds_cluster_config": {"eds_config": {"ads": {}, "resource_api_version": "V3"}},
        }),
    );
    istiod.set(ENDPOINTS, "c", json!({"cluster_name": "c"}));
    istiod.set(LISTENER, "in", listener(port));
    istiod.set(ROUTES, "r", routes("one"));

    let program = Program::start(&istiod, &["--envoy", &envoy], &[]);
    program.ready().await;

    // Mutual TLS with certificates of the same authority works both ways.
    let (certificate, key) = istiod.issue("spiffe://west.local/ns/shop/sa/client");
    let address = format!("127.0.0.1:{port}");
    let root = istiod.root_pem().to_owned();
    let answer = https(&address, "/", &root, (&certificate, &key)).await.unwrap();
    assert_eq!(answer, (200, "one".into()));

    // A strange client is refused.
    let stranger = support::istiod::Authority::new("elsewhere");
    let (certificate_2, key_2) = stranger.issue("spiffe://west.local/ns/shop/sa/client");
    assert!(https(&address, "/", &root, (&certificate_2, &key_2)).await.is_err());

    // A trust bundle from istiod (here: the stranger's root too) reaches Envoy through SDS, not through ADS.
    use base64::Engine;
    let both = format!("{root}{}", stranger.root_pem);
    let encoded = base64::engine::general_purpose::STANDARD.encode(&both);
    istiod.set(
        SECRET,
        "ROOTCA",
        json!({"name": "ROOTCA", "validation_context": {"trusted_ca": {"inline_bytes": encoded}}}),
    );
    eventually("the stranger is trusted", async || {
        https(&address, "/", &root, (&certificate_2, &key_2)).await.ok().filter(|(status, _)| *status == 200)
    })
    .await;

    // A route change arrives, a wrong one is NACKed by Envoy and the old one stays.
    istiod.set(ROUTES, "r", routes("two"));
    eventually("the new route", async || {
        https(&address, "/", &root, (&certificate, &key)).await.ok().filter(|(_, body)| body == "two")
    })
    .await;
    istiod.set(LISTENER, "bad", json!({"name": "bad"}));
    eventually("the NACK", async || {
        istiod.seen().into_iter().find(|seen| matches!(seen, Seen::Nack { type_url, reason } if type_url == LISTENER && reason.contains("bad")))
    })
    .await;
    istiod.remove(LISTENER, "bad");

    // The stream breaks: Envoy comes back through us and says what it holds.
    istiod.forget();
    istiod.cut();
    eventually("the resumed stream", async || {
        istiod
            .seen()
            .into_iter()
            .find(|seen| matches!(seen, Seen::Subscribe { type_url, held: 1.., .. } if type_url == CLUSTER))
    })
    .await;
    assert!(istiod.seen().iter().any(|seen| matches!(seen, Seen::Stream { token: true, .. })));

    let (status, metrics) = http("GET", &program.status(), "/stats/prometheus").await.unwrap();
    assert_eq!(status, 200);
    assert!(
        metrics.contains("envoy_server_live") && metrics.contains("istio_agent_cert_expiry_seconds"),
        "{metrics}"
    );
    let metrics = http("GET", &format!("127.0.0.1:{}", program.ports.prometheus), "/stats/prometheus").await;
    assert_eq!(metrics.unwrap().0, 200);

    let ended = program.terminate().await;
    assert!(ended.success(), "{ended}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_rotate_under_envoy() {
    let Some(envoy) = envoy() else { return };
    let istiod = Istiod::start().await;
    istiod.set_certificate_ttl(CERTIFICATE_TTL);
    let port = free_port();
    istiod.set(LISTENER, "in", listener(port));
    istiod.set(ROUTES, "r", routes("one"));
    let program = Program::start(&istiod, &["--envoy", &envoy], &[]);
    program.ready().await;
    let (certificate, key) = istiod.issue("spiffe://west.local/ns/shop/sa/client");
    let address = format!("127.0.0.1:{port}");
    let root = istiod.root_pem().to_owned();
    let start = tokio::time::Instant::now();
    let issued = || istiod.seen().iter().filter(|seen| matches!(seen, Seen::Csr { token: true, .. })).count();
    // Until the first certificate has expired: without rotation the handshake would fail then.
    eventually("the third certificate", async || {
        let answer = https(&address, "/", &root, (&certificate, &key)).await.unwrap();
        assert_eq!(answer.0, 200);
        (issued() >= 3 && start.elapsed() > CERTIFICATE_TTL).then_some(())
    })
    .await;
    let ended = program.terminate().await;
    assert!(ended.success(), "{ended}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn envoy_does_not_outlive_its_agent() {
    let Some(envoy) = envoy() else { return };
    let istiod = Istiod::start().await;
    let mut program = Program::start(&istiod, &["--envoy", &envoy], &[]);
    program.ready().await;
    program.child.kill().await.unwrap();
    eventually("the end of Envoy", async || {
        http("GET", &program.admin(), "/ready").await.is_none().then_some(())
    })
    .await;
}
