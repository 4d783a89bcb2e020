//! One connection of a load: a request goes out, an answer comes back, nothing is kept of it
//! but its status.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::event::epoll;
use rustix::fd::OwnedFd;

use crate::http::Head;

/// Longest wait for a connection.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// An open connection, known to the thread's epoll by its place in the list.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    place: u64,
    /// Which request is under way and how much of it was sent.
    request: Option<(usize, usize)>,
    due: Instant,
    /// Start of an answer whose head was not complete.
    partial: Vec<u8>,
    /// Bytes of the answer's body that are still to come, once the head was read.
    answer: Option<(u16, usize, bool)>,
}

/// An answer that is complete.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) due: Instant,
    pub(super) close: bool,
}

impl Connection {
    pub(super) fn open(address: SocketAddr, epoll: &OwnedFd, place: u64) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, CONNECT_MAX).context("connect")?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        epoll::add(epoll, &stream, epoll::EventData::new_u64(place), epoll::EventFlags::IN)?;
        let due = Instant::now();
        Ok(Self { stream, place, request: None, due, partial: Vec::new(), answer: None })
    }

    pub(super) fn is_busy(&self) -> bool {
        self.request.is_some()
    }

    /// Starts to send request number `index`, whose latency counts from `due`.
    pub(super) fn begin(
        &mut self,
        index: usize,
        requests: &[Vec<u8>],
        due: Instant,
        epoll: &OwnedFd,
    ) -> Result<()> {
        self.request = Some((index, 0));
        self.due = due;
        self.send(requests, epoll)
    }

    /// Sends as much as the socket takes; asks to be told when it takes more.
    pub(super) fn send(&mut self, requests: &[Vec<u8>], epoll: &OwnedFd) -> Result<()> {
        let Some((index, sent)) = self.request else { return Ok(()) };
        let bytes = &requests[index][sent..];
        if bytes.is_empty() {
            return Ok(());
        }
        let count = match (&self.stream).write(bytes) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error).context("send a request"),
        };
        self.request = Some((index, sent + count));
        // Most requests go out whole: the interest changes only where one did not.
        if count < bytes.len() && sent == 0 {
            self.watch(epoll, epoll::EventFlags::IN | epoll::EventFlags::OUT)?;
        } else if count == bytes.len() && sent > 0 {
            self.watch(epoll, epoll::EventFlags::IN)?;
        }
        Ok(())
    }

    fn watch(&self, epoll: &OwnedFd, flags: epoll::EventFlags) -> Result<()> {
        epoll::modify(epoll, &self.stream, epoll::EventData::new_u64(self.place), flags)?;
        Ok(())
    }

    /// Reads what is there; gives the answer once it is complete.
    pub(super) fn receive(&mut self, buffer: &mut [u8]) -> Result<Option<Answer>> {
        let count = match self.stream.read(buffer) {
            Ok(0) => bail!("the server closed the connection"),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error).context("read an answer"),
        };
        self.take(&buffer[..count])
    }

    fn take(&mut self, input: &[u8]) -> Result<Option<Answer>> {
        if self.answer.is_none() && !self.partial.is_empty() {
            let mut whole = std::mem::take(&mut self.partial);
            whole.extend_from_slice(input);
            return self.take(&whole);
        }
        let (status, left, close) = match self.answer {
            Some((status, left, close)) => (status, left.checked_sub(input.len()), close),
            None => {
                let Some(head) = Head::parse(input)? else {
                    self.partial = input.to_vec();
                    return Ok(None);
                };
                let rest = input.len() - head.bytes;
                (head.status, head.body_bytes.checked_sub(rest), head.close || head.chunked)
            }
        };
        let Some(left) = left else { bail!("more bytes came than the answer declares") };
        if left > 0 {
            self.answer = Some((status, left, close));
            return Ok(None);
        }
        self.answer = None;
        self.request = None;
        Ok(Some(Answer { status, due: self.due, close }))
    }
}
