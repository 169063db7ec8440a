//! The status sub-resource that all Istio kinds share.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Status of an Istio object (Istio 1.9 configuration reference).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct IstioStatus {
    /// Current service state of the object.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<IstioCondition>,
    /// Findings of validation and analysis.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub validation_messages: Vec<AnalysisMessage>,
    /// Generation of the spec that the status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// One condition of an Istio object.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct IstioCondition {
    /// Kind of condition, for example `Reconciled`.
    #[serde(rename = "type")]
    pub type_: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// One-word reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Text for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// RFC 3339 time of the last change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<String>,
    /// RFC 3339 time of the last probe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_probe_time: Option<String>,
}

/// One finding, for example `IST0101`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AnalysisMessage {
    /// Code and name of the finding.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_: Option<AnalysisMessageType>,
    /// `ERROR`, `WARNING` or `INFO`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
    /// Page that explains the finding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub documentation_url: Option<String>,
}

/// Code and name of a finding.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AnalysisMessageType {
    /// Name, for example `ReferencedResourceNotFound`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Code, for example `IST0101`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}
