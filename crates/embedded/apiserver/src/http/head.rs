//! Notices a request whose head begins and does not end: a slow loris.
//!
//! Not hyper's own timer for that: it also runs while a connection is idle between two requests, for which
//! clients may take much longer.

use std::future::pending;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::limits;

/// When the head that is being read began; shared by the connection's reader and its requests.
#[derive(Clone)]
pub(super) struct HeadClock {
    /// Requests that are in work.
    open: Arc<AtomicUsize>,
    since: Arc<watch::Sender<Option<Instant>>>,
}

impl HeadClock {
    pub(super) fn new() -> HeadClock {
        HeadClock { open: Arc::default(), since: Arc::new(watch::Sender::new(None)) }
    }

    /// Whether a request is in work.
    pub(super) fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed) > 0
    }

    /// Bytes came: without a request in work they begin a head, or go on with one.
    fn bytes(&self) {
        if !self.is_open() {
            self.since.send_if_modified(|since| {
                let begins = since.is_none();
                since.get_or_insert_with(Instant::now);
                begins
            });
        }
    }

    /// A head is complete; its request is in work until the guard is dropped.
    pub(super) fn request(&self) -> OpenRequest {
        self.open.fetch_add(1, Ordering::Relaxed);
        self.since.send_replace(None);
        OpenRequest(self.open.clone())
    }

    /// Waits until a head has taken [`limits::HEAD_TIMEOUT`].
    pub(super) async fn overdue(&self) {
        let mut since = self.since.subscribe();
        loop {
            let began = *since.borrow_and_update();
            let late = async {
                match began {
                    Some(began) => tokio::time::sleep_until(began + limits::HEAD_TIMEOUT).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                () = late => return,
                // `self` holds the sender.
                _ = since.changed() => {}
            }
        }
    }
}

/// Counts a request for as long as it lives.
pub(super) struct OpenRequest(Arc<AtomicUsize>);

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A stream that tells a [`HeadClock`] of what it reads.
pub(super) struct Clocked<S> {
    pub(super) stream: S,
    pub(super) clock: HeadClock,
}

impl<S: AsyncRead + Unpin> AsyncRead for Clocked<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.clock.bytes();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Clocked<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
