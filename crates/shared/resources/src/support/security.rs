//! PeerAuthentication, AuthorizationPolicy and RequestAuthentication.

use super::{Entry, Group, SPEC, Subject, Table, group, refused, warned, works};

pub(super) const PEER_AUTHENTICATION: Table =
    Table { name: "PeerAuthentication", subject: Subject::Kind, groups: &[group(SPEC, PEERS)] };

pub(super) const AUTHORIZATION_POLICY: Table =
    Table { name: "AuthorizationPolicy", subject: Subject::Kind, groups: POLICY };

pub(super) const REQUEST_AUTHENTICATION: Table =
    Table { name: "RequestAuthentication", subject: Subject::Kind, groups: &[group(SPEC, REQUESTS)] };

const PEERS: &[Entry] = &[
    works("selector.matchLabels{}", "policies::the_narrowest_peer_authentication_that_says_something_holds"),
    works("mtls.mode", "inbound::a_port_takes_the_tls_that_its_mode_asks_for"),
    works("portLevelMtls{}.mode", "inbound::a_port_with_a_mode_of_its_own_takes_that"),
];

const POLICY: &[Group] = &[
    group(SPEC, OBJECT),
    group(&["spec.rules[].from[].source"], SOURCE),
    group(&["spec.rules[].to[].operation"], OPERATION),
    group(&["spec.rules[].when[]"], CONDITION),
];

const FIELDS: &str = "authz::each_field_of_a_rule_decides";
/// Why rules on tokens are refused.
const NO_TOKENS: &str = "our proxy verifies no JSON web tokens yet, so nobody would have this attribute; remove the rule, or match a \
                         header that a gateway of yours has verified";

const OBJECT: &[Entry] = &[
    works(
        "selector.matchLabels{}",
        "policies::a_workload_has_the_policies_of_the_root_namespace_and_its_own",
    ),
    works("action=ALLOW", "authz::a_denial_outweighs_what_is_allowed"),
    works("action=DENY", "authz::a_denial_outweighs_what_is_allowed"),
    warned("action=AUDIT", "nothing audits: the policy has no effect, as in Istio 1.9 without a plugin"),
    refused(
        "action=CUSTOM",
        "external authorization is not supported; use ALLOW or DENY (an object that is there already denies what it covers)",
    ),
    refused("provider.name", "external authorization is not supported; leave it out"),
];

const SOURCE: &[Entry] = &[
    works("principals[]", FIELDS),
    works("notPrincipals[]", FIELDS),
    refused("requestPrincipals[]", NO_TOKENS),
    refused("notRequestPrincipals[]", NO_TOKENS),
    works("namespaces[]", FIELDS),
    works("notNamespaces[]", FIELDS),
    works("ipBlocks[]", FIELDS),
    works("notIpBlocks[]", FIELDS),
    works("remoteIpBlocks[]", FIELDS),
    works("notRemoteIpBlocks[]", FIELDS),
];

const OPERATION: &[Entry] = &[
    works("hosts[]", FIELDS),
    works("notHosts[]", FIELDS),
    works("ports[]", FIELDS),
    works("notPorts[]", FIELDS),
    works("methods[]", FIELDS),
    works("notMethods[]", FIELDS),
    works("paths[]", FIELDS),
    works("notPaths[]", FIELDS),
];

const CONDITION: &[Entry] = &[
    works("key=source.*", FIELDS),
    works("key=remote.ip", FIELDS),
    works("key=destination.*", FIELDS),
    works("key=connection.sni", "authz::conditions_on_the_connection_decide_on_tcp"),
    works("key=request.headers[*", FIELDS),
    works("key=request.regex.headers[*", FIELDS),
    refused("key=request.auth.*", NO_TOKENS),
    refused(
        "key=experimental.envoy.filters.*",
        "conditions on the metadata of other filters are not supported: an ALLOW rule would never hold and a DENY rule deny too \
         much; remove the condition",
    ),
    works("values[]", FIELDS),
    works("notValues[]", FIELDS),
];

const REQUESTS: &[Entry] = &[
    warned("selector.matchLabels{}", "has no effect: rules on tokens are not supported"),
    refused(
        "jwtRules[]",
        "JSON web tokens are not verified yet; remove the rules (an object that is there already has requests that carry a \
         token denied, with 403)",
    ),
];
