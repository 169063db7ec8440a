//! What is not an object: discovery, OpenAPI, version, health, the keys of tokens.

use http::{HeaderMap, HeaderValue, Method, header};
use portolan_apimachinery::{ApiStatus, GroupVersion, discovery, openapi};
use serde_json::{Value, json};

use crate::api::Api;
use crate::negotiate;
use crate::request::RequestInfo;
use crate::respond::{self, Answer};

/// The version of Kubernetes whose API we follow.
const MAJOR: &str = "1";
const MINOR: &str = "32";
const GIT_VERSION: &str = concat!("v1.32.0+portolan-", env!("CARGO_PKG_VERSION"));

pub(crate) fn answer(
    api: &Api,
    info: &RequestInfo,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Answer, ApiStatus> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return Err(ApiStatus::unknown_path());
    }
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let segments: Vec<&str> = info.path.split('/').filter(|segment| !segment.is_empty()).collect();
    let found = |value: Option<Value>| {
        value.map(|value| respond::value(200, &value)).ok_or_else(ApiStatus::unknown_path)
    };
    match segments.as_slice() {
        ["healthz" | "livez" | "readyz", ..] => Ok(respond::bytes(200, "text/plain; charset=utf-8", "ok")),
        ["version"] => Ok(respond::value(200, &version())),
        [root @ ("api" | "apis")] => Ok(roots(api, *root == "api", accept)),
        ["api", version] => found(discovery::resource_list(&api.table(), &GroupVersion::new("", version))),
        ["apis", group] => found(discovery::group(&api.table(), group)),
        ["apis", group, version] => {
            found(discovery::resource_list(&api.table(), &GroupVersion::new(group, version)))
        }
        ["openapi", "v3"] => Ok(respond::value(200, &openapi::index(&api.table()))),
        ["openapi", "v3", "api", version] => {
            found(openapi::document(&api.table(), &GroupVersion::new("", version)))
        }
        ["openapi", "v3", "apis", group, version] => {
            found(openapi::document(&api.table(), &GroupVersion::new(group, version)))
        }
        ["openapi", "v2"] if accept.is_some_and(|accept| accept.contains("spec.v2@v1.0+protobuf")) => {
            Ok(respond::bytes(200, openapi::V2_PROTOBUF_TYPE, openapi::v2_protobuf(&api.table())))
        }
        ["openapi", "v2"] => Ok(respond::value(200, &openapi::v2_json(&api.table()))),
        [".well-known", "openid-configuration"] => Ok(respond::value(200, &openid(api))),
        ["openid", "v1", "jwks"] => {
            let mut answer = respond::value(200, &api.tokens.jwks());
            answer
                .headers_mut()
                .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/jwk-set+json"));
            Ok(answer)
        }
        [] => Ok(respond::value(200, &paths(api))),
        _ => Err(ApiStatus::unknown_path()),
    }
}

fn roots(api: &Api, core: bool, accept: Option<&str>) -> Answer {
    let table = api.table();
    let mut answer = match negotiate::aggregated_discovery(accept) {
        Some(version) => {
            let mut answer = respond::value(200, &discovery::aggregated(&table, core, version));
            if let Ok(content_type) = HeaderValue::try_from(discovery::aggregated_content_type(version)) {
                answer.headers_mut().insert(header::CONTENT_TYPE, content_type);
            }
            answer
        }
        None if core => respond::value(200, &discovery::api_versions(&api.address)),
        None => respond::value(200, &discovery::group_list(&table)),
    };
    answer.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
    answer
}

fn version() -> Value {
    json!({
        "major": MAJOR, "minor": MINOR, "gitVersion": GIT_VERSION, "gitCommit": "", "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z", "goVersion": "", "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, go_architecture()),
    })
}

fn go_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn openid(api: &Api) -> Value {
    json!({
        "issuer": api.tokens.issuer(),
        "jwks_uri": format!("{}/openid/v1/jwks", api.tokens.issuer()),
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    })
}

fn paths(api: &Api) -> Value {
    let mut paths: Vec<String> =
        ["/.well-known/openid-configuration", "/api", "/api/v1", "/apis"].map(str::to_owned).into();
    for version in api.table().group_versions() {
        if !version.group.is_empty() {
            paths.push(format!("/apis/{version}"));
        }
    }
    paths.extend(
        ["/healthz", "/livez", "/openapi/v2", "/openapi/v3", "/openid/v1/jwks", "/readyz", "/version"]
            .map(str::to_owned),
    );
    json!({"paths": paths})
}
