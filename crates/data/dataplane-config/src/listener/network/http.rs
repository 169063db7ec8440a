//! `envoy.filters.network.http_connection_manager`.

use super::{Compiled, Kind, Terminal, configured};
use crate::listener::connection_manager::Hcm;

pub(super) const KIND: Kind = Kind {
    types: &["envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"],
    compile: |from, context| {
        Ok(Compiled::Terminal(Terminal::Http(Box::new(Hcm::compile(&configured(from)?, context)?))))
    },
};
