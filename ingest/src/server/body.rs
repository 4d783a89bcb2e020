//! Reads the body of a request: bounded in size and time, reserved before it is read, and not
//! copied where it arrived in one piece.

use std::future::poll_fn;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use hyper::body::{Body as _, Incoming};

use crate::code::{Code, Reject};

use super::budget::{Budget, Reservation};
use super::exchange::{Exchange, Expired};
use super::settings::ServerSettings;

/// First reservation for a body that does not tell its length; it doubles as the body grows.
const STEP_BYTES: u64 = 64 * 1024;
/// Most bytes of a body that nobody wants, and that have arrived already, that are thrown away
/// to keep the connection.
const DISCARD_BYTES_MAX: usize = 64 * 1024;

/// A body that was read.
#[derive(Debug)]
pub(super) enum Body {
    /// It arrived in one piece.
    Piece(Bytes),
    /// It arrived in several, or was expanded.
    Joined(Vec<u8>),
}

impl Deref for Body {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Piece(bytes) => bytes,
            Self::Joined(bytes) => bytes,
        }
    }
}

/// The length that a body tells before it is read.
pub(super) fn declared(body: &Incoming) -> Option<u64> {
    if body.is_end_stream() { Some(0) } else { body.size_hint().exact() }
}

/// Reserves what a body needs: its length, or a first step where it does not tell it.
pub(super) fn reserve(
    declared: Option<u64>,
    budget: &Arc<Budget>,
    settings: &ServerSettings,
) -> Result<Reservation, Reject> {
    let bytes = declared.unwrap_or(STEP_BYTES.min(settings.body_bytes_max));
    budget.reserve(bytes).ok_or_else(|| Code::Overloaded.into())
}

/// Reads the whole body within its times.
pub(super) async fn read(
    body: &mut Incoming,
    exchange: &Exchange,
    held: &mut Reservation,
    settings: &ServerSettings,
) -> Result<Body, Reject> {
    exchange.read_body(settings.body_timeout);
    let mut whole = Body::Piece(Bytes::new());
    while !body.is_end_stream() {
        exchange.progress(settings.body_stall_timeout);
        let Some(piece) = next(body, exchange).await? else { break };
        let bytes = (whole.len() + piece.len()) as u64;
        if bytes > settings.body_bytes_max {
            return Err(too_large(settings));
        }
        if bytes > held.bytes() {
            let wanted = bytes.max(2 * held.bytes()).min(settings.body_bytes_max);
            if !held.grow_to(wanted) {
                return Err(Code::Overloaded.into());
            }
        }
        whole = join(whole, piece, held.bytes());
    }
    Ok(whole)
}

/// Adds a piece. The first is kept as it is; with the second, room is made for all that is
/// reserved, so that a body with a length is allocated and copied once.
fn join(whole: Body, piece: Bytes, reserved: u64) -> Body {
    let mut joined = match whole {
        Body::Piece(first) if first.is_empty() => return Body::Piece(piece),
        Body::Piece(first) => {
            let mut joined = Vec::with_capacity(usize::try_from(reserved).unwrap_or(0));
            joined.extend_from_slice(&first);
            joined
        }
        Body::Joined(joined) => joined,
    };
    joined.extend_from_slice(&piece);
    Body::Joined(joined)
}

/// The next piece of data; `None` at the end.
async fn next(body: &mut Incoming, exchange: &Exchange) -> Result<Option<Bytes>, Reject> {
    loop {
        let frame = poll_fn(|cx| match Pin::new(&mut *body).poll_frame(cx) {
            Poll::Pending if exchange.poll_expired(cx) => Poll::Ready(Err(Expired)),
            Poll::Pending => Poll::Pending,
            Poll::Ready(frame) => Poll::Ready(Ok(frame)),
        });
        match frame.await {
            Err(Expired) => return Err(Code::BodyTimeout.into()),
            Ok(None) => return Ok(None),
            Ok(Some(Err(_))) => return Err(Code::BodyIncomplete.into()),
            Ok(Some(Ok(frame))) => {
                // Trailers carry nothing that is read here.
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

/// Throws away what has arrived of a body that nobody wants; whether that was all of it. A body
/// whose client waits to be told to send it must not be asked for.
pub(super) async fn discard(body: &mut Incoming, expects_continue: bool) -> bool {
    let mut thrown_away = 0;
    poll_fn(|cx| {
        loop {
            if body.is_end_stream() {
                return Poll::Ready(true);
            }
            if expects_continue || thrown_away > DISCARD_BYTES_MAX {
                return Poll::Ready(false);
            }
            match Pin::new(&mut *body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    thrown_away += frame.data_ref().map_or(0, Bytes::len);
                }
                Poll::Ready(None) => return Poll::Ready(true),
                _ => return Poll::Ready(false),
            }
        }
    })
    .await
}

/// The refusal of a body that is larger than the settings allow.
pub(super) fn too_large(settings: &ServerSettings) -> Reject {
    let bytes_max = settings.body_bytes_max;
    Reject::new(Code::BodyTooLarge, format!("the body is larger than {bytes_max} bytes"))
}
