//! HTTP filters, one file each: its configuration, what routes override of it, what it does to requests and
//! responses, and its statistics. To add one, add its file and one line to [`filters!`] below.
//!
//! [`HttpFilter`] is a filter as it is configured, shared by all workers; [`stream::StreamFilter`] is what it is to one
//! request; [`chain::Chain`] leads a request through them. Nothing outside of this folder knows a filter by name.

pub mod chain;
pub mod held;
pub mod stream;
#[cfg(test)]
mod tests;

use std::any::Any;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use prost::Message;

use self::chain::Chain;
use self::stream::{Counter, StreamFilter};
use crate::pb::{self, hcm, route};
use crate::stats::{MetricKind, Stat};
use crate::value::{At as _, Invalid, Valid, type_of, unpack};

/// The list: makes each name a module and its `KIND` one of [`KINDS`].
macro_rules! filters {
    ($($name:ident,)*) => {
        $(mod $name;)*

        const KINDS: &[&Kind] = &[$(&$name::KIND,)*];
    };
}

filters! {
    alpn,
    cors,
    ext_authz,
    fault,
    istio_stats,
    metadata_exchange,
    rbac,
    router,
}

/// Statistics of all filters of one connection manager and worker. A filter counts seldom, and there are few.
#[derive(Debug)]
pub struct FilterStats(Vec<(Counter, Stat)>);

impl Default for FilterStats {
    fn default() -> Self {
        let counters = KINDS.iter().flat_map(|kind| kind.counters);
        FilterStats(counters.map(|counter| (*counter, Stat::default())).collect())
    }
}

impl FilterStats {
    /// Counts once.
    pub fn count(&self, counter: Counter) {
        if let Some((_, stat)) = self.0.iter().find(|(known, _)| *known == counter) {
            stat.inc();
        }
    }

    /// Name, kind and sum of each statistic over all workers.
    pub fn totals<'a>(blocks: impl Iterator<Item = &'a FilterStats>) -> Vec<(&'static str, MetricKind, u64)> {
        let none = FilterStats::default();
        let mut out: Vec<_> = none.0.iter().map(|(name, _)| (name.0, MetricKind::Counter, 0u64)).collect();
        for block in blocks {
            for (total, (_, stat)) in out.iter_mut().zip(&block.0) {
                total.2 = total.2.wrapping_add(stat.get());
            }
        }
        out
    }
}

/// What a filter's file says of it.
struct Kind {
    /// Message types that configure it; for filters without a message, names of the filter.
    types: &'static [&'static str],
    compile: fn(&hcm::HttpFilter) -> Valid<Arc<dyn HttpFilter>>,
    /// Message types that override it on virtual hosts, routes and weighted clusters.
    override_types: &'static [&'static str],
    compile_override: fn(&pb::Any) -> Valid<Override>,
    /// What it counts.
    counters: &'static [Counter],
}

/// What a route overrides; the filter knows its type.
type Override = Arc<dyn Any + Send + Sync>;

/// A filter as it is configured.
pub trait HttpFilter: std::fmt::Debug + Send + Sync {
    /// Its state for one request, or `None` when there is nothing to do for it: then it costs nothing further.
    fn start(&self, own: &Overrides<'_>) -> Option<Box<dyn StreamFilter>>;

    /// Whether it is the one that forwards, and so the last.
    fn is_terminal(&self) -> bool {
        false
    }

    /// Sets what it decides of the connection manager itself. Called once, when the manager is compiled.
    fn configure(&self, _options: &mut ManagerOptions) {}
}

/// What filters decide of their connection manager.
#[derive(Debug, Clone, Copy, Default)]
pub struct ManagerOptions {
    /// Neither read nor write `x-envoy-` headers.
    pub suppress_envoy_headers: bool,
}

/// A filter with the name by which routes override it.
#[derive(Debug)]
pub struct NamedFilter {
    name: Arc<str>,
    filter: Arc<dyn HttpFilter>,
    disabled: bool,
}

/// The filters of a connection manager, in order.
#[derive(Debug)]
pub struct HttpFilters {
    filters: Vec<NamedFilter>,
    /// What the filters decide of their manager.
    pub options: ManagerOptions,
}

impl HttpFilters {
    /// Compiles the filters of a connection manager. The last one must be the router.
    pub fn compile(from: &[hcm::HttpFilter]) -> Valid<HttpFilters> {
        let mut filters = Vec::new();
        let mut options = ManagerOptions::default();
        for one in from {
            match compile_one(one) {
                Ok(filter) => {
                    filter.configure(&mut options);
                    filters.push(NamedFilter {
                        name: one.name.as_str().into(),
                        filter,
                        disabled: one.disabled,
                    });
                }
                Err(_) if one.is_optional => {
                    tracing::info!(name = one.name, "skipped an optional HTTP filter")
                }
                Err(error) => return Err(error).at(&format!("http_filters {:?}", one.name)),
            }
        }
        match filters.last() {
            Some(last) if last.filter.is_terminal() => Ok(HttpFilters { filters, options }),
            _ => Err(Invalid::new("http_filters: the last filter must be the router")),
        }
    }

    /// The filters that take part in a request. `levels`: what its route overrides, most specific first.
    pub fn start(&self, levels: &[&PerFilter]) -> Chain {
        let mut chain = Chain::default();
        for named in &self.filters {
            if named.disabled || levels.iter().any(|level| level.disabled.contains(&*named.name)) {
                continue;
            }
            let own = Overrides { levels, name: &named.name };
            if let Some(filter) = named.filter.start(&own) {
                chain.push(filter);
            }
        }
        chain
    }
}

fn compile_one(from: &hcm::HttpFilter) -> Valid<Arc<dyn HttpFilter>> {
    // Istio's own filters come with code for a virtual machine, or with nothing; the name says which one it is.
    if let Some(kind) = KINDS.iter().find(|kind| kind.types.contains(&from.name.as_str())) {
        return (kind.compile)(from);
    }
    let message = match &from.config_type {
        Some(hcm::http_filter::ConfigType::TypedConfig(config)) => type_of(config),
        Some(hcm::http_filter::ConfigType::ConfigDiscovery(_)) => {
            return Err(Invalid::new("config_discovery is not supported"));
        }
        None => return Err(Invalid::new("missing typed_config")),
    };
    let kind = KINDS.iter().find(|kind| kind.types.contains(&message));
    let kind = kind.ok_or_else(|| Invalid(format!("unsupported filter {message}")))?;
    (kind.compile)(from)
}

/// The message of a filter.
fn configured<M: Message + Default>(from: &hcm::HttpFilter) -> Valid<M> {
    match &from.config_type {
        Some(hcm::http_filter::ConfigType::TypedConfig(config)) => unpack(config),
        _ => Err(Invalid::new("missing typed_config")),
    }
}

/// The message of an override.
fn overridden<M: Message + Default>(from: &pb::Any) -> Valid<M> {
    unpack(from)
}

/// What the route of a request overrides of one filter.
pub struct Overrides<'a> {
    levels: &'a [&'a PerFilter],
    name: &'a str,
}

impl Overrides<'_> {
    /// The most specific override.
    fn first<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.levels.iter().find_map(|level| level.get(self.name))
    }

    /// Those of all levels, most specific first.
    fn all<T: Send + Sync + 'static>(&self) -> Vec<Arc<T>> {
        self.levels.iter().filter_map(|level| level.get(self.name)).collect()
    }
}

/// `typed_per_filter_config` of one level.
#[derive(Debug, Default)]
pub struct PerFilter {
    overrides: HashMap<String, Override>,
    /// From before filters had names of their own: concerns the filter whatever it is called.
    nameless: Vec<Override>,
    disabled: HashSet<String>,
}

impl PerFilter {
    /// Compiles the configurations of one level.
    pub fn compile(from: &BTreeMap<String, pb::Any>) -> Valid<PerFilter> {
        let mut out = PerFilter::default();
        for (name, config) in from {
            out.add(name, config).at(&format!("typed_per_filter_config {name:?}"))?;
        }
        Ok(out)
    }

    fn add(&mut self, name: &str, config: &pb::Any) -> Valid<()> {
        let message = type_of(config);
        if message == "envoy.config.route.v3.FilterConfig" {
            let wrapper: route::FilterConfig = unpack(config)?;
            if wrapper.disabled {
                self.disabled.insert(name.to_owned());
            }
            return match &wrapper.config {
                None => Ok(()),
                Some(inner) if type_of(inner) == message => Err(Invalid::new("a FilterConfig in another")),
                Some(inner) => self.add(name, inner).or_else(|error| match wrapper.is_optional {
                    true => Ok(()),
                    false => Err(error),
                }),
            };
        }
        // Metadata exchange, stats and ALPN have nothing to configure per route.
        if name.starts_with("istio.") {
            return Ok(());
        }
        let kind = KINDS.iter().find(|kind| kind.override_types.contains(&message));
        let kind = kind.ok_or_else(|| Invalid(format!("unsupported per-route configuration {message}")))?;
        self.overrides.insert(name.to_owned(), (kind.compile_override)(config)?);
        Ok(())
    }

    /// The `cors` field of routes and virtual hosts; the policy of `typed_per_filter_config` comes before it.
    pub fn set_legacy_cors(&mut self, from: &route::CorsPolicy) -> Valid<()> {
        self.nameless.push(cors::compile_legacy(from)?);
        Ok(())
    }

    fn get<T: Send + Sync + 'static>(&self, name: &str) -> Option<Arc<T>> {
        let named = self.overrides.get(name).and_then(|own| own.clone().downcast::<T>().ok());
        named.or_else(|| self.nameless.iter().find_map(|own| own.clone().downcast::<T>().ok()))
    }
}
