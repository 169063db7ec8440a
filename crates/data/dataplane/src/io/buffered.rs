//! The byte side of an HTTP/1 connection, used by server and client: buffered reads into the sans-IO codec, queued
//! vectored writes, no buffers while idle.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use portolan_h1::{BodyDecoder, Decoded};
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};

use super::stream::Stream;
use super::{BodyFail, Frame};

/// First read of a message: most heads fit, and it is on the stack.
const FIRST_READ: usize = 4 * 1024;
/// Largest read: halves the time spent in the kernel against 8 KiB reads.
const MAX_READ: usize = 64 * 1024;
/// Body pieces up to this size are copied behind the head instead of becoming a write segment.
const COPY_BELOW: usize = 2 * 1024;
/// Segments per write.
const MAX_SEGMENTS: usize = 16;
/// Bytes that are gathered for one write; with the piece that crosses it, no more than two of the largest reads.
const MAX_UNWRITTEN: usize = 64 * 1024;
/// Bytes of pipelined requests that are read ahead while a request is served.
pub(crate) const MAX_READ_AHEAD: usize = 64 * 1024;

/// An HTTP/1 connection.
#[derive(Debug)]
pub(crate) struct BufferedIo {
    pub(crate) stream: Stream,
    pub(crate) input: BytesMut,
    queue: VecDeque<Bytes>,
    pub(crate) output: BytesMut,
    pub(crate) eof: bool,
    /// Given up from our side: nothing more is read or written.
    aborted: bool,
    read_size: usize,
    pub(crate) rx_bytes: u64,
    pub(crate) tx_bytes: u64,
}

impl BufferedIo {
    pub(crate) fn new(stream: Stream) -> Self {
        BufferedIo {
            stream,
            input: BytesMut::new(),
            queue: VecDeque::new(),
            output: BytesMut::new(),
            eof: false,
            aborted: false,
            read_size: FIRST_READ,
            rx_bytes: 0,
            tx_bytes: 0,
        }
    }

    /// Gives the connection up: whoever reads from it or writes to it learns that it is broken.
    pub(crate) fn abort(&mut self) {
        self.aborted = true;
        self.eof = true;
        self.input.clear();
        self.output.clear();
        self.queue.clear();
    }

    pub(crate) fn is_aborted(&self) -> bool {
        self.aborted
    }

    /// Reads once. 0 = the peer will send nothing more.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.aborted {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let read = if self.input.is_empty() && self.read_size <= FIRST_READ {
            let mut space = [MaybeUninit::<u8>::uninit(); FIRST_READ];
            let mut buf = ReadBuf::uninit(&mut space);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf))?;
            self.input.extend_from_slice(buf.filled());
            buf.filled().len()
        } else {
            self.input.reserve(self.read_size);
            ready!(tokio_util::io::poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.input))?
        };
        if read >= self.read_size {
            self.read_size = MAX_READ;
        }
        self.eof |= read == 0;
        self.rx_bytes += read as u64;
        Poll::Ready(Ok(read))
    }

    /// The next piece of a body.
    pub(crate) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        decoder: &mut BodyDecoder,
    ) -> Poll<Result<Frame, BodyFail>> {
        loop {
            match decoder.decode(&mut self.input).map_err(BodyFail::Protocol)? {
                Decoded::Data(data) => return Poll::Ready(Ok(Frame::Data(data))),
                Decoded::Trailers(trailers) => return Poll::Ready(Ok(Frame::Trailers(trailers))),
                Decoded::End => return Poll::Ready(Ok(Frame::End)),
                Decoded::NeedMore if self.eof => {
                    decoder.finish().map_err(BodyFail::Protocol)?;
                    return Poll::Ready(Ok(Frame::End));
                }
                Decoded::NeedMore => {
                    ready!(self.poll_fill(cx)).map_err(|_| BodyFail::Reset)?;
                }
            }
        }
    }

    /// Queues bytes behind what is queued already.
    pub(crate) fn push(&mut self, data: Bytes) {
        if data.len() <= COPY_BELOW {
            self.output.extend_from_slice(&data);
            return;
        }
        if !self.output.is_empty() {
            self.queue.push_back(self.output.split().freeze());
        }
        self.queue.push_back(data);
    }

    /// Whether little enough is queued for more to be queued before the next write. A head waits for the first piece of
    /// its body, so that both leave in one system call and wake the peer once.
    pub(crate) fn has_room(&self) -> bool {
        self.queue.iter().map(Bytes::len).sum::<usize>() + self.output.len() < MAX_UNWRITTEN
    }

    pub(crate) fn has_output(&self) -> bool {
        !self.output.is_empty() || !self.queue.is_empty()
    }

    /// Writes everything that is queued.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.aborted {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        while self.has_output() {
            let written = {
                let mut slices = [IoSlice::new(&[]); MAX_SEGMENTS];
                let mut count = 0;
                for segment in self.queue.iter().map(Bytes::as_ref).chain([self.output.as_ref()]) {
                    if segment.is_empty() || count == MAX_SEGMENTS {
                        continue;
                    }
                    slices[count] = IoSlice::new(segment);
                    count += 1;
                }
                ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, &slices[..count]))?
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.tx_bytes += written as u64;
            self.consume(written);
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn consume(&mut self, mut written: usize) {
        while let Some(front) = self.queue.front_mut() {
            if written < front.len() {
                front.advance(written);
                return;
            }
            written -= front.len();
            self.queue.pop_front();
        }
        self.output.advance(written.min(self.output.len()));
    }

    /// Lets go of the buffers between messages.
    pub(crate) fn park(&mut self) {
        self.read_size = FIRST_READ;
        if self.input.is_empty() {
            self.input = BytesMut::new();
        }
        if !self.has_output() {
            self.output = BytesMut::new();
            self.queue = VecDeque::new();
        }
    }
}
