//! Subsets of a cluster, compiled. The older and the newer message say the same with the same numbers.

use portolan_balance::{KeyFallback, SubsetFallback, SubsetSelector, SubsetSettings};

use super::labels;
use crate::pb::{self, cluster, lb};
use crate::value::{At as _, Invalid, Valid};

/// Most selectors of a cluster: each host is looked at once for each of them.
const MAX_SELECTORS: usize = 64;
/// Most keys of a selector.
const MAX_KEYS: usize = 32;

/// What both messages have.
struct Raw<'a> {
    fallback: i32,
    metadata_fallback: i32,
    default_subset: Option<&'a pb::Struct>,
    selectors: Vec<RawSelector<'a>>,
}

struct RawSelector<'a> {
    keys: &'a [String],
    single_host: bool,
    fallback: i32,
    fallback_keys: &'a [String],
}

/// From a cluster's `lb_subset_config`; without selectors there are no subsets.
pub(super) fn of_cluster(from: &cluster::cluster::LbSubsetConfig) -> Valid<Option<SubsetSettings>> {
    let raw = Raw {
        fallback: from.fallback_policy,
        metadata_fallback: from.metadata_fallback_policy,
        default_subset: from.default_subset.as_ref(),
        selectors: from
            .subset_selectors
            .iter()
            .map(|one| RawSelector {
                keys: &one.keys,
                single_host: one.single_host_per_subset,
                fallback: one.fallback_policy,
                fallback_keys: &one.fallback_keys_subset,
            })
            .collect(),
    };
    let Some(settings) = compile(&raw)? else { return Ok(None) };
    Ok(Some(SubsetSettings {
        locality_weight_aware: from.locality_weight_aware,
        scale_locality_weight: from.scale_locality_weight,
        panic_mode_any: from.panic_mode_any,
        ..settings
    }))
}

/// From the extension `envoy.load_balancing_policies.subset`.
pub(super) fn of_extension(from: &lb::subset::v3::Subset) -> Valid<Option<SubsetSettings>> {
    let raw = Raw {
        fallback: from.fallback_policy,
        metadata_fallback: from.metadata_fallback_policy,
        default_subset: from.default_subset.as_ref(),
        selectors: from
            .subset_selectors
            .iter()
            .map(|one| RawSelector {
                keys: &one.keys,
                single_host: one.single_host_per_subset,
                fallback: one.fallback_policy,
                fallback_keys: &one.fallback_keys_subset,
            })
            .collect(),
    };
    let Some(settings) = compile(&raw)? else { return Ok(None) };
    Ok(Some(SubsetSettings {
        locality_weight_aware: from.locality_weight_aware,
        scale_locality_weight: from.scale_locality_weight,
        panic_mode_any: from.panic_mode_any,
        allow_redundant_keys: from.allow_redundant_keys,
        ..settings
    }))
}

fn compile(from: &Raw<'_>) -> Valid<Option<SubsetSettings>> {
    use cluster::cluster::lb_subset_config::{
        LbSubsetFallbackPolicy as F, LbSubsetMetadataFallbackPolicy as M,
    };
    if from.selectors.is_empty() {
        return Ok(None);
    }
    if M::try_from(from.metadata_fallback) != Ok(M::MetadataNoFallback) {
        return Err(Invalid::new("metadata_fallback_policy is not supported"));
    }
    if from.selectors.len() > MAX_SELECTORS {
        return Err(Invalid(format!("more than {MAX_SELECTORS} subset_selectors")));
    }
    let fallback = match F::try_from(from.fallback) {
        Ok(F::NoFallback) => SubsetFallback::None,
        Ok(F::AnyEndpoint) => SubsetFallback::Any,
        Ok(F::DefaultSubset) => SubsetFallback::Default,
        Err(_) => return Err(Invalid::new("unknown fallback_policy")),
    };
    let selectors = from.selectors.iter().map(selector).collect::<Valid<Vec<_>>>().at("subset_selectors")?;
    Ok(Some(SubsetSettings {
        fallback,
        default_subset: from.default_subset.map(labels::of_struct).unwrap_or_default(),
        selectors,
        ..SubsetSettings::default()
    }))
}

fn selector(from: &RawSelector<'_>) -> Valid<SubsetSelector> {
    use cluster::cluster::lb_subset_config::lb_subset_selector::LbSubsetSelectorFallbackPolicy as F;
    let keys = sorted(from.keys);
    if keys.is_empty() || keys.len() > MAX_KEYS {
        return Err(Invalid(format!("a selector must have one to {MAX_KEYS} keys")));
    }
    if from.single_host && keys.len() != 1 {
        return Err(Invalid::new("single_host_per_subset needs exactly one key"));
    }
    let fallback = match F::try_from(from.fallback) {
        Ok(F::NotDefined) => KeyFallback::Inherit,
        Ok(F::NoFallback) => KeyFallback::To(SubsetFallback::None),
        Ok(F::AnyEndpoint) => KeyFallback::To(SubsetFallback::Any),
        Ok(F::DefaultSubset) => KeyFallback::To(SubsetFallback::Default),
        Ok(F::KeysSubset) => {
            let fewer = sorted(from.fallback_keys);
            if fewer.is_empty() || fewer.len() >= keys.len() || !fewer.iter().all(|key| keys.contains(key)) {
                return Err(Invalid::new("fallback_keys_subset must be some, but not all, of keys"));
            }
            KeyFallback::Keys(fewer)
        }
        Err(_) => return Err(Invalid::new("unknown fallback_policy of a selector")),
    };
    Ok(SubsetSelector { keys, single_host: from.single_host, fallback })
}

fn sorted(keys: &[String]) -> Vec<String> {
    let mut keys = keys.to_vec();
    keys.sort();
    keys.dedup();
    keys
}
