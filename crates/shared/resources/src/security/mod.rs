//! `security.istio.io` kinds (Istio 1.9 reference, Security).

mod authorization_policy;
mod peer_authentication;
mod request_authentication;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use authorization_policy::*;
pub use peer_authentication::*;
pub use request_authentication::*;

/// Selects the workloads that a policy holds for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PolicySelector {
    /// Labels that must all be present.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
}
