//! Copies bytes both ways between two connections until both are done.

use std::cell::RefCell;
use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::AsyncWrite as _;
use tokio_util::sync::CancellationToken;

use super::buffered::BufferedIo;
use super::timer::{Alarm, now};

/// Why a relay ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RelayEnd {
    Finished,
    /// The client's side broke.
    Downstream,
    /// The host's side broke.
    Upstream,
    Idle,
    Drained,
}

/// Numbers of a relay.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Relayed {
    /// From client to host.
    pub(crate) received: u64,
    /// From host to client.
    pub(crate) sent: u64,
}

#[derive(Default)]
struct Half {
    shut: bool,
    bytes: u64,
}

/// Runs until both directions ended, one broke, nothing happened for `idle`, or a drain's deadline passed.
pub(crate) async fn relay(
    client: &Rc<RefCell<BufferedIo>>,
    host: &Rc<RefCell<BufferedIo>>,
    idle: Option<Duration>,
    drain: &CancellationToken,
    drain_time: Duration,
) -> (Relayed, RelayEnd) {
    let (mut up, mut down) = (Half::default(), Half::default());
    let mut alarm = Alarm::default();
    let mut last = now();
    let mut drained = Box::pin(async {
        drain.cancelled().await;
        tokio::time::sleep(drain_time).await;
    });
    let end = poll_fn(|cx| {
        let before = (up.bytes, down.bytes);
        let to_host = poll_half(&mut client.borrow_mut(), &mut host.borrow_mut(), &mut up, cx);
        let to_client = poll_half(&mut host.borrow_mut(), &mut client.borrow_mut(), &mut down, cx);
        match (&to_host, &to_client) {
            (Poll::Ready(Err(Side::Reader)), _) | (_, Poll::Ready(Err(Side::Writer))) => {
                return Poll::Ready(RelayEnd::Downstream);
            }
            (Poll::Ready(Err(Side::Writer)), _) | (_, Poll::Ready(Err(Side::Reader))) => {
                return Poll::Ready(RelayEnd::Upstream);
            }
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => return Poll::Ready(RelayEnd::Finished),
            _ => {}
        }
        if before != (up.bytes, down.bytes) {
            last = now();
        }
        if alarm.poll(cx, idle.map(|idle| last + idle)).is_ready() {
            return Poll::Ready(RelayEnd::Idle);
        }
        if drained.as_mut().poll(cx).is_ready() {
            return Poll::Ready(RelayEnd::Drained);
        }
        Poll::Pending
    })
    .await;
    (Relayed { received: up.bytes, sent: down.bytes }, end)
}

enum Side {
    Reader,
    Writer,
}

/// One direction; ready when its end was passed on.
fn poll_half(
    from: &mut BufferedIo,
    to: &mut BufferedIo,
    half: &mut Half,
    cx: &mut Context<'_>,
) -> Poll<Result<(), Side>> {
    loop {
        match to.poll_flush(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(_)) => return Poll::Ready(Err(Side::Writer)),
            Poll::Ready(Ok(())) => {}
        }
        if !from.input.is_empty() {
            let data = from.input.split().freeze();
            half.bytes += data.len() as u64;
            to.push(data);
            continue;
        }
        if from.eof {
            if half.shut {
                return Poll::Ready(Ok(()));
            }
            match Pin::new(&mut to.stream).poll_shutdown(cx) {
                Poll::Pending => return Poll::Pending,
                // The other side may be gone already; its own direction will say so.
                Poll::Ready(_) => half.shut = true,
            }
            continue;
        }
        match from.poll_fill(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(_)) => return Poll::Ready(Err(Side::Reader)),
            Poll::Ready(Ok(_)) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::UnixStream;

    use super::*;
    use crate::io::stream::{RawStream, Socket, Stream};

    const LIMIT: Duration = Duration::from_secs(7);

    fn pair() -> (Rc<RefCell<BufferedIo>>, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let stream = Stream::Plain(RawStream::new(Socket::Unix(ours)));
        (Rc::new(RefCell::new(BufferedIo::new(stream))), theirs)
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_it() {
        let ((client, _far), (host, _near)) = (pair(), pair());
        let start = tokio::time::Instant::now();
        let (_, end) = relay(&client, &host, Some(LIMIT), &CancellationToken::new(), LIMIT).await;
        assert_eq!((end, start.elapsed().as_secs()), (RelayEnd::Idle, LIMIT.as_secs()));
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_put_the_silence_off() {
        let ((client, mut far), (host, mut near)) = (pair(), pair());
        let start = tokio::time::Instant::now();
        let talk = async {
            for _ in 0..3 {
                tokio::time::sleep(LIMIT / 2).await;
                far.write_all(b"x").await.unwrap();
                near.read_exact(&mut [0; 1]).await.unwrap();
            }
            std::future::pending::<()>().await;
        };
        let drain = CancellationToken::new();
        tokio::select! {
            (relayed, end) = relay(&client, &host, Some(LIMIT), &drain, LIMIT) => {
                assert_eq!((relayed.received, relayed.sent, end), (3, 0, RelayEnd::Idle));
            }
            () = talk => {}
        }
        assert_eq!(start.elapsed(), 3 * (LIMIT / 2) + LIMIT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_ends_it_at_its_deadline() {
        let ((client, _far), (host, _near)) = (pair(), pair());
        let drain = CancellationToken::new();
        drain.cancel();
        let start = tokio::time::Instant::now();
        let (_, end) = relay(&client, &host, None, &drain, LIMIT).await;
        assert_eq!((end, start.elapsed().as_secs()), (RelayEnd::Drained, LIMIT.as_secs()));
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_finished_when_both_sides_are() {
        let ((client, mut far), (host, mut near)) = (pair(), pair());
        let talk = async {
            far.write_all(b"to the host").await.unwrap();
            far.shutdown().await.unwrap();
            let mut got = String::new();
            near.read_to_string(&mut got).await.unwrap();
            assert_eq!(got, "to the host");
            near.write_all(b"back").await.unwrap();
            near.shutdown().await.unwrap();
        };
        let drain = CancellationToken::new();
        let ((relayed, end), ()) = tokio::join!(relay(&client, &host, None, &drain, LIMIT), talk);
        assert_eq!((relayed.received, relayed.sent, end), (11, 4, RelayEnd::Finished));
    }
}
