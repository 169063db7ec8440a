//! `envoy.filters.network.tcp_proxy`.

use super::{Compiled, Kind, Terminal, configured};
use crate::listener::tcp_proxy::TcpProxy;

pub(super) const KIND: Kind = Kind {
    types: &["envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"],
    compile: |from, context| {
        Ok(Compiled::Terminal(Terminal::Tcp(Box::new(TcpProxy::compile(&configured(from)?, context)?))))
    },
};
