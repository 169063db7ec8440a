//! The agent's settings, from the environment, the Pod's downward API files and the command line.
//!
//! Names of variables and files are those of Istio's `pilot-agent`, so that any injector's output works.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use portolan_names::{annotations, names, paths, ports};
use serde_json::Value;

use super::duration;
use super::proxy_config::{ProxyConfig, ProxyConfigError};

/// Lifetime asked for in a certificate request unless `SECRET_TTL` says otherwise.
pub const DEFAULT_SECRET_TTL: Duration = Duration::from_secs(24 * 3600);
/// Part of a certificate's lifetime that is left when it is renewed (`SECRET_GRACE_PERIOD_RATIO`).
pub const DEFAULT_GRACE_RATIO: f64 = 0.5;
/// The version that the node reports; it drives compatibility switches in control planes.
pub const ISTIO_VERSION: &str = "1.9.9";

/// Sidecar of a workload, or gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// `proxy sidecar`
    Sidecar,
    /// `proxy router`
    Router,
}

impl Role {
    /// The first part of the node id.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Sidecar => "sidecar",
            Role::Router => "router",
        }
    }
}

/// Which data plane the agent runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DataPlaneChoice {
    /// Our own, in this process.
    Portolan,
    /// Envoy, as a child process with this program.
    Envoy(PathBuf),
}

/// Flags of `proxy`, as pilot-agent takes them.
#[derive(Debug, Clone)]
pub struct Flags {
    /// First argument.
    pub role: Role,
    /// `--domain`
    pub domain: Option<String>,
    /// `--serviceCluster`
    pub service_cluster: Option<String>,
    /// `--concurrency`
    pub concurrency: Option<u32>,
    /// `--proxyLogLevel`
    pub proxy_log_level: String,
    /// `--proxyComponentLogLevel`
    pub proxy_component_log_level: String,
    /// `--envoy PATH`
    pub envoy: Option<PathBuf>,
}

/// Everything that the agent has to know, resolved once at start.
#[derive(Debug, Clone)]
pub struct AgentConfig {
    /// Sidecar or gateway.
    pub role: Role,
    /// Data plane.
    pub data_plane: DataPlaneChoice,
    /// DNS domain, `<ns>.svc.<cluster domain>`.
    pub domain: String,
    /// `POD_NAME`
    pub pod_name: String,
    /// `POD_NAMESPACE`
    pub pod_namespace: String,
    /// `SERVICE_ACCOUNT`
    pub service_account: String,
    /// `INSTANCE_IP`s, first one identifies the node.
    pub instance_ips: Vec<String>,
    /// Labels of the Pod.
    pub labels: BTreeMap<String, String>,
    /// Annotations of the Pod.
    pub annotations: BTreeMap<String, String>,
    /// All environment variables, with `proxyMetadata` laid over them.
    pub env: BTreeMap<String, String>,
    /// The proxy configuration.
    pub proxy: ProxyConfig,
    /// Service cluster for Envoy's `--service-cluster`.
    pub service_cluster: String,
    /// Worker threads; 0 = one per CPU.
    pub concurrency: u32,
    /// Envoy's log level.
    pub proxy_log_level: String,
    /// Envoy's component log levels.
    pub proxy_component_log_level: String,
    /// istiod's xDS address.
    pub xds_address: String,
    /// The CA's address (`CA_ADDR`), else istiod's.
    pub ca_address: String,
    /// Root certificate file that istiod is verified with.
    pub xds_root: PathBuf,
    /// Root certificate file that the CA is verified with.
    pub ca_root: PathBuf,
    /// Bearer token file; re-read before each use.
    pub token_path: PathBuf,
    /// `CLUSTER_ID`, sent with requests to the CA.
    pub cluster_id: String,
    /// `TRUST_DOMAIN`
    pub trust_domain: String,
    /// `SECRET_TTL`
    pub secret_ttl: Duration,
    /// `SECRET_GRACE_PERIOD_RATIO`
    pub grace_ratio: f64,
    /// `OUTPUT_CERTS`: directory to write key and certificates to.
    pub output_certs: Option<PathBuf>,
    /// Admin endpoints, loopback only.
    pub admin_port: u16,
    /// Merged metrics and probes.
    pub status_port: u16,
    /// Health for the kubelet (`ENVOY_STATUS_PORT`).
    pub health_port: u16,
    /// The proxy's own metrics (`ENVOY_PROMETHEUS_PORT`).
    pub prometheus_port: u16,
    /// The DNS proxy (`DNS_PROXY_PORT`), when `ISTIO_META_DNS_CAPTURE` is on.
    pub dns_port: Option<u16>,
}

/// Why the settings are unusable.
#[derive(Debug, thiserror::Error)]
pub enum EnvError {
    /// `PROXY_CONFIG` or the annotation.
    #[error(transparent)]
    ProxyConfig(#[from] ProxyConfigError),
    /// A variable does not parse.
    #[error("environment variable {name}={value:?}: {reason}")]
    Variable {
        /// Its name.
        name: &'static str,
        /// Its value.
        value: String,
        /// What is expected.
        reason: &'static str,
    },
    /// A variable that has no default is missing.
    #[error("environment variable {0} is not set; the injector sets it from the Pod's own fields")]
    Missing(&'static str),
}

/// The Pod's downward API files.
#[derive(Debug, Clone, Default)]
pub struct PodInfo {
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
}

impl PodInfo {
    /// Reads `labels` and `annotations` of `directory`; absent files count as empty.
    pub fn read(directory: &std::path::Path) -> Self {
        let read = |name: &str| {
            std::fs::read_to_string(directory.join(name))
                .map(|text| parse_downward_map(&text))
                .unwrap_or_default()
        };
        PodInfo { labels: read("labels"), annotations: read("annotations") }
    }
}

/// Parses the downward API's `key="value"` lines; values are quoted as Go's `%q`.
pub fn parse_downward_map(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| {
            let (key, value) = line.split_once('=')?;
            let value = serde_json::from_str(value).unwrap_or_else(|_| value.trim_matches('"').to_owned());
            Some((key.to_owned(), value))
        })
        .collect()
}

impl AgentConfig {
    /// Resolves the settings. `env` is the process environment, `pod` the downward API's view.
    pub fn resolve(flags: Flags, mut env: BTreeMap<String, String>, pod: PodInfo) -> Result<Self, EnvError> {
        let proxy = ProxyConfig::load(
            env.get("PROXY_CONFIG").map(String::as_str),
            pod.annotations.get(annotations::PROXY_CONFIG).map(String::as_str),
        )?;
        env.extend(proxy.proxy_metadata.iter().cloned());
        let get = |name: &str| env.get(name).filter(|value| !value.is_empty()).cloned();

        let pod_namespace = get("POD_NAMESPACE").ok_or(EnvError::Missing("POD_NAMESPACE"))?;
        let pod_name = get("POD_NAME").ok_or(EnvError::Missing("POD_NAME"))?;
        let mut labels = pod.labels;
        if let Some(extra) = get("ISTIO_METAJSON_LABELS") {
            labels.extend(json_map("ISTIO_METAJSON_LABELS", extra)?);
        }
        let mut annotations = pod.annotations;
        if let Some(extra) = get("ISTIO_METAJSON_ANNOTATIONS") {
            annotations.extend(json_map("ISTIO_METAJSON_ANNOTATIONS", extra)?);
        }
        let instance_ips: Vec<String> = get("ISTIO_META_INSTANCE_IPS")
            .or_else(|| get("INSTANCE_IP"))
            .or_else(local_address)
            .unwrap_or_else(|| "127.0.0.1".to_owned())
            .split(',')
            .map(|ip| ip.trim().to_owned())
            .collect();
        let root = match get("PILOT_CERT_PROVIDER").as_deref() {
            Some("kubernetes") => paths::KUBERNETES_ROOT,
            _ => paths::ISTIOD_ROOT,
        };
        let token_path = get("PORTOLAN_TOKEN_PATH").map(PathBuf::from).unwrap_or_else(|| {
            match get("JWT_POLICY").as_deref() {
                Some("first-party-jwt") => paths::SERVICE_ACCOUNT_TOKEN,
                _ => paths::TOKEN,
            }
            .into()
        });
        let data_plane = match (flags.envoy, get("PORTOLAN_PROXY").as_deref()) {
            (Some(path), _) => DataPlaneChoice::Envoy(path),
            (None, Some("envoy")) => DataPlaneChoice::Envoy(
                get("ENVOY_PATH")
                    .or_else(|| get("PORTOLAN_ENVOY"))
                    .unwrap_or_else(|| proxy.binary_path.clone())
                    .into(),
            ),
            (None, None | Some("portolan")) => DataPlaneChoice::Portolan,
            (None, Some(other)) => {
                return Err(EnvError::Variable {
                    name: "PORTOLAN_PROXY",
                    value: other.to_owned(),
                    reason: "expected portolan or envoy",
                });
            }
        };
        let duration_of = |name: &'static str, default: Duration| match get(name) {
            None => Ok(default),
            Some(value) => duration::parse(&value).ok_or(EnvError::Variable {
                name,
                value,
                reason: "expected a duration such as 24h",
            }),
        };
        let port_of = |name: &'static str, default: u16| match get(name) {
            None => Ok(default),
            Some(value) => match value.parse() {
                Ok(port) => Ok(port),
                Err(_) => Err(EnvError::Variable { name, value, reason: "expected a port number" }),
            },
        };
        let grace_ratio = match get("SECRET_GRACE_PERIOD_RATIO") {
            None => DEFAULT_GRACE_RATIO,
            Some(value) => match value.parse::<f64>() {
                Ok(ratio) if (0.0..=1.0).contains(&ratio) => ratio,
                _ => {
                    return Err(EnvError::Variable {
                        name: "SECRET_GRACE_PERIOD_RATIO",
                        value,
                        reason: "expected a number from 0 to 1",
                    });
                }
            },
        };
        Ok(AgentConfig {
            role: flags.role,
            data_plane,
            domain: flags
                .domain
                .filter(|d| !d.is_empty())
                .unwrap_or_else(|| format!("{pod_namespace}.svc.cluster.local")),
            service_account: get("SERVICE_ACCOUNT").unwrap_or_else(|| "default".to_owned()),
            instance_ips,
            service_cluster: flags.service_cluster.unwrap_or_else(|| proxy.service_cluster.clone()),
            concurrency: flags.concurrency.or(proxy.concurrency).unwrap_or(match flags.role {
                // A sidecar shares the machine with its application; a gateway has it for itself.
                Role::Sidecar => 2,
                Role::Router => 0,
            }),
            proxy_log_level: flags.proxy_log_level,
            proxy_component_log_level: flags.proxy_component_log_level,
            xds_address: proxy.discovery_address.clone(),
            ca_address: get("CA_ADDR").unwrap_or_else(|| proxy.discovery_address.clone()),
            xds_root: get("XDS_ROOT_CA").unwrap_or_else(|| root.to_owned()).into(),
            ca_root: get("CA_ROOT_CA").unwrap_or_else(|| root.to_owned()).into(),
            token_path,
            cluster_id: get("ISTIO_META_CLUSTER_ID").unwrap_or_else(|| names::CLUSTER_ID.to_owned()),
            trust_domain: get("TRUST_DOMAIN").unwrap_or_else(|| names::TRUST_DOMAIN.to_owned()),
            secret_ttl: duration_of("SECRET_TTL", DEFAULT_SECRET_TTL)?,
            grace_ratio,
            output_certs: get("OUTPUT_CERTS").map(PathBuf::from),
            admin_port: port_of("ENVOY_ADMIN_PORT", proxy.proxy_admin_port)?,
            status_port: port_of("STATUS_PORT", proxy.status_port)?,
            health_port: port_of("ENVOY_STATUS_PORT", ports::HEALTH)?,
            prometheus_port: port_of("ENVOY_PROMETHEUS_PORT", ports::PROXY_METRICS)?,
            dns_port: match get("ISTIO_META_DNS_CAPTURE").as_deref() {
                Some("true" | "1" | "ALL") => Some(port_of("DNS_PROXY_PORT", ports::DNS)?),
                _ => None,
            },
            pod_name,
            pod_namespace,
            labels,
            annotations,
            proxy,
            env,
        })
    }

    /// The node id, `type~ip~pod.namespace~domain` (spec/istio.md 2.2).
    pub fn node_id(&self) -> String {
        let ip = self.instance_ips.first().map_or("127.0.0.1", String::as_str);
        format!("{}~{}~{}.{}~{}", self.role.as_str(), ip, self.pod_name, self.pod_namespace, self.domain)
    }

    /// The SPIFFE id that the workload asks a certificate for.
    pub fn spiffe_id(&self) -> String {
        format!("spiffe://{}/ns/{}/sa/{}", self.trust_domain, self.pod_namespace, self.service_account)
    }
}

fn json_map(name: &'static str, text: String) -> Result<BTreeMap<String, String>, EnvError> {
    match serde_json::from_str::<BTreeMap<String, Value>>(&text) {
        Ok(map) => Ok(map
            .into_iter()
            .map(|(key, value)| match value {
                Value::String(value) => (key, value),
                other => (key, other.to_string()),
            })
            .collect()),
        Err(_) => Err(EnvError::Variable { name, value: text, reason: "expected a JSON object" }),
    }
}

/// The address that the default route would use. No packet is sent: connecting a UDP socket only looks up
/// the route.
fn local_address() -> Option<String> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip().to_string())
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

    #[test]
    fn downward_files() {
        let map = parse_downward_map("app=\"reviews\"\nnote=\"a=\\\"b\\\"\\nc\"\n");
        assert_eq!(map.get("app").map(String::as_str), Some("reviews"));
        assert_eq!(map.get("note").map(String::as_str), Some("a=\"b\"\nc"));
    }
}
