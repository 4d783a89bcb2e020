//! How an answer goes out: the body that hyper writes, and the headers around it.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{
    ALLOW, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use hyper::body::{Body, Frame, SizeHint};

use crate::response::{Answer, Media, rate};

use super::budget::Reservation;
use super::exchange::Open;

/// A body goes out in pieces of at most this size, so that a connection never buffers a whole
/// page of rows.
const PIECE_BYTES: usize = 64 * 1024;

/// An answer and what goes with it.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) answer: Answer,
    /// The request's body was not read to its end.
    pub(super) unread: bool,
    /// Held until the client has taken the answer.
    pub(super) held: Option<Reservation>,
}

impl From<Answer> for Reply {
    fn from(answer: Answer) -> Self {
        Self { answer, unread: false, held: None }
    }
}

/// What an answer needs beside its own content.
#[derive(Debug)]
pub(super) struct Around {
    /// An empty map to write the headers into: the request's own, so that none is allocated.
    pub(super) headers: HeaderMap,
    /// Given back as it came.
    pub(super) request_id: Option<HeaderValue>,
    /// The connection ends behind this answer, and says so.
    pub(super) close: bool,
    /// The body stays here; only its length is told.
    pub(super) head: bool,
}

/// Puts an answer together.
pub(super) fn response(reply: Reply, around: Around, open: Open) -> Response<AnswerBody> {
    let Answer { status, media, body, retry_after_s, allow, authenticate, limits } = reply.answer;
    let mut headers = around.headers;
    headers.insert(CONTENT_TYPE, content_type(media));
    if let Some(seconds) = retry_after_s {
        headers.insert(RETRY_AFTER, seconds.into());
    }
    if let Some(allow) = allow {
        headers.insert(ALLOW, HeaderValue::from_static(allow));
    }
    if let Some(challenge) = authenticate {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    if let Some(standing) = &limits {
        set_text(&mut headers, "ratelimit-policy", rate::policy(standing));
        set_text(&mut headers, "ratelimit", rate::left(standing));
    }
    if let Some(id) = around.request_id {
        headers.insert(HeaderName::from_static("x-request-id"), id);
    }
    if around.close {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    let mut rest = Bytes::from(body);
    if around.head {
        headers.insert(CONTENT_LENGTH, rest.len().into());
        rest = Bytes::new();
    }
    let mut response = Response::new(AnswerBody { rest, _held: reply.held, _open: open });
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
    *response.headers_mut() = headers;
    response
}

/// Text of ours is always a header's.
fn set_text(headers: &mut HeaderMap, name: &'static str, text: String) {
    if let Ok(value) = HeaderValue::try_from(text) {
        headers.insert(HeaderName::from_static(name), value);
    }
}

fn content_type(media: Media) -> HeaderValue {
    HeaderValue::from_static(media.as_str())
}

/// The bytes of an answer. The request ends when hyper has taken them all.
#[derive(Debug)]
pub(super) struct AnswerBody {
    rest: Bytes,
    _held: Option<Reservation>,
    _open: Open,
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let rest = &mut self.get_mut().rest;
        if rest.is_empty() {
            return Poll::Ready(None);
        }
        let piece = rest.split_to(rest.len().min(PIECE_BYTES));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}
