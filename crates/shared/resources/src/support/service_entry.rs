//! ServiceEntry and WorkloadEntry.

use super::{Entry, SPEC, Subject, Table, group, works};

pub(super) const TABLE: Table = Table {
    name: "ServiceEntry",
    subject: Subject::Kind,
    groups: &[group(SPEC, SERVICE), group(&["spec.endpoints[]"], ENDPOINT)],
};

pub(super) const WORKLOAD_ENTRY: Table =
    Table { name: "WorkloadEntry", subject: Subject::Kind, groups: &[group(SPEC, SELECTED)] };

const TAKEN: &str = "registries::a_service_entry_is_taken_over_with_all_that_it_says";
const LISTED: &str = "registries::listed_endpoints_are_taken_over_with_all_that_they_say";
const CHOSEN: &str =
    "registries::a_selector_takes_workload_entries_and_pods_of_its_namespace_with_all_of_its_labels";

const WHOLE: &str = "registries::a_workload_entry_says_what_a_listed_endpoint_would";

const SERVICE: &[Entry] = &[
    works("hosts[]", TAKEN),
    works("addresses[]", TAKEN),
    works("ports[].number", TAKEN),
    works("ports[].protocol", "protocol::every_name_has_its_protocol_and_each_protocol_its_kind"),
    works("ports[].name", TAKEN),
    works("ports[].targetPort", LISTED),
    works("location", "registries::service_entries_are_outside_of_the_mesh_unless_they_say_otherwise"),
    works("resolution", "clusters::endpoints_are_found_as_the_service_says"),
    works("workloadSelector.labels{}", CHOSEN),
    works("exportTo[]", "visibility::services_are_seen_where_they_are_exported_to"),
    works("subjectAltNames[]", TAKEN),
];

const ENDPOINT: &[Entry] = &[
    works("address", LISTED),
    works("ports{}", LISTED),
    works("labels{}", LISTED),
    works("network", "endpoints::a_proxy_gets_the_endpoints_of_the_networks_that_it_asks_for"),
    works("locality", LISTED),
    works("weight", LISTED),
    works("serviceAccount", LISTED),
];

const SELECTED: &[Entry] = &[
    works("address", WHOLE),
    works("ports{}", WHOLE),
    works("labels{}", WHOLE),
    works("network", "endpoints::a_proxy_gets_the_endpoints_of_the_networks_that_it_asks_for"),
    works("locality", WHOLE),
    works("weight", WHOLE),
    works("serviceAccount", WHOLE),
];
