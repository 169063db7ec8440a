//! Flags, environment and the Pod's own files laid over one another: from them the settings of the agent.
//!
//! Precedence and defaults are those of Istio's `pilot-agent proxy`, version 1.9.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use portolan_names::{annotations, env, names, paths, ports};

use super::config::{AgentConfig, DataPlaneChoice, Flags, Role};
use super::env::{EnvError, Variables};
use super::pod_info::PodInfo;
use super::proxy_config::ProxyConfig;

/// Lifetime asked for in a certificate request unless `SECRET_TTL` says otherwise.
const DEFAULT_SECRET_TTL: Duration = Duration::from_secs(24 * 3600);
/// Part of a certificate's lifetime that is left when it is renewed (`SECRET_GRACE_PERIOD_RATIO`).
const DEFAULT_GRACE_RATIO: f64 = 0.5;
/// Shortest drain under `EXIT_ON_ZERO_ACTIVE_CONNECTIONS` unless `MINIMUM_DRAIN_DURATION` says otherwise.
const DEFAULT_MINIMUM_DRAIN: Duration = Duration::from_secs(5);
/// Worker threads of a sidecar, which shares the machine with its application. A gateway has it for itself.
const SIDECAR_CONCURRENCY: u32 = 2;

impl AgentConfig {
    /// Resolves the settings. `env` is the process environment, `pod` the downward API's view.
    pub fn resolve(flags: Flags, mut env: BTreeMap<String, String>, pod: PodInfo) -> Result<Self, EnvError> {
        let proxy = ProxyConfig::load(
            env.get(env::PROXY_CONFIG).map(String::as_str),
            pod.annotations.get(annotations::PROXY_CONFIG).map(String::as_str),
        )?;
        env.extend(proxy.proxy_metadata.iter().cloned());
        let vars = Variables(&env);

        let pod_namespace = vars.required(env::POD_NAMESPACE)?;
        let root = root(vars);
        Ok(AgentConfig {
            role: flags.role,
            data_plane: data_plane(flags.envoy, vars, &proxy)?,
            domain: flags
                .domain
                .filter(|d| !d.is_empty())
                .unwrap_or_else(|| format!("{pod_namespace}.svc.cluster.local")),
            pod_name: vars.required(env::POD_NAME)?,
            service_account: vars.text_or(env::SERVICE_ACCOUNT, "default"),
            instance_ips: instance_ips(vars),
            labels: over(pod.labels, vars.map("ISTIO_METAJSON_LABELS")?),
            annotations: over(pod.annotations, vars.map(env::ISTIO_METAJSON_ANNOTATIONS)?),
            service_cluster: flags.service_cluster.unwrap_or_else(|| proxy.service_cluster.clone()),
            concurrency: flags.concurrency.or(proxy.concurrency).unwrap_or(match flags.role {
                Role::Sidecar => SIDECAR_CONCURRENCY,
                Role::Router => 0,
            }),
            proxy_log_level: flags.proxy_log_level,
            proxy_component_log_level: flags.proxy_component_log_level,
            xds_address: proxy.discovery_address.clone(),
            ca_address: vars.text_or(env::CA_ADDR, &proxy.discovery_address),
            xds_root: vars.text_or("XDS_ROOT_CA", root).into(),
            ca_root: vars.text_or("CA_ROOT_CA", root).into(),
            token_path: token_path(vars),
            cluster_id: vars.text_or(env::ISTIO_META_CLUSTER_ID, names::CLUSTER_ID),
            trust_domain: vars.text_or(env::TRUST_DOMAIN, names::TRUST_DOMAIN),
            secret_ttl: vars.duration(env::SECRET_TTL, DEFAULT_SECRET_TTL)?,
            grace_ratio: vars.ratio(env::SECRET_GRACE_PERIOD_RATIO, DEFAULT_GRACE_RATIO)?,
            output_certs: vars.text("OUTPUT_CERTS").map(PathBuf::from),
            admin_port: vars.port("ENVOY_ADMIN_PORT", proxy.proxy_admin_port)?,
            status_port: vars.port(env::STATUS_PORT, proxy.status_port)?,
            health_port: vars.port(env::ENVOY_STATUS_PORT, ports::HEALTH)?,
            prometheus_port: vars.port(env::ENVOY_PROMETHEUS_PORT, ports::PROXY_METRICS)?,
            dns_port: dns_port(vars)?,
            drain_until_idle: drain_until_idle(vars)?,
            pod_namespace,
            proxy,
            env,
        })
    }
}

fn over(mut base: BTreeMap<String, String>, more: BTreeMap<String, String>) -> BTreeMap<String, String> {
    base.extend(more);
    base
}

fn instance_ips(vars: Variables<'_>) -> Vec<String> {
    vars.text("ISTIO_META_INSTANCE_IPS")
        .or_else(|| vars.text(env::INSTANCE_IP))
        .or_else(local_address)
        .unwrap_or_else(|| "127.0.0.1".to_owned())
        .split(',')
        .map(|ip| ip.trim().to_owned())
        .collect()
}

/// The address that the default route would use. No packet is sent: connecting a UDP socket only looks up
/// the route.
fn local_address() -> Option<String> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip().to_string())
}

fn root(vars: Variables<'_>) -> &'static str {
    match vars.text(env::PILOT_CERT_PROVIDER).as_deref() {
        Some("kubernetes") => paths::KUBERNETES_ROOT,
        _ => paths::ISTIOD_ROOT,
    }
}

fn token_path(vars: Variables<'_>) -> PathBuf {
    let default = match vars.text(env::JWT_POLICY).as_deref() {
        Some("first-party-jwt") => paths::SERVICE_ACCOUNT_TOKEN,
        _ => paths::TOKEN,
    };
    vars.text_or("PORTOLAN_TOKEN_PATH", default).into()
}

/// Which data plane runs: the flag names an Envoy, or the environment says that there is one.
fn data_plane(
    envoy: Option<PathBuf>,
    vars: Variables<'_>,
    proxy: &ProxyConfig,
) -> Result<DataPlaneChoice, EnvError> {
    if let Some(program) = envoy {
        return Ok(DataPlaneChoice::Envoy(program));
    }
    match vars.text(env::PORTOLAN_PROXY) {
        None => Ok(DataPlaneChoice::Portolan),
        Some(choice) if choice == "portolan" => Ok(DataPlaneChoice::Portolan),
        Some(choice) if choice == "envoy" => {
            let program = vars.text(env::ENVOY_PATH).or_else(|| vars.text("PORTOLAN_ENVOY"));
            Ok(DataPlaneChoice::Envoy(program.unwrap_or_else(|| proxy.binary_path.clone()).into()))
        }
        Some(value) => {
            Err(EnvError::Variable { name: env::PORTOLAN_PROXY, value, reason: "expected portolan or envoy" })
        }
    }
}

fn dns_port(vars: Variables<'_>) -> Result<Option<u16>, EnvError> {
    match vars.text(env::ISTIO_META_DNS_CAPTURE).as_deref() {
        Some("true" | "1" | "ALL") => vars.port("DNS_PROXY_PORT", ports::DNS).map(Some),
        _ => Ok(None),
    }
}

fn drain_until_idle(vars: Variables<'_>) -> Result<Option<Duration>, EnvError> {
    match vars.text("EXIT_ON_ZERO_ACTIVE_CONNECTIONS").as_deref() {
        Some("true") => vars.duration("MINIMUM_DRAIN_DURATION", DEFAULT_MINIMUM_DRAIN).map(Some),
        _ => Ok(None),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Settings of a sidecar `productpage` in namespace `bookinfo`.
    pub(crate) fn sidecar(extra: &[(&str, &str)]) -> AgentConfig {
        let env =
            [("POD_NAME", "productpage-1"), ("POD_NAMESPACE", "bookinfo"), ("INSTANCE_IP", "10.64.0.9")]
                .iter()
                .chain(extra)
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect();
        AgentConfig::resolve(flags(), env, PodInfo::default()).unwrap()
    }

    pub(crate) fn flags() -> Flags {
        Flags {
            role: Role::Sidecar,
            domain: None,
            service_cluster: None,
            concurrency: None,
            proxy_log_level: "warning".into(),
            proxy_component_log_level: "misc:error".into(),
            envoy: None,
        }
    }

    #[test]
    fn defaults_follow_the_injector() {
        let config = sidecar(&[("SERVICE_ACCOUNT", "productpage"), ("TRUST_DOMAIN", "west.local")]);
        assert_eq!(config.node_id(), "sidecar~10.64.0.9~productpage-1.bookinfo~bookinfo.svc.cluster.local");
        assert_eq!(config.spiffe_id(), "spiffe://west.local/ns/bookinfo/sa/productpage");
        assert_eq!(config.token_path, PathBuf::from(paths::TOKEN));
        assert_eq!(config.xds_root, PathBuf::from(paths::ISTIOD_ROOT));
        assert_eq!((config.admin_port, config.status_port), (15000, 15020));
        assert_eq!((config.health_port, config.prometheus_port), (15021, 15090));
        assert_eq!(config.data_plane, DataPlaneChoice::Portolan);
        assert_eq!(config.concurrency, 2);
    }

    #[test]
    fn proxy_metadata_is_environment() {
        let config = sidecar(&[
            (
                "PROXY_CONFIG",
                r#"{"proxyMetadata":{"SECRET_TTL":"1h","PORTOLAN_PROXY":"envoy","ENVOY_PATH":"/e"}}"#,
            ),
            ("JWT_POLICY", "first-party-jwt"),
        ]);
        assert_eq!(config.secret_ttl, Duration::from_secs(3600));
        assert_eq!(config.data_plane, DataPlaneChoice::Envoy("/e".into()));
        assert_eq!(config.token_path, PathBuf::from(paths::SERVICE_ACCOUNT_TOKEN));
    }

    #[test]
    fn the_drain_ends_with_the_last_connection_only_when_asked_to() {
        let drain = |extra: &[(&str, &str)]| sidecar(extra).drain_until_idle;
        let asked = ("EXIT_ON_ZERO_ACTIVE_CONNECTIONS", "true");
        assert_eq!(drain(&[]), None);
        assert_eq!(drain(&[("MINIMUM_DRAIN_DURATION", "9s")]), None);
        assert_eq!(drain(&[asked]), Some(DEFAULT_MINIMUM_DRAIN));
        assert_eq!(drain(&[asked, ("MINIMUM_DRAIN_DURATION", "9s")]), Some(Duration::from_secs(9)));
    }

    #[test]
    fn dns_is_answered_only_when_captured() {
        assert_eq!(sidecar(&[]).dns_port, None);
        assert_eq!(sidecar(&[("ISTIO_META_DNS_CAPTURE", "true")]).dns_port, Some(ports::DNS));
    }

    #[test]
    fn ports_are_those_of_the_configuration_unless_the_environment_says_otherwise() {
        let of = |extra: &[(&str, &str)]| {
            let config = sidecar(extra);
            [config.admin_port, config.status_port, config.health_port, config.prometheus_port]
        };
        let configured = ("PROXY_CONFIG", r#"{"proxyAdminPort": 1, "statusPort": 2}"#);
        assert_eq!(of(&[]), [15000, 15020, 15021, 15090]);
        assert_eq!(of(&[configured]), [1, 2, 15021, 15090]);
        let said = [
            configured,
            ("ENVOY_ADMIN_PORT", "3"),
            ("STATUS_PORT", "4"),
            ("ENVOY_STATUS_PORT", "5"),
            ("ENVOY_PROMETHEUS_PORT", "6"),
        ];
        assert_eq!(of(&said), [3, 4, 5, 6]);
    }

    #[test]
    fn an_envoy_is_where_the_configuration_says() {
        let of = |extra: &[(&str, &str)]| sidecar(extra).data_plane;
        let configured = ("PROXY_CONFIG", r#"{"binaryPath": "/b"}"#);
        let asked = ("PORTOLAN_PROXY", "envoy");
        assert_eq!(of(&[configured]), DataPlaneChoice::Portolan);
        assert_eq!(of(&[configured, asked]), DataPlaneChoice::Envoy("/b".into()));
        let other = ("PORTOLAN_ENVOY", "/o");
        assert_eq!(of(&[configured, asked, other]), DataPlaneChoice::Envoy("/o".into()));
        assert_eq!(
            of(&[configured, asked, other, ("ENVOY_PATH", "/e")]),
            DataPlaneChoice::Envoy("/e".into())
        );
    }

    #[test]
    fn files_are_where_the_environment_says() {
        let of = |extra: &[(&str, &str)]| {
            let config = sidecar(extra);
            let path = |path: PathBuf| path.display().to_string();
            [path(config.xds_root), path(config.ca_root), path(config.token_path)]
        };
        assert_eq!(of(&[]), [paths::ISTIOD_ROOT, paths::ISTIOD_ROOT, paths::TOKEN]);
        let kubernetes = [("PILOT_CERT_PROVIDER", "kubernetes"), ("JWT_POLICY", "first-party-jwt")];
        assert_eq!(
            of(&kubernetes),
            [paths::KUBERNETES_ROOT, paths::KUBERNETES_ROOT, paths::SERVICE_ACCOUNT_TOKEN]
        );
        let said = [("XDS_ROOT_CA", "/x"), ("CA_ROOT_CA", "/c"), ("PORTOLAN_TOKEN_PATH", "/t")];
        assert_eq!(of(&said), ["/x", "/c", "/t"]);
        let outputs = |extra: &[(&str, &str)]| sidecar(extra).output_certs;
        assert_eq!(outputs(&[]), None);
        assert_eq!(outputs(&[("OUTPUT_CERTS", "/o")]), Some("/o".into()));
    }

    #[test]
    fn the_authority_is_the_control_plane_unless_the_environment_names_another() {
        let configured = ("PROXY_CONFIG", r#"{"discoveryAddress": "istiod.west:15012"}"#);
        let of = |extra: &[(&str, &str)]| sidecar(extra).ca_address;
        assert_eq!(of(&[configured]), "istiod.west:15012");
        assert_eq!(of(&[configured, ("CA_ADDR", "ca:1")]), "ca:1");
    }

    #[test]
    fn certificates_live_as_long_as_the_environment_says() {
        let config = sidecar(&[("SECRET_TTL", "2h"), ("SECRET_GRACE_PERIOD_RATIO", "0.25")]);
        assert_eq!(config.secret_ttl, Duration::from_secs(7200));
        assert!((config.grace_ratio - 0.25).abs() < 1e-9, "{}", config.grace_ratio);
    }

    #[test]
    fn wrong_values_are_named() {
        let env = BTreeMap::from([("POD_NAMESPACE".to_owned(), "x".to_owned())]);
        let error = AgentConfig::resolve(flags(), env.clone(), PodInfo::default()).unwrap_err();
        assert!(error.to_string().starts_with("environment variable POD_NAME is not set"), "{error}");
        let mut env = env;
        env.extend([("POD_NAME".to_owned(), "p".to_owned()), ("SECRET_TTL".to_owned(), "long".to_owned())]);
        let error = AgentConfig::resolve(flags(), env, PodInfo::default()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "environment variable SECRET_TTL=\"long\": expected a duration such as 24h"
        );
    }
}
