//! Annotation keys: Istio 1.9's resource annotations, Prometheus' and Service Mesh's.

/// Asks for or refuses injection.
pub const SIDECAR_INJECT: &str = "sidecar.istio.io/inject";
/// What injection did to the Pod (JSON); its presence means injected.
pub const SIDECAR_STATUS: &str = "sidecar.istio.io/status";
/// Injection templates to use, comma separated.
pub const INJECT_TEMPLATES: &str = "inject.istio.io/templates";
/// Per-Pod ProxyConfig, merged into the mesh's defaultConfig.
pub const PROXY_CONFIG: &str = "proxy.istio.io/config";
/// Image of the sidecar.
pub const PROXY_IMAGE: &str = "sidecar.istio.io/proxyImage";
/// Capture mode: REDIRECT, TPROXY, NONE.
pub const INTERCEPTION_MODE: &str = "sidecar.istio.io/interceptionMode";
/// CPU request of the sidecar.
pub const PROXY_CPU: &str = "sidecar.istio.io/proxyCPU";
/// CPU limit of the sidecar.
pub const PROXY_CPU_LIMIT: &str = "sidecar.istio.io/proxyCPULimit";
/// Memory request of the sidecar.
pub const PROXY_MEMORY: &str = "sidecar.istio.io/proxyMemory";
/// Memory limit of the sidecar.
pub const PROXY_MEMORY_LIMIT: &str = "sidecar.istio.io/proxyMemoryLimit";
/// Log level of the proxy.
pub const LOG_LEVEL: &str = "sidecar.istio.io/logLevel";
/// Log level per component of the proxy.
pub const COMPONENT_LOG_LEVEL: &str = "sidecar.istio.io/componentLogLevel";
/// Rewrite of HTTP probes to the agent.
pub const REWRITE_APP_HTTP_PROBERS: &str = "sidecar.istio.io/rewriteAppHTTPProbers";
/// Status port of the agent.
pub const STATUS_PORT: &str = "status.sidecar.istio.io/port";
/// Delay of the sidecar's readiness probe.
pub const READINESS_INITIAL_DELAY: &str = "readiness.status.sidecar.istio.io/initialDelaySeconds";
/// Period of the sidecar's readiness probe.
pub const READINESS_PERIOD: &str = "readiness.status.sidecar.istio.io/periodSeconds";
/// Failure threshold of the sidecar's readiness probe.
pub const READINESS_FAILURE_THRESHOLD: &str = "readiness.status.sidecar.istio.io/failureThreshold";
/// Outbound CIDRs to capture.
pub const INCLUDE_OUTBOUND_IP_RANGES: &str = "traffic.sidecar.istio.io/includeOutboundIPRanges";
/// Outbound CIDRs to leave alone.
pub const EXCLUDE_OUTBOUND_IP_RANGES: &str = "traffic.sidecar.istio.io/excludeOutboundIPRanges";
/// Inbound ports to capture.
pub const INCLUDE_INBOUND_PORTS: &str = "traffic.sidecar.istio.io/includeInboundPorts";
/// Inbound ports to leave alone.
pub const EXCLUDE_INBOUND_PORTS: &str = "traffic.sidecar.istio.io/excludeInboundPorts";
/// Outbound ports to capture although their CIDR is not.
pub const INCLUDE_OUTBOUND_PORTS: &str = "traffic.sidecar.istio.io/includeOutboundPorts";
/// Outbound ports to leave alone.
pub const EXCLUDE_OUTBOUND_PORTS: &str = "traffic.sidecar.istio.io/excludeOutboundPorts";
/// Interfaces whose traffic counts as outbound (virtual machines in Pods).
pub const KUBEVIRT_INTERFACES: &str = "traffic.sidecar.istio.io/kubevirtInterfaces";
/// Visibility of a Kubernetes Service.
pub const EXPORT_TO: &str = "networking.istio.io/exportTo";
/// Merge of the application's metrics into the agent's.
pub const MERGE_METRICS: &str = "prometheus.istio.io/merge-metrics";
/// Prometheus: scrape this Pod.
pub const PROMETHEUS_SCRAPE: &str = "prometheus.io/scrape";
/// Prometheus: port to scrape.
pub const PROMETHEUS_PORT: &str = "prometheus.io/port";
/// Prometheus: path to scrape.
pub const PROMETHEUS_PATH: &str = "prometheus.io/path";
/// OpenShift Route management of a Gateway; federation's own Gateways say "false".
pub const MANAGE_ROUTE: &str = "maistra.io/manageRoute";
/// Generation of the ServiceMeshPeer that an in-memory federation object was made from.
pub const RECONCILED_GENERATION: &str = "reconciledGeneration";
/// Further SPIFFE ids of a Service (comma separated, `alpha.istio.io/...`).
pub const CANONICAL_SERVICE_ACCOUNTS: &str = "alpha.istio.io/canonical-serviceaccounts";
/// Names of Kubernetes service accounts of a Service.
pub const KUBERNETES_SERVICE_ACCOUNTS: &str = "alpha.istio.io/kubernetes-serviceaccounts";
/// Our own: which proxy program a Pod runs (`portolan` or `envoy`).
pub const PORTOLAN_PROXY: &str = "portolan.io/proxy";
