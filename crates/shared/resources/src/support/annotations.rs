//! Annotations with Istio's prefixes.

use portolan_names::annotations as names;

use super::{Entry, Group, On, Subject, Support, TOP, Table, group, refused, tree::named, warned, works};

pub(super) const TABLE: Table = Table { name: "annotations", subject: Subject::Names, groups: GROUPS };

const GROUPS: &[Group] = &[group(TOP, POD), group(TOP, SERVICE), group(TOP, ANYWHERE), group(TOP, ELSEWHERE)];

const PLACES: &str = "inject::each_annotation_has_its_place";
const READINESS: &str = "inject::each_annotation_has_its_place";
const CAPTURE: &str = "inject::each_annotation_has_its_place";
const NO_STATISTICS: &str = "has no effect: our proxy shows all of its statistics; for Envoy use proxyStatsMatcher in proxy.istio.io/config";
const NO_VOLUMES: &str = "has no effect: the proxy gets no further volumes";
const NO_BOOTSTRAP: &str = "has no effect: the proxy writes its own bootstrap";

/// On Pods that are injected.
const POD: &[Entry] = &[
    works(names::SIDECAR_INJECT, "inject::who_decides"),
    works(names::SIDECAR_STATUS, "inject::injecting_again_changes_nothing"),
    works("inject.istio.io/templates=gateway", "inject::a_gateway_completes_its_container"),
    works("inject.istio.io/templates=sidecar", "inject::each_annotation_has_its_place"),
    warned(names::INJECT_TEMPLATES, "names a template that is not there; there are sidecar and gateway"),
    works(names::PROXY_CONFIG, "inject::annotations_are_honoured"),
    works(names::PROXY_IMAGE, PLACES),
    works(names::PROXY_CPU, PLACES),
    works(names::PROXY_CPU_LIMIT, PLACES),
    works(names::PROXY_MEMORY, PLACES),
    works(names::PROXY_MEMORY_LIMIT, PLACES),
    works(names::LOG_LEVEL, PLACES),
    works(names::COMPONENT_LOG_LEVEL, PLACES),
    works(names::REWRITE_APP_HTTP_PROBERS, "inject::http_probes_go_through_the_agent"),
    works("sidecar.istio.io/interceptionMode=REDIRECT", "inject::a_sidecar_is_added"),
    refused("sidecar.istio.io/interceptionMode=TPROXY", "traffic is captured by REDIRECT only; leave it out"),
    refused(
        "sidecar.istio.io/interceptionMode=NONE",
        "without capture traffic would pass beside the proxy and every policy; leave it out, or refuse injection",
    ),
    refused(names::INTERCEPTION_MODE, "is not one of REDIRECT, TPROXY, NONE"),
    works(names::STATUS_PORT, "inject::the_agent_listens_where_probes_are_sent"),
    works(names::READINESS_INITIAL_DELAY, READINESS),
    works(names::READINESS_PERIOD, READINESS),
    works(names::READINESS_FAILURE_THRESHOLD, READINESS),
    warned(
        "readiness.status.sidecar.istio.io/applicationPorts",
        "has no effect: readiness is the proxy's own",
    ),
    works(names::INCLUDE_OUTBOUND_IP_RANGES, CAPTURE),
    works(names::EXCLUDE_OUTBOUND_IP_RANGES, CAPTURE),
    works(names::INCLUDE_INBOUND_PORTS, CAPTURE),
    works(names::EXCLUDE_INBOUND_PORTS, CAPTURE),
    works(names::INCLUDE_OUTBOUND_PORTS, CAPTURE),
    works(names::EXCLUDE_OUTBOUND_PORTS, CAPTURE),
    refused(names::KUBEVIRT_INTERFACES, "traffic of virtual machines is not captured; leave it out"),
    works(names::MERGE_METRICS, PLACES),
    works(names::PORTOLAN_PROXY, "inject::annotations_are_honoured"),
    warned("sidecar.istio.io/bootstrapOverride", NO_BOOTSTRAP),
    warned("sidecar.istio.io/statsInclusionPrefixes", NO_STATISTICS),
    warned("sidecar.istio.io/statsInclusionSuffixes", NO_STATISTICS),
    warned("sidecar.istio.io/statsInclusionRegexps", NO_STATISTICS),
    warned("sidecar.istio.io/extraStatTags", "has no effect: metrics have Istio's labels"),
    warned("sidecar.istio.io/userVolume", NO_VOLUMES),
    warned("sidecar.istio.io/userVolumeMount", NO_VOLUMES),
    warned("sidecar.istio.io/enableCoreDump", "has no effect: the proxy leaves no core dumps"),
    warned("sidecar.istio.io/agentLogLevel", "has no effect: agent and proxy are one program; use logLevel"),
    warned(
        "sidecar.istio.io/discoveryAddress",
        "has no effect; use discoveryAddress in proxy.istio.io/config",
    ),
    warned("sidecar.istio.io/capNetBindService", "has no effect: the proxy binds no port below 1024"),
];

/// On Services.
const SERVICE: &[Entry] = &[
    works(names::EXPORT_TO, "registries::a_kubernetes_service_is_taken_over_with_all_that_it_says"),
    works(
        names::CANONICAL_SERVICE_ACCOUNTS,
        "registries::a_kubernetes_service_is_taken_over_with_all_that_it_says",
    ),
    works(
        names::KUBERNETES_SERVICE_ACCOUNTS,
        "registries::a_kubernetes_service_is_taken_over_with_all_that_it_says",
    ),
];

/// On any object.
const ANYWHERE: &[Entry] = &[
    warned("galley.istio.io/analyze-suppress", "has no effect: nothing is analysed"),
    works("maistra.io/manageRoute=false", "objects::objects_of_discovery"),
    warned(names::MANAGE_ROUTE, "has no effect: no OpenShift Routes are made"),
];

/// On objects that are not looked at.
const ELSEWHERE: &[Entry] = &[warned(
    "kubernetes.io/ingress.class",
    "has no effect: Ingress objects are not served; write a Gateway",
)];

/// What becomes of an annotation; nothing for those that are not in the table.
pub(super) fn support(name: &str, value: &str, on: On) -> Option<Support> {
    let here = match on {
        On::Pod => named(POD, name, value),
        On::Service => named(SERVICE, name, value),
        On::Configuration => None,
    };
    let misplaced = |entries, text| named(entries, name, value).map(|_| Support::Warned { text });
    here.or_else(|| named(ANYWHERE, name, value))
        .or_else(|| {
            misplaced(POD, "has no effect here: it belongs to Pods (of a Deployment, to its template)")
        })
        .or_else(|| misplaced(SERVICE, "has no effect here: it belongs to Services"))
}

/// Whether a name has one of the mesh's prefixes, so that it should be known.
pub(super) fn is_ours(name: &str) -> bool {
    let Some((prefix, _)) = name.split_once('/') else { return false };
    let of = |domain: &str| prefix == domain || prefix.strip_suffix(domain).is_some_and(|p| p.ends_with('.'));
    // Marks of the program that installs Istio.
    let installer = of("operator.istio.io");
    (of("istio.io") || of("maistra.io") || of("portolan.io")) && !installer
}
