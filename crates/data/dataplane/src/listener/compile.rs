//! What the parts of a listener need besides their messages to be compiled.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use crate::stats::metrics::{HttpStats, ListenerStats, PerWorker, TcpStats};
use crate::value::Direction;

/// Statistics that outlive single versions of resources.
#[derive(Debug, Default)]
pub(crate) struct StatScopes {
    pub(crate) listeners: HashMap<String, Arc<PerWorker<ListenerStats>>>,
    pub(crate) http: HashMap<String, Arc<PerWorker<HttpStats>>>,
    pub(crate) tcp: HashMap<String, Arc<PerWorker<TcpStats>>>,
}

/// What compilation needs besides the message.
pub(crate) struct Compile<'a> {
    pub(crate) workers: usize,
    pub(crate) scopes: RefCell<&'a mut StatScopes>,
    pub(crate) direction: Direction,
}

impl Compile<'_> {
    pub(crate) fn http_stats(&self, prefix: &str) -> Arc<PerWorker<HttpStats>> {
        let mut scopes = self.scopes.borrow_mut();
        scopes.http.entry(prefix.to_owned()).or_insert_with(|| Arc::new(PerWorker::new(self.workers))).clone()
    }

    pub(crate) fn tcp_stats(&self, prefix: &str) -> Arc<PerWorker<TcpStats>> {
        let mut scopes = self.scopes.borrow_mut();
        scopes.tcp.entry(prefix.to_owned()).or_insert_with(|| Arc::new(PerWorker::new(self.workers))).clone()
    }
}
