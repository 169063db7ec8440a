//! Load balancing policies, compiled: those of a cluster's own fields, and those of `load_balancing_policy`.

use std::time::Duration;

use portolan_balance::limits::{
    DEFAULT_MAGLEV_TABLE_SIZE, DEFAULT_MIN_RING_SIZE, MAX_MAGLEV_TABLE_SIZE, MAX_RING_SIZE,
};
use portolan_balance::{HashFunction, HashSettings, Policy, Settings, SlowStart, is_prime};
use portolan_envoy_api::pb::google::protobuf;

use super::subset;
use crate::pb::{self, cluster, core, lb, types};
use crate::value::{At as _, Invalid, Valid, duration, type_of, u32_or, unpack};

/// Envoy's `choice_count`.
const DEFAULT_CHOICES: u32 = 2;
/// Envoy's `min_weight_percent` of slow start.
const DEFAULT_MIN_WEIGHT: f64 = 10.0;
/// Envoy's `healthy_panic_threshold`, in per cent.
const DEFAULT_PANIC_THRESHOLD: f64 = 50.0;
/// How deep policies may contain each other.
const MAX_DEPTH: u32 = 4;

/// What a cluster says about load balancing.
#[derive(Debug, Default)]
pub(super) struct Balance {
    pub(super) settings: Settings,
    pub(super) hash_hostnames: bool,
    pub(super) list_as_any: bool,
}

/// Reads what a cluster says. `load_balancing_policy` comes before the older fields, as with Envoy.
pub(super) fn compile(from: &cluster::Cluster) -> Valid<Balance> {
    use cluster::cluster::LbPolicy as P;
    let common = from.common_lb_config.as_ref();
    let mut balance = Balance::default();
    let threshold = common.and_then(|common| common.healthy_panic_threshold.as_ref());
    balance.settings.panic_threshold =
        threshold.map_or(DEFAULT_PANIC_THRESHOLD, |percent| percent.value).round().clamp(0.0, 100.0) as u32;
    if let Some(policy) = &from.load_balancing_policy {
        of_extensions(policy, &mut balance, MAX_DEPTH).at("load_balancing_policy")?;
        return Ok(balance);
    }
    let policy = P::try_from(from.lb_policy).map_err(|_| Invalid::new("unknown lb_policy"))?;
    if policy == P::LoadBalancingPolicyConfig {
        return Err(Invalid::new("lb_policy: load_balancing_policy is missing"));
    }
    if let Some(common) = common {
        of_common(common, &mut balance);
    }
    balance.settings.policy = of_lb_policy(policy, from, common)?;
    if let Some(from) = &from.lb_subset_config {
        balance.settings.subsets = subset::of_cluster(from).at("lb_subset_config")?;
        balance.list_as_any = from.list_as_any;
    }
    Ok(balance)
}

fn of_common(from: &cluster::cluster::CommonLbConfig, balance: &mut Balance) {
    use cluster::cluster::common_lb_config::LocalityConfigSpecifier as L;
    match &from.locality_config_specifier {
        Some(L::LocalityWeightedLbConfig(_)) => balance.settings.locality_weighted = true,
        // Routing to the own zone needs a local cluster in the bootstrap, which a proxy of a mesh does not have; without
        // one, Envoy does not do it either.
        Some(L::ZoneAwareLbConfig(zone)) => balance.settings.fail_on_panic = zone.fail_traffic_on_panic,
        None => {}
    }
    balance.hash_hostnames =
        from.consistent_hashing_lb_config.as_ref().is_some_and(|hash| hash.use_hostname_for_hashing);
}

fn of_lb_policy(
    policy: cluster::cluster::LbPolicy,
    from: &cluster::Cluster,
    common: Option<&cluster::cluster::CommonLbConfig>,
) -> Valid<Policy> {
    use cluster::cluster::{LbConfig as C, LbPolicy as P};
    let config = from.lb_config.as_ref();
    let hash = common.and_then(|common| common.consistent_hashing_lb_config.as_ref());
    let hash = hash_settings(hash.and_then(|hash| hash.hash_balance_factor.as_ref()))?;
    match policy {
        P::RoundRobin | P::ClusterProvided | P::LoadBalancingPolicyConfig => {
            let slow = match config {
                Some(C::RoundRobinLbConfig(config)) => config.slow_start_config.as_ref(),
                _ => None,
            };
            Ok(Policy::RoundRobin { slow_start: slow.map(slow_start_of_cluster).transpose()? })
        }
        P::LeastRequest => {
            let config = match config {
                Some(C::LeastRequestLbConfig(config)) => config.clone(),
                _ => Default::default(),
            };
            let slow = config.slow_start_config.as_ref().map(slow_start_of_cluster).transpose()?;
            least_request(config.choice_count.as_ref(), config.active_request_bias.as_ref(), false, slow)
        }
        P::Random => Ok(Policy::Random),
        P::RingHash => {
            use cluster::cluster::ring_hash_lb_config::HashFunction as F;
            let config = match config {
                Some(C::RingHashLbConfig(config)) => *config,
                _ => Default::default(),
            };
            let function = match F::try_from(config.hash_function) {
                Ok(F::XxHash) => HashFunction::Xx,
                Ok(F::MurmurHash2) => HashFunction::Murmur2,
                Err(_) => return Err(Invalid::new("unknown hash_function")),
            };
            ring(config.minimum_ring_size.as_ref(), config.maximum_ring_size.as_ref(), function, hash)
        }
        P::Maglev => match config {
            Some(C::MaglevLbConfig(config)) => maglev(config.table_size.as_ref(), hash),
            _ => maglev(None, hash),
        },
    }
}

/// The first policy that is known counts.
fn of_extensions(from: &cluster::LoadBalancingPolicy, balance: &mut Balance, depth: u32) -> Valid<()> {
    let Some(depth) = depth.checked_sub(1) else {
        return Err(Invalid::new("policies are nested too deeply"));
    };
    let configs = from.policies.iter().filter_map(|policy| policy.typed_extension_config.as_ref());
    let mut unknown = Vec::new();
    for config in configs {
        let any = config.typed_config.as_ref().ok_or_else(|| Invalid::new("policy without typed_config"))?;
        match of_extension(any, balance, depth).at(&config.name)? {
            true => return Ok(()),
            false => unknown.push(type_of(any)),
        }
    }
    Err(Invalid(format!("no supported policy among [{}]", unknown.join(", "))))
}

/// False when the policy is not known.
fn of_extension(any: &pb::Any, balance: &mut Balance, depth: u32) -> Valid<bool> {
    let Some(name) = type_of(any).strip_prefix("envoy.extensions.load_balancing_policies.") else {
        return Ok(false);
    };
    let settings = &mut balance.settings;
    match name {
        "round_robin.v3.RoundRobin" => {
            let config: lb::round_robin::v3::RoundRobin = unpack(any)?;
            let slow_start = config.slow_start_config.as_ref().map(slow_start).transpose()?;
            settings.policy = Policy::RoundRobin { slow_start };
            of_locality(config.locality_lb_config.as_ref(), settings);
        }
        "least_request.v3.LeastRequest" => {
            use lb::least_request::v3::least_request::SelectionMethod as S;
            let config: lb::least_request::v3::LeastRequest = unpack(any)?;
            let slow = config.slow_start_config.as_ref().map(slow_start).transpose()?;
            let full_scan = S::try_from(config.selection_method) == Ok(S::FullScan)
                || config.enable_full_scan.is_some_and(|full| full.value);
            let (choices, bias) = (config.choice_count.as_ref(), config.active_request_bias.as_ref());
            settings.policy = least_request(choices, bias, full_scan, slow)?;
            of_locality(config.locality_lb_config.as_ref(), settings);
        }
        "random.v3.Random" => {
            let config: lb::random::v3::Random = unpack(any)?;
            settings.policy = Policy::Random;
            of_locality(config.locality_lb_config.as_ref(), settings);
        }
        "ring_hash.v3.RingHash" => {
            use lb::ring_hash::v3::ring_hash::HashFunction as F;
            let config: lb::ring_hash::v3::RingHash = unpack(any)?;
            let function = match F::try_from(config.hash_function) {
                Ok(F::XxHash | F::DefaultHash) => HashFunction::Xx,
                Ok(F::MurmurHash2) => HashFunction::Murmur2,
                Err(_) => return Err(Invalid::new("unknown hash_function")),
            };
            let common = config.consistent_hashing_lb_config.as_ref();
            of_hashing(common)?;
            let factor = match common {
                Some(common) => common.hash_balance_factor.as_ref(),
                None => config.hash_balance_factor.as_ref(),
            };
            balance.hash_hostnames =
                common.map_or(config.use_hostname_for_hashing, |common| common.use_hostname_for_hashing);
            settings.locality_weighted = config.locality_weighted_lb_config.is_some();
            let (minimum, maximum) = (config.minimum_ring_size.as_ref(), config.maximum_ring_size.as_ref());
            settings.policy = ring(minimum, maximum, function, hash_settings(factor)?)?;
        }
        "maglev.v3.Maglev" => {
            let config: lb::maglev::v3::Maglev = unpack(any)?;
            let common = config.consistent_hashing_lb_config.as_ref();
            of_hashing(common)?;
            balance.hash_hostnames = common.is_some_and(|common| common.use_hostname_for_hashing);
            settings.locality_weighted = config.locality_weighted_lb_config.is_some();
            let hash = hash_settings(common.and_then(|common| common.hash_balance_factor.as_ref()))?;
            settings.policy = maglev(config.table_size.as_ref(), hash)?;
        }
        "subset.v3.Subset" => {
            let config: lb::subset::v3::Subset = unpack(any)?;
            let inner = config.subset_lb_policy.as_ref();
            let inner = inner.ok_or_else(|| Invalid::new("subset_lb_policy is missing"))?;
            of_extensions(inner, balance, depth).at("subset_lb_policy")?;
            balance.settings.subsets = subset::of_extension(&config)?;
            balance.list_as_any = config.list_as_any;
        }
        "wrr_locality.v3.WrrLocality" => {
            let config: lb::wrr_locality::v3::WrrLocality = unpack(any)?;
            let inner = config.endpoint_picking_policy.as_ref();
            let inner = inner.ok_or_else(|| Invalid::new("endpoint_picking_policy is missing"))?;
            of_extensions(inner, balance, depth).at("endpoint_picking_policy")?;
            balance.settings.locality_weighted = true;
        }
        "cluster_provided.v3.ClusterProvided" => {}
        _ => return Ok(false),
    }
    Ok(true)
}

fn of_locality(from: Option<&lb::common::v3::LocalityLbConfig>, settings: &mut Settings) {
    use lb::common::v3::locality_lb_config::LocalityConfigSpecifier as L;
    match from.and_then(|from| from.locality_config_specifier.as_ref()) {
        Some(L::LocalityWeightedLbConfig(_)) => settings.locality_weighted = true,
        Some(L::ZoneAwareLbConfig(zone)) => settings.fail_on_panic = zone.fail_traffic_on_panic,
        None => {}
    }
}

fn of_hashing(from: Option<&lb::common::v3::ConsistentHashingLbConfig>) -> Valid<()> {
    match from {
        Some(from) if !from.hash_policy.is_empty() => {
            Err(Invalid::new("hash_policy is not supported here; use the route's"))
        }
        _ => Ok(()),
    }
}

fn least_request(
    choices: Option<&protobuf::UInt32Value>,
    bias: Option<&core::RuntimeDouble>,
    full_scan: bool,
    slow_start: Option<SlowStart>,
) -> Valid<Policy> {
    let choices = u32_or(choices, DEFAULT_CHOICES);
    if choices < 2 {
        return Err(Invalid::new("choice_count is less than 2"));
    }
    let bias = bias.map_or(1.0, |bias| bias.default_value);
    if !bias.is_finite() || bias < 0.0 {
        return Err(Invalid(format!("active_request_bias {bias} is not a number from 0")));
    }
    Ok(Policy::LeastRequest { choices, bias, full_scan, slow_start })
}

fn ring(
    minimum: Option<&protobuf::UInt64Value>,
    maximum: Option<&protobuf::UInt64Value>,
    function: HashFunction,
    hash: HashSettings,
) -> Valid<Policy> {
    let minimum = minimum.map_or(DEFAULT_MIN_RING_SIZE, |size| size.value);
    let maximum = maximum.map_or(MAX_RING_SIZE, |size| size.value);
    if minimum > maximum || maximum > MAX_RING_SIZE {
        return Err(Invalid(format!(
            "ring sizes {minimum}..{maximum} are out of range (at most {MAX_RING_SIZE})"
        )));
    }
    Ok(Policy::RingHash { minimum, maximum, function, hash })
}

fn maglev(table_size: Option<&protobuf::UInt64Value>, hash: HashSettings) -> Valid<Policy> {
    let table_size = table_size.map_or(DEFAULT_MAGLEV_TABLE_SIZE, |size| size.value);
    if table_size > MAX_MAGLEV_TABLE_SIZE || !is_prime(table_size) {
        return Err(Invalid(format!(
            "table_size {table_size} is not a prime number of at most {MAX_MAGLEV_TABLE_SIZE}"
        )));
    }
    Ok(Policy::Maglev { table_size, hash })
}

fn hash_settings(factor: Option<&protobuf::UInt32Value>) -> Valid<HashSettings> {
    match factor.map(|factor| factor.value) {
        Some(factor) if factor < 100 => Err(Invalid::new("hash_balance_factor is less than 100")),
        balance_factor => Ok(HashSettings { balance_factor }),
    }
}

fn slow_start_of_cluster(from: &cluster::cluster::SlowStartConfig) -> Valid<SlowStart> {
    slow_start_from(
        from.slow_start_window.as_ref(),
        from.aggression.as_ref(),
        from.min_weight_percent.as_ref(),
    )
}

fn slow_start(from: &lb::common::v3::SlowStartConfig) -> Valid<SlowStart> {
    slow_start_from(
        from.slow_start_window.as_ref(),
        from.aggression.as_ref(),
        from.min_weight_percent.as_ref(),
    )
}

fn slow_start_from(
    window: Option<&protobuf::Duration>,
    aggression: Option<&core::RuntimeDouble>,
    min_weight: Option<&types::Percent>,
) -> Valid<SlowStart> {
    let aggression = aggression.map_or(1.0, |aggression| aggression.default_value);
    if !aggression.is_finite() || aggression <= 0.0 {
        return Err(Invalid(format!("slow_start_config: aggression {aggression} is not more than 0")));
    }
    Ok(SlowStart {
        window: duration(window).at("slow_start_window")?.unwrap_or(Duration::ZERO),
        aggression,
        min_weight: (min_weight.map_or(DEFAULT_MIN_WEIGHT, |percent| percent.value) / 100.0).clamp(0.0, 1.0),
    })
}
