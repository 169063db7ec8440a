//! ProxyConfig: `defaultConfig` of MeshConfig and annotation `proxy.istio.io/config` of a Pod.

use super::{Entry, Subject, TOP, Table, group, refused, warned, works};

pub(super) const TABLE: Table =
    Table { name: "ProxyConfig", subject: Subject::Document, groups: &[group(TOP, ENTRIES)] };

/// What counts for the whole mesh alone.
pub(super) const OF_A_POD: Table =
    Table { name: "ProxyConfig of a Pod", subject: Subject::Kind, groups: &[group(TOP, MESH_ONLY)] };

/// The field whose entries become variables of the agent.
pub(super) const METADATA: &str = "proxyMetadata";

const AGENT: &str = "proxy_config::each_field_is_taken_over";
const SAMPLED: &str = "connection_manager::traces_are_sampled_as_the_mesh_wants";
const ZIPKIN: &str = "has no effect: spans are reported to Zipkin; use tracing.zipkin.address";
const MESH_WIDE: &str = "has no effect for a single Pod; set it in defaultConfig of the mesh";
const STATISTICS: &str = "bootstrap::is_a_valid_bootstrap";

const ENTRIES: &[Entry] = &[
    works("discoveryAddress", AGENT),
    works("concurrency", "inject::annotations_are_honoured"),
    works(
        "proxyAdminPort",
        "resolve::ports_are_those_of_the_configuration_unless_the_environment_says_otherwise",
    ),
    works(
        "statusPort",
        "resolve::ports_are_those_of_the_configuration_unless_the_environment_says_otherwise",
    ),
    works("drainDuration", AGENT),
    works("terminationDrainDuration", AGENT),
    works("parentShutdownDuration", STATISTICS),
    works("proxyMetadata{}", "resolve::proxy_metadata_is_environment"),
    works("configPath", AGENT),
    works("binaryPath", "resolve::an_envoy_is_where_the_configuration_says"),
    works("serviceCluster", "inject::a_sidecar_is_added"),
    works("interceptionMode=REDIRECT", "inject::a_sidecar_is_added"),
    refused("interceptionMode=TPROXY", "traffic is captured by REDIRECT only; leave it out"),
    refused(
        "interceptionMode=NONE",
        "without capture traffic would pass beside the proxy and every policy; leave it out",
    ),
    warned("interceptionMode", "is not known here"),
    works(
        "gatewayTopology.numTrustedProxies",
        "connection_manager::a_gateway_is_told_what_stands_in_front_of_it",
    ),
    works(
        "gatewayTopology.forwardClientCertDetails",
        "connection_manager::a_gateway_is_told_what_stands_in_front_of_it",
    ),
    works("meshId", "inject::settings_of_the_mesh_reach_the_proxy"),
    works("proxyStatsMatcher.inclusionPrefixes[]", STATISTICS),
    works("proxyStatsMatcher.inclusionSuffixes[]", STATISTICS),
    works("proxyStatsMatcher.inclusionRegexps[]", STATISTICS),
    works("controlPlaneAuthPolicy=MUTUAL_TLS", "ads::tls_needs_roots"),
    warned("controlPlaneAuthPolicy", "has no effect: proxies speak TLS to the control plane in any case"),
    warned("holdApplicationUntilProxyStarts", "has no effect yet: containers start together"),
    works("tracing.zipkin.address", "tracing::hosts_and_collectors_are_told_of_traces"),
    works("tracing.sampling", SAMPLED),
    works("tracing.maxPathTagLength", SAMPLED),
    warned("tracing.customTags", "has no effect: spans have Istio's tags"),
    warned("tracing.tlsSettings", "has no effect: spans are reported in plaintext"),
    warned("tracing.lightstep", ZIPKIN),
    warned("tracing.datadog", ZIPKIN),
    warned("tracing.stackdriver", ZIPKIN),
    warned("tracing.openCensusAgent", ZIPKIN),
    warned("zipkinAddress", ZIPKIN),
    warned("envoyAccessLogService", "has no effect: logs are not sent over gRPC; use accessLogFile"),
    warned("envoyMetricsService", "has no effect: metrics are not sent; they are read from port 15020"),
    warned("statsdUdpAddress", "has no effect: metrics are not sent; they are read from port 15020"),
    warned("extraStatTags[]", "has no effect: metrics have Istio's labels"),
    warned("statNameLength", "has no effect: names have no greatest length"),
    warned(
        "readinessProbe",
        "has no effect: the probe is set by readiness.status.sidecar.istio.io annotations",
    ),
    warned("caCertificatesPem[]", "has no effect: workloads trust the mesh's own authority"),
    warned("customConfigFile", "has no effect: the proxy writes its own bootstrap"),
    warned("proxyBootstrapTemplatePath", "has no effect: the proxy writes its own bootstrap"),
];

const MESH_ONLY: &[Entry] = &[
    warned("gatewayTopology", MESH_WIDE),
    warned("meshId", MESH_WIDE),
    warned("tracing.sampling", MESH_WIDE),
    warned("tracing.maxPathTagLength", MESH_WIDE),
];
