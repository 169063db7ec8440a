//! Hosts that leave (GOAWAY): what they did not begin is asked of others, and nothing new is asked of them.

use std::time::Duration;

use http::HeaderMap;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::config::*;
use crate::support::http2::*;
use crate::support::{Config, Proxy, on_each};
use portolan_testing::Peer;

/// `:status: 200` by HPACK's static table.
const OK: &[u8] = &[0x88];
const PREFACE: usize = 24;
/// Requests that a connection of [`leaving`] serves.
const SERVED: usize = 3;

/// How a host leaves with the last request that it serves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// It says so when another request comes, and does not begin that one.
    Late,
    /// It says so at once, to whatever comes later; the last answer is left open.
    Graceful,
}

/// A host in bare frames.
async fn leaving(way: Way) -> Peer {
    Peer::new(move |mut stream: TcpStream, _| async move {
        let _ = serve(&mut stream, way).await;
        // What was said is read before the connection is lost.
        tokio::time::sleep(Duration::from_millis(200)).await;
    })
    .await
}

async fn serve(stream: &mut TcpStream, way: Way) -> std::io::Result<()> {
    let goaway = |last: u32| frame(GOAWAY, 0, 0, &[last.to_be_bytes(), 0u32.to_be_bytes()].concat());
    stream.read_exact(&mut [0; PREFACE]).await?;
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).await?;
    let (mut served, mut last) = (0, 0);
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        stream.read_exact(&mut vec![0; length]).await?;
        match head[3] {
            SETTINGS if head[4] & 1 == 0 => stream.write_all(&frame(SETTINGS, 1, 0, &[])).await?,
            HEADERS if served == SERVED => return stream.write_all(&goaway(last)).await,
            HEADERS => {
                (served, last) = (served + 1, id);
                if served == SERVED && way == Way::Graceful {
                    stream.write_all(&goaway(u32::MAX >> 1)).await?;
                    stream.write_all(&frame(HEADERS, END_HEADERS, id, OK)).await?;
                } else {
                    stream.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, id, OK)).await?;
                }
            }
            _ => {}
        }
    }
}

fn config(peer: &Peer, route: serde_json::Value) -> Config {
    let route = with(json!({"cluster": "h2"}), route);
    let manager = manager("h2", json!([{"match": {"prefix": "/"}, "route": route}]));
    Config {
        listeners: vec![listener("h2", vec![chain(manager)])],
        clusters: vec![with(cluster("h2", &[peer.address]), http2())],
        ..Config::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_were_not_begun_are_sent_again() {
    let peer = leaving(Way::Late).await;
    on_each(async |program| {
        let before = peer.count();
        let policy =
            json!({"retry_policy": {"retry_on": "connect-failure,refused-stream", "num_retries": 2}});
        let proxy = Proxy::start(program, config(&peer, policy)).await;
        let client = H2Client::connect(proxy.address("h2").await).await;
        for number in 0..4 * SERVED {
            let answer = if number % 2 == 0 {
                client.ask(get("/")).await
            } else {
                client.send(post("/"), "a body", HeaderMap::new()).await
            };
            assert_eq!(answer.unwrap().status, 200, "{program:?}: {number}");
        }
        assert_eq!(peer.count() - before, 4, "{program:?}");
        assert_eq!(proxy.stat("cluster.h2.upstream_rq_retry").await, 3, "{program:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_asked_of_a_host_that_is_leaving() {
    let peer = leaving(Way::Graceful).await;
    on_each(async |program| {
        let before = peer.count();
        let proxy = Proxy::start(program, config(&peer, json!({}))).await;
        let client = H2Client::connect(proxy.address("h2").await).await;
        for _ in 1..SERVED {
            assert_eq!(client.ask(get("/")).await.unwrap().status, 200, "{program:?}");
        }
        // Its head comes after the goodbye.
        let (last, _stream) = client.start(get("/"), true).await.unwrap();
        let open = last.await.unwrap();
        assert_eq!(open.status(), 200, "{program:?}");
        assert_eq!(client.ask(get("/")).await.unwrap().status, 200, "{program:?}");
        assert_eq!(peer.count() - before, 2, "{program:?}");
        assert_eq!(proxy.stat("cluster.h2.upstream_rq_rx_reset").await, 0, "{program:?}");
    })
    .await;
}
