//! Answers what is asked with GET: metrics, health and queries. Queries run on the background
//! runtime, a bounded number at once, so that reading never holds up accepting.

use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use tokio::task::JoinSet;
use tracing::{error, warn};
use uuid::Uuid;

use crate::clock::now_us;
use crate::code::{Code, Reject};
use crate::pulse;
use crate::query::answer::{PAGE_BYTES_SOFT, PageWriter};
use crate::query::counts::{self, Counts};
use crate::query::{self, Page, Pulses};
use crate::response::{Answer, Media};
use crate::routes::Action;
use crate::store::{PAGE_ROWS_MAX, QueryError, Store};
use crate::submission::{Intake, Refusal};

use super::body;
use super::exchange::{Exchange, Expired};
use super::reply::Reply;
use super::search;
use super::service::{Call, Shared, refuse};

/// Rows that one query looks at for those that it wants: a second of a store's reading.
pub(super) const ROWS_MAX: usize = 10_000;
/// Rows asked for first; each further piece of a page is twice as large, so that a page of
/// large rows ends after few and one of small rows takes few steps.
const FIRST_ROWS: usize = 32;
/// When to come back to a store that can't be asked.
pub(super) const STORE_RETRY: Duration = Duration::from_secs(5);

/// The JSON of what was found, if something was.
type Asked = Result<Option<Vec<u8>>, QueryError>;

/// Answers a question of a caller that may ask it.
pub(super) async fn answer<I: Intake>(
    shared: &Arc<Shared<I>>,
    exchange: &Exchange,
    action: Action<'_>,
    call: Call<'_>,
    body: Incoming,
) -> Reply {
    let asked = match action {
        Action::Metrics => metrics(shared, call),
        Action::Search => search::answer(shared, exchange, call).await,
        _ => ask(shared, exchange, action, call).await,
    };
    without_body(asked, body, call.head.expects_continue()).await
}

/// Answers whoever asks whether the process serves.
pub(super) async fn health(query: Option<&str>, body: Incoming, expects_continue: bool) -> Reply {
    let healthy = || Answer::json(200, b"{\"status\":\"ok\"}".to_vec()).into();
    let asked = query::none(query).map(|()| healthy()).map_err(Refusal::from);
    without_body(asked, body, expects_continue).await
}

/// The answer to a request that has no body to speak of.
async fn without_body(asked: Result<Reply, Refusal>, mut body: Incoming, expects: bool) -> Reply {
    match asked {
        Err(refusal) => refuse(&refusal, body, expects).await,
        Ok(mut reply) => {
            // What a client sends with a GET means nothing, but it must not be the next request.
            reply.unread = !body::discard(&mut body, expects).await;
            reply
        }
    }
}

fn metrics<I: Intake>(shared: &Shared<I>, call: Call<'_>) -> Result<Reply, Refusal> {
    query::none(call.parts.uri.query())?;
    let text = (shared.app.exposition)();
    Ok(Answer { media: Media::Metrics, ..Answer::json(200, text.into_bytes()) }.into())
}

async fn ask<I: Intake>(
    shared: &Arc<Shared<I>>,
    exchange: &Exchange,
    action: Action<'_>,
    call: Call<'_>,
) -> Result<Reply, Refusal> {
    let query = call.parts.uri.query();
    let tenant = Arc::clone(&call.caller.tenant);
    let name = &*call.caller.tenant.name;
    let now_ms = now_us() / 1000;
    let Some(store) = shared.app.intake.store() else {
        return Err(Reject::new(Code::StoreUnavailable, "there is no store to ask").into());
    };
    exchange.work(shared.settings.query_timeout);
    match action {
        Action::Counts => {
            let asked = counts::parse(name, query, now_ms)?;
            run(shared, exchange, async move { found(add_up(store, asked).await) }).await
        }
        Action::Pulse(segment) => {
            query::none(query)?;
            let id = pulse::id_from_text(name, &query::event_id(segment)?);
            run(shared, exchange, async move { found(one(store, &tenant.name, id).await) }).await
        }
        _ => match query::pulses(name, query, now_ms)? {
            Pulses::Page(asked) => {
                run(shared, exchange, async move { found(page(store, asked).await) }).await
            }
            Pulses::Key(key) => {
                let known = exchange.limit(shared.app.intake.id_of_key(name, &key)).await;
                let id = known.map_err(|Expired| late())?;
                // Past the window only the id that was derived from the key is left to try.
                let id = id.unwrap_or_else(|| pulse::id_from_key(name, &key));
                run(shared, exchange, async move { found(one(store, &tenant.name, id).await) })
                    .await
            }
        },
    }
}

/// Runs a query when it is its turn, within the time that it may take, and answers with what it
/// found. Its answer has room of its own from before it is made until the client has it.
pub(super) async fn run<I: Intake>(
    shared: &Arc<Shared<I>>,
    exchange: &Exchange,
    query: impl Future<Output = Result<Answer, Refusal>> + Send + 'static,
) -> Result<Reply, Refusal> {
    let turn = exchange.limit(Arc::clone(&shared.queries).acquire_owned()).await;
    let turn = turn.map_err(|Expired| late())?;
    let mut held =
        shared.answers.reserve(PAGE_BYTES_SOFT as u64).ok_or(Refusal::from(Code::Overloaded))?;
    // Owns the task: a client that goes away takes its query along.
    let mut tasks = JoinSet::new();
    tasks.spawn_on(
        async move {
            let _turn = turn;
            query.await
        },
        &shared.background,
    );
    let asked = exchange.limit(tasks.join_next()).await.map_err(|Expired| late())?;
    let answer = match asked {
        Some(Ok(asked)) => asked?,
        Some(Err(source)) => {
            error!(error = %source, "query ended early");
            return Err(Code::Internal.into());
        }
        None => return Err(Code::Internal.into()),
    };
    held.shrink_to(answer.body.len() as u64);
    Ok(Reply { answer, unread: false, held: Some(held) })
}

fn found(asked: Asked) -> Result<Answer, Refusal> {
    match asked {
        Ok(Some(json)) => Ok(Answer::json(200, json)),
        Ok(None) => Err(Code::NotFound.into()),
        Err(error) => Err(failed(error)),
    }
}

/// What is told of a query that failed; logs what it must.
pub(super) fn failed(error: QueryError) -> Refusal {
    match error {
        QueryError::Unavailable(source) => {
            warn!(error = format!("{source:#}"), "query found the store unavailable");
            Refusal::later(Code::StoreUnavailable, STORE_RETRY)
        }
        QueryError::NotIndexed => Code::NotIndexed.into(),
        QueryError::TooManyCounts => {
            let why = format!("{error}: ask for a shorter range");
            Reject::new(Code::InvalidParameter, why).into()
        }
        QueryError::Failed(source) => {
            error!(error = format!("{source:#}"), "query failed");
            Code::Internal.into()
        }
    }
}

pub(super) fn late() -> Refusal {
    let reject = Reject::new(Code::StoreUnavailable, "the store did not answer in time");
    Refusal { reject, retry_after: Some(STORE_RETRY) }
}

async fn one(store: Arc<dyn Store>, tenant: &str, id: Uuid) -> Asked {
    let row = store.pulse(tenant, id).await?;
    Ok(row.map(|row| {
        let mut json = Vec::with_capacity(512);
        row.write_json(&mut json);
        json
    }))
}

async fn add_up(store: Arc<dyn Store>, asked: Counts) -> Asked {
    let counted = store.counts(&asked.query).await?;
    let mut json = Vec::with_capacity(512);
    counts::write(&mut json, &asked, &counted);
    Ok(Some(json))
}

async fn page(store: Arc<dyn Store>, asked: Page) -> Asked {
    let Page { mut query, kind, mark } = asked;
    let (rows_max, is_filtered) = (query.limit, kind.is_some());
    let mut writer = PageWriter::new(kind, rows_max);
    let (mut step, mut looked_at) = (FIRST_ROWS, 0);
    loop {
        let wanted = if is_filtered { PAGE_ROWS_MAX } else { rows_max - writer.rows() };
        query.limit = step.min(wanted);
        let found = store.pulses(&query).await?;
        let all = writer.push(&found.rows);
        looked_at += found.rows.len();
        let more = !all || found.next.is_some();
        let is_full = !all || writer.rows() == rows_max || looked_at >= ROWS_MAX;
        if is_full || found.next.is_none() || found.rows.is_empty() {
            return Ok(Some(writer.finish(more, mark)));
        }
        query.after = writer.last();
        step *= 2;
    }
}
