//! HTTP/2 peers, on the `h2` crate where they behave and in bare frames where they do not.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use portolan_testing::Peer;

/// A whole answer.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: HeaderMap,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// A field of the head or of the trailers.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.headers.get(name).or_else(|| self.trailers.get(name))?.to_str().ok()
    }
}

/// One client connection.
#[derive(Clone)]
pub(crate) struct H2Client {
    pub(crate) send: SendRequest<Bytes>,
}

pub(crate) fn get(path: &str) -> http::request::Builder {
    Request::get(format!("http://test.example{path}"))
}

pub(crate) fn post(path: &str) -> http::request::Builder {
    Request::post(format!("http://test.example{path}"))
}

impl H2Client {
    pub(crate) async fn connect(to: SocketAddr) -> H2Client {
        Self::over(TcpStream::connect(to).await.unwrap()).await
    }

    pub(crate) async fn over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> H2Client {
        let (send, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        H2Client { send }
    }

    /// Starts a request; the body follows through the stream.
    pub(crate) async fn start(
        &self,
        request: http::request::Builder,
        end: bool,
    ) -> Result<(h2::client::ResponseFuture, SendStream<Bytes>), h2::Error> {
        let mut send = super::in_time(self.send.clone().ready()).await?;
        send.send_request(request.version(http::Version::HTTP_2).body(()).unwrap(), end)
    }

    /// A request without body.
    pub(crate) async fn ask(&self, request: http::request::Builder) -> Result<Answer, h2::Error> {
        let (response, _stream) = self.start(request, true).await?;
        collect(response).await
    }

    /// A request with body and trailers.
    pub(crate) async fn send(
        &self,
        request: http::request::Builder,
        body: impl Into<Bytes>,
        trailers: HeaderMap,
    ) -> Result<Answer, h2::Error> {
        let (response, mut stream) = self.start(request, false).await?;
        let body: Bytes = body.into();
        let sending = async move {
            push(&mut stream, body).await?;
            stream.send_trailers(trailers)
        };
        let (answer, sent) = tokio::join!(collect(response), super::in_time(sending));
        // A server may answer without listening to the end.
        match answer {
            Err(_) => sent.and(answer),
            answer => answer,
        }
    }
}

/// Sends data as the windows allow.
pub(crate) async fn push(stream: &mut SendStream<Bytes>, mut data: Bytes) -> Result<(), h2::Error> {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        let capacity = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await;
        let capacity = capacity.ok_or_else(|| h2::Error::from(h2::Reason::STREAM_CLOSED))??;
        stream.send_data(data.split_to(capacity.min(data.len())), false)?;
    }
    Ok(())
}

pub(crate) async fn collect(response: h2::client::ResponseFuture) -> Result<Answer, h2::Error> {
    super::in_time(async {
        let (head, mut stream) = response.await?.into_parts();
        let (body, trailers) = drain(&mut stream).await?;
        Ok(Answer { status: head.status.as_u16(), headers: head.headers, body, trailers })
    })
    .await
}

/// The rest of a body, and the trailers.
pub(crate) async fn drain(stream: &mut RecvStream) -> Result<(Vec<u8>, HeaderMap), h2::Error> {
    let mut body = Vec::new();
    while let Some(piece) = stream.data().await {
        let piece = piece?;
        body.extend_from_slice(&piece);
        stream.flow_control().release_capacity(piece.len())?;
    }
    Ok((body, stream.trailers().await?.unwrap_or_default()))
}

/// A server whose requests are handled by `handle`, which gets the number of its connection.
pub(crate) async fn h2_peer<F: Future<Output = ()> + Send + 'static>(
    settings: h2::server::Builder,
    handle: impl Fn(Request<RecvStream>, SendResponse<Bytes>, usize) -> F + Clone + Send + 'static,
) -> Peer {
    Peer::new(move |stream, number| {
        let (settings, handle) = (settings.clone(), handle.clone());
        async move { serve(stream, &settings, handle, number, None).await }
    })
    .await
}

/// Serves one connection; with `last`, says GOAWAY after so many requests.
pub(crate) async fn serve<F: Future<Output = ()> + Send + 'static>(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send,
    settings: &h2::server::Builder,
    handle: impl Fn(Request<RecvStream>, SendResponse<Bytes>, usize) -> F,
    number: usize,
    last: Option<usize>,
) {
    let Ok(mut connection) = settings.handshake::<_, Bytes>(stream).await else { return };
    let mut count = 0;
    while let Some(Ok((request, respond))) = connection.accept().await {
        count += 1;
        if Some(count) == last {
            connection.graceful_shutdown();
        }
        tokio::spawn(handle(request, respond, number));
    }
}

/// Answers with a description of what came.
pub(crate) async fn describe(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
    let (parts, mut stream) = request.into_parts();
    let Ok((body, trailers)) = drain(&mut stream).await else { return };
    let text = json!({
        "method": parts.method.as_str(),
        "path": parts.uri.path_and_query().map(|path| path.as_str()),
        "authority": parts.uri.authority().map(|authority| authority.as_str()),
        "scheme": parts.uri.scheme_str(),
        "headers": fields(&parts.headers),
        "body": body.len(),
        "trailers": fields(&trailers),
    });
    let Ok(mut stream) = respond.send_response(Response::new(()), false) else { return };
    let _ = stream.send_data(text.to_string().into(), false);
    let mut trailers = HeaderMap::new();
    trailers.insert("x-end", "yes".parse().unwrap());
    let _ = stream.send_trailers(trailers);
}

fn fields(map: &HeaderMap) -> Value {
    let mut out = serde_json::Map::new();
    for (name, value) in map {
        let value = value.to_str().unwrap();
        match out.get_mut(name.as_str()) {
            Some(Value::String(before)) => *before = format!("{before}|{value}"),
            _ => {
                out.insert(name.to_string(), json!(value));
            }
        }
    }
    Value::Object(out)
}

/// A server that answers requests by [`describe`].
pub(crate) async fn describing() -> Peer {
    h2_peer(h2::server::Builder::new(), |request, respond, _| describe(request, respond)).await
}

pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// A frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(payload);
    out
}

/// Fields as HPACK literals that no table remembers.
pub(crate) fn hpack(fields: &[(&str, &str)]) -> Vec<u8> {
    fn string(text: &str, out: &mut Vec<u8>) {
        let length = text.len();
        if length < 127 {
            out.push(length as u8);
        } else {
            out.push(127);
            let mut rest = length - 127;
            while rest >= 128 {
                out.push((rest % 128) as u8 | 128);
                rest /= 128;
            }
            out.push(rest as u8);
        }
        out.extend(text.as_bytes());
    }
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0);
        string(name, &mut out);
        string(value, &mut out);
    }
    out
}

pub(crate) const PSEUDO: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "test.example")];

/// What a connection of bare frames came to.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// First byte of HEADERS by stream: 0x88 is `:status: 200`.
    pub(crate) answered: Vec<(u32, u8)>,
    /// Streams that the peer ended.
    pub(crate) ended: Vec<u32>,
    /// Error codes of RST_STREAM.
    pub(crate) reset: Vec<(u32, u32)>,
    pub(crate) goaway: Option<u32>,
    /// The peer ended the connection.
    pub(crate) closed: bool,
}

/// A client that sends what it likes.
pub(crate) struct Bare(pub(crate) TcpStream);

impl Bare {
    pub(crate) async fn connect(to: SocketAddr) -> Bare {
        let mut stream = TcpStream::connect(to).await.unwrap();
        let mut hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        hello.extend(frame(SETTINGS, 0, 0, &[]));
        hello.extend(frame(WINDOW_UPDATE, 0, 0, &(1u32 << 30).to_be_bytes()));
        stream.write_all(&hello).await.unwrap();
        Bare(stream)
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) -> bool {
        matches!(tokio::time::timeout(Duration::from_secs(5), self.0.write_all(bytes)).await, Ok(Ok(())))
    }

    /// Reads frames until `enough`, or the end of the connection.
    pub(crate) async fn read_until(&mut self, enough: impl Fn(&Seen) -> bool) -> Seen {
        let mut seen = Seen::default();
        let reading = async {
            while !enough(&seen) {
                let mut head = [0; 9];
                if self.0.read_exact(&mut head).await.is_err() {
                    seen.closed = true;
                    return;
                }
                let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
                let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
                let mut payload = vec![0; length];
                if self.0.read_exact(&mut payload).await.is_err() {
                    seen.closed = true;
                    return;
                }
                let number = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().unwrap());
                if head[3] <= HEADERS && head[4] & END_STREAM != 0 {
                    seen.ended.push(stream);
                }
                match head[3] {
                    HEADERS => seen.answered.push((stream, payload[0])),
                    RST_STREAM => seen.reset.push((stream, number(0))),
                    GOAWAY => seen.goaway = Some(number(4)),
                    PING if head[4] & 1 == 0 => {
                        let _ = self.0.write_all(&frame(PING, 1, 0, &payload)).await;
                    }
                    SETTINGS if head[4] & 1 == 0 => {
                        let _ = self.0.write_all(&frame(SETTINGS, 1, 0, &[])).await;
                    }
                    _ => {}
                }
            }
        };
        super::in_time(reading).await;
        seen
    }
}
