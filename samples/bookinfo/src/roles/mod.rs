//! What each role answers. One file per role that calls others; the constant ones are here.

pub(crate) mod fetch;
pub(crate) mod productpage;
pub(crate) mod reviews;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use serde_json::{Value, json};

use crate::ReviewsVersion;
use crate::client::HttpClient;

/// One role with what it needs to know of the others.
#[derive(Debug)]
pub(crate) enum App {
    Productpage(productpage::Upstreams),
    Details,
    Reviews { version: ReviewsVersion, ratings: String },
    Ratings { stars: Option<u8> },
    Client,
}

impl App {
    /// The service name, as in the manifests.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Productpage(_) => "productpage",
            Self::Details => "details",
            Self::Reviews { .. } => "reviews",
            Self::Ratings { .. } => "ratings",
            Self::Client => "client",
        }
    }
}

/// Headers that a service passes on, so that a trace and a user stay visible along the chain.
/// Zipkin B3, W3C trace context, Envoy's request id, and the sample's own user header.
const FORWARDED: [&str; 12] = [
    "x-request-id",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-flags",
    "b3",
    "traceparent",
    "tracestate",
    "x-ot-span-context",
    "end-user",
    "user-agent",
];

/// The headers of an incoming request that outgoing ones carry on.
pub(crate) fn forwarded(headers: &HeaderMap) -> HeaderMap {
    FORWARDED
        .iter()
        .filter_map(|name| Some((HeaderName::from_static(name), headers.get(*name)?.clone())))
        .collect()
}

/// Answers one request.
pub(crate) async fn answer(
    app: &App,
    client: &HttpClient,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return json_answer(StatusCode::METHOD_NOT_ALLOWED, &json!({"error": "only GET is served"}));
    }
    let path = request.uri().path().to_owned();
    if path == "/health" {
        return json_answer(StatusCode::OK, &json!({"status": format!("{} is healthy", app.name())}));
    }
    let headers = forwarded(request.headers());
    let query = request.uri().query().unwrap_or_default().to_owned();
    match app {
        App::Productpage(shop) => productpage::answer(shop, client, &path, &query, headers).await,
        App::Reviews { version, ratings } => match product_id(&path, "/reviews/") {
            Some(id) => {
                let body = reviews::reviews(*version, ratings, client, id, &headers).await;
                json_answer(StatusCode::OK, &body)
            }
            None => not_found(&path),
        },
        App::Details => match product_id(&path, "/details/") {
            Some(id) => json_answer(StatusCode::OK, &details(id)),
            None => not_found(&path),
        },
        App::Ratings { stars } => match product_id(&path, "/ratings/") {
            Some(id) => json_answer(StatusCode::OK, &ratings(id, *stars)),
            None => not_found(&path),
        },
        App::Client => match path.as_str() {
            "/fetch" => fetch::answer(client, &query).await,
            _ => not_found(&path),
        },
    }
}

/// The number after `prefix`, if the path is exactly that.
fn product_id(path: &str, prefix: &str) -> Option<u32> {
    path.strip_prefix(prefix)?.parse().ok()
}

fn details(id: u32) -> Value {
    json!({
        "id": id,
        "author": "William Shakespeare",
        "year": 1595,
        "type": "paperback",
        "pages": 200,
        "publisher": "PublisherA",
        "language": "English",
        "ISBN-10": "1234567890",
        "ISBN-13": "123-1234567890",
    })
}

/// The answer that the federation scenario expects to the letter (docs/reference/federation.md).
fn ratings(id: u32, stars: Option<u8>) -> Value {
    json!({"id": id, "ratings": {"Reviewer1": stars.unwrap_or(5), "Reviewer2": stars.unwrap_or(4)}})
}

/// A JSON body with its status.
pub(crate) fn json_answer(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    typed_answer(status, "application/json", body.to_string())
}

/// A body of any type.
pub(crate) fn typed_answer(
    status: StatusCode,
    content_type: &'static str,
    body: String,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// 404 with the path that was asked for.
pub(crate) fn not_found(path: &str) -> Response<Full<Bytes>> {
    json_answer(StatusCode::NOT_FOUND, &json!({"error": format!("nothing at {path}")}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratings_answer_is_the_agreed_one() {
        assert_eq!(ratings(123, None).to_string(), r#"{"id":123,"ratings":{"Reviewer1":5,"Reviewer2":4}}"#);
    }

    #[test]
    fn only_whole_numbers_name_a_product() {
        assert_eq!(product_id("/ratings/7", "/ratings/"), Some(7));
        for path in ["/ratings/", "/ratings/x", "/ratings/1/2", "/rating/1", "/ratings/-1"] {
            assert_eq!(product_id(path, "/ratings/"), None, "{path}");
        }
    }

    #[test]
    fn only_tracing_and_user_headers_travel_on() {
        let mut headers = HeaderMap::new();
        headers.insert("x-request-id", HeaderValue::from_static("1"));
        headers.insert("end-user", HeaderValue::from_static("jason"));
        headers.insert("authorization", HeaderValue::from_static("Bearer secret"));
        let out = forwarded(&headers);
        assert_eq!(out.len(), 2);
        assert!(!out.contains_key("authorization"));
    }
}
