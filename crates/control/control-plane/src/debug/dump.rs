//! One proxy's configuration as the control plane would send it now, in the form of Envoy's `/config_dump`.

use std::sync::Arc;

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use portolan_xds::{Resource, json::any_to_json, type_url};
use serde_json::{Value, json};

use super::state::Debug;
use crate::ads::Connection;

/// The stream that a dump is about.
pub(super) struct Subject(Arc<Connection>);

/// The proxy that a request names.
pub(super) fn subject(debug: &Debug, proxy: Option<&str>) -> Result<Subject, Response> {
    let refuse = |code: StatusCode, text: String| Err((code, text).into_response());
    let Some(proxy) = proxy.filter(|proxy| !proxy.is_empty()) else {
        return refuse(StatusCode::BAD_REQUEST, "give the proxy: ?proxyID=<pod>.<namespace>\n".to_owned());
    };
    let Some(connection) = debug.connections.find(proxy) else {
        return refuse(
            StatusCode::NOT_FOUND,
            format!(
                "proxy {proxy} is not connected to this control plane; /debug/syncz lists those that are\n"
            ),
        );
    };
    Ok(Subject(connection))
}

impl Subject {
    fn dynamic(&self, type_url: &str, wrap: impl Fn(&Resource, Value) -> Value) -> Vec<Value> {
        let resources = self.0.resources(type_url);
        resources
            .iter()
            .map(|resource| wrap(resource, any_to_json(resource.type_url, &resource.body)))
            .collect()
    }

    pub(super) fn config_dump(&self) -> Value {
        let at = self.0.connected_at.to_string();
        let clusters = self.dynamic(
            type_url::CLUSTER,
            |resource, body| json!({"version_info": resource.version.to_string(), "cluster": body, "last_updated": at}),
        );
        let listeners = self.dynamic(type_url::LISTENER, |resource, body| {
            json!({"name": &*resource.name,
                "active_state": {"version_info": resource.version.to_string(), "listener": body, "last_updated": at}})
        });
        let routes = self.dynamic(type_url::ROUTE, |resource, body| {
            json!({"version_info": resource.version.to_string(), "route_config": body, "last_updated": at})
        });
        let kind = |name: &str| format!("type.googleapis.com/envoy.admin.v3.{name}");
        json!({"configs": [
            {"@type": kind("BootstrapConfigDump")},
            {"@type": kind("ClustersConfigDump"), "dynamic_active_clusters": clusters},
            {"@type": kind("ListenersConfigDump"), "dynamic_listeners": listeners},
            {"@type": kind("ScopedRoutesConfigDump")},
            {"@type": kind("RoutesConfigDump"), "dynamic_route_configs": routes},
            {"@type": kind("SecretsConfigDump")},
        ]})
    }

    pub(super) fn endpoints(&self) -> Value {
        Value::Array(self.dynamic(type_url::ENDPOINT, |_, body| body))
    }
}
