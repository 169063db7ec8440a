//! RequestAuthentication.

use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::PolicySelector;
use crate::{networking::is_false, status::IstioStatus};

/// Which JWTs a workload accepts. A request without one passes.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(crates(kube_core = "::kube_core"))]
#[kube(group = "security.istio.io", version = "v1beta1", kind = "RequestAuthentication", namespaced)]
#[kube(status = "IstioStatus", shortname = "ra", category = "istio-io", category = "security-istio-io")]
#[kube(derive = "PartialEq", derive = "Default")]
#[serde(rename_all = "camelCase", default)]
pub struct RequestAuthenticationSpec {
    /// Workloads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<PolicySelector>,
    /// Rules.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub jwt_rules: Vec<JwtRule>,
}

/// One issuer of JWTs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct JwtRule {
    /// `iss` claim.
    pub issuer: String,
    /// Accepted `aud` claims.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub audiences: Vec<String>,
    /// Where the keys are.
    #[serde(alias = "jwks_uri", skip_serializing_if = "Option::is_none")]
    pub jwks_uri: Option<String>,
    /// The keys themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks: Option<String>,
    /// Headers that carry the token.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub from_headers: Vec<JwtHeader>,
    /// Query parameters that carry the token.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub from_params: Vec<String>,
    /// Header that gets the verified payload.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_payload_to_header: Option<String>,
    /// The token is forwarded.
    #[serde(skip_serializing_if = "is_false")]
    pub forward_original_token: bool,
}

/// Header that carries a token.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct JwtHeader {
    /// Name.
    pub name: String,
    /// Text before the token, with its blank.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
}
