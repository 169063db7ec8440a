//! ImportedServiceSet (docs/reference/federation.md).

use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{MeshServiceMapping, ServiceNameMapping};
use crate::networking::is_false;

/// What this mesh takes from the peer of the same name.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(crates(kube_core = "::kube_core"))]
#[kube(
    group = "federation.maistra.io",
    version = "v1",
    kind = "ImportedServiceSet",
    plural = "importedservicesets",
    namespaced
)]
#[kube(status = "ImportedServiceSetStatus", category = "maistra-io")]
#[kube(derive = "PartialEq", derive = "Default")]
#[serde(rename_all = "camelCase", default)]
pub struct ImportedServiceSetSpec {
    /// Domain of the imported hosts; `svc.<peer>-imports.local` by default.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub domain_suffix: String,
    /// Locality of the imported endpoints.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locality: Option<ImportedServiceLocality>,
    /// Ordered rules; a service that none fits is not imported.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub import_rules: Vec<ImportedServiceRule>,
}

/// Locality of imported endpoints; a zone needs a region, a subzone a zone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ImportedServiceLocality {
    /// Region.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub region: String,
    /// Zone.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub zone: String,
    /// Sub-zone.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub subzone: String,
}

impl ImportedServiceLocality {
    /// The locality when it is complete from the left, else `None` (docs/reference/federation.md).
    pub fn valid(&self) -> Option<&Self> {
        let hole = (self.region.is_empty() && !self.zone.is_empty())
            || (self.zone.is_empty() && !self.subzone.is_empty());
        (!hole && !self.region.is_empty()).then_some(self)
    }
}

/// One import rule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImportedServiceRule {
    /// `NameSelector`.
    #[serde(rename = "type")]
    pub type_: String,
    /// Match by exported name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name_selector: Option<ServiceNameMapping>,
    /// Domain of this rule's hosts.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub domain_suffix: String,
    /// The host is a local one, `<name>.<ns>.svc.<cluster domain>`.
    #[serde(default, skip_serializing_if = "is_false")]
    pub import_as_local: bool,
}

/// Status: what the peer exports and what is imported.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ImportedServiceSetStatus {
    /// Sorted by exported name; `[]` when empty, never null.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["exportedName"]))]
    pub imported_services: Vec<MeshServiceMapping>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locality_is_complete_from_the_left() {
        for (region, zone, subzone, valid) in [
            ("r", "", "", true),
            ("r", "z", "", true),
            ("r", "z", "s", true),
            ("", "", "", false),
            ("", "z", "", false),
            ("", "", "s", false),
            ("r", "", "s", false),
            ("", "z", "s", false),
        ] {
            let [region, zone, subzone] = [region, zone, subzone].map(str::to_owned);
            let locality = ImportedServiceLocality { region, zone, subzone };
            assert_eq!(locality.valid(), valid.then_some(&locality), "{locality:?}");
        }
    }

    #[test]
    fn a_switch_that_is_off_is_not_written() {
        let written = |import_as_local| {
            let rule = ImportedServiceRule { import_as_local, ..Default::default() };
            serde_json::to_value(rule).unwrap().get("importAsLocal").cloned()
        };
        assert_eq!((written(true), written(false)), (Some(true.into()), None));
    }
}
