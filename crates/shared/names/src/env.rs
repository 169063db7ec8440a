//! Environment variables of the agent and the control plane: those of Istio's `pilot-agent`, and our own few.

/// Pod name.
pub const POD_NAME: &str = "POD_NAME";
/// Pod namespace.
pub const POD_NAMESPACE: &str = "POD_NAMESPACE";
/// Pod IP.
pub const INSTANCE_IP: &str = "INSTANCE_IP";
/// Service account of the Pod.
pub const SERVICE_ACCOUNT: &str = "SERVICE_ACCOUNT";
/// IP of the node.
pub const HOST_IP: &str = "HOST_IP";
/// Canonical service of the workload.
pub const CANONICAL_SERVICE: &str = "CANONICAL_SERVICE";
/// Canonical revision of the workload.
pub const CANONICAL_REVISION: &str = "CANONICAL_REVISION";
/// ProxyConfig as JSON.
pub const PROXY_CONFIG: &str = "PROXY_CONFIG";
/// Address of the CSR service.
pub const CA_ADDR: &str = "CA_ADDR";
/// Kind of token: `third-party-jwt` or `first-party-jwt`.
pub const JWT_POLICY: &str = "JWT_POLICY";
/// Who signs the control plane's certificate.
pub const PILOT_CERT_PROVIDER: &str = "PILOT_CERT_PROVIDER";
/// Trust domain of the mesh.
pub const TRUST_DOMAIN: &str = "TRUST_DOMAIN";
/// Prefix: `ISTIO_META_X` becomes node metadata `X`.
pub const ISTIO_META_PREFIX: &str = "ISTIO_META_";
/// Prefix: like [`ISTIO_META_PREFIX`], with a JSON value.
pub const ISTIO_METAJSON_PREFIX: &str = "ISTIO_METAJSON_";
/// Ports of the application's containers (JSON), as node metadata.
pub const ISTIO_META_POD_PORTS: &str = "ISTIO_META_POD_PORTS";
/// Names of the application's containers, comma separated, as node metadata.
pub const ISTIO_META_APP_CONTAINERS: &str = "ISTIO_META_APP_CONTAINERS";
/// Cluster that the Pod runs in, as node metadata.
pub const ISTIO_META_CLUSTER_ID: &str = "ISTIO_META_CLUSTER_ID";
/// How the Pod's traffic is captured: `REDIRECT`, `TPROXY` or `NONE`, as node metadata.
pub const ISTIO_META_INTERCEPTION_MODE: &str = "ISTIO_META_INTERCEPTION_MODE";
/// Name of the Pod's controller, as node metadata.
pub const ISTIO_META_WORKLOAD_NAME: &str = "ISTIO_META_WORKLOAD_NAME";
/// Address of the Pod's controller in the Kubernetes API, as node metadata.
pub const ISTIO_META_OWNER: &str = "ISTIO_META_OWNER";
/// Mesh id, as node metadata.
pub const ISTIO_META_MESH_ID: &str = "ISTIO_META_MESH_ID";
/// Set when the proxy may not bind ports below 1024, as node metadata.
pub const ISTIO_META_UNPRIVILEGED_POD: &str = "ISTIO_META_UNPRIVILEGED_POD";
/// The Pod's annotations (JSON), as node metadata.
pub const ISTIO_METAJSON_ANNOTATIONS: &str = "ISTIO_METAJSON_ANNOTATIONS";
/// HTTP probes of the application, rewritten (JSON).
pub const ISTIO_KUBE_APP_PROBERS: &str = "ISTIO_KUBE_APP_PROBERS";
/// The application's own Prometheus annotations (JSON).
pub const ISTIO_PROMETHEUS_ANNOTATIONS: &str = "ISTIO_PROMETHEUS_ANNOTATIONS";
/// Requested lifetime of the workload certificate.
pub const SECRET_TTL: &str = "SECRET_TTL";
/// Share of the lifetime after which the certificate is rotated.
pub const SECRET_GRACE_PERIOD_RATIO: &str = "SECRET_GRACE_PERIOD_RATIO";
/// Our own: which data plane runs, `portolan` or `envoy`.
pub const PORTOLAN_PROXY: &str = "PORTOLAN_PROXY";
/// Our own: path of the Envoy binary.
pub const ENVOY_PATH: &str = "ENVOY_PATH";
/// Whether the agent answers the Pod's DNS questions, and the rules lead them to it.
pub const ISTIO_META_DNS_CAPTURE: &str = "ISTIO_META_DNS_CAPTURE";
/// Port of the agent, that of ProxyConfig when absent.
pub const STATUS_PORT: &str = "STATUS_PORT";
/// Health port of the proxy, [`HEALTH`](crate::ports::HEALTH) when absent.
pub const ENVOY_STATUS_PORT: &str = "ENVOY_STATUS_PORT";
/// Metrics port of the proxy, [`PROXY_METRICS`](crate::ports::PROXY_METRICS) when absent.
pub const ENVOY_PROMETHEUS_PORT: &str = "ENVOY_PROMETHEUS_PORT";
