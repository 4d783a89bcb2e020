//! Answers `POST /pulse`, `/ingest` and `/events`. Everything that the head decides is decided
//! before the body is read.

use std::sync::Arc;

use hyper::body::Incoming;
use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;

use crate::code::{Code, Reject};
use crate::decode::compression::{Encoding, ExpandLimits, RATIO_FREE_BYTES, decompress};
use crate::pulse::Shape;
use crate::query::{self, Submit};
use crate::response::Answer;
use crate::submission::{Ack, Format, Intake, Receipt, Refusal, Submission};

use super::body::{self, Body};
use super::budget::Reservation;
use super::exchange::{Exchange, Expired};
use super::reply::Reply;
use super::service::{Call, Shared, jitter, refuse};

/// Largest compressed body that a serving thread expands itself: at the highest ratio allowed
/// it holds up the thread's other requests for about two milliseconds, or four where the body
/// does not tell its size.
const EXPAND_HERE_BYTES_MAX: usize = 16 * 1024;

/// What the head of a submission says.
#[derive(Debug, Clone, Copy)]
struct Order<'a> {
    shape: Shape,
    format: Format,
    encoding: Encoding,
    key: Option<&'a str>,
    asked: Submit,
}

/// Answers a submission.
pub(super) async fn submit<I: Intake>(
    shared: &Arc<Shared<I>>,
    exchange: &Exchange,
    shape: Shape,
    call: Call<'_>,
    mut body: Incoming,
) -> Reply {
    let expects = call.head.expects_continue();
    let (order, mut held) = match admit(shared, shape, call, &body) {
        Ok(admitted) => admitted,
        Err(refusal) => return refuse(&refusal, body, expects).await,
    };
    let read = body::read(&mut body, exchange, &mut held, &shared.settings).await;
    let whole = match read {
        Ok(whole) => whole,
        // Its client was told to send it if it waited for that.
        Err(reject) => return refuse(&reject.into(), body, false).await,
    };
    let answer = match hand_over(shared, exchange, (order, call), whole, &mut held).await {
        Ok(receipt) => Answer::receipt(&receipt, order.asked.ids, jitter()),
        Err(refusal) => Answer::refusal(&refusal, jitter()),
    };
    Reply { answer, unread: false, held: Some(held) }
}

/// Decides all that can be decided before the body, and reserves room for it.
fn admit<'a, I: Intake>(
    shared: &Shared<I>,
    shape: Shape,
    call: Call<'a>,
    body: &Incoming,
) -> Result<(Order<'a>, Reservation), Refusal> {
    let order = Order {
        shape,
        format: call.head.format()?,
        encoding: call.head.encoding()?,
        key: call.head.idempotency_key()?,
        asked: query::submit(call.parts.uri.query())?,
    };
    let declared = body::declared(body);
    if declared == Some(0) {
        return Err(Code::EmptyBody.into());
    }
    if declared.is_some_and(|bytes| bytes > shared.settings.body_bytes_max) {
        return Err(body::too_large(&shared.settings).into());
    }
    shared.app.intake.admit(&call.caller.tenant, order.asked.ack, declared.unwrap_or(0))?;
    let held = body::reserve(declared, &shared.budget, &shared.settings)?;
    Ok((order, held))
}

async fn hand_over<I: Intake>(
    shared: &Arc<Shared<I>>,
    exchange: &Exchange,
    (order, call): (Order<'_>, Call<'_>),
    whole: Body,
    held: &mut Reservation,
) -> Result<Receipt, Refusal> {
    exchange.work(shared.settings.handler_timeout);
    let whole = match order.encoding {
        Encoding::Identity => whole,
        encoding => expand(shared, exchange, encoding, whole, held).await?,
    };
    let submission = Submission {
        tenant: &call.caller.tenant,
        shape: order.shape,
        format: order.format,
        body: &whole,
        ack: order.asked.ack,
        idempotency_key: order.key,
        trace: call.head.trace(),
        ids: order.asked.ids,
    };
    match exchange.limit(shared.app.intake.submit(submission)).await {
        Ok(result) => result,
        Err(Expired) => Err(late(order.asked.ack).into()),
    }
}

fn late(ack: Option<Ack>) -> Code {
    if ack == Some(Ack::Stored) { Code::NotStoredInTime } else { Code::TimedOut }
}

async fn expand<I: Intake>(
    shared: &Arc<Shared<I>>,
    exchange: &Exchange,
    encoding: Encoding,
    body: Body,
    held: &mut Reservation,
) -> Result<Body, Refusal> {
    let limits = ExpandLimits {
        bytes_max: shared.settings.decompressed_bytes_max,
        ratio_max: shared.settings.decompress_ratio_max,
    };
    let aside = body.len() > EXPAND_HERE_BYTES_MAX;
    // The turn comes before the room: who waits holds no more than the body.
    let turn = if aside { Some(turn(shared, exchange).await?) } else { None };
    let sent = body.len() as u64;
    let by_ratio = sent.saturating_mul(limits.ratio_max as u64).max(RATIO_FREE_BYTES as u64);
    if !held.grow_to(sent + by_ratio.min(limits.bytes_max as u64)) {
        return Err(Code::Overloaded.into());
    }
    let expanded = match turn {
        None => decompress(encoding, &body, limits)?,
        Some(turn) => {
            // Room and turn are kept by who uses them, also when the request ends before that.
            let room = held.hand_over();
            let expand = move || {
                let expanded = decompress(encoding, &body, limits);
                drop((body, turn));
                expanded.map(|expanded| (expanded, room))
            };
            let expanding = run_aside(&shared.background, expand);
            let (expanded, room) =
                exchange.limit(expanding).await.map_err(|Expired| Code::TimedOut)??;
            *held = room;
            expanded
        }
    };
    held.shrink_to(expanded.len() as u64);
    Ok(Body::Joined(expanded))
}

async fn turn<I>(shared: &Shared<I>, exchange: &Exchange) -> Result<OwnedSemaphorePermit, Refusal> {
    match exchange.limit(Arc::clone(&shared.expansions).acquire_owned()).await {
        Ok(Ok(turn)) => Ok(turn),
        Ok(Err(_)) => Err(Code::Stopping.into()),
        Err(Expired) => Err(Code::Overloaded.into()),
    }
}

/// Works on a thread where blocking is allowed.
async fn run_aside<T: Send + 'static>(
    background: &Handle,
    work: impl FnOnce() -> Result<T, Reject> + Send + 'static,
) -> Result<T, Reject> {
    // Owns the task. One that runs can't be ended early: its limits end it.
    let mut tasks = JoinSet::new();
    tasks.spawn_blocking_on(work, background);
    match tasks.join_next().await {
        Some(Ok(done)) => done,
        _ => Err(Code::Internal.into()),
    }
}
