//! Answers what is asked of dead letters and their replays. All of it waits for the disk, on the
//! background runtime, a bounded number at once with the queries.

use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tracing::{error, warn};
use uuid::Uuid;

use crate::code::{Code, Reject};
use crate::decode::compression::Encoding;
use crate::decode::decode_event;
use crate::pulse::{EVENT_BYTES_MAX, Shape};
use crate::query::life::EDITED_FROM;
use crate::query::{self, letters as asked};
use crate::response::Answer;
use crate::routes::LetterAction;
use crate::sink::dead_letter::{Filter, SharedError};
use crate::sink::replay::{Actor, Order, Replay, ReplayError, Replays, Shown, Steer};
use crate::submission::{Ack, Format, Intake, Receipt, Refusal, Submission};
use crate::tenant::Tenant;

use super::body::{self, Body};
use super::budget::Reservation;
use super::exchange::{Exchange, Expired};
use super::queries;
use super::reply::Reply;
use super::service::{Call, Shared, refuse};
use super::settings::ServerSettings;

/// Largest body of `POST /v1/replays`: a filter with each text at its bound.
const ORDER_BYTES_MAX: u64 = 16 * 1024;
/// How long the answer waits for a dry run, or for the replay of one letter, to end: most do
/// within a second. What takes longer is answered 202 and asked for again.
const ENDING_WAIT: Duration = Duration::from_secs(4);

/// Answers a request.
pub(super) async fn answer<I: Intake>(
    shared: &Arc<Shared<I>>,
    exchange: &Exchange,
    action: LetterAction<'_>,
    call: Call<'_>,
    mut incoming: Incoming,
) -> Reply {
    let expects = call.head.expects_continue();
    let (whole, held) = match read(shared, exchange, action, call, &mut incoming).await {
        Ok(read) => read,
        Err(refusal) => return refuse(&refusal, incoming, expects).await,
    };
    exchange.work(shared.settings.query_timeout);
    let done = run(shared, exchange, action, (call, &whole)).await;
    drop((whole, held));
    match done {
        Err(refusal) => refuse(&refusal, incoming, expects).await,
        Ok(mut reply) => {
            // What a client sends with a GET means nothing, but must not be the next request.
            reply.unread = !body::discard(&mut incoming, expects).await;
            reply
        }
    }
}

/// Reads the body where the action has one.
async fn read<I: Intake>(
    shared: &Shared<I>,
    exchange: &Exchange,
    action: LetterAction<'_>,
    call: Call<'_>,
    incoming: &mut Incoming,
) -> Result<(Body, Option<Reservation>), Refusal> {
    let bytes_max = match action {
        LetterAction::CreateReplay => ORDER_BYTES_MAX,
        LetterAction::ReplayOne(_) => EVENT_BYTES_MAX as u64,
        _ => return Ok((Body::Joined(Vec::new()), None)),
    };
    read_up_to(bytes_max, shared, exchange, call, incoming).await
}

/// Reads a body of at most so many bytes.
pub(super) async fn read_up_to<I: Intake>(
    bytes_max: u64,
    shared: &Shared<I>,
    exchange: &Exchange,
    call: Call<'_>,
    incoming: &mut Incoming,
) -> Result<(Body, Option<Reservation>), Refusal> {
    if call.head.encoding()? != Encoding::Identity {
        return Err(Code::UnsupportedEncoding.into());
    }
    let bytes_max = bytes_max.min(shared.settings.body_bytes_max);
    let settings = ServerSettings { body_bytes_max: bytes_max, ..shared.settings.clone() };
    let declared = body::declared(incoming);
    if declared.is_some_and(|bytes| bytes > bytes_max) {
        return Err(body::too_large(&settings).into());
    }
    let mut held = body::reserve(declared, &shared.budget, &settings)?;
    let whole = body::read(incoming, exchange, &mut held, &settings).await?;
    Ok((whole, Some(held)))
}

async fn run<I: Intake>(
    shared: &Arc<Shared<I>>,
    exchange: &Exchange,
    action: LetterAction<'_>,
    (call, whole): (Call<'_>, &[u8]),
) -> Result<Reply, Refusal> {
    let Some(replays) = shared.app.intake.replays() else { return Err(Code::NotFound.into()) };
    let query = call.parts.uri.query();
    if !matches!(action, LetterAction::List) {
        query::none(query)?;
    }
    let tenant = call.caller.tenant.name.to_string();
    match action {
        LetterAction::List => {
            let page = asked::page(&tenant, query)?;
            let look = async move {
                let found = replays.letters(&page.filter, page.after.clone(), page.limit).await;
                Ok(Answer::json(200, asked::page_json(&page, &found.map_err(refusal_of)?)))
            };
            queries::run(shared, exchange, look).await
        }
        LetterAction::Groups => {
            let look = async move {
                let (groups, complete) = replays.by_reason(&tenant).await.map_err(refusal_of)?;
                Ok(Answer::json(200, asked::groups_json(&groups, complete)))
            };
            queries::run(shared, exchange, look).await
        }
        LetterAction::Show(segment) => {
            let id = asked::id(segment)?;
            let look = async move {
                let shown = replays.show(&tenant, id).await.map_err(refusal_of)?;
                Ok(Answer::json(200, asked::letter_json(&shown.ok_or(Code::NotFound)?)))
            };
            queries::run(shared, exchange, look).await
        }
        LetterAction::Replays => {
            let json = asked::replays_json(&replays.list(&tenant));
            Ok(Answer::json(200, json).into())
        }
        LetterAction::Replay(segment) => {
            let replay = replays.get(&tenant, asked::id(segment)?).ok_or(Code::NotFound)?;
            Ok(Answer::json(200, asked::replay_json(&replay)).into())
        }
        action => change(shared, exchange, (action, replays), (call, whole)).await,
    }
}

/// What changes something.
async fn change<I: Intake>(
    shared: &Arc<Shared<I>>,
    exchange: &Exchange,
    (action, replays): (LetterAction<'_>, Replays),
    (call, whole): (Call<'_>, &[u8]),
) -> Result<Reply, Refusal> {
    let (tenant, by) = (call.caller.tenant.name.to_string(), call.caller.asked_by());
    let steering = |segment: &str, steer| Ok::<_, Refusal>((asked::id(segment)?, steer));
    let (id, steer) = match action {
        LetterAction::Discard(segment) => {
            let id = asked::id(segment)?;
            let discard = async move {
                replays.give_up((tenant, by), id, false).await.map_err(refusal_of)?;
                Ok(Answer::json(200, format!("{{\"discarded\":\"{id}\"}}").into_bytes()))
            };
            return queries::run(shared, exchange, discard).await;
        }
        LetterAction::ReplayOne(segment) => {
            let id = asked::id(segment)?;
            if !whole.is_empty() {
                return edit(shared, exchange, (replays, id), (call, whole)).await;
            }
            let filter = Filter::of(&tenant);
            let order = Order { filter, only: Some(id), dry_run: false, rate: None, by };
            return queries::run(shared, exchange, create(replays, order)).await;
        }
        LetterAction::CreateReplay => {
            let order = asked::order(&tenant, by.as_deref(), whole)?;
            return queries::run(shared, exchange, create(replays, order)).await;
        }
        LetterAction::Pause(segment) => steering(segment, Steer::Pause)?,
        LetterAction::Resume(segment) => steering(segment, Steer::Resume)?,
        LetterAction::Cancel(segment) => steering(segment, Steer::Cancel)?,
        _ => return Err(Code::Internal.into()),
    };
    let steered = move |replays: &Replays| {
        let actor = Actor { tenant: &tenant, by: by.as_deref() };
        Ok(Answer::json(200, asked::replay_json(&replays.steer(actor, id, steer)?)))
    };
    queries::run(shared, exchange, aside(replays, steered)).await
}

/// Begins a replay, and waits a while for one that ends soon.
async fn create(replays: Replays, order: Order) -> Result<Answer, Refusal> {
    let soon = order.dry_run || order.only.is_some();
    if let Some(id) = order.only {
        let shown = replays.show(&order.filter.tenant, id).await.map_err(refusal_of)?;
        shown.ok_or(Code::NotFound)?;
    }
    let begin = move |replays: &Replays| replays.create(order);
    let replay: Replay = aside(replays.clone(), begin).await?;
    let ended = match soon {
        true => timeout(ENDING_WAIT, replays.ended(replay.id)).await.ok().flatten(),
        false => None,
    };
    Ok(match ended {
        Some(ended) => Answer::json(200, asked::replay_json(&ended)),
        None => Answer::json(202, asked::replay_json(&replay)),
    })
}

/// Takes an edited pulse in a letter's place; once it is stored the letter leaves. The same edit
/// again is the same pulse.
async fn edit<I: Intake>(
    shared: &Arc<Shared<I>>,
    exchange: &Exchange,
    (replays, letter): (Replays, Uuid),
    (call, whole): (Call<'_>, &[u8]),
) -> Result<Reply, Refusal> {
    let (tenant, by) = (Arc::clone(&call.caller.tenant), call.caller.asked_by());
    let name = Arc::clone(&tenant.name);
    let finder = replays.clone();
    let find = async move {
        let shown = finder.show(&name, letter).await.map_err(refusal_of)?;
        shown.ok_or_else(|| Code::NotFound.into())
    };
    let shown = exchange.limit(aside_on(shared, find)).await;
    let shown = shown.map_err(|Expired| Code::TimedOut)??;
    let (body, from) = edited(&shown, letter, whole)?;
    exchange.work(shared.settings.handler_timeout);
    // Whoever edits wants to be told, not another letter.
    let receipt = submit(shared, exchange, (&tenant.strict(), &body)).await?;
    if let Some(error) = receipt.errors.first() {
        return Err(error.reject.clone().into());
    }
    let id = receipt.ids.first().copied().flatten();
    let discard = async move {
        match replays.give_up((tenant.name.to_string(), by), letter, true).await {
            // The same edit was here before.
            Ok(()) | Err(ReplayError::NotFound) => {}
            Err(error) => return Err(refusal_of(error)),
        }
        Ok(Answer::json(200, asked::edited_json(id, from, letter)))
    };
    queries::run(shared, exchange, discard).await
}

/// The edited pulse as a submission, with an id of its own; and the id of the one before.
fn edited(shown: &Shown, letter: Uuid, whole: &[u8]) -> Result<(Vec<u8>, Option<Uuid>), Reject> {
    let record = shown.letter.record();
    let shape = record.map_or(Shape::Pulse, |record| record.envelope.shape);
    let mut pulse = decode_event(shape, whole)?;
    let own = Uuid::new_v5(&letter, whole).to_string();
    pulse.event_id = Some(own.into());
    pulse.idempotency_key = None;
    let from = record.map(|record| record.entry.id);
    pulse.event_time_ms =
        pulse.event_time_ms.or_else(|| record.map(|record| record.entry.event_time_ms));
    pulse.metadata.retain(|(name, _)| name != EDITED_FROM);
    if let Some(from) = from {
        pulse.metadata.push((EDITED_FROM.into(), from.to_string().into()));
    }
    let mut body = Vec::with_capacity(whole.len() + 256);
    pulse.write_json(&mut body);
    Ok((body, from))
}

/// Takes a pulse at the highest level that there is: the letter may leave only then.
async fn submit<I: Intake>(
    shared: &Shared<I>,
    exchange: &Exchange,
    (tenant, body): (&Tenant, &[u8]),
) -> Result<Receipt, Refusal> {
    let mut submission = Submission {
        tenant,
        shape: Shape::Pulse,
        format: Format::Json,
        body,
        ack: Some(Ack::Stored),
        idempotency_key: None,
        trace: None,
        ids: true,
    };
    let taken = exchange.limit(shared.app.intake.submit(submission)).await;
    match taken.map_err(|Expired| Code::NotStoredInTime)? {
        Err(refusal) if refusal.reject.code == Code::AckNotAvailable => {
            submission.ack = Some(Ack::Durable);
            let taken = exchange.limit(shared.app.intake.submit(submission)).await;
            taken.map_err(|Expired| Code::TimedOut)?
        }
        taken => taken,
    }
}

/// Works on a thread where blocking is allowed; within the background runtime.
async fn aside<T: Send + 'static>(
    replays: Replays,
    work: impl FnOnce(&Replays) -> Result<T, ReplayError> + Send + 'static,
) -> Result<T, Refusal> {
    match spawn_blocking(move || work(&replays)).await {
        Ok(done) => done.map_err(refusal_of),
        Err(source) => {
            error!(error = %source, "work with dead letters ended early");
            Err(Code::Internal.into())
        }
    }
}

/// Works within the background runtime, from a serving thread.
async fn aside_on<I: Intake, T: Send + 'static>(
    shared: &Shared<I>,
    work: impl Future<Output = Result<T, Refusal>> + Send + 'static,
) -> Result<T, Refusal> {
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn_on(work, &shared.background);
    match tasks.join_next().await {
        Some(Ok(done)) => done,
        _ => Err(Code::Internal.into()),
    }
}

pub(super) fn refusal_of(error: ReplayError) -> Refusal {
    match error {
        ReplayError::NotFound => Code::NotFound.into(),
        ReplayError::InFlight => Code::LetterInReplay.into(),
        ReplayError::Ended => Code::ReplayEnded.into(),
        ReplayError::TooMany => Code::TooManyReplays.into(),
        ReplayError::Io(source) => {
            error!(error = %source, "use of the dead letters failed");
            Code::DeadLettersFailed.into()
        }
        ReplayError::Shared(SharedError::Unavailable(source)) => {
            let source = format!("{source:#}");
            warn!(error = source, "letters could not be asked of the store");
            Refusal::later(Code::StoreUnavailable, queries::STORE_RETRY)
        }
        ReplayError::Shared(SharedError::Failed(source)) => {
            error!(error = format!("{source:#}"), "use of the store's dead letters failed");
            Code::DeadLettersFailed.into()
        }
    }
}
