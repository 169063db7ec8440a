//! Filters, one file each, and the tables by which configurations name them.

pub(crate) mod cors;
pub(crate) mod fault;
pub(crate) mod metadata_exchange;
pub(crate) mod rbac;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::pb::{self, cors as cors_pb, fault as fault_pb, hcm, http_rbac, route};
use crate::value::{At as _, Invalid, Valid, type_of, unpack};

/// An HTTP filter of a connection manager.
#[derive(Debug)]
pub(crate) enum HttpFilter {
    Rbac(Arc<rbac::Rbac>),
    Fault(Arc<fault::Fault>),
    Cors,
    MetadataExchange,
    /// Istio's standard metrics, recorded at the end of the stream.
    Stats,
    /// Nothing to do here: the upstream TLS context chooses ALPN by protocol (`tls::ClientTls`).
    Alpn,
    Router(RouterOptions),
}

/// Options of the router.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RouterOptions {
    pub(crate) suppress_envoy_headers: bool,
}

/// A filter with the name by which routes configure it.
#[derive(Debug)]
pub(crate) struct NamedFilter {
    pub(crate) name: Arc<str>,
    pub(crate) filter: HttpFilter,
    pub(crate) disabled: bool,
}

/// Compiles the filters of a connection manager. The last one must be the router.
pub(crate) fn compile_http(filters: &[hcm::HttpFilter]) -> Valid<Vec<NamedFilter>> {
    let mut out = Vec::new();
    for filter in filters {
        match compile_one(filter) {
            Ok(compiled) => out.push(NamedFilter {
                name: filter.name.as_str().into(),
                filter: compiled,
                disabled: filter.disabled,
            }),
            Err(_) if filter.is_optional => {
                tracing::info!(name = filter.name, "skipped an optional HTTP filter")
            }
            Err(error) => return Err(error).at(&format!("http_filters {:?}", filter.name)),
        }
    }
    match out.last() {
        Some(NamedFilter { filter: HttpFilter::Router(_), .. }) => Ok(out),
        _ => Err(Invalid::new("http_filters: the last filter must be the router")),
    }
}

fn compile_one(filter: &hcm::HttpFilter) -> Valid<HttpFilter> {
    match filter.name.as_str() {
        "istio.metadata_exchange" => return Ok(HttpFilter::MetadataExchange),
        "istio.stats" => return Ok(HttpFilter::Stats),
        "istio.alpn" => return Ok(HttpFilter::Alpn),
        _ => {}
    }
    let config = match &filter.config_type {
        Some(hcm::http_filter::ConfigType::TypedConfig(config)) => config,
        Some(hcm::http_filter::ConfigType::ConfigDiscovery(_)) => {
            return Err(Invalid::new("config_discovery is not supported"));
        }
        None => return Err(Invalid::new("missing typed_config")),
    };
    Ok(match type_of(config) {
        "envoy.extensions.filters.http.router.v3.Router" => {
            let router: envoy_types::pb::envoy::extensions::filters::http::router::v3::Router =
                unpack(config)?;
            HttpFilter::Router(RouterOptions { suppress_envoy_headers: router.suppress_envoy_headers })
        }
        "envoy.extensions.filters.http.rbac.v3.RBAC" => {
            HttpFilter::Rbac(Arc::new(rbac::Rbac::compile_http(&unpack::<http_rbac::Rbac>(config)?)?))
        }
        "envoy.extensions.filters.http.fault.v3.HTTPFault" => {
            HttpFilter::Fault(Arc::new(fault::Fault::compile(&unpack::<fault_pb::HttpFault>(config)?)?))
        }
        "envoy.extensions.filters.http.cors.v3.Cors" => HttpFilter::Cors,
        name => return Err(Invalid(format!("unsupported filter {name}"))),
    })
}

/// `typed_per_filter_config` of one level.
#[derive(Debug, Default)]
pub(crate) struct PerFilter {
    pub(crate) rbac: HashMap<String, Option<Arc<rbac::Rbac>>>,
    pub(crate) fault: Option<Arc<fault::Fault>>,
    pub(crate) cors: Option<Arc<cors::CorsPolicy>>,
    disabled: HashSet<String>,
}

impl PerFilter {
    pub(crate) fn compile(from: &HashMap<String, pb::Any>) -> Valid<PerFilter> {
        let mut out = PerFilter::default();
        for (name, config) in from {
            out.add(name, config).at(&format!("typed_per_filter_config {name:?}"))?;
        }
        Ok(out)
    }

    fn add(&mut self, name: &str, config: &pb::Any) -> Valid<()> {
        match type_of(config) {
            "envoy.config.route.v3.FilterConfig" => {
                let wrapper: route::FilterConfig = unpack(config)?;
                if wrapper.disabled {
                    self.disabled.insert(name.to_owned());
                }
                match &wrapper.config {
                    None => Ok(()),
                    Some(inner) => self
                        .add(name, inner)
                        .or_else(|error| if wrapper.is_optional { Ok(()) } else { Err(error) }),
                }
            }
            "envoy.extensions.filters.http.cors.v3.CorsPolicy" => {
                self.cors =
                    Some(Arc::new(cors::CorsPolicy::compile(&unpack::<cors_pb::CorsPolicy>(config)?)?));
                Ok(())
            }
            "envoy.extensions.filters.http.fault.v3.HTTPFault" => {
                self.fault = Some(Arc::new(fault::Fault::compile(&unpack::<fault_pb::HttpFault>(config)?)?));
                Ok(())
            }
            "envoy.extensions.filters.http.rbac.v3.RBACPerRoute" => {
                let own: http_rbac::RbacPerRoute = unpack(config)?;
                let own = own.rbac.as_ref().map(rbac::Rbac::compile_http).transpose()?;
                self.rbac.insert(name.to_owned(), own.map(Arc::new));
                Ok(())
            }
            // Metadata exchange, stats and ALPN have nothing to configure per route.
            _ if name.starts_with("istio.") => Ok(()),
            other => Err(Invalid(format!("unsupported per-route configuration {other}"))),
        }
    }

    /// The `cors` field of routes and virtual hosts, from before the filter had a message of its own.
    pub(crate) fn set_legacy_cors(&mut self, from: &route::CorsPolicy) -> Valid<()> {
        if self.cors.is_none() {
            self.cors = Some(Arc::new(cors::CorsPolicy::compile(&cors_pb::CorsPolicy {
                allow_origin_string_match: from.allow_origin_string_match.clone(),
                allow_methods: from.allow_methods.clone(),
                allow_headers: from.allow_headers.clone(),
                expose_headers: from.expose_headers.clone(),
                max_age: from.max_age.clone(),
                allow_credentials: from.allow_credentials,
                ..Default::default()
            })?));
        }
        Ok(())
    }

    pub(crate) fn disables(&self, name: &str) -> bool {
        self.disabled.contains(name)
    }
}
