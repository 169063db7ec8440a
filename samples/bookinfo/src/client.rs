//! Outgoing requests: the client that the services use among themselves, and the `get` command.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bytes::Bytes;
use clap::Args;
use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

/// Time for one whole request, from name resolution to the last byte.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for a TCP connection to come up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Idle connections are closed before a server's usual keep-alive limit.
const POOL_IDLE: Duration = Duration::from_secs(20);
/// Longest answer that is read.
const MAX_BODY: usize = 1 << 20;

/// A pooled HTTP/1.1 client.
#[derive(Clone, Debug)]
pub(crate) struct HttpClient(Client<HttpConnector, Empty<Bytes>>);

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl HttpClient {
    pub(crate) fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.set_nodelay(true);
        let mut builder = Client::builder(TokioExecutor::new());
        builder.pool_timer(TokioTimer::new()).pool_idle_timeout(POOL_IDLE);
        Self(builder.build(connector))
    }

    /// GETs `url` with `headers`, reading at most [`MAX_BODY`], within [`REQUEST_TIMEOUT`].
    pub(crate) async fn get(&self, url: &str, headers: &HeaderMap) -> anyhow::Result<Answer> {
        let uri: Uri = url.parse().with_context(|| format!("not a URL: {url}"))?;
        if uri.scheme_str() != Some("http") || uri.host().is_none() {
            bail!("{url}: only absolute http:// URLs can be fetched");
        }
        let mut request = Request::get(uri).body(Empty::new())?;
        *request.headers_mut() = headers.clone();
        let whole = async {
            let response = self.0.request(request).await?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, MAX_BODY)
                .collect()
                .await
                .map_err(|error| anyhow::anyhow!("the body broke off: {error}"))?
                .to_bytes();
            Ok::<_, anyhow::Error>(Answer { status: head.status, headers: head.headers, body })
        };
        match tokio::time::timeout(REQUEST_TIMEOUT, whole).await {
            Ok(answer) => answer.with_context(|| format!("GET {url}")),
            Err(_) => bail!("GET {url}: no answer within {} s", REQUEST_TIMEOUT.as_secs()),
        }
    }
}

/// Reads `name: value` (the colon form of curl's -H).
pub(crate) fn parse_header(text: &str) -> anyhow::Result<(HeaderName, HeaderValue)> {
    let (name, value) =
        text.split_once(':').with_context(|| format!("{text}: write headers as name:value"))?;
    let name = name.trim().parse().with_context(|| format!("{name}: not a header name"))?;
    let value = value.trim().parse().with_context(|| format!("{value}: not a header value"))?;
    Ok((name, value))
}

/// Flags of `bookinfo get`.
#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// What to fetch, e.g. http://ratings:9080/ratings/0.
    url: String,
    /// A header to send, `name:value`; may be given several times.
    #[arg(long = "header", short = 'H')]
    headers: Vec<String>,
    /// How many requests to make; with more than one, a line with status and time for each.
    #[arg(long, short = 'n', default_value_t = 1)]
    count: u32,
    /// Milliseconds between two requests.
    #[arg(long, default_value_t = 0)]
    interval: u64,
    /// First print the addresses that the host name resolves to.
    #[arg(long)]
    resolve: bool,
    /// Keep trying for so many seconds until the first request is answered.
    #[arg(long, default_value_t = 0)]
    wait: u64,
}

/// Runs `bookinfo get`. Exit code 0 iff every answer was below 400.
pub(crate) async fn get(args: &GetArgs) -> anyhow::Result<ExitCode> {
    let mut headers = HeaderMap::new();
    for text in &args.headers {
        let (name, value) = parse_header(text)?;
        headers.append(name, value);
    }
    if args.resolve {
        print_addresses(&args.url).await?;
    }
    let client = HttpClient::new();
    let give_up = Instant::now() + Duration::from_secs(args.wait);
    let mut failed = false;
    let mut number = 0;
    while number < args.count {
        let start = Instant::now();
        match client.get(&args.url, &headers).await {
            Err(_) if number == 0 && Instant::now() < give_up => {
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            }
            Ok(answer) if args.count == 1 => {
                eprintln!("HTTP {}", answer.status.as_u16());
                println!("{}", String::from_utf8_lossy(&answer.body));
                failed |= answer.status.as_u16() >= 400;
            }
            Ok(answer) => {
                println!("{} {} ms", answer.status.as_u16(), start.elapsed().as_millis());
                failed |= answer.status.as_u16() >= 400;
            }
            Err(error) => {
                println!("error {error:#}");
                failed = true;
            }
        }
        number += 1;
        if number < args.count && args.interval > 0 {
            tokio::time::sleep(Duration::from_millis(args.interval)).await;
        }
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn print_addresses(url: &str) -> anyhow::Result<()> {
    let uri: Uri = url.parse().with_context(|| format!("not a URL: {url}"))?;
    let host = uri.host().with_context(|| format!("{url} names no host"))?;
    let port = uri.port_u16().unwrap_or(80);
    let found = tokio::time::timeout(CONNECT_TIMEOUT, tokio::net::lookup_host((host, port)))
        .await
        .with_context(|| format!("no answer from the name server for {host}"))?
        .with_context(|| format!("{host} does not resolve"))?;
    for address in found {
        println!("{host} -> {}", address.ip());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_in_curl_form() {
        let (name, value) = parse_header("end-user: jason").unwrap();
        assert_eq!((name.as_str(), value.to_str().unwrap()), ("end-user", "jason"));
        for bad in ["no-colon", "bad name: x", "x: a\nb"] {
            assert!(parse_header(bad).is_err(), "{bad}");
        }
    }
}
