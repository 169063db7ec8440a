//! ServiceMeshPeer, ExportedServiceSet and ImportedServiceSet.

use super::{Entry, Group, SPEC, Subject, Table, group, warned, works};

pub(super) const PEER: Table =
    Table { name: "ServiceMeshPeer", subject: Subject::Kind, groups: &[group(SPEC, REMOTE)] };

pub(super) const EXPORTS: Table =
    Table { name: "ExportedServiceSet", subject: Subject::Kind, groups: EXPORT };

pub(super) const IMPORTS: Table =
    Table { name: "ImportedServiceSet", subject: Subject::Kind, groups: IMPORT };

const REMOTE: &[Entry] = &[
    works("remote.addresses[]", "objects::the_peers_service_port_is_dialled"),
    works("remote.discoveryPort", "objects::discovery_goes_to_the_port_that_the_peer_names"),
    works("remote.servicePort", "objects::the_peers_service_port_is_dialled"),
    works("gateways.ingress.name", "objects::a_peering_has_only_the_objects_of_the_gateways_that_it_names"),
    works("gateways.egress.name", "objects::a_peering_has_only_the_objects_of_the_gateways_that_it_names"),
    works("security.trustDomain", "local_mesh::a_peer_is_foreign_when_it_names_another_trust_domain"),
    works("security.clientID", "objects::all_but_the_peers_gateway_are_denied_on_both_ports"),
    warned("security.certificateChain.apiGroup", "has no effect: ConfigMaps belong to no group"),
    works("security.certificateChain.kind", "roots::the_root_of_a_peer_is_in_the_config_map_that_it_names"),
    works("security.certificateChain.name", "roots::the_root_of_a_peer_is_in_the_config_map_that_it_names"),
];

const EXPORT: &[Group] = &[
    group(
        &["spec.exportRules[]"],
        &[
            works("type", "rules::export_rules_that_do_nothing_are_reported"),
            works("nameSelector.namespace", "rules::name_rules_export_what_they_name_and_nothing_else"),
            works("nameSelector.name", "rules::name_rules_export_what_they_name_and_nothing_else"),
            works("nameSelector.alias.namespace", "rules::aliases_rename_what_is_exported"),
            works("nameSelector.alias.name", "rules::aliases_rename_what_is_exported"),
        ],
    ),
    group(
        &["spec.exportRules[].labelSelector"],
        &[
            works("namespace", "rules::label_rules_export_what_they_select_and_nothing_else"),
            works("selector.matchLabels{}", "rules::label_rules_export_what_they_select_and_nothing_else"),
            works("selector.matchExpressions[]", "rules::label_expressions_mean_what_kubernetes_means"),
            works("aliases[]", "rules::label_rules_rename_by_the_first_alias_that_fits"),
        ],
    ),
];

const IMPORT: &[Group] = &[
    group(
        SPEC,
        &[
            works("domainSuffix", "rules::imports_get_their_name_and_domain_from_the_rule"),
            works("locality.region", "objects::imports_count_as_the_locality_of_the_set"),
            works("locality.zone", "objects::imports_count_as_the_locality_of_the_set"),
            works("locality.subzone", "objects::imports_count_as_the_locality_of_the_set"),
        ],
    ),
    group(
        &["spec.importRules[]"],
        &[
            works("type", "rules::import_rules_that_do_nothing_are_reported"),
            works("nameSelector.namespace", "imports::rules_choose_among_the_offers"),
            works("nameSelector.name", "imports::rules_choose_among_the_offers"),
            works("nameSelector.alias.namespace", "rules::imports_get_their_name_and_domain_from_the_rule"),
            works("nameSelector.alias.name", "rules::imports_get_their_name_and_domain_from_the_rule"),
            works("domainSuffix", "rules::imports_get_their_name_and_domain_from_the_rule"),
            works("importAsLocal", "imports::local_imports_get_the_domain_of_our_cluster"),
        ],
    ),
];
