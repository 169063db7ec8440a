//! DestinationRule.

use super::{Entry, Group, SPEC, Subject, Table, group, works};

pub(super) const TABLE: Table = Table { name: "DestinationRule", subject: Subject::Kind, groups: GROUPS };

const GROUPS: &[Group] = &[
    group(SPEC, OBJECT),
    group(POLICIES, POLICY),
    group(PORTS, &[works("port.number", "cluster_policy::the_narrowest_policy_holds")]),
];

const OBJECT: &[Entry] = &[
    works("host", "mesh::destination_rule_lookup_order"),
    works("exportTo[]", "visibility::a_destination_rule_is_used_where_it_is_exported_to"),
    works("subsets[].name", "clusters::clusters_name_the_rule_and_the_subset_that_made_them"),
    works("subsets[].labels{}", "endpoints::a_subset_has_the_endpoints_with_all_of_its_labels"),
];

const POLICIES: &[&str] = &[
    "spec.trafficPolicy",
    "spec.trafficPolicy.portLevelSettings[]",
    "spec.subsets[].trafficPolicy",
    "spec.subsets[].trafficPolicy.portLevelSettings[]",
];

const PORTS: &[&str] =
    &["spec.trafficPolicy.portLevelSettings[]", "spec.subsets[].trafficPolicy.portLevelSettings[]"];

const POLICY: &[Entry] = &[
    works("loadBalancer.simple", "cluster_policy::hosts_are_chosen_as_the_rule_says"),
    works(
        "loadBalancer.simple=PASSTHROUGH",
        "cluster_policy::pass_through_sends_to_the_address_that_the_client_meant",
    ),
    works(
        "loadBalancer.consistentHash.httpHeaderName",
        "routes::routes_hash_what_the_destination_balances_by",
    ),
    works(
        "loadBalancer.consistentHash.httpCookie.name",
        "routes::routes_hash_what_the_destination_balances_by",
    ),
    works(
        "loadBalancer.consistentHash.httpCookie.path",
        "routes::routes_hash_what_the_destination_balances_by",
    ),
    works(
        "loadBalancer.consistentHash.httpCookie.ttl",
        "routes::routes_hash_what_the_destination_balances_by",
    ),
    works(
        "loadBalancer.consistentHash.useSourceIp",
        "tcp_rules::connections_are_hashed_by_source_where_the_destination_says_so",
    ),
    works(
        "loadBalancer.consistentHash.httpQueryParameterName",
        "routes::routes_hash_what_the_destination_balances_by",
    ),
    works("loadBalancer.consistentHash.minimumRingSize", "cluster_policy::hosts_are_chosen_as_the_rule_says"),
    works("loadBalancer.localityLbSetting.distribute[].from", "endpoints::shares_come_before_failover"),
    works("loadBalancer.localityLbSetting.distribute[].to{}", "endpoints::shares_come_before_failover"),
    works(
        "loadBalancer.localityLbSetting.failover[].from",
        "endpoint::the_nearer_locality_goes_first_and_the_named_region_before_others",
    ),
    works(
        "loadBalancer.localityLbSetting.failover[].to",
        "endpoint::the_nearer_locality_goes_first_and_the_named_region_before_others",
    ),
    works(
        "loadBalancer.localityLbSetting.enabled",
        "endpoints::the_own_locality_comes_first_where_outliers_are_detected",
    ),
    works(
        "connectionPool.tcp.maxConnections",
        "cluster_policy::limits_are_the_ones_of_the_pool_and_zero_is_no_limit",
    ),
    works(
        "connectionPool.tcp.connectTimeout",
        "cluster_policy::the_time_to_connect_is_the_pools_then_the_meshs",
    ),
    works(
        "connectionPool.tcp.tcpKeepalive.probes",
        "cluster_policy::keep_alive_is_the_pools_then_the_meshs_and_zero_is_the_systems",
    ),
    works(
        "connectionPool.tcp.tcpKeepalive.time",
        "cluster_policy::keep_alive_is_the_pools_then_the_meshs_and_zero_is_the_systems",
    ),
    works(
        "connectionPool.tcp.tcpKeepalive.interval",
        "cluster_policy::keep_alive_is_the_pools_then_the_meshs_and_zero_is_the_systems",
    ),
    works(
        "connectionPool.http.http1MaxPendingRequests",
        "cluster_policy::limits_are_the_ones_of_the_pool_and_zero_is_no_limit",
    ),
    works(
        "connectionPool.http.http2MaxRequests",
        "cluster_policy::limits_are_the_ones_of_the_pool_and_zero_is_no_limit",
    ),
    works(
        "connectionPool.http.maxRequestsPerConnection",
        "cluster_policy::connections_end_by_idle_time_and_number_of_requests",
    ),
    works(
        "connectionPool.http.maxRetries",
        "cluster_policy::limits_are_the_ones_of_the_pool_and_zero_is_no_limit",
    ),
    works(
        "connectionPool.http.idleTimeout",
        "cluster_policy::connections_end_by_idle_time_and_number_of_requests",
    ),
    works(
        "connectionPool.http.h2UpgradePolicy",
        "cluster_policy::http_2_is_spoken_where_the_rule_or_else_the_mesh_upgrades",
    ),
    works(
        "connectionPool.http.useClientProtocol",
        "cluster_policy::the_clients_protocol_is_kept_on_http_ports_only",
    ),
    works(
        "outlierDetection.consecutive5xxErrors",
        "cluster_policy::errors_eject_a_host_and_zero_errors_never_do",
    ),
    works(
        "outlierDetection.consecutiveErrors",
        "cluster_policy::errors_eject_a_host_and_zero_errors_never_do",
    ),
    works(
        "outlierDetection.consecutiveGatewayErrors",
        "cluster_policy::errors_eject_a_host_and_zero_errors_never_do",
    ),
    works("outlierDetection.interval", "cluster_policy::ejection_lasts_as_long_as_the_rule_says"),
    works("outlierDetection.baseEjectionTime", "cluster_policy::ejection_lasts_as_long_as_the_rule_says"),
    works("outlierDetection.maxEjectionPercent", "cluster_policy::ejection_lasts_as_long_as_the_rule_says"),
    works(
        "outlierDetection.minHealthPercent",
        "cluster_policy::a_cluster_panics_below_the_share_that_the_rule_names",
    ),
    works("tls.mode", "clusters::tls_is_as_the_rule_has_it"),
    works("tls.clientCertificate", "trust::tls_to_outside_is_as_the_destination_rule_has_it"),
    works("tls.privateKey", "trust::tls_to_outside_is_as_the_destination_rule_has_it"),
    works("tls.caCertificates", "trust::tls_to_outside_is_as_the_destination_rule_has_it"),
    works("tls.credentialName", "trust::tls_to_outside_is_as_the_destination_rule_has_it"),
    works("tls.subjectAltNames[]", "trust::tls_to_outside_is_as_the_destination_rule_has_it"),
    works("tls.sni", "trust::tls_to_outside_is_as_the_destination_rule_has_it"),
];
