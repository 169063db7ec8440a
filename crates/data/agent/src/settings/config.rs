//! What the agent has to know, resolved once at start.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::proxy_config::ProxyConfig;

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
    /// With `EXIT_ON_ZERO_ACTIVE_CONNECTIONS`: the shortest drain (`MINIMUM_DRAIN_DURATION`), after which the process
    /// ends as soon as no connection is left. Else it drains for `terminationDrainDuration`.
    pub drain_until_idle: Option<Duration>,
}

impl AgentConfig {
    /// The node id as Istio forms it: `type~ip~pod.namespace~domain`.
    pub fn node_id(&self) -> String {
        let ip = self.instance_ips.first().map_or("127.0.0.1", String::as_str);
        format!("{}~{}~{}.{}~{}", self.role.as_str(), ip, self.pod_name, self.pod_namespace, self.domain)
    }

    /// The SPIFFE id that the workload asks a certificate for.
    pub fn spiffe_id(&self) -> String {
        format!("spiffe://{}/ns/{}/sa/{}", self.trust_domain, self.pod_namespace, self.service_account)
    }
}
