//! Labels with Istio's prefixes.

use portolan_names::labels as names;

use super::{Entry, Group, On, Subject, Support, TOP, Table, annotations, group, tree::named, works};

pub(super) const TABLE: Table = Table { name: "labels", subject: Subject::Names, groups: GROUPS };

const GROUPS: &[Group] =
    &[group(TOP, WORKLOAD), group(TOP, NAMESPACE), group(TOP, SERVICE), group(TOP, NODE)];

const CANONICAL: &str = "workloads::canonical_names_are_those_of_the_labels_in_their_order";

/// On Pods.
const WORKLOAD: &[Entry] = &[
    works(names::SIDECAR_INJECT, "inject::who_decides"),
    works(names::REVISION, "inject::who_decides"),
    works(names::TLS_MODE, "clusters::original_destinations_get_mesh_tls_when_all_of_them_take_it"),
    works(names::CANONICAL_NAME, CANONICAL),
    works(names::CANONICAL_REVISION, CANONICAL),
    works(names::NETWORK, "endpoints::a_proxy_gets_the_endpoints_of_the_networks_that_it_asks_for"),
    works(names::LOCALITY, "workloads::where_a_pod_runs_stands_in_its_label_else_in_those_of_its_node"),
];

/// On namespaces.
const NAMESPACE: &[Entry] = &[
    works(names::INJECTION, "inject::who_decides"),
    works(names::IGNORE_NAMESPACE, "inject::who_decides"),
    works("maistra.io/member-of", "inject::who_decides"),
];

/// On Services.
const SERVICE: &[Entry] = &[
    works(
        names::FEDERATION_INGRESS_FOR,
        "objects::a_peering_has_only_the_objects_of_the_gateways_that_it_names",
    ),
    works(
        names::FEDERATION_EGRESS_FOR,
        "objects::a_peering_has_only_the_objects_of_the_gateways_that_it_names",
    ),
];

/// On nodes.
const NODE: &[Entry] =
    &[works(names::SUBZONE, "workloads::where_a_pod_runs_stands_in_its_label_else_in_those_of_its_node")];

/// What becomes of a label; nothing for those that are not in the table.
pub(super) fn support(name: &str, value: &str, on: On) -> Option<Support> {
    if on == On::Configuration && name == names::REVISION {
        return Some(Support::Warned { text: "has no effect here: every control plane takes the object" });
    }
    GROUPS.iter().find_map(|group| named(group.entries, name, value))
}

/// Whether a name has one of the mesh's prefixes, so that it should be known.
pub(super) fn is_ours(name: &str) -> bool {
    annotations::is_ours(name)
}
