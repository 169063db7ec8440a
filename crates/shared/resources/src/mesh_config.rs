//! MeshConfig: the part that is honoured, with Istio 1.9's defaults (Istio 1.9 reference, Global Mesh
//! Options). What it has not is ignored here and warned of by the support table.

use std::{collections::BTreeMap, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    duration::ProtoDuration,
    networking::{H2UpgradePolicy, LocalityLbSetting, OutboundTrafficPolicyMode, TcpKeepalive},
    wire_enum::wire_enum,
};
use portolan_names::{names, ports};

/// Settings of the whole mesh, from ConfigMap `istio` key `mesh`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct MeshConfig {
    /// Port of captured outbound traffic.
    pub proxy_listen_port: u16,
    /// Default time to connect upstream.
    pub connect_timeout: ProtoDuration,
    /// How long to wait for bytes that tell the protocol; 0 waits for ever.
    pub protocol_detection_timeout: ProtoDuration,
    /// Clients choose mTLS by themselves.
    pub enable_auto_mtls: bool,
    /// What happens to unknown destinations.
    pub outbound_traffic_policy: MeshOutboundTrafficPolicy,
    /// Namespace whose policies hold for the whole mesh.
    pub root_namespace: String,
    /// Trust domain of the mesh.
    pub trust_domain: String,
    /// Other trust domains that count as this one.
    pub trust_domain_aliases: Vec<String>,
    /// Access log file; empty turns access logs off.
    pub access_log_file: String,
    /// Text format; empty is the default one.
    pub access_log_format: String,
    /// Text or JSON.
    pub access_log_encoding: AccessLogEncoding,
    /// Listener access logs are left out.
    pub disable_envoy_listener_log: bool,
    /// Tracing headers and spans.
    pub enable_tracing: bool,
    /// Mesh-wide locality load balancing.
    pub locality_lb_setting: Option<LocalityLbSetting>,
    /// Refresh of DNS clusters.
    pub dns_refresh_rate: ProtoDuration,
    /// Default visibility of services.
    pub default_service_export_to: Vec<String>,
    /// Default visibility of VirtualServices.
    pub default_virtual_service_export_to: Vec<String>,
    /// Default visibility of DestinationRules.
    pub default_destination_rule_export_to: Vec<String>,
    /// HTTP/2 upgrade of plain HTTP ports.
    pub h2_upgrade_policy: H2UpgradePolicy,
    /// Path normalization.
    pub path_normalization: PathNormalization,
    /// Default keep-alive.
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// Merge of application metrics; unset means on.
    pub enable_prometheus_merge: Option<bool>,
    /// External authorizers and the like.
    pub extension_providers: Vec<ExtensionProvider>,
    /// Defaults of every proxy.
    pub default_config: ProxyConfig,
}

impl Default for MeshConfig {
    fn default() -> Self {
        Self {
            proxy_listen_port: ports::OUTBOUND,
            connect_timeout: "10s".into(),
            protocol_detection_timeout: "0s".into(),
            enable_auto_mtls: true,
            outbound_traffic_policy: MeshOutboundTrafficPolicy::default(),
            root_namespace: names::ISTIO_SYSTEM.to_owned(),
            trust_domain: names::TRUST_DOMAIN.to_owned(),
            trust_domain_aliases: Vec::new(),
            access_log_file: String::new(),
            access_log_format: String::new(),
            access_log_encoding: AccessLogEncoding::Text,
            disable_envoy_listener_log: false,
            enable_tracing: true,
            locality_lb_setting: None,
            dns_refresh_rate: "5s".into(),
            default_service_export_to: vec!["*".to_owned()],
            default_virtual_service_export_to: vec!["*".to_owned()],
            default_destination_rule_export_to: vec!["*".to_owned()],
            h2_upgrade_policy: H2UpgradePolicy::DoNotUpgrade,
            path_normalization: PathNormalization::default(),
            tcp_keepalive: None,
            enable_prometheus_merge: None,
            extension_providers: Vec::new(),
            default_config: ProxyConfig::default(),
        }
    }
}

impl MeshConfig {
    /// `connectTimeout`, 10 s when the text is bad.
    pub fn connect_timeout(&self) -> Duration {
        self.connect_timeout.get().unwrap_or(Duration::from_secs(10))
    }
    /// Whether unknown destinations are passed through.
    pub fn allow_any(&self) -> bool {
        self.outbound_traffic_policy.mode == OutboundTrafficPolicyMode::AllowAny
    }
    /// Own trust domain and its aliases.
    pub fn trust_domains(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.trust_domain.as_str())
            .chain(self.trust_domain_aliases.iter().map(String::as_str))
    }
}

/// What happens to unknown destinations; the mesh's default is ALLOW_ANY.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct MeshOutboundTrafficPolicy {
    /// Mode.
    pub mode: OutboundTrafficPolicyMode,
}

impl Default for MeshOutboundTrafficPolicy {
    fn default() -> Self {
        Self { mode: OutboundTrafficPolicyMode::AllowAny }
    }
}

wire_enum! {
    /// Form of access log lines.
    AccessLogEncoding {
        /// Text.
        Text = "TEXT",
        /// JSON.
        Json = "JSON",
    }
}

/// Path normalization.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PathNormalization {
    /// What is done.
    pub normalization: PathNormalizationType,
}

wire_enum! {
    /// Path normalization.
    PathNormalizationType {
        /// As BASE.
        Default = "DEFAULT",
        /// Nothing.
        None = "NONE",
        /// RFC 3986 dot segments.
        Base = "BASE",
        /// BASE, and adjacent slashes become one.
        MergeSlashes = "MERGE_SLASHES",
        /// Escaped slashes are decoded first.
        DecodeAndMergeSlashes = "DECODE_AND_MERGE_SLASHES",
    }
}

/// A provider that policies refer to by name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ExtensionProvider {
    /// Name.
    pub name: String,
    /// HTTP external authorizer.
    pub envoy_ext_authz_http: Option<ExtAuthzHttp>,
    /// gRPC external authorizer.
    pub envoy_ext_authz_grpc: Option<ExtAuthzGrpc>,
}

/// HTTP external authorizer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ExtAuthzHttp {
    /// Service, `[ns/]host`.
    pub service: String,
    /// Port.
    pub port: u32,
    /// Prefix of the request path.
    pub path_prefix: String,
    /// Allow when the authorizer cannot be reached.
    pub fail_open: bool,
    /// Status when it cannot be reached.
    pub status_on_error: String,
    /// Headers sent to the authorizer.
    pub include_headers_in_check: Vec<String>,
    /// Headers of its answer that go upstream.
    pub headers_to_upstream_on_allow: Vec<String>,
    /// Headers of its answer that go to the client.
    pub headers_to_downstream_on_deny: Vec<String>,
}

/// gRPC external authorizer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ExtAuthzGrpc {
    /// Service, `[ns/]host`.
    pub service: String,
    /// Port.
    pub port: u32,
    /// Allow when the authorizer cannot be reached.
    pub fail_open: bool,
    /// Status when it cannot be reached.
    pub status_on_error: String,
}

/// Settings of a proxy; MeshConfig's `defaultConfig`, merged with the Pod's `proxy.istio.io/config`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ProxyConfig {
    /// Address of the control plane.
    pub discovery_address: String,
    /// Worker threads; 0 means one per CPU.
    pub concurrency: Option<u32>,
    /// Admin port.
    pub proxy_admin_port: u16,
    /// Port of the agent.
    pub status_port: u16,
    /// Time to drain listeners.
    pub drain_duration: ProtoDuration,
    /// Time to wait at termination.
    pub termination_drain_duration: ProtoDuration,
    /// Capture mode.
    pub interception_mode: String,
    /// Extra node metadata and environment.
    pub proxy_metadata: BTreeMap<String, String>,
    /// Application containers start after the proxy.
    pub hold_application_until_proxy_starts: bool,
    /// Proxies in front of the gateway.
    pub gateway_topology: GatewayTopology,
    /// Tracing.
    pub tracing: Option<Tracing>,
    /// Mesh id.
    pub mesh_id: String,
    /// Envoy statistics that are kept besides Istio's own.
    pub proxy_stats_matcher: Option<ProxyStatsMatcher>,
}

impl Default for ProxyConfig {
    fn default() -> Self {
        Self {
            discovery_address: names::DISCOVERY_ADDRESS.to_owned(),
            concurrency: Some(2),
            proxy_admin_port: ports::ADMIN,
            status_port: ports::AGENT_STATUS,
            drain_duration: "45s".into(),
            termination_drain_duration: "5s".into(),
            interception_mode: "REDIRECT".to_owned(),
            proxy_metadata: BTreeMap::new(),
            hold_application_until_proxy_starts: false,
            gateway_topology: GatewayTopology::default(),
            tracing: None,
            mesh_id: String::new(),
            proxy_stats_matcher: None,
        }
    }
}

/// What stands in front of a gateway.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct GatewayTopology {
    /// Trusted hops in X-Forwarded-For.
    pub num_trusted_proxies: u32,
    /// What happens to the x-forwarded-client-cert header; SANITIZE_SET by default.
    pub forward_client_cert_details: Option<String>,
}

/// Tracing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Tracing {
    /// Zipkin collector.
    pub zipkin: Option<ZipkinTracer>,
    /// Share of traced requests in per cent.
    pub sampling: Option<f64>,
    /// Longest path tag.
    pub max_path_tag_length: Option<u32>,
}

/// Zipkin collector.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ZipkinTracer {
    /// `host:port`.
    pub address: String,
}

/// Envoy statistics that are kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ProxyStatsMatcher {
    /// By prefix.
    pub inclusion_prefixes: Vec<String>,
    /// By suffix.
    pub inclusion_suffixes: Vec<String>,
    /// By regular expression.
    pub inclusion_regexps: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_fields_are_ignored_and_defaults_hold() {
        let config: MeshConfig = serde_json::from_value(serde_json::json!({
            "trustDomain": "west.local", "fromTheFuture": {"x": 1}, "defaultConfig": {"concurrency": 1, "other": []}
        }))
        .unwrap();
        assert_eq!(config.trust_domain, "west.local");
        assert!(config.enable_auto_mtls && config.allow_any());
        assert_eq!(config.default_config.concurrency, Some(1));
        assert_eq!(config.connect_timeout(), Duration::from_secs(10));
    }

    #[test]
    fn unknown_destinations_may_be_ruled_out() {
        let config: MeshConfig =
            serde_json::from_value(serde_json::json!({"outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"}}))
                .unwrap();
        assert!(!config.allow_any());
    }
}
