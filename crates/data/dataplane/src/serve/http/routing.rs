//! The route of a request.

use super::state::RequestState;
use crate::listener::Routes;
use crate::route::Action;

impl RequestState<'_> {
    /// Chooses the route of the request as it is now, and where it leads.
    pub(super) fn find_route(&mut self) {
        let scope = self.scope;
        let table = match &scope.hcm.routes {
            Routes::Inline(table) => Some(table.clone()),
            Routes::Named(name) => scope.worker.routes(name),
        };
        self.matched =
            table.and_then(|table| table.find(&self.request, &scope.connection, self.client.internal));
        self.weighted = None;
        self.info.route_name = None;
        self.info.cluster = None;
        self.info.cluster_name = None;
        let Some(matched) = &self.matched else { return };
        if !self.client.internal {
            matched.table.internal_only.iter().for_each(|name| {
                self.request.headers.remove(name);
            });
        }
        if !matched.route.name.is_empty() {
            self.info.route_name = Some(matched.route.name.clone());
        }
        if let Action::Forward(action) = &matched.route.action
            && let Some((name, weighted)) = action.cluster.choose(&self.request)
        {
            self.weighted = weighted.and_then(|chosen| action.cluster.position(chosen));
            self.info.cluster = scope.worker.cluster(&name).map(|(cluster, _)| cluster);
            self.info.cluster_name = Some(name);
        }
    }
}
