//! Access logs as MeshConfig wants them.

use serde_json::{Value, json};

use super::mesh::{Mesh, at, filter};

/// The loggers of the listener `virtualOutbound` and of the TCP proxy in it.
fn loggers(settings: &Value) -> [Value; 2] {
    let listener = Mesh::of("").with(settings.clone()).seen_by_sidecar().listener("virtualOutbound");
    let proxy = filter(&listener["filter_chains"][1]["filters"], "tcp_proxy");
    [listener["access_log"].clone(), proxy["access_log"].clone()]
}

fn format(settings: Value) -> Value {
    let mut settings = settings;
    settings["accessLogFile"] = json!("/log");
    let [_, logs] = loggers(&settings);
    assert_eq!(at(&logs, "/0/typed_config/path"), "/log");
    at(&logs, "/0/typed_config/log_format")
}

#[test]
fn without_a_file_there_is_no_log() {
    assert_eq!(loggers(&json!({"accessLogEncoding": "JSON"})), [Value::Null, Value::Null]);
}

/// Listeners log connections that no filter chain took; all others are logged by their filters.
#[test]
fn listeners_log_what_nobody_else_does() {
    let unmatched = json!({"response_flag_filter": {"flags": ["NR"]}});
    for (off, expected) in [(false, &unmatched), (true, &json!(null))] {
        let settings = json!({"accessLogFile": "/log", "disableEnvoyListenerLog": off});
        let [of_listener, of_proxy] = loggers(&settings);
        assert_eq!(at(&of_listener, "/0/filter"), *expected);
        assert_eq!(of_listener.is_null(), off);
        assert_eq!(at(&of_proxy, "/0/filter"), Value::Null);
        assert_eq!(at(&of_proxy, "/0/name"), "envoy.access_loggers.file");
    }
}

#[test]
fn text_is_istios_or_the_meshs_own() {
    let istios = format(json!({}));
    let text = istios["text_format_source"]["inline_string"].as_str().unwrap();
    assert!(
        text.starts_with("[%START_TIME%] \"%REQ(:METHOD)% ") && text.ends_with(" %ROUTE_NAME%\n"),
        "{text}"
    );
    let own = format(json!({"accessLogFormat": "%PROTOCOL%\n"}));
    assert_eq!(own, json!({"text_format_source": {"inline_string": "%PROTOCOL%\n"}}));
}

#[test]
fn json_is_istios_or_the_meshs_own() {
    for (own, expected) in
        [("", None), ("nonsense", None), (r#"{"a": "%PROTOCOL%", "b": 1}"#, Some(json!({"a": "%PROTOCOL%"})))]
    {
        let found = format(json!({"accessLogEncoding": "JSON", "accessLogFormat": own}));
        let fields = &found["json_format"];
        match expected {
            Some(expected) => assert_eq!(*fields, expected, "{own}"),
            None => {
                assert_eq!(fields.as_object().unwrap().len(), 24, "{own}");
                assert_eq!(fields["route_name"], "%ROUTE_NAME%");
                assert_eq!(
                    fields["upstream_transport_failure_reason"],
                    "%UPSTREAM_TRANSPORT_FAILURE_REASON%"
                );
            }
        }
    }
}
