//! The product page: HTML for people, a small JSON API for programs.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};

use super::{json_answer, not_found, typed_answer};
use crate::client::HttpClient;

const TITLE: &str = "The Comedy of Errors";
const STYLE: &str = "body{font:16px/1.5 sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem;color:#222}\
h1{margin-bottom:0}dl{display:grid;grid-template-columns:10rem 1fr}dd{margin:0}\
blockquote{border-left:3px solid #bbb;margin:1rem 0;padding:.2rem 1rem}.error{color:#a00}small{color:#777}";

/// host:port of the services behind the page.
#[derive(Debug)]
pub(crate) struct Upstreams {
    pub(crate) details: String,
    pub(crate) reviews: String,
    pub(crate) ratings: String,
}

/// Answers one request of the page's site. `?user=NAME` acts as that signed-in user.
pub(crate) async fn answer(
    shop: &Upstreams,
    client: &HttpClient,
    path: &str,
    query: &str,
    mut headers: HeaderMap,
) -> Response<Full<Bytes>> {
    let user = query.split('&').find_map(|pair| pair.strip_prefix("user="));
    if let Some(user) = user.and_then(|user| HeaderValue::from_str(user).ok()) {
        headers.insert("end-user", user);
    }
    match path {
        "/" | "/productpage" => page(shop, client, &headers).await,
        "/api/v1/products" => json_answer(StatusCode::OK, &json!([{"id": 0, "title": TITLE}])),
        "/api/v1/products/0" => pass(client, &shop.details, "details", &headers).await,
        "/api/v1/products/0/reviews" => pass(client, &shop.reviews, "reviews", &headers).await,
        "/api/v1/products/0/ratings" => pass(client, &shop.ratings, "ratings", &headers).await,
        _ => not_found(path),
    }
}

/// One upstream's JSON, or its error in words.
async fn ask(
    client: &HttpClient,
    host: &str,
    service: &str,
    headers: &HeaderMap,
) -> Result<Value, (StatusCode, String)> {
    let answer = client
        .get(&format!("http://{host}/{service}/0"), headers)
        .await
        .map_err(|error| (StatusCode::SERVICE_UNAVAILABLE, format!("{service}: {error:#}")))?;
    if !answer.status.is_success() {
        let text = String::from_utf8_lossy(&answer.body);
        return Err((answer.status, format!("{service} answered {}: {text}", answer.status.as_u16())));
    }
    serde_json::from_slice(&answer.body)
        .map_err(|_| (StatusCode::BAD_GATEWAY, format!("{service} answered no JSON")))
}

/// Passes an upstream's JSON and status through.
async fn pass(client: &HttpClient, host: &str, service: &str, headers: &HeaderMap) -> Response<Full<Bytes>> {
    match ask(client, host, service, headers).await {
        Ok(body) => json_answer(StatusCode::OK, &body),
        Err((status, error)) => json_answer(status, &json!({"error": error})),
    }
}

async fn page(shop: &Upstreams, client: &HttpClient, headers: &HeaderMap) -> Response<Full<Bytes>> {
    let (details, reviews) = tokio::join!(
        ask(client, &shop.details, "details", headers),
        ask(client, &shop.reviews, "reviews", headers)
    );
    let user = headers.get("end-user").and_then(|user| user.to_str().ok());
    let html = render(user, &details, &reviews);
    // The page itself works although a part of it is missing: that is what the text on it says.
    typed_answer(StatusCode::OK, "text/html; charset=utf-8", html)
}

fn render(
    user: Option<&str>,
    details: &Result<Value, (StatusCode, String)>,
    reviews: &Result<Value, (StatusCode, String)>,
) -> String {
    let mut html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Simple Bookstore App</title>\
         <style>{STYLE}</style></head><body><h1>{TITLE}</h1><p><small>{}</small></p>\n<h2>Book Details</h2>\n",
        user.map_or_else(|| "not signed in".to_owned(), |user| format!("signed in as {}", escape(user)))
    );
    match details {
        Ok(Value::Object(facts)) => {
            html.push_str("<dl>");
            for (key, value) in facts.iter().filter(|(key, _)| *key != "id") {
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                html.push_str(&format!("<dt>{}</dt><dd>{}</dd>\n", escape(key), escape(&value)));
            }
            html.push_str("</dl>\n");
        }
        Ok(_) => html.push_str("<p class=\"error\">details answered something else</p>\n"),
        Err((_, error)) => html
            .push_str(&format!("<p class=\"error\">Error fetching product details: {}</p>\n", escape(error))),
    }
    html.push_str("<h2>Book Reviews</h2>\n");
    match reviews {
        Ok(body) => {
            for review in body["reviews"].as_array().into_iter().flatten() {
                html.push_str(&format!(
                    "<blockquote><p>{}</p><p>{} <small>{}</small></p></blockquote>\n",
                    escape(review["text"].as_str().unwrap_or_default()),
                    stars(&review["rating"]),
                    escape(review["reviewer"].as_str().unwrap_or_default())
                ));
            }
            html.push_str(&format!(
                "<p><small>Reviews served by: {} ({})</small></p>\n",
                escape(body["podname"].as_str().unwrap_or_default()),
                escape(body["version"].as_str().unwrap_or_default())
            ));
        }
        Err((_, error)) => html
            .push_str(&format!("<p class=\"error\">Error fetching product reviews: {}</p>\n", escape(error))),
    }
    html.push_str("</body></html>\n");
    html
}

/// Stars in the colour of the reviews release, or why there are none; nothing for v1.
fn stars(rating: &Value) -> String {
    if let Some(error) = rating["error"].as_str() {
        return format!("<span class=\"error\">Ratings are unavailable: {}</span>", escape(error));
    }
    let Some(count) = rating["stars"].as_u64() else { return String::new() };
    let full = usize::try_from(count).unwrap_or(5).min(5);
    let color = if rating["color"] == "red" { "red" } else { "black" };
    format!(
        "<span class=\"stars\" style=\"color:{color}\">{}{}</span>",
        "&#9733;".repeat(full),
        "&#9734;".repeat(5 - full)
    )
}

/// Text as HTML text (what comes from another service is not trusted).
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_follow_the_release() {
        assert_eq!(stars(&Value::Null), "");
        assert!(stars(&json!({"stars": 4, "color": "red"})).contains("color:red"));
        assert_eq!(stars(&json!({"stars": 99, "color": "black"})).matches("&#9733;").count(), 5);
        assert!(stars(&json!({"error": "<down>"})).contains("&lt;down&gt;"));
    }

    #[test]
    fn page_stands_without_its_parts() {
        let down = Err((StatusCode::SERVICE_UNAVAILABLE, "reviews: no".to_owned()));
        let html = render(Some("<x>"), &Ok(json!({"year": 1595})), &down);
        assert!(html.contains("<dt>year</dt><dd>1595</dd>"), "{html}");
        assert!(html.contains("Error fetching product reviews: reviews: no"), "{html}");
        assert!(html.contains("&lt;x&gt;"), "{html}");
    }
}
