//! `envoy.filters.http.router`: the last filter. It only has options; forwarding itself is the connection manager's.

use std::sync::Arc;

use super::stream::StreamFilter;
use super::{HttpFilter, Kind, ManagerOptions, Overrides, configured};
use crate::pb::router;
use crate::value::Invalid;

pub(super) const KIND: Kind = Kind {
    types: &["envoy.extensions.filters.http.router.v3.Router"],
    compile: |from| {
        let router: router::Router = configured(from)?;
        if !router.upstream_http_filters.is_empty() || !router.strict_check_headers.is_empty() {
            return Err(Invalid::new("upstream_http_filters and strict_check_headers are not supported"));
        }
        Ok(Arc::new(Filter { suppress_envoy_headers: router.suppress_envoy_headers }))
    },
    override_types: &[],
    compile_override: |_| Ok(Arc::new(())),
    counters: &[],
};

#[derive(Debug)]
struct Filter {
    suppress_envoy_headers: bool,
}

impl HttpFilter for Filter {
    fn start(&self, _own: &Overrides<'_>) -> Option<Box<dyn StreamFilter>> {
        None
    }

    fn is_terminal(&self) -> bool {
        true
    }

    fn configure(&self, options: &mut ManagerOptions) {
        options.suppress_envoy_headers |= self.suppress_envoy_headers;
    }
}
