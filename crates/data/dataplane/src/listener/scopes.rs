//! Statistics that outlive single versions of resources.

use std::collections::HashMap;
use std::sync::Arc;

use crate::filters::FilterStats;
use crate::stats::metrics::{HttpStats, ListenerStats, PerWorker, TcpStats};

/// Statistics that outlive single versions of resources.
#[derive(Debug, Default)]
pub(crate) struct StatScopes {
    pub(crate) listeners: HashMap<String, Arc<PerWorker<ListenerStats>>>,
    pub(crate) http: HashMap<String, Arc<PerWorker<HttpStats>>>,
    pub(crate) filters: HashMap<String, Arc<PerWorker<FilterStats>>>,
    pub(crate) tcp: HashMap<String, Arc<PerWorker<TcpStats>>>,
}

impl StatScopes {
    pub(crate) fn listener(&mut self, workers: usize, name: String) -> Arc<PerWorker<ListenerStats>> {
        of(&mut self.listeners, workers, name)
    }

    pub(crate) fn http(&mut self, workers: usize, prefix: &str) -> Arc<PerWorker<HttpStats>> {
        of(&mut self.http, workers, prefix.to_owned())
    }

    pub(crate) fn filters(&mut self, workers: usize, prefix: &str) -> Arc<PerWorker<FilterStats>> {
        of(&mut self.filters, workers, prefix.to_owned())
    }

    pub(crate) fn tcp(&mut self, workers: usize, prefix: &str) -> Arc<PerWorker<TcpStats>> {
        of(&mut self.tcp, workers, prefix.to_owned())
    }

    /// Forgets what no listener uses any more, as Envoy does; otherwise every name that ever was would stay.
    pub(crate) fn prune(&mut self) {
        self.listeners.retain(|_, scope| Arc::strong_count(scope) > 1);
        self.http.retain(|_, scope| Arc::strong_count(scope) > 1);
        self.filters.retain(|_, scope| Arc::strong_count(scope) > 1);
        self.tcp.retain(|_, scope| Arc::strong_count(scope) > 1);
    }
}

fn of<T: Default>(
    scopes: &mut HashMap<String, Arc<PerWorker<T>>>,
    workers: usize,
    name: String,
) -> Arc<PerWorker<T>> {
    scopes.entry(name).or_insert_with(|| Arc::new(PerWorker::new(workers))).clone()
}
