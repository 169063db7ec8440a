//! MeshConfig, key `mesh` of ConfigMap `istio`.

use super::{Entry, Subject, TOP, Table, group, refused, warned, works};

pub(super) const TABLE: Table =
    Table { name: "MeshConfig", subject: Subject::Document, groups: &[group(TOP, ENTRIES)] };

/// The field that holds a ProxyConfig, which has a table of its own.
pub(super) const DEFAULT_CONFIG: &str = "defaultConfig";

const LOGS: &str = "access_logs::text_is_istios_or_the_meshs_own";
const KEEPALIVE: &str = "cluster_policy::keep_alive_is_the_pools_then_the_meshs_and_zero_is_the_systems";
const NO_INGRESS: &str =
    "has no effect: Ingress objects are not served; write a Gateway and a VirtualService";

const ENTRIES: &[Entry] = &[
    works("proxyListenPort", "inject::settings_of_the_mesh_reach_the_proxy"),
    works("connectTimeout", "cluster_policy::the_time_to_connect_is_the_pools_then_the_meshs"),
    works("protocolDetectionTimeout", "outbound::sniffing_takes_as_long_as_the_mesh_allows"),
    works("enableAutoMtls", "clusters::tls_of_the_mesh_is_automatic_inside_of_the_mesh_unless_it_is_off"),
    works(
        "outboundTrafficPolicy.mode",
        "sidecar_routes::unknown_hosts_are_refused_where_only_the_registry_is_allowed",
    ),
    works("rootNamespace", "policies::in_the_root_namespace_its_own_policy_is_the_meshs"),
    works("trustDomain", "inject::a_sidecar_is_added"),
    works("trustDomainAliases[]", "authz::principals_hold_for_the_other_names_of_our_trust_domain"),
    works("accessLogFile", "access_logs::without_a_file_there_is_no_log"),
    works("accessLogFormat", LOGS),
    works("accessLogEncoding", "access_logs::json_is_istios_or_the_meshs_own"),
    works("disableEnvoyListenerLog", "access_logs::listeners_log_what_nobody_else_does"),
    works("enableTracing", "connection_manager::traces_are_sampled_as_the_mesh_wants"),
    works("localityLbSetting.enabled", "endpoints::the_own_locality_comes_first_where_outliers_are_detected"),
    works(
        "localityLbSetting.failover[]",
        "endpoint::the_nearer_locality_goes_first_and_the_named_region_before_others",
    ),
    warned(
        "localityLbSetting.distribute[]",
        "has no effect for the whole mesh; write it into DestinationRules",
    ),
    works("dnsRefreshRate", "clusters::the_rate_of_dns_is_set_where_it_is_not_the_default"),
    works("defaultServiceExportTo[]", "visibility::the_mesh_decides_who_sees_services_that_say_nothing"),
    works("defaultVirtualServiceExportTo[]", "export_to::the_mesh_decides_for_objects_that_say_nothing"),
    works("defaultDestinationRuleExportTo[]", "export_to::the_mesh_decides_for_objects_that_say_nothing"),
    works("h2UpgradePolicy", "cluster_policy::http_2_is_spoken_where_the_rule_or_else_the_mesh_upgrades"),
    works(
        "pathNormalization.normalization",
        "connection_manager::paths_are_normalized_as_far_as_the_mesh_wants",
    ),
    works("tcpKeepalive.probes", KEEPALIVE),
    works("tcpKeepalive.time", KEEPALIVE),
    works("tcpKeepalive.interval", KEEPALIVE),
    works("enablePrometheusMerge", "inject::settings_of_the_mesh_reach_the_proxy"),
    works(DEFAULT_CONFIG, "mesh_settings::reads_yaml_and_keeps_what_it_does_not_know"),
    warned("extensionProviders[]", "has no effect: there is no external authorization"),
    warned("ingressControllerMode", NO_INGRESS),
    warned("ingressClass", NO_INGRESS),
    warned("ingressService", NO_INGRESS),
    warned("ingressSelector", NO_INGRESS),
    refused(
        "verifyCertificateAtClient",
        "certificates of servers would not be verified; set tls.caCertificates in DestinationRules",
    ),
    warned("inboundClusterStatName", "has no effect: statistics bear the names of clusters"),
    warned("outboundClusterStatName", "has no effect: statistics bear the names of clusters"),
    warned("serviceSettings[]", "has no effect: a mesh is one cluster"),
    warned(
        "caCertificates[]",
        "has no effect: workloads trust the mesh's own authority; further ones are those of federated peers",
    ),
    refused(
        "ca",
        "certificates are issued by the control plane itself; leave it out, and give its authority in Secret cacerts",
    ),
    warned("certificates[]", "has no effect: no certificates are issued for DNS names"),
    warned("thriftConfig", "has no effect: Thrift is carried as TCP"),
    works("configSources[].address=k8s://*", "serve::serves_a_mesh"),
    refused(
        "configSources[].address",
        "configuration is read from the Kubernetes API only; what is elsewhere would not hold",
    ),
    warned(
        "configSources[].tlsSettings",
        "has no effect: configuration is read from the Kubernetes API only",
    ),
    warned(
        "configSources[].subscribedResources[]",
        "has no effect: configuration is read from the Kubernetes API only",
    ),
    warned("enableEnvoyAccessLogService", "has no effect: logs are not sent over gRPC; use accessLogFile"),
    warned("proxyHttpPort", "has no effect: sidecars are no explicit HTTP proxies"),
];
