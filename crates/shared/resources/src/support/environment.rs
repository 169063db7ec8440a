//! Environment variables: of the control plane (Istio's feature flags among them) and of the agent.

use portolan_names::env as names;

use super::{Entry, Group, Subject, Support, TOP, Table, group, tree::named, warned, works};

pub(super) const CONTROL_PLANE: Table = Table {
    name: "environment of the control plane",
    subject: Subject::Names,
    groups: &[group(TOP, SETTINGS), group(TOP, FLAGS)],
};

pub(super) const AGENT: Table =
    Table { name: "environment of the agent", subject: Subject::Names, groups: OF_THE_AGENT };

const ARGS: &str = "args::each_variable_of_the_table_is_read";

/// What the control plane reads.
const SETTINGS: &[Entry] = &[
    works(names::POD_NAMESPACE, ARGS),
    works("REVISION", ARGS),
    works("CLUSTER_ID", ARGS),
    works("DOMAIN_SUFFIX", ARGS),
    works("NETWORK", ARGS),
    works("BIND_ADDRESS", ARGS),
    works("PORTOLAN_OPEN_DEBUG", ARGS),
    works("PROXY_IMAGE", ARGS),
    works("ISTIOD_CUSTOM_HOST", ARGS),
    works("PILOT_DEBOUNCE_AFTER_MS", ARGS),
    works("PILOT_DEBOUNCE_MAX_MS", ARGS),
    works("DEFAULT_WORKLOAD_CERT_TTL_HOURS", ARGS),
    works("KUBECONFIG", ARGS),
];

const ALWAYS: &str = "has no effect: it is always so";
const NEVER: &str = "has no effect: there is no such thing here";
const SNIFFING: &str = "has no effect: the protocol of a port is sniffed where none is declared";

/// Istio's flags that mean nothing here.
const FLAGS: &[Entry] = &[
    warned("PILOT_DEBOUNCE_AFTER", "has no effect; give milliseconds in PILOT_DEBOUNCE_AFTER_MS"),
    warned("PILOT_DEBOUNCE_MAX", "has no effect; give milliseconds in PILOT_DEBOUNCE_MAX_MS"),
    warned("PILOT_ENABLE_EDS_DEBOUNCE", "has no effect: changes of endpoints wait for nothing"),
    warned("PILOT_PUSH_THROTTLE", "has no effect: proxies take what differs at their own pace"),
    warned("PILOT_XDS_SEND_TIMEOUT", "has no effect: it is 5 s"),
    warned("PILOT_ENABLE_FLOW_CONTROL", ALWAYS),
    warned("PILOT_ENABLE_XDS_CACHE", ALWAYS),
    warned("PILOT_TRACE_SAMPLING", "has no effect; use tracing.sampling in defaultConfig"),
    warned("PILOT_HTTP10", "has no effect; give a proxy ISTIO_META_HTTP10"),
    warned("ISTIO_DEFAULT_REQUEST_TIMEOUT", "has no effect; set timeouts in VirtualServices"),
    warned("PILOT_ENABLE_PROTOCOL_SNIFFING_FOR_INBOUND", SNIFFING),
    warned("PILOT_ENABLE_PROTOCOL_SNIFFING_FOR_OUTBOUND", SNIFFING),
    warned(
        "PILOT_INBOUND_PROTOCOL_DETECTION_TIMEOUT",
        "has no effect; use protocolDetectionTimeout in MeshConfig",
    ),
    warned("PILOT_ENABLE_HEADLESS_SERVICE_POD_LISTENERS", ALWAYS),
    warned("PILOT_FILTER_GATEWAY_CLUSTER_CONFIG", NEVER),
    warned("PILOT_SCOPE_GATEWAY_TO_NAMESPACE", NEVER),
    warned("PILOT_USE_ENDPOINT_SLICE", ALWAYS),
    warned("PILOT_ENABLE_STATUS", NEVER),
    warned("PILOT_ENABLE_ANALYSIS", NEVER),
    warned("PILOT_ENABLE_LOOP_BLOCKER", ALWAYS),
    warned("PILOT_SIDECAR_ENABLE_INBOUND_TLS_V2", ALWAYS),
    warned("PILOT_SKIP_VALIDATE_TRUST_DOMAIN", "has no effect: trust domains are always verified"),
    warned("PILOT_ENABLE_MYSQL_FILTER", NEVER),
    warned("PILOT_ENABLE_REDIS_FILTER", NEVER),
    warned("PILOT_ENABLE_THRIFT_FILTER", NEVER),
    warned("PILOT_ENABLED_SERVICE_APIS", NEVER),
    warned("PILOT_ENABLE_VIRTUAL_SERVICE_DELEGATE", ALWAYS),
    warned("PILOT_ENABLE_DESTINATION_RULE_INHERITANCE", NEVER),
    warned("PILOT_ENABLE_K8S_SELECT_WORKLOAD_ENTRIES", NEVER),
    warned("PILOT_ENABLE_WORKLOAD_ENTRY_AUTOREGISTRATION", NEVER),
    warned("PILOT_ENABLE_XDS_IDENTITY_CHECK", ALWAYS),
    warned("XDS_AUTH", ALWAYS),
    warned("SPIFFE_BUNDLE_ENDPOINTS", "has no effect: roots of others are those of ServiceMeshPeers"),
    warned("ISTIOD_ENABLE_SDS_SERVER", ALWAYS),
    warned("PILOT_REMOTE_CLUSTER_TIMEOUT", "has no effect: a mesh is one cluster"),
    warned("DEFAULT_WORKLOAD_CERT_TTL", "has no effect; give hours in DEFAULT_WORKLOAD_CERT_TTL_HOURS"),
    warned("REQUIRE_3P_TOKEN", ALWAYS),
    warned("TOKEN_AUDIENCES", "has no effect: the audience is istio-ca"),
    warned("JWT_RULE", "has no effect: callers are known by certificates and Kubernetes tokens"),
    warned(
        "EXTERNAL_CA",
        "has no effect: certificates are issued by the control plane; give its authority in Secret cacerts",
    ),
    warned("K8S_SIGNER", "has no effect: certificates are issued by the control plane"),
    warned("ENABLE_DEBUG_ON_HTTP", "has no effect: debug pages are on port 15014, for callers with a token"),
    warned("ENABLE_ADMIN_ENDPOINTS", NEVER),
];

const NODE: &str = "node::variables_become_metadata";
const DEFAULTS: &str = "resolve::defaults_follow_the_injector";
const FILES: &str = "resolve::files_are_where_the_environment_says";
const PORTS: &str = "resolve::ports_are_those_of_the_configuration_unless_the_environment_says_otherwise";

/// What the agent reads, of its container or out of `proxyMetadata`.
const OF_THE_AGENT: &[Group] = &[group(
    TOP,
    &[
        works(names::POD_NAME, DEFAULTS),
        works(names::POD_NAMESPACE, DEFAULTS),
        works(names::INSTANCE_IP, DEFAULTS),
        works(names::SERVICE_ACCOUNT, NODE),
        works(names::PROXY_CONFIG, "proxy_config::annotation_overlays_the_environment"),
        works(
            names::CA_ADDR,
            "resolve::the_authority_is_the_control_plane_unless_the_environment_names_another",
        ),
        works(names::JWT_POLICY, FILES),
        works(names::PILOT_CERT_PROVIDER, FILES),
        works("XDS_ROOT_CA", FILES),
        works("CA_ROOT_CA", FILES),
        works("PORTOLAN_TOKEN_PATH", FILES),
        works("OUTPUT_CERTS", FILES),
        works(names::CANONICAL_SERVICE, NODE),
        works(names::CANONICAL_REVISION, NODE),
        works("PORTOLAN_ENVOY", "resolve::an_envoy_is_where_the_configuration_says"),
        works(names::TRUST_DOMAIN, DEFAULTS),
        works("ISTIO_META_*", NODE),
        works("ISTIO_METAJSON_*", NODE),
        works(names::ISTIO_META_DNS_CAPTURE, "resolve::dns_is_answered_only_when_captured"),
        works(
            "ISTIO_META_DNS_AUTO_ALLOCATE=true",
            "registries::hosts_that_nobody_else_resolves_get_an_address_and_are_in_the_table_of_dns",
        ),
        warned(
            "ISTIO_META_DNS_AUTO_ALLOCATE",
            "has no effect: hosts that need an address get one in any case",
        ),
        works(names::ISTIO_KUBE_APP_PROBERS, "probes::http_probe_reaches_the_application"),
        works(names::ISTIO_PROMETHEUS_ANNOTATIONS, "app_metrics::annotations"),
        works(names::SECRET_TTL, "resolve::certificates_live_as_long_as_the_environment_says"),
        works(names::SECRET_GRACE_PERIOD_RATIO, "resolve::certificates_live_as_long_as_the_environment_says"),
        works("ENVOY_ADMIN_PORT", PORTS),
        works(names::STATUS_PORT, PORTS),
        works(names::ENVOY_STATUS_PORT, PORTS),
        works(names::ENVOY_PROMETHEUS_PORT, PORTS),
        works("DNS_PROXY_PORT", "resolve::dns_is_answered_only_when_captured"),
        works(
            "EXIT_ON_ZERO_ACTIVE_CONNECTIONS",
            "resolve::the_drain_ends_with_the_last_connection_only_when_asked_to",
        ),
        works(
            "MINIMUM_DRAIN_DURATION",
            "resolve::the_drain_ends_with_the_last_connection_only_when_asked_to",
        ),
        works(names::PORTOLAN_PROXY, "resolve::an_envoy_is_where_the_configuration_says"),
        works(names::ENVOY_PATH, "resolve::an_envoy_is_where_the_configuration_says"),
    ],
)];

/// What becomes of a variable of the control plane; nothing for those that are not in the table.
pub(super) fn support(name: &str, value: &str) -> Option<Support> {
    CONTROL_PLANE.groups.iter().find_map(|group| named(group.entries, name, value))
}

/// What becomes of a variable of the agent; nothing for those that are not in the table.
pub(super) fn of_agent(name: &str, value: &str) -> Option<Support> {
    OF_THE_AGENT.iter().find_map(|group| named(group.entries, name, value))
}
