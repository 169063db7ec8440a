//! The table is whole: every field of every schema has an entry, every entry has a field, every test is there.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::{Value, json};

use super::{
    tree::{Node, segments, tree},
    *,
};
use crate::MeshConfig;

/// A field without fields of its own.
struct Leaf {
    path: String,
    /// The values that it may have, when they are listed.
    values: Vec<String>,
}

fn leaves(schema: &Value, path: &str, out: &mut Vec<Leaf>) {
    if let Some(fields) = schema["properties"].as_object() {
        for (name, field) in fields {
            leaves(field, &joined(path, name), out);
        }
    } else if schema["items"].is_object() {
        leaves(&schema["items"], &format!("{path}[]"), out);
    } else if schema["additionalProperties"].is_object() {
        leaves(&schema["additionalProperties"], &format!("{path}{{}}"), out);
    } else {
        let values = schema["enum"].as_array().into_iter().flatten();
        let values = values.filter_map(|v| Some(v.as_str()?.to_owned())).collect();
        out.push(Leaf { path: path.to_owned(), values });
    }
}

/// What users write of each kind: `status` is ours.
fn kinds() -> Vec<(String, Vec<Leaf>)> {
    let of = |crd: &k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition| {
        let value = serde_json::to_value(crd).unwrap();
        let mut found = Vec::new();
        for version in value["spec"]["versions"].as_array().unwrap() {
            leaves(&version["schema"]["openAPIV3Schema"]["properties"]["spec"], "spec", &mut found);
        }
        (crd.spec.names.kind.clone(), found)
    };
    crate::crds().iter().map(of).collect()
}

/// Whether an entry speaks of a field, or of something that it is in.
fn speaks_of(root: &Node, leaf: &Leaf) -> bool {
    let mut node = root;
    for segment in segments(&leaf.path) {
        if node.support.is_some() {
            return true;
        }
        match node.below.get(segment) {
            Some(below) => node = below,
            None => return false,
        }
    }
    let listed = || leaf.values.iter().all(|value| node.support_of(value).is_some());
    node.support.is_some() || (!node.values.is_empty() && listed())
}

/// Entries for fields that are not in a schema.
fn astray(table: &Table, leaves: &[Leaf]) -> Vec<String> {
    let there = |path: &str| match path.split_once('=') {
        None => leaves.iter().any(|leaf| {
            leaf.path
                .strip_prefix(path)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[', '{']))
        }),
        Some((field, value)) => leaves.iter().any(|leaf| {
            leaf.path == field && (leaf.values.is_empty() || leaf.values.iter().any(|v| v == value))
        }),
    };
    table.entries().map(|(path, _)| path).filter(|path| !there(path)).collect()
}

#[test]
fn every_field_of_every_kind_has_an_entry_and_the_other_way_round() {
    let mut wrong = Vec::new();
    for (kind, leaves) in kinds() {
        let table = table(&kind).unwrap_or_else(|| panic!("{kind} has no table"));
        let root = tree(&kind).unwrap();
        let silent = leaves.iter().filter(|leaf| !speaks_of(root, leaf));
        wrong.extend(silent.map(|leaf| format!("{kind}: no entry for {} {:?}", leaf.path, leaf.values)));
        wrong.extend(astray(table, &leaves).iter().map(|path| format!("{kind}: there is no {path}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_field_of_the_settings_has_an_entry() {
    let settings =
        schemars::generate::SchemaSettings::openapi3().with(|settings| settings.inline_subschemas = true);
    let schema = settings.into_generator().into_root_schema_for::<MeshConfig>();
    let mut found = Vec::new();
    leaves(&serde_json::to_value(schema).unwrap(), "", &mut found);
    assert!(found.len() > 40, "{}", found.len());
    let (mesh, proxy) = (tree("MeshConfig").unwrap(), tree("ProxyConfig").unwrap());
    for Leaf { path, values } in found {
        let (root, inside) = match path.strip_prefix("defaultConfig.") {
            Some(inside) => (proxy, inside.to_owned()),
            None => (mesh, path.clone()),
        };
        assert!(speaks_of(root, &Leaf { path: inside, values }), "no entry for {path}");
    }
}

/// Fields, annotations, labels and variables of Istio 1.9 that no schema of ours has.
const KNOWN: &[(&str, &str)] = &[
    (
        "MeshConfig",
        "proxyListenPort connectTimeout protocolDetectionTimeout enableAutoMtls outboundTrafficPolicy.mode rootNamespace \
         trustDomain trustDomainAliases accessLogFile accessLogEncoding accessLogFormat enableTracing ingressControllerMode \
         ingressClass ingressService ingressSelector localityLbSetting.enabled localityLbSetting.failover \
         localityLbSetting.distribute dnsRefreshRate defaultServiceExportTo defaultVirtualServiceExportTo \
         defaultDestinationRuleExportTo enablePrometheusMerge verifyCertificateAtClient h2UpgradePolicy \
         inboundClusterStatName outboundClusterStatName serviceSettings extensionProviders caCertificates ca certificates \
         pathNormalization.normalization thriftConfig configSources tcpKeepalive disableEnvoyListenerLog \
         enableEnvoyAccessLogService proxyHttpPort defaultConfig",
    ),
    (
        "ProxyConfig",
        "discoveryAddress concurrency proxyAdminPort statusPort drainDuration parentShutdownDuration \
         terminationDrainDuration controlPlaneAuthPolicy statNameLength tracing.zipkin tracing.lightstep tracing.datadog tracing.stackdriver tracing.openCensusAgent tracing.sampling tracing.customTags tracing.maxPathTagLength tracing.tlsSettings interceptionMode proxyMetadata \
         holdApplicationUntilProxyStarts gatewayTopology.numTrustedProxies gatewayTopology.forwardClientCertDetails \
         proxyStatsMatcher.inclusionPrefixes proxyStatsMatcher.inclusionSuffixes proxyStatsMatcher.inclusionRegexps \
         extraStatTags readinessProbe meshId caCertificatesPem envoyAccessLogService envoyMetricsService configPath \
         binaryPath serviceCluster statsdUdpAddress customConfigFile proxyBootstrapTemplatePath zipkinAddress",
    ),
    (
        "annotations",
        "sidecar.istio.io/inject sidecar.istio.io/status sidecar.istio.io/rewriteAppHTTPProbers \
         sidecar.istio.io/proxyImage sidecar.istio.io/proxyCPU sidecar.istio.io/proxyCPULimit \
         sidecar.istio.io/proxyMemory sidecar.istio.io/proxyMemoryLimit sidecar.istio.io/interceptionMode \
         sidecar.istio.io/bootstrapOverride sidecar.istio.io/statsInclusionPrefixes \
         sidecar.istio.io/statsInclusionSuffixes sidecar.istio.io/statsInclusionRegexps sidecar.istio.io/userVolume \
         sidecar.istio.io/userVolumeMount sidecar.istio.io/enableCoreDump sidecar.istio.io/logLevel \
         sidecar.istio.io/componentLogLevel sidecar.istio.io/agentLogLevel sidecar.istio.io/extraStatTags \
         sidecar.istio.io/discoveryAddress status.sidecar.istio.io/port \
         readiness.status.sidecar.istio.io/initialDelaySeconds readiness.status.sidecar.istio.io/periodSeconds \
         readiness.status.sidecar.istio.io/failureThreshold readiness.status.sidecar.istio.io/applicationPorts \
         traffic.sidecar.istio.io/includeOutboundIPRanges traffic.sidecar.istio.io/excludeOutboundIPRanges \
         traffic.sidecar.istio.io/includeInboundPorts traffic.sidecar.istio.io/excludeInboundPorts \
         traffic.sidecar.istio.io/includeOutboundPorts traffic.sidecar.istio.io/excludeOutboundPorts \
         traffic.sidecar.istio.io/kubevirtInterfaces proxy.istio.io/config prometheus.istio.io/merge-metrics \
         networking.istio.io/exportTo kubernetes.io/ingress.class galley.istio.io/analyze-suppress \
         inject.istio.io/templates",
    ),
    (
        "labels",
        "istio-injection istio.io/rev sidecar.istio.io/inject security.istio.io/tlsMode service.istio.io/canonical-name \
         service.istio.io/canonical-revision topology.istio.io/network topology.istio.io/subzone istio-locality",
    ),
    (
        "environment of the control plane",
        "PILOT_TRACE_SAMPLING PILOT_HTTP10 PILOT_ENABLE_PROTOCOL_SNIFFING_FOR_INBOUND \
         PILOT_ENABLE_PROTOCOL_SNIFFING_FOR_OUTBOUND PILOT_INBOUND_PROTOCOL_DETECTION_TIMEOUT \
         PILOT_ENABLE_HEADLESS_SERVICE_POD_LISTENERS PILOT_FILTER_GATEWAY_CLUSTER_CONFIG PILOT_SCOPE_GATEWAY_TO_NAMESPACE \
         PILOT_USE_ENDPOINT_SLICE PILOT_ENABLE_STATUS PILOT_ENABLE_ANALYSIS PILOT_ENABLE_LOOP_BLOCKER \
         PILOT_SIDECAR_ENABLE_INBOUND_TLS_V2 PILOT_SKIP_VALIDATE_TRUST_DOMAIN PILOT_ENABLE_MYSQL_FILTER \
         PILOT_ENABLE_REDIS_FILTER PILOT_ENABLE_THRIFT_FILTER PILOT_ENABLED_SERVICE_APIS CLUSTER_ID XDS_AUTH \
         SPIFFE_BUNDLE_ENDPOINTS ISTIOD_ENABLE_SDS_SERVER PILOT_REMOTE_CLUSTER_TIMEOUT PILOT_DEBOUNCE_AFTER \
         PILOT_DEBOUNCE_MAX PILOT_PUSH_THROTTLE PILOT_XDS_SEND_TIMEOUT PILOT_ENABLE_FLOW_CONTROL PILOT_ENABLE_XDS_CACHE",
    ),
];

#[test]
fn what_istio_knows_is_in_the_tables() {
    for (name, known) in KNOWN {
        let table = table(name).unwrap_or_else(|| panic!("no table {name}"));
        let entries: Vec<String> = table.entries().map(|(path, _)| path).collect();
        for field in known.split_whitespace() {
            let below = |rest: &str| rest.is_empty() || rest.starts_with(['.', '[', '{', '=']);
            let found = entries.iter().any(|path| path.strip_prefix(field).is_some_and(below));
            assert!(found, "{name}: no entry for {field}");
        }
    }
}

/// What the agent asks its environment for. Constants of variables are called as the variables are.
#[test]
fn every_variable_that_the_agent_reads_is_in_the_table() {
    let source = include_str!("../../../../data/agent/src/settings/resolve.rs");
    let code = source.split("#[cfg(test)]").next().unwrap_or_default();
    let read: BTreeSet<&str> = code
        .split("vars.")
        .skip(1)
        .filter_map(|call| call.split_once('(')?.1.split([',', ')']).next())
        .map(|argument| argument.trim().trim_start_matches("env::").trim_matches('"'))
        .collect();
    assert!(read.len() > 20, "{read:?}");
    let table: BTreeSet<String> = environment::AGENT.entries().map(|(name, _)| name).collect();
    let missing = |name: &&&str| !table.contains(**name) && !name.starts_with("ISTIO_META");
    assert_eq!(read.iter().filter(missing).collect::<Vec<_>>(), [&""; 0]);
}

#[test]
fn no_path_has_two_entries() {
    for table in TABLES.iter().filter(|table| table.subject != Subject::Names) {
        let mut seen = BTreeSet::new();
        for (path, _) in table.entries() {
            assert!(seen.insert(path.clone()), "{}: {path}", table.name);
        }
    }
}

/// What a file of tests is about: its own name, or that of the folder that it is the tests of.
fn subject(path: &Path) -> String {
    let names = path.ancestors().filter_map(|path| path.file_stem()?.to_str());
    let telling = names.into_iter().find(|name| !["mod", "tests", "src", "lib", "main"].contains(name));
    telling.unwrap_or_default().to_owned()
}

/// Names of all tests, as `subject::function`.
fn tests_in(folder: &Path, found: &mut BTreeSet<String>) {
    for path in fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path()) {
        if path.is_dir() && !path.ends_with("target") {
            tests_in(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let mut is_test = false;
            for line in fs::read_to_string(&path).unwrap().lines().map(str::trim) {
                let function = line.split_once("fn ").and_then(|(_, rest)| rest.split_once('('));
                match function {
                    Some((function, _)) if is_test => {
                        found.insert(format!("{}::{function}", subject(&path)));
                        is_test = false;
                    }
                    _ if line.starts_with("#[test]") || line.starts_with("#[tokio::test") => is_test = true,
                    _ => {}
                }
            }
        }
    }
}

#[test]
fn what_works_is_shown_by_a_test_that_is_there() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut there = BTreeSet::new();
    tests_in(&crates, &mut there);
    assert!(there.len() > 500, "the sources are not where they are looked for");
    let mut missing = BTreeSet::new();
    for (path, support) in TABLES.iter().flat_map(Table::entries) {
        if let Support::Works { test } = support
            && !there.contains(test)
        {
            missing.insert(format!("{test} ({path})"));
        }
    }
    assert!(missing.is_empty(), "no such tests:\n{}", missing.into_iter().collect::<Vec<_>>().join("\n"));
}

/// Who reads a message has only the path and these words.
#[test]
fn messages_are_short_and_say_something() {
    for (path, support) in TABLES.iter().flat_map(Table::entries) {
        if let Support::Refused { message: text } | Support::Warned { text } = support {
            assert!((12..=200).contains(&text.len()), "{path}: {text}");
            assert!(!text.ends_with('.') && !text.contains('\n'), "{path}: {text}");
        }
    }
}

#[test]
fn the_page_of_the_book_is_that_of_the_table() {
    let written = include_str!("../../../../../docs/reference/support.md");
    assert!(written == page(), "docs/reference/support.md is out of date: cargo xtask docs writes it");
}

fn shown(report: &crate::report::Report) -> Vec<String> {
    let warnings = report.warnings.iter().map(|finding| format!("warning: {finding}"));
    report.errors.iter().map(ToString::to_string).chain(warnings).collect()
}

#[test]
fn an_object_is_judged_by_what_it_sets() {
    let http = |fault: Value| json!({"spec": {"hosts": ["a"], "http": [{"fault": {"abort": fault}}]}});
    assert!(shown(&judge("VirtualService", &http(json!({"httpStatus": 500})))).is_empty());
    let found = shown(&judge("VirtualService", &http(json!({"grpcStatus": "UNAVAILABLE"}))));
    assert_eq!(
        found,
        ["spec.http[0].fault.abort.grpcStatus: aborts with a gRPC status are not supported; use httpStatus"]
    );
    for nothing in [json!(null), json!("")] {
        assert!(shown(&judge("VirtualService", &http(json!({"grpcStatus": nothing})))).is_empty());
    }
    assert!(shown(&judge("VirtualService", &json!({"spec": 1}))).is_empty());
    assert!(shown(&judge("Unknown", &json!({"spec": {"a": 1}}))).is_empty());
}

#[test]
fn values_are_told_apart() {
    let rule = |key: &str| json!({"spec": {"rules": [{"when": [{"key": key, "values": ["v"]}]}]}});
    for (key, refused) in [
        ("source.ip", false),
        ("request.headers[x]", false),
        ("request.auth.claims[x]", true),
        ("experimental.envoy.filters.a[b]", true),
    ] {
        let report = judge("AuthorizationPolicy", &rule(key));
        assert_eq!(!report.is_valid(), refused, "{key}: {report:?}");
    }
    let action = |action: &str| judge("AuthorizationPolicy", &json!({"spec": {"action": action}}));
    assert!(!action("CUSTOM").is_valid());
    assert_eq!((action("AUDIT").is_valid(), action("AUDIT").warnings.len()), (true, 1));
    assert_eq!(action("DENY"), crate::report::Report::default());
}

#[test]
fn what_says_no_more_than_nothing_is_not_set() {
    let found = |value: Value| {
        judge_settings(&json!({"proxyHttpPort": value, "thriftConfig": null}), "m").warnings.len()
    };
    for nothing in [json!(null), json!(false), json!(0), json!(""), json!([])] {
        assert_eq!(found(nothing.clone()), 0, "{nothing}");
    }
    for something in [json!(true), json!(1), json!(-0.5), json!("x"), json!([1]), json!({})] {
        assert_eq!(found(something.clone()), 1, "{something}");
    }
}

/// Names that others chose are not repeated at any length.
#[test]
fn names_in_messages_are_cut() {
    let long = "\u{e4}".repeat(100);
    let found = judge_settings(&json!({ long.clone(): 1 }), "m");
    assert_eq!(found.warnings[0].field, format!("m.{}...", "\u{e4}".repeat(80)));
    let labels = json!({"labels": {format!("x.istio.io/{long}"): "v"}});
    assert!(judge_metadata(&labels, On::Pod).warnings[0].field.chars().count() < 110);
    let exact = "b".repeat(80);
    assert_eq!(judge_settings(&json!({ exact.clone(): 1 }), "m").warnings[0].field, format!("m.{exact}"));
}

/// One entry speaks once, however often an object does what it is about.
#[test]
fn repetitions_are_counted() {
    let route = json!({"fault": {"abort": {"http2Error": "x"}}});
    let found = judge("VirtualService", &json!({"spec": {"http": vec![route; 1000]}}));
    assert_eq!(found.errors.len(), 1);
    assert_eq!(found.errors[0].field, "spec.http[0].fault.abort.http2Error");
    assert!(found.errors[0].message.ends_with("(and at 999 more places)"), "{found:?}");
}

#[test]
fn settings_are_judged_with_what_is_not_known() {
    let found = judge_settings(
        &json!({
            "accessLogFile": "/dev/stdout", "accesLogFile": "x", "thriftConfig": {"rateLimitUrl": "a"},
            "configSources": [{"address": "k8s://"}, {"address": "fs:///x"}],
            "defaultConfig": {"concurrency": 1, "interceptionMode": "TPROXY", "tracing": {"sampling": 5, "datadog": {"address": "d"}}, "old": 1},
        }),
        "data.mesh",
    );
    let fields = |findings: &[crate::report::Finding]| -> Vec<String> {
        findings.iter().map(|finding| finding.field.clone()).collect()
    };
    assert_eq!(
        fields(&found.errors),
        ["data.mesh.configSources[1].address", "data.mesh.defaultConfig.interceptionMode"]
    );
    assert_eq!(
        fields(&found.warnings),
        [
            "data.mesh.thriftConfig",
            "data.mesh.accesLogFile",
            "data.mesh.defaultConfig.tracing.datadog",
            "data.mesh.defaultConfig.old"
        ]
    );
    let many: serde_json::Map<String, Value> = (0..100).map(|n| (format!("x{n:03}"), json!(1))).collect();
    let found = judge_settings(&Value::Object(many), "m");
    assert_eq!(found.warnings.len(), 8);
    assert!(found.warnings[7].message.ends_with("(and 92 more)"), "{found:?}");
}

#[test]
fn a_pods_proxy_config_is_not_that_of_the_mesh() {
    let topology = json!({"gatewayTopology": {"numTrustedProxies": 1}});
    assert_eq!(judge_pod_proxy_config(&topology, "a").warnings.len(), 1);
    assert!(judge_settings(&json!({"defaultConfig": topology}), "m").warnings.is_empty());
}

#[test]
fn annotations_and_labels_are_judged_where_they_are() {
    let with = |key: &str, name: &str, value: &str| json!({ key: { name: value } });
    let prefixed = [
        ("annotations", "sidecar.istio.io/proxyCPU", On::Pod, 0, 0),
        ("annotations", "sidecar.istio.io/proxyCPU", On::Service, 0, 1),
        ("annotations", "sidecar.istio.io/proxyCpu", On::Pod, 0, 1),
        ("annotations", "sidecar.istio.io/userVolume", On::Pod, 0, 1),
        ("annotations", "traffic.sidecar.istio.io/kubevirtInterfaces", On::Pod, 1, 0),
        ("annotations", "networking.istio.io/exportTo", On::Service, 0, 0),
        ("annotations", "networking.istio.io/exportTo", On::Configuration, 0, 1),
        ("annotations", "galley.istio.io/analyze-suppress", On::Configuration, 0, 1),
        ("annotations", "install.operator.istio.io/x", On::Configuration, 0, 0),
        ("annotations", "operator.istio.io/x", On::Configuration, 0, 0),
        ("annotations", "myistio.io/x", On::Pod, 0, 0),
        ("annotations", "istio.io/x", On::Pod, 0, 1),
        ("annotations", "federation.maistra.io/x", On::Pod, 0, 1),
        ("annotations", "maistra.io/x", On::Service, 0, 1),
        ("annotations", "portolan.io/x", On::Pod, 0, 1),
        ("annotations", "example.org/istio.io", On::Pod, 0, 0),
        ("labels", "istio.io/rev", On::Pod, 0, 0),
        ("labels", "istio.io/rev", On::Configuration, 0, 1),
        ("labels", "topology.istio.io/networks", On::Pod, 0, 1),
        ("labels", "app", On::Pod, 0, 0),
    ];
    for (key, name, on, errors, warnings) in prefixed {
        let report = judge_metadata(&with(key, name, "1"), on);
        assert_eq!(
            (report.errors.len(), report.warnings.len()),
            (errors, warnings),
            "{name} {on:?}: {report:?}"
        );
    }
    for (value, errors) in [("REDIRECT", 0), ("NONE", 1), ("TPROXY", 1), ("OTHER", 1)] {
        let metadata = with("annotations", "sidecar.istio.io/interceptionMode", value);
        assert_eq!(judge_metadata(&metadata, On::Pod).errors.len(), errors, "{value}");
    }
    let many: serde_json::Map<String, Value> =
        (0..100).map(|n| (format!("x.istio.io/{n}"), json!("v"))).collect();
    assert_eq!(judge_metadata(&json!({ "labels": many }), On::Pod).warnings.len(), 8);
    assert_eq!(judge_metadata(&Value::Null, On::Pod), crate::report::Report::default());
}

#[test]
fn variables_of_proxies_are_judged_too() {
    let config = |value: &str| json!({"proxyMetadata": {"ISTIO_META_DNS_AUTO_ALLOCATE": value, "MINE": "x"}});
    assert_eq!(judge_pod_proxy_config(&config("true"), "a").warnings.len(), 0);
    let found = judge_pod_proxy_config(&config("false"), "a");
    assert_eq!(found.warnings.len(), 1);
    assert_eq!(found.warnings[0].field, "a.proxyMetadata[ISTIO_META_DNS_AUTO_ALLOCATE]");
}

#[test]
fn variables_without_effect_are_named() {
    let set = [("PILOT_HTTP10", "true"), ("CLUSTER_ID", "west"), ("HOME", "/"), ("XDS_AUTH", "")];
    let found = judge_variables(set.into_iter());
    assert_eq!(found.warnings.len(), 1);
    assert_eq!(found.warnings[0].field, "PILOT_HTTP10");
}
