//! hyper, on a transport in memory. Nothing here waits: a future that is pending and was not woken is one that
//! waits for input that does not come.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::service::service_fn;

use super::seen::{self, Seen};

/// Far above our own limits, which are not what is compared.
const MAX_BYTES: usize = 1024 * 1024;
const MAX_FIELDS: usize = 1024;

/// All that hyper read from one input.
#[derive(Debug)]
pub struct Theirs {
    /// Messages that were read to their end.
    pub messages: Vec<Seen>,
    /// Complete 1xx messages before a response.
    pub informational: Vec<Seen>,
    /// How many bytes of the input belong to no message.
    pub left: usize,
    /// Whether the connection could be used for another message; only told when no byte is left.
    pub persistent: bool,
    /// Why it ended, in hyper's words.
    pub stop: String,
}

/// Serves pipelined requests.
pub fn requests(input: &[u8]) -> Theirs {
    let messages = Rc::new(RefCell::new(Vec::new()));
    let service = service_fn(|request: Request<Incoming>| {
        let messages = messages.clone();
        async move {
            let (head, body) = request.into_parts();
            if let Ok((body, trailers)) = collect(body).await {
                messages.borrow_mut().push(seen_request(&head, body, &trailers));
            }
            let mut response = Response::new(Empty::<Bytes>::new());
            if head.method == Method::CONNECT {
                // No tunnel, so that what follows is read as a message again.
                *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            }
            Ok::<_, Infallible>(response)
        }
    });
    let mut connection = pin!(
        hyper::server::conn::http1::Builder::new()
            .half_close(true)
            .max_buf_size(MAX_BYTES)
            .max_header_size(MAX_BYTES)
            .max_headers(MAX_FIELDS)
            .serve_connection(Transport::server(input), service)
    );
    let stop = run(|context| connection.as_mut().poll(context));
    let messages = messages.take();
    Theirs { messages, informational: Vec::new(), left: 0, persistent: false, stop: format!("{stop:?}") }
}

/// Reads the response to one request. `eof`: whether the connection ends behind the input.
pub fn response(input: &[u8], method: &Method, eof: bool) -> Theirs {
    let transport = Transport::client(input, eof);
    let handshake = hyper::client::conn::http1::Builder::new()
        .max_buf_size(MAX_BYTES)
        .max_header_size(MAX_BYTES)
        .max_headers(MAX_FIELDS)
        .handshake(transport);
    let mut handshake = pin!(handshake);
    let Some(Ok((mut sender, mut connection))) = run(|context| handshake.as_mut().poll(context)) else {
        panic!("hyper's handshake does no I/O");
    };
    let informational = Arc::new(Mutex::new(Vec::new()));
    let exchange = sender.send_request(request(method, informational.clone()));
    let exchange = async {
        let (head, body) = exchange.await?.into_parts();
        let (body, trailers) = collect(body).await?;
        Ok::<_, hyper::Error>(seen_response(&head, body, &trailers))
    };
    let (mut exchange, mut ended, mut result) = (pin!(exchange), None, None);
    run(|context| {
        if ended.is_none()
            && let Poll::Ready(end) = connection.poll_without_shutdown(context)
        {
            ended = Some(end);
        }
        if result.is_none()
            && let Poll::Ready(seen) = exchange.as_mut().poll(context)
        {
            result = Some(seen);
        }
        if ended.is_some() && result.is_some() { Poll::Ready(()) } else { Poll::Pending }
    });
    let persistent = ended.is_none();
    let parts = connection.into_parts();
    let stop = format!("{ended:?}, {:?}", result.as_ref().map(|seen| seen.as_ref().map(|_| ())));
    let informational = informational.lock().map(|seen| seen.clone()).unwrap_or_default();
    let messages = result.into_iter().flatten().collect();
    Theirs { messages, informational, left: parts.read_buf.len() + parts.io.left(), persistent, stop }
}

fn request(method: &Method, informational: Arc<Mutex<Vec<Seen>>>) -> Request<Empty<Bytes>> {
    let target = if *method == Method::CONNECT { "x.example:443" } else { "/" };
    let mut request = Request::new(Empty::new());
    *request.method_mut() = method.clone();
    *request.uri_mut() = http::Uri::from_static(target);
    request.headers_mut().insert(header::HOST, http::HeaderValue::from_static("x.example"));
    hyper::ext::on_informational(&mut request, move |response| {
        let seen = Seen {
            word: response.status().as_str().to_owned(),
            target: String::new(),
            version: response.version(),
            fields: seen::fields(response.headers()),
            body: Vec::new(),
            trailers: Vec::new(),
        };
        if let Ok(mut all) = informational.lock() {
            all.push(seen);
        }
    });
    request
}

async fn collect(mut body: Incoming) -> Result<(Vec<u8>, HeaderMap), hyper::Error> {
    let (mut data, mut trailers) = (Vec::new(), HeaderMap::new());
    while let Some(frame) = body.frame().await {
        match frame?.into_data() {
            Ok(bytes) => data.extend_from_slice(&bytes),
            Err(frame) => trailers = frame.into_trailers().unwrap_or_default(),
        }
    }
    Ok((data, trailers))
}

/// hyper's view of a request, with the two things that we change on purpose changed.
fn seen_request(head: &http::request::Parts, body: Vec<u8>, trailers: &HeaderMap) -> Seen {
    let mut headers = head.headers.clone();
    // RFC 9112 3.2.2: the authority of the target wins over Host.
    if let Some(authority) = head.uri.authority()
        && let Ok(host) = http::HeaderValue::from_str(authority.as_str())
    {
        headers.insert(header::HOST, host);
    }
    let target = match (&head.method, head.uri.path_and_query(), head.uri.authority()) {
        (&Method::CONNECT, _, Some(authority)) => authority.to_string(),
        (_, Some(path), _) => path.to_string(),
        (_, None, _) => head.uri.to_string(),
    };
    let word = head.method.as_str().to_owned();
    // RFC 9110 6.5.1: trailers that frame, route or authorise are dropped.
    let trailers = seen::allowed_trailers(trailers);
    Seen { word, target, version: head.version, fields: seen::fields(&headers), body, trailers }
}

fn seen_response(head: &http::response::Parts, body: Vec<u8>, trailers: &HeaderMap) -> Seen {
    Seen {
        word: head.status.as_str().to_owned(),
        target: String::new(),
        version: head.version,
        fields: seen::fields(&head.headers),
        body,
        trailers: seen::allowed_trailers(trailers),
    }
}

/// Polls as long as somebody asks for it; `None` when what is polled waits for more input.
fn run<T>(mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> Option<T> {
    struct Flag(AtomicBool);
    impl Wake for Flag {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let flag = Arc::new(Flag(AtomicBool::new(true)));
    let waker = Waker::from(flag.clone());
    let mut context = Context::from_waker(&waker);
    while flag.0.swap(false, Ordering::Relaxed) {
        if let Poll::Ready(value) = poll(&mut context) {
            return Some(value);
        }
    }
    None
}

/// Gives the input and forgets what is written.
struct Transport<'a> {
    input: &'a [u8],
    /// Whether the connection ends behind the input, or stays silent.
    eof: bool,
    /// A client takes bytes that come before its request for an error.
    open: bool,
    reader: Option<Waker>,
}

impl<'a> Transport<'a> {
    fn server(input: &'a [u8]) -> Self {
        Transport { input, eof: true, open: true, reader: None }
    }

    fn client(input: &'a [u8], eof: bool) -> Self {
        Transport { input, eof, open: false, reader: None }
    }

    fn left(&self) -> usize {
        self.input.len()
    }
}

impl Read for Transport<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.open || (self.input.is_empty() && !self.eof) {
            self.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        let (piece, rest) = self.input.split_at(buf.remaining().min(self.input.len()));
        buf.put_slice(piece);
        self.input = rest;
        Poll::Ready(Ok(()))
    }
}

impl Write for Transport<'_> {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.open = true;
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
