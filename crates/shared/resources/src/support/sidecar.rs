//! Sidecar.

use super::{Entry, SPEC, Subject, Table, group, refused, warned, works};

pub(super) const TABLE: Table =
    Table { name: "Sidecar", subject: Subject::Kind, groups: &[group(SPEC, ENTRIES)] };

const INGRESS: &str = "inbound::a_sidecar_object_says_which_ports_are_served";
const EGRESS: &str = "visibility::egress_hosts_let_through_what_they_name_and_nothing_else";
/// What Istio makes of an egress listener, and we do not.
const NO_LISTENER: &str =
    "an egress listener chooses by its port which services are seen, and listens nowhere itself";

const ENTRIES: &[Entry] = &[
    works("workloadSelector.labels{}", "visibility::the_nearest_sidecar_object_holds"),
    works("ingress[].port.number", INGRESS),
    works("ingress[].port.protocol", INGRESS),
    works("ingress[].port.name", INGRESS),
    warned("ingress[].port.targetPort", "has no effect, as in Istio 1.9; use defaultEndpoint"),
    warned("ingress[].bind", "has no effect: traffic to the port is taken wherever it was captured"),
    works("ingress[].captureMode", INGRESS),
    warned("ingress[].captureMode=NONE", "has no effect: traffic to the port is taken as it is captured"),
    works(
        "ingress[].defaultEndpoint",
        "inbound_clusters::a_sidecar_object_says_where_the_application_listens",
    ),
    works("egress[].hosts[]", EGRESS),
    works("egress[].port.number", EGRESS),
    warned("egress[].port.protocol", NO_LISTENER),
    warned("egress[].port.name", NO_LISTENER),
    warned("egress[].port.targetPort", "has no effect, as in Istio 1.9"),
    warned("egress[].bind", NO_LISTENER),
    works("egress[].captureMode", EGRESS),
    warned("egress[].captureMode=NONE", NO_LISTENER),
    works(
        "outboundTrafficPolicy.mode",
        "visibility::unknown_destinations_are_as_the_sidecar_object_says_else_as_the_mesh_says",
    ),
    refused(
        "outboundTrafficPolicy.egressProxy",
        "traffic to unknown hosts would leave without the gateway that is named here; leave it out",
    ),
];
