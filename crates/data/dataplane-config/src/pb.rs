//! Short names for the Envoy messages that are compiled.

pub use portolan_envoy_api::pb::envoy::config::accesslog::v3 as accesslog;
pub use portolan_envoy_api::pb::envoy::config::cluster::v3 as cluster;
pub use portolan_envoy_api::pb::envoy::config::core::v3 as core;
pub use portolan_envoy_api::pb::envoy::config::endpoint::v3 as endpoint;
pub use portolan_envoy_api::pb::envoy::config::listener::v3 as listener;
pub use portolan_envoy_api::pb::envoy::config::rbac::v3 as rbac;
pub use portolan_envoy_api::pb::envoy::config::route::v3 as route;
pub use portolan_envoy_api::pb::envoy::config::trace::v3 as trace;
pub use portolan_envoy_api::pb::envoy::extensions::access_loggers::file::v3 as file_log;
pub use portolan_envoy_api::pb::envoy::extensions::access_loggers::stream::v3 as stream_log;
pub use portolan_envoy_api::pb::envoy::extensions::filters::common::fault::v3 as common_fault;
pub use portolan_envoy_api::pb::envoy::extensions::filters::http::cors::v3 as cors;
pub use portolan_envoy_api::pb::envoy::extensions::filters::http::ext_authz::v3 as ext_authz;
pub use portolan_envoy_api::pb::envoy::extensions::filters::http::fault::v3 as fault;
pub use portolan_envoy_api::pb::envoy::extensions::filters::http::rbac::v3 as http_rbac;
pub use portolan_envoy_api::pb::envoy::extensions::filters::http::router::v3 as router;
pub use portolan_envoy_api::pb::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
pub use portolan_envoy_api::pb::envoy::extensions::filters::network::rbac::v3 as net_rbac;
pub use portolan_envoy_api::pb::envoy::extensions::filters::network::tcp_proxy::v3 as tcp_proxy;
pub use portolan_envoy_api::pb::envoy::extensions::load_balancing_policies as lb;
pub use portolan_envoy_api::pb::envoy::extensions::transport_sockets::tls::v3 as tls;
pub use portolan_envoy_api::pb::envoy::extensions::upstreams::http::v3 as upstream_http;
pub use portolan_envoy_api::pb::envoy::r#type::matcher::v3 as matcher;
pub use portolan_envoy_api::pb::envoy::r#type::metadata::v3 as metadata;
pub use portolan_envoy_api::pb::envoy::r#type::tracing::v3 as span_tag;
pub use portolan_envoy_api::pb::envoy::r#type::v3 as types;
pub use portolan_envoy_api::pb::google::protobuf::{Any, Struct, Value, value::Kind};
