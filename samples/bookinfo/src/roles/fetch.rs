//! The client role: makes requests from inside its Pod for somebody who is not in it, and reports what
//! came back: `/fetch?url=URL[&count=N][&header=name:value...]`.

use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::Full;
use serde_json::json;

use super::json_answer;
use crate::client::{HttpClient, parse_header};

/// Requests that one `/fetch` may make.
const MAX_COUNT: u32 = 2000;
/// Of several answers only the first so many bytes of each body are reported.
const BODY_EXCERPT: usize = 2048;

/// Answers `/fetch`.
pub(crate) async fn answer(client: &HttpClient, query: &str) -> Response<Full<Bytes>> {
    let wanted = match Wanted::parse(query) {
        Ok(wanted) => wanted,
        Err(error) => {
            return json_answer(StatusCode::BAD_REQUEST, &json!({"error": format!("{error:#}")}));
        }
    };
    let mut results = Vec::new();
    for _ in 0..wanted.count {
        let start = Instant::now();
        let result = client.get(&wanted.url, &wanted.headers).await;
        let millis = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        results.push(match result {
            Ok(answer) => {
                let limit = if wanted.count == 1 { answer.body.len() } else { BODY_EXCERPT };
                let body = &answer.body[..answer.body.len().min(limit)];
                json!({
                    "status": answer.status.as_u16(),
                    "server": answer.headers.get("server").and_then(|v| v.to_str().ok()),
                    "body": String::from_utf8_lossy(body),
                    "millis": millis,
                })
            }
            Err(error) => json!({"error": format!("{error:#}"), "millis": millis}),
        });
    }
    json_answer(StatusCode::OK, &json!({"results": results}))
}

#[derive(Debug, PartialEq)]
struct Wanted {
    url: String,
    count: u32,
    headers: HeaderMap,
}

impl Wanted {
    fn parse(query: &str) -> anyhow::Result<Self> {
        let mut wanted = Self { url: String::new(), count: 1, headers: HeaderMap::new() };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = percent_decode(value)?;
            match key {
                "url" => wanted.url = value,
                "count" => {
                    wanted.count = value.parse()?;
                    anyhow::ensure!(wanted.count <= MAX_COUNT, "count is at most {MAX_COUNT}");
                }
                "header" => {
                    let (name, value) = parse_header(&value)?;
                    wanted.headers.append(name, value);
                }
                other => anyhow::bail!("{other}: the parameters are url, count and header"),
            }
        }
        anyhow::ensure!(!wanted.url.is_empty(), "url is missing");
        Ok(wanted)
    }
}

/// Decodes `%XX` and `+` of a query value (RFC 3986 2.1, HTML form rules).
fn percent_decode(text: &str) -> anyhow::Result<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let pair = [bytes.next().unwrap_or(0), bytes.next().unwrap_or(0)];
                let pair = std::str::from_utf8(&pair)?;
                anyhow::ensure!(pair.bytes().all(|b| b.is_ascii_hexdigit()), "%{pair}: bad escape");
                out.push(u8::from_str_radix(pair, 16)?);
            }
            other => out.push(other),
        }
    }
    Ok(String::from_utf8(out)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_is_decoded() {
        let wanted = Wanted::parse("url=http%3A%2F%2Fratings%3A9080%2F&count=3&header=end-user:a+b").unwrap();
        assert_eq!(wanted.url, "http://ratings:9080/");
        assert_eq!(wanted.count, 3);
        assert_eq!(wanted.headers["end-user"], "a b");
    }

    #[test]
    fn wrong_queries_are_refused() {
        for query in
            ["", "count=1", "url=x&count=2001", "url=%zz", "url=%4", "url=x&what=1", "url=x&header=nope"]
        {
            assert!(Wanted::parse(query).is_err(), "{query}");
        }
    }
}
