//! Access logs as MeshConfig wants them (docs/reference/xds.md).

use portolan_resources::mesh_config::AccessLogEncoding;

use crate::{context::Context, pb::*};

/// Istio's text format for proxies of 1.9 and later; tools parse it.
pub(crate) const TEXT_FORMAT: &str = concat!(
    "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% ",
    "%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% ",
    "\"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% ",
    "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" ",
    "\"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER% ",
    "%UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% ",
    "%REQUESTED_SERVER_NAME% %ROUTE_NAME%\n"
);

/// Istio's JSON format.
const JSON_FORMAT: [(&str, &str); 23] = [
    ("start_time", "%START_TIME%"),
    ("route_name", "%ROUTE_NAME%"),
    ("method", "%REQ(:METHOD)%"),
    ("path", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"),
    ("protocol", "%PROTOCOL%"),
    ("response_code", "%RESPONSE_CODE%"),
    ("response_flags", "%RESPONSE_FLAGS%"),
    ("response_code_details", "%RESPONSE_CODE_DETAILS%"),
    ("connection_termination_details", "%CONNECTION_TERMINATION_DETAILS%"),
    ("bytes_received", "%BYTES_RECEIVED%"),
    ("bytes_sent", "%BYTES_SENT%"),
    ("duration", "%DURATION%"),
    ("upstream_service_time", "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%"),
    ("x_forwarded_for", "%REQ(X-FORWARDED-FOR)%"),
    ("user_agent", "%REQ(USER-AGENT)%"),
    ("request_id", "%REQ(X-REQUEST-ID)%"),
    ("authority", "%REQ(:AUTHORITY)%"),
    ("upstream_host", "%UPSTREAM_HOST%"),
    ("upstream_cluster", "%UPSTREAM_CLUSTER%"),
    ("upstream_local_address", "%UPSTREAM_LOCAL_ADDRESS%"),
    ("downstream_local_address", "%DOWNSTREAM_LOCAL_ADDRESS%"),
    ("downstream_remote_address", "%DOWNSTREAM_REMOTE_ADDRESS%"),
    ("requested_server_name", "%REQUESTED_SERVER_NAME%"),
];
/// The last key of the JSON format.
const JSON_FAILURE: (&str, &str) =
    ("upstream_transport_failure_reason", "%UPSTREAM_TRANSPORT_FAILURE_REASON%");

/// Loggers of connection managers and TCP proxies.
pub(crate) fn loggers(ctx: &Context<'_>) -> Vec<accesslog::AccessLog> {
    file(ctx).into_iter().collect()
}

/// Loggers of listeners: only connections that no filter chain took.
pub(crate) fn listener_loggers(ctx: &Context<'_>) -> Vec<accesslog::AccessLog> {
    if ctx.mesh().disable_envoy_listener_log {
        return Vec::new();
    }
    let only_unmatched = accesslog::AccessLogFilter {
        filter_specifier: Some(accesslog::access_log_filter::FilterSpecifier::ResponseFlagFilter(
            accesslog::ResponseFlagFilter { flags: vec!["NR".to_owned()] },
        )),
    };
    file(ctx).map(|log| accesslog::AccessLog { filter: Some(only_unmatched), ..log }).into_iter().collect()
}

fn file(ctx: &Context<'_>) -> Option<accesslog::AccessLog> {
    let mesh = ctx.mesh();
    if mesh.access_log_file.is_empty() {
        return None;
    }
    use crate::pb::core::substitution_format_string::Format;
    let inline = |text: &str| {
        Format::TextFormatSource(core::DataSource {
            specifier: Some(core::data_source::Specifier::InlineString(text.to_owned())),
            ..Default::default()
        })
    };
    let format = match mesh.access_log_encoding {
        AccessLogEncoding::Text if mesh.access_log_format.is_empty() => inline(TEXT_FORMAT),
        AccessLogEncoding::Text => inline(&mesh.access_log_format),
        AccessLogEncoding::Json => {
            let own: Option<serde_json::Map<String, serde_json::Value>> =
                serde_json::from_str(&mesh.access_log_format).ok();
            let fields = match own {
                Some(own) => own.into_iter().filter_map(|(k, v)| Some((k, text(v.as_str()?)))).collect(),
                None => JSON_FORMAT
                    .iter()
                    .chain([&JSON_FAILURE])
                    .map(|(k, v)| ((*k).to_owned(), text(*v)))
                    .collect(),
            };
            Format::JsonFormat(Struct { fields })
        }
    };
    let config = file_log::FileAccessLog {
        path: mesh.access_log_file.clone(),
        access_log_format: Some(file_log::file_access_log::AccessLogFormat::LogFormat(
            core::SubstitutionFormatString { format: Some(format), ..Default::default() },
        )),
    };
    Some(accesslog::AccessLog {
        name: "envoy.access_loggers.file".to_owned(),
        config_type: Some(accesslog::access_log::ConfigType::TypedConfig(any(&config))),
        ..Default::default()
    })
}
