//! The injected containers and volumes.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{
        Capabilities, ConfigMapVolumeSource, Container, ContainerPort, DownwardAPIVolumeFile,
        DownwardAPIVolumeSource, EmptyDirVolumeSource, EnvVar, EnvVarSource, HTTPGetAction,
        ObjectFieldSelector, Probe, ProjectedVolumeSource, ResourceRequirements, SecurityContext,
        ServiceAccountTokenProjection, Volume, VolumeMount, VolumeProjection,
    },
    apimachinery::pkg::{api::resource::Quantity, util::intstr::IntOrString},
};
use portolan_names::{annotations, env, names, paths, ports};
use serde_json::{Value, json};

use super::{InjectError, InjectSettings, Template, pod::Prometheus, probes::AppProbes, workload::Plan};

/// Life of the token that the agent presents to the control plane (Istio's template).
const TOKEN_SECONDS: i64 = 43_200;

/// What a proxy asks for when the Pod says nothing.
const DEFAULT_CPU_REQUEST: &str = "10m";
const DEFAULT_MEMORY_REQUEST: &str = "128Mi";

/// Readiness of the sidecar.
const READINESS_INITIAL_DELAY_SECONDS: i32 = 1;
const READINESS_PERIOD_SECONDS: i32 = 2;
const READINESS_FAILURES: i32 = 30;
const READINESS_TIMEOUT_SECONDS: i32 = 3;

/// The init container that captures the Pod's traffic; none for gateways and where capture is off.
pub(super) fn init_container(plan: &Plan, settings: &InjectSettings) -> Option<Container> {
    if plan.template == Template::Gateway {
        return None;
    }
    let excluded = {
        let own = ports::INBOUND_CAPTURE_EXCLUDED.iter().map(u16::to_string).collect::<Vec<_>>().join(",");
        let status = plan.status_port.to_string();
        let mut list = own;
        if !list.split(',').any(|port| port == status) {
            list = format!("{list},{status}");
        }
        match plan.annotation(annotations::EXCLUDE_INBOUND_PORTS).filter(|ports| !ports.is_empty()) {
            Some(more) => format!("{list},{more}"),
            None => list,
        }
    };
    let annotation = |key: &str, default: &str| plan.annotation(key).unwrap_or(default).to_owned();
    let mut args: Vec<String> = vec!["redirect".to_owned()];
    let mut flag = |name: &str, value: String| {
        args.push(name.to_owned());
        args.push(value);
    };
    flag("-p", settings.mesh.proxy_listen_port.to_string());
    flag("-z", ports::INBOUND.to_string());
    flag("-u", names::PROXY_UID.to_string());
    flag("-m", plan.interception_mode.clone());
    flag("-i", annotation(annotations::INCLUDE_OUTBOUND_IP_RANGES, "*"));
    flag("-x", annotation(annotations::EXCLUDE_OUTBOUND_IP_RANGES, ""));
    flag("-b", annotation(annotations::INCLUDE_INBOUND_PORTS, "*"));
    flag("-d", excluded);
    if let Some(ports) = plan.annotation(annotations::INCLUDE_OUTBOUND_PORTS) {
        flag("-q", ports.to_owned());
    }
    if let Some(ports) = plan.annotation(annotations::EXCLUDE_OUTBOUND_PORTS) {
        flag("-o", ports.to_owned());
    }
    Some(Container {
        name: names::INIT_CONTAINER.to_owned(),
        image: Some(image(plan, settings)),
        args: Some(args),
        env: Some(proxy_metadata(plan)),
        resources: Some(resources(plan)),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            capabilities: Some(Capabilities {
                add: Some(vec!["NET_ADMIN".to_owned(), "NET_RAW".to_owned()]),
                drop: Some(vec!["ALL".to_owned()]),
            }),
            privileged: Some(false),
            read_only_root_filesystem: Some(false),
            run_as_group: Some(0),
            run_as_non_root: Some(false),
            run_as_user: Some(0),
            ..Default::default()
        }),
        ..Default::default()
    })
}

/// The proxy's container.
pub(super) fn container(
    plan: &Plan,
    settings: &InjectSettings,
    probes: &AppProbes,
    prometheus: Option<&Prometheus>,
) -> Result<Container, InjectError> {
    let role = match plan.template {
        Template::Sidecar => "sidecar",
        Template::Gateway => "router",
    };
    let log_level = plan.annotation(annotations::LOG_LEVEL).unwrap_or("warning");
    let component_levels = plan.annotation(annotations::COMPONENT_LOG_LEVEL).unwrap_or("misc:error");
    let mut args = vec![
        "proxy".to_owned(),
        role.to_owned(),
        "--domain".to_owned(),
        format!("$(POD_NAMESPACE).svc.{}", settings.cluster_domain),
        "--serviceCluster".to_owned(),
        format!("{}.{}", plan.canonical_name, plan.namespace),
        format!("--proxyLogLevel={log_level}"),
        format!("--proxyComponentLogLevel={component_levels}"),
        "--log_output_level=default:info".to_owned(),
    ];
    if let Some(concurrency) = plan.concurrency {
        args.push("--concurrency".to_owned());
        args.push(concurrency.to_string());
    }
    Ok(Container {
        name: names::PROXY_CONTAINER.to_owned(),
        image: Some(image(plan, settings)),
        args: Some(args),
        env: Some(environment(plan, settings, probes, prometheus)),
        ports: Some(vec![ContainerPort {
            name: Some("http-envoy-prom".to_owned()),
            container_port: i32::from(ports::PROXY_METRICS),
            protocol: Some("TCP".to_owned()),
            ..Default::default()
        }]),
        readiness_probe: Some(readiness(plan)?),
        resources: Some(resources(plan)),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), ..Default::default() }),
            privileged: Some(false),
            read_only_root_filesystem: Some(true),
            run_as_group: Some(i64::from(names::PROXY_UID)),
            run_as_non_root: Some(true),
            run_as_user: Some(i64::from(names::PROXY_UID)),
            ..Default::default()
        }),
        volume_mounts: Some(vec![
            mount("istiod-ca-cert", paths::ISTIOD_ROOT_DIR),
            mount("istio-data", paths::DATA),
            mount("istio-envoy", paths::PROXY_CONFIG),
            mount("istio-token", paths::TOKEN_DIR),
            mount("istio-podinfo", paths::POD_INFO),
        ]),
        ..Default::default()
    })
}

/// Volumes of the proxy, the same for all Pods.
pub(super) fn volumes() -> Vec<Volume> {
    let field = |path: &str, field: &str| DownwardAPIVolumeFile {
        path: path.to_owned(),
        field_ref: Some(ObjectFieldSelector { field_path: field.to_owned(), ..Default::default() }),
        ..Default::default()
    };
    let token = VolumeProjection {
        service_account_token: Some(ServiceAccountTokenProjection {
            audience: Some(names::TOKEN_AUDIENCE.to_owned()),
            expiration_seconds: Some(TOKEN_SECONDS),
            path: paths::TOKEN_FILE.to_owned(),
            ..Default::default()
        }),
        ..Default::default()
    };
    vec![
        Volume {
            name: "istio-envoy".to_owned(),
            empty_dir: Some(EmptyDirVolumeSource { medium: Some("Memory".to_owned()), ..Default::default() }),
            ..Default::default()
        },
        Volume {
            name: "istio-data".to_owned(),
            empty_dir: Some(EmptyDirVolumeSource::default()),
            ..Default::default()
        },
        Volume {
            name: "istio-podinfo".to_owned(),
            downward_api: Some(DownwardAPIVolumeSource {
                items: Some(vec![
                    field("labels", "metadata.labels"),
                    field("annotations", "metadata.annotations"),
                ]),
                ..Default::default()
            }),
            ..Default::default()
        },
        Volume {
            name: "istio-token".to_owned(),
            projected: Some(ProjectedVolumeSource { sources: Some(vec![token]), ..Default::default() }),
            ..Default::default()
        },
        Volume {
            name: "istiod-ca-cert".to_owned(),
            config_map: Some(ConfigMapVolumeSource {
                name: names::ROOT_CERT_CONFIG_MAP.to_owned(),
                ..Default::default()
            }),
            ..Default::default()
        },
    ]
}

fn environment(
    plan: &Plan,
    settings: &InjectSettings,
    probes: &AppProbes,
    prometheus: Option<&Prometheus>,
) -> Vec<EnvVar> {
    let discovery = plan.proxy_config["discoveryAddress"]
        .as_str()
        .unwrap_or(&settings.mesh.default_config.discovery_address)
        .to_owned();
    let mut vars = vec![
        value(env::JWT_POLICY, "third-party-jwt"),
        value(env::PILOT_CERT_PROVIDER, "istiod"),
        value(env::CA_ADDR, discovery),
        from_field(env::POD_NAME, "metadata.name"),
        from_field(env::POD_NAMESPACE, "metadata.namespace"),
        from_field(env::INSTANCE_IP, "status.podIP"),
        from_field(env::SERVICE_ACCOUNT, "spec.serviceAccountName"),
        from_field(env::HOST_IP, "status.hostIP"),
        value(env::CANONICAL_SERVICE, &plan.canonical_name),
        value(env::CANONICAL_REVISION, &plan.canonical_revision),
        value(env::PROXY_CONFIG, plan.proxy_config.to_string()),
        value(env::ISTIO_META_POD_PORTS, &plan.pod_ports),
        value(env::ISTIO_META_APP_CONTAINERS, plan.app_containers.join(",")),
        value(env::ISTIO_META_CLUSTER_ID, &settings.cluster_id),
        value(env::ISTIO_META_INTERCEPTION_MODE, &plan.interception_mode),
        value(env::ISTIO_META_WORKLOAD_NAME, &plan.workload),
        value(env::ISTIO_META_OWNER, &plan.owner),
        value(env::ISTIO_META_MESH_ID, mesh_id(settings)),
        value(env::TRUST_DOMAIN, &settings.mesh.trust_domain),
        // Where probes and Prometheus have been sent.
        value(env::STATUS_PORT, plan.status_port.to_string()),
    ];
    if plan.template == Template::Gateway {
        // The proxy's user may not bind ports below 1024.
        vars.push(value(env::ISTIO_META_UNPRIVILEGED_POD, "true"));
    }
    let kept: BTreeMap<&String, &String> =
        plan.pod_annotations.iter().filter(|(key, _)| key.as_str() != LAST_APPLIED).collect();
    if !kept.is_empty() {
        vars.push(value(env::ISTIO_METAJSON_ANNOTATIONS, json!(kept).to_string()));
    }
    if plan.envoy {
        vars.push(value(env::PORTOLAN_PROXY, names::PROXY_ENVOY));
    }
    if !probes.is_empty() {
        vars.push(value(env::ISTIO_KUBE_APP_PROBERS, Value::Object(probes.clone()).to_string()));
    }
    if let Some(original) = prometheus.and_then(|prometheus| prometheus.original.as_ref()) {
        vars.push(value(env::ISTIO_PROMETHEUS_ANNOTATIONS, original.to_string()));
    }
    for extra in proxy_metadata(plan) {
        vars.retain(|var| var.name != extra.name);
        vars.push(extra);
    }
    vars
}

/// Too long for an environment variable, and of no use to a proxy.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// `proxyMetadata` of the proxy's configuration becomes environment, here and in the init container.
fn proxy_metadata(plan: &Plan) -> Vec<EnvVar> {
    plan.proxy_config["proxyMetadata"]
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(name, text)| Some(value(name, text.as_str()?)))
        .collect()
}

fn mesh_id(settings: &InjectSettings) -> &str {
    match settings.mesh.default_config.mesh_id.as_str() {
        "" => &settings.mesh.trust_domain,
        id => id,
    }
}

fn readiness(plan: &Plan) -> Result<Probe, InjectError> {
    Ok(Probe {
        http_get: Some(HTTPGetAction {
            path: Some("/healthz/ready".to_owned()),
            port: IntOrString::Int(i32::from(ports::HEALTH)),
            ..Default::default()
        }),
        initial_delay_seconds: Some(
            plan.numeric(annotations::READINESS_INITIAL_DELAY, READINESS_INITIAL_DELAY_SECONDS)?,
        ),
        period_seconds: Some(plan.numeric(annotations::READINESS_PERIOD, READINESS_PERIOD_SECONDS)?),
        failure_threshold: Some(plan.numeric(annotations::READINESS_FAILURE_THRESHOLD, READINESS_FAILURES)?),
        timeout_seconds: Some(READINESS_TIMEOUT_SECONDS),
        ..Default::default()
    })
}

fn resources(plan: &Plan) -> ResourceRequirements {
    let quantity = |key: &str| plan.annotation(key).map(|text| Quantity(text.to_owned()));
    let mut requests = BTreeMap::new();
    let mut limits = BTreeMap::new();
    let cpu = quantity(annotations::PROXY_CPU);
    let memory = quantity(annotations::PROXY_MEMORY);
    requests.insert("cpu".to_owned(), cpu.unwrap_or_else(|| Quantity(DEFAULT_CPU_REQUEST.to_owned())));
    requests
        .insert("memory".to_owned(), memory.unwrap_or_else(|| Quantity(DEFAULT_MEMORY_REQUEST.to_owned())));
    if let Some(limit) = quantity(annotations::PROXY_CPU_LIMIT) {
        limits.insert("cpu".to_owned(), limit);
    }
    if let Some(limit) = quantity(annotations::PROXY_MEMORY_LIMIT) {
        limits.insert("memory".to_owned(), limit);
    }
    ResourceRequirements {
        requests: Some(requests),
        limits: (!limits.is_empty()).then_some(limits),
        ..Default::default()
    }
}

fn image(plan: &Plan, settings: &InjectSettings) -> String {
    plan.annotation(annotations::PROXY_IMAGE).unwrap_or(&settings.proxy_image).to_owned()
}

fn value(name: &str, value: impl Into<String>) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(value.into()), ..Default::default() }
}

fn from_field(name: &str, path: &str) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector { field_path: path.to_owned(), ..Default::default() }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn mount(volume: &str, path: &str) -> VolumeMount {
    VolumeMount { name: volume.to_owned(), mount_path: path.to_owned(), ..Default::default() }
}
