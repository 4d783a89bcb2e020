//! A connection's bytes, as hyper reads and writes them: tells the table when some arrive, gives
//! back those that were read to find the protocol, and reads on behind the last answer where
//! closing at once would lose it. Knows no HTTP.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, ReadBuf};

use super::table::Line;
use super::tls::Stream;

/// Most bytes that are read and thrown away behind the last answer: two of the largest bodies.
const LINGER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Pieces thrown away before others get a turn.
const LINGER_READS: usize = 16;
const LINGER_PIECE_BYTES: usize = 16 * 1024;

/// A connection's bytes.
#[derive(Debug)]
pub(super) struct Socket {
    io: TokioIo<Stream>,
    line: Rc<Line>,
    /// Read before hyper asked for it.
    begun: Bytes,
    thrown_away: Option<usize>,
}

impl Socket {
    pub(super) fn new(stream: Stream, line: Rc<Line>, begun: Bytes) -> Self {
        Self { io: TokioIo::new(stream), line, begun, thrown_away: None }
    }

    /// Takes the connection back.
    pub(super) fn into_stream(self) -> Stream {
        self.io.into_inner()
    }

    fn poll_throw_away(&mut self, cx: &mut Context<'_>, passed: &mut usize) -> Poll<()> {
        let mut piece = [MaybeUninit::uninit(); LINGER_PIECE_BYTES];
        for _ in 0..LINGER_READS {
            let mut buffer = ReadBuf::uninit(&mut piece);
            let read = Pin::new(self.io.inner_mut()).poll_read(cx, &mut buffer);
            let bytes = buffer.filled().len();
            match ready!(read) {
                Ok(()) if bytes > 0 && *passed < LINGER_BYTES_MAX => *passed += bytes,
                _ => return Poll::Ready(()),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Read for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.begun.is_empty() {
            let bytes = this.begun.len().min(buffer.remaining());
            buffer.put_slice(&this.begun[..bytes]);
            this.begun.advance(bytes);
            if this.begun.is_empty() {
                this.begun = Bytes::new();
            }
            return Poll::Ready(Ok(()));
        }
        let read = Pin::new(&mut this.io).poll_read(cx, buffer);
        if read.is_ready() {
            this.line.bytes_arrived();
        }
        read
    }
}

impl Write for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_write(cx, bytes);
        this.line.write_blocked(written.is_pending());
        written
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.io).poll_flush(cx);
        if flushed.is_pending() {
            // What was encrypted counts as written before it is sent.
            this.line.write_blocked(true);
        }
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let mut passed = match this.thrown_away {
            Some(passed) => passed,
            None => {
                ready!(Pin::new(&mut this.io).poll_shutdown(cx))?;
                if !this.line.begin_linger() {
                    return Poll::Ready(Ok(()));
                }
                0
            }
        };
        let done = this.poll_throw_away(cx, &mut passed);
        this.thrown_away = Some(passed);
        done.map(Ok)
    }

    fn is_write_vectored(&self) -> bool {
        // Answers are small: one copy behind the head is cheaper than a list of buffers.
        false
    }
}
