//! VirtualService.

use super::{Entry, Group, SPEC, Subject, Table, group, refused, warned, works};

pub(super) const TABLE: Table = Table { name: "VirtualService", subject: Subject::Kind, groups: GROUPS };

const GROUPS: &[Group] = &[
    group(SPEC, OBJECT),
    group(&["spec.http[]"], HTTP),
    group(&["spec.http[].match[]"], HTTP_MATCH),
    group(PATHS, PATH),
    group(FIELDS, FIELD),
    group(&["spec.http[].match[].withoutHeaders{}"], UNWANTED),
    group(&["spec.http[].match[].queryParams{}"], PARAMETER),
    group(&["spec.http[].headers", "spec.http[].route[].headers"], HEADERS),
    group(DESTINATIONS, DESTINATION),
    group(&["spec.tcp[].match[]", "spec.tls[].match[]"], CONNECTIONS),
    group(&["spec.tcp[]", "spec.tls[]"], OPAQUE),
    group(SPEC, BY_NAME),
];

const OBJECT: &[Entry] = &[
    works("hosts[]", "sidecar_routes::a_name_belongs_to_the_most_specific_and_oldest_service"),
    works("gateways[]", "visibility::virtual_services_are_bound_to_the_gateways_that_they_name"),
    works("exportTo[]", "export_to::what_an_object_says_decides_who_sees_it"),
];

const HTTP: &[Entry] = &[
    works("name", "routes::a_route_is_named_after_rule_and_condition"),
    works("route[].weight", "routes::requests_are_divided_by_weight"),
    works("redirect.uri", "routes::redirects_say_where_to_and_with_which_status"),
    works("redirect.authority", "routes::redirects_say_where_to_and_with_which_status"),
    works("redirect.redirectCode", "routes::redirects_say_where_to_and_with_which_status"),
    works("delegate.name", "virtual_services::a_delegates_condition_narrows_that_of_its_root_or_is_dropped"),
    works("delegate.namespace", "virtual_services::a_delegate_that_its_root_may_not_see_is_left_out"),
    works("rewrite.uri", "routes::rewrites_replace_what_the_condition_matched"),
    works("rewrite.authority", "routes::rewrites_replace_what_the_condition_matched"),
    works("timeout", "routes::a_timeout_holds_for_grpc_too"),
    works("retries.attempts", "route_extras::retries_are_as_many_as_the_rule_names"),
    works("retries.perTryTimeout", "route_extras::each_try_has_its_own_time"),
    works("retries.retryOn", "route_extras::retries_happen_on_the_conditions_that_the_rule_names"),
    warned(
        "retries.retryRemoteLocalities",
        "only a sidecar that runs Envoy prefers other localities when it tries again; our proxy balances as for a first try",
    ),
    works("fault.delay.fixedDelay", "route_extras::faults_hit_the_share_of_requests_that_the_rule_names"),
    works("fault.delay.percent", "route_extras::faults_hit_the_share_of_requests_that_the_rule_names"),
    works(
        "fault.delay.percentage.value",
        "route_extras::faults_hit_the_share_of_requests_that_the_rule_names",
    ),
    works("fault.abort.httpStatus", "route_extras::faults_hit_the_share_of_requests_that_the_rule_names"),
    works(
        "fault.abort.percentage.value",
        "route_extras::faults_hit_the_share_of_requests_that_the_rule_names",
    ),
    refused("fault.abort.grpcStatus", "aborts with a gRPC status are not supported; use httpStatus"),
    refused("fault.abort.http2Error", "aborts with an HTTP/2 error are not supported; use httpStatus"),
    works("mirrorPercentage.value", "routes::a_share_of_requests_is_mirrored"),
    works("mirror_percent", "routes::a_share_of_requests_is_mirrored"),
    works("corsPolicy.allowOrigin[]", "route_extras::origins_in_the_old_form_are_exact_or_any"),
    works("corsPolicy.allowOrigins[].exact", "route_extras::a_cors_policy_in_full"),
    works("corsPolicy.allowOrigins[].prefix", "route_extras::a_cors_policy_in_full"),
    works("corsPolicy.allowOrigins[].regex", "route_extras::a_cors_policy_in_full"),
    works("corsPolicy.allowMethods[]", "route_extras::a_cors_policy_in_full"),
    works("corsPolicy.allowHeaders[]", "route_extras::a_cors_policy_in_full"),
    works("corsPolicy.exposeHeaders[]", "route_extras::a_cors_policy_in_full"),
    works("corsPolicy.maxAge", "route_extras::a_cors_policy_in_full"),
    works("corsPolicy.allowCredentials", "route_extras::a_cors_policy_in_full"),
];

const HTTP_MATCH: &[Entry] = &[
    works("name", "route_matches::a_rule_has_a_route_for_each_of_its_conditions"),
    works("ignoreUriCase", "route_matches::paths_are_compared_as_the_rule_says"),
    works("port", "route_matches::conditions_that_cannot_hold_for_the_proxy_make_no_route"),
    works("sourceLabels{}", "route_matches::labels_of_the_pod_count_rather_than_those_that_the_proxy_states"),
    works("sourceNamespace", "route_matches::conditions_that_cannot_hold_for_the_proxy_make_no_route"),
    works("gateways[]", "route_matches::conditions_that_cannot_hold_for_the_proxy_make_no_route"),
];

const PATHS: &[&str] = &["spec.http[].match[].uri"];

const PATH: &[Entry] = &[
    works("exact", "route_matches::paths_are_compared_as_the_rule_says"),
    works("prefix", "route_matches::paths_are_compared_as_the_rule_says"),
    works("regex", "route_matches::paths_are_compared_as_the_rule_says"),
];

const FIELDS: &[&str] = &[
    "spec.http[].match[].headers{}",
    "spec.http[].match[].method",
    "spec.http[].match[].authority",
    "spec.http[].match[].scheme",
];

const FIELD: &[Entry] = &[
    works("exact", "route_matches::headers_are_compared_as_the_rule_says"),
    works("prefix", "route_matches::headers_are_compared_as_the_rule_says"),
    works("regex", "route_matches::headers_are_compared_as_the_rule_says"),
];

const UNWANTED: &[Entry] = &[
    works("exact", "route_matches::unwanted_headers_may_be_missing"),
    works("prefix", "route_matches::unwanted_headers_may_be_missing"),
    works("regex", "route_matches::unwanted_headers_may_be_missing"),
];

const PARAMETER: &[Entry] = &[
    works("exact", "route_matches::query_parameters_are_compared_as_the_rule_says"),
    works("prefix", "route_matches::query_parameters_are_compared_as_the_rule_says"),
    works("regex", "route_matches::query_parameters_are_compared_as_the_rule_says"),
];

const HEADERS: &[Entry] = &[
    works("request.set{}", "routes::headers_are_edited_on_the_route_and_for_each_destination"),
    works("request.add{}", "routes::headers_are_edited_on_the_route_and_for_each_destination"),
    works("request.remove[]", "routes::headers_are_edited_on_the_route_and_for_each_destination"),
    works("response.set{}", "routes::headers_are_edited_on_the_route_and_for_each_destination"),
    works("response.add{}", "routes::headers_are_edited_on_the_route_and_for_each_destination"),
    works("response.remove[]", "routes::headers_are_edited_on_the_route_and_for_each_destination"),
];

const DESTINATIONS: &[&str] = &[
    "spec.http[].route[].destination",
    "spec.http[].mirror",
    "spec.tcp[].route[].destination",
    "spec.tls[].route[].destination",
];

const DESTINATION: &[Entry] = &[
    works("host", "routes::a_destination_without_a_port_is_the_only_port_or_the_one_of_the_listener"),
    works("subset", "routes::a_destination_without_a_port_is_the_only_port_or_the_one_of_the_listener"),
    works("port.number", "routes::a_destination_without_a_port_is_the_only_port_or_the_one_of_the_listener"),
];

const CONNECTIONS: &[Entry] = &[
    works("destinationSubnets[]", "tcp_rules::addresses_of_a_condition_are_the_chains"),
    works("port", "tcp_rules::conditions_that_cannot_hold_make_no_chain"),
    works("sourceLabels{}", "tcp_rules::conditions_that_cannot_hold_make_no_chain"),
    works("sourceNamespace", "tcp_rules::conditions_that_cannot_hold_make_no_chain"),
    works("gateways[]", "tcp_rules::conditions_that_cannot_hold_make_no_chain"),
];

const OPAQUE: &[Entry] = &[works("route[].weight", "tcp_rules::connections_are_divided_by_weight")];

const BY_NAME: &[Entry] = &[
    works("tcp[].match[].sourceSubnet", "tcp_rules::addresses_of_a_condition_are_the_chains"),
    works("tls[].match[].sniHosts[]", "tcp_rules::tls_rules_choose_by_name"),
];
