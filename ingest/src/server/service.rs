//! From a request to its answer: finds the route, has it answered, counts it. What a thread
//! needs for that is here too.

use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use http::request::Parts;
use http::{Method, Request, Response, Version};
use hyper::body::Incoming;
use pulsemesh_runtime::telemetry::spans;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tracing::Instrument;

use crate::code::{Code, Reject};
use crate::query::answer::PAGE_BYTES_SOFT;
use crate::response::Answer;
use crate::routes::{self, Action, Miss, Route};
use crate::submission::{Intake, Refusal};
use crate::tenant::{Caller, Permission, Tenants};

use super::App;
use super::budget::Budget;
use super::counters::Counters;
use super::exchange::Exchange;
use super::head::Head;
use super::reply::{AnswerBody, Around, Reply, response};
use super::settings::ServerSettings;
use super::table::Table;
use super::{body, erasures, letters, queries, submit};

/// Decompressions that run at once beside the serving threads: each may use a core.
const EXPANSIONS_MAX: usize = 2;

/// What all serving threads share.
#[derive(Debug)]
pub(super) struct Shared<I> {
    pub(super) app: App<I>,
    pub(super) settings: ServerSettings,
    pub(super) budget: Arc<Budget>,
    /// Bytes of query answers, from the query to the client: apart from those of bodies, so
    /// that reading never costs accepting.
    pub(super) answers: Arc<Budget>,
    /// Turns of queries.
    pub(super) queries: Arc<Semaphore>,
    /// Turns of decompressions.
    pub(super) expansions: Arc<Semaphore>,
    /// The runtime where what could hold up a serving thread runs.
    pub(super) background: Handle,
}

impl<I> Shared<I> {
    pub(super) fn new(app: App<I>, settings: ServerSettings, background: Handle) -> Arc<Self> {
        Arc::new(Self {
            app,
            budget: Budget::new(settings.bytes_in_flight_max),
            answers: Budget::new((settings.queries_max * PAGE_BYTES_SOFT) as u64),
            queries: Arc::new(Semaphore::new(settings.queries_max)),
            expansions: Arc::new(Semaphore::new(EXPANSIONS_MAX)),
            settings,
            background,
        })
    }
}

/// What one serving thread has.
#[derive(Debug)]
pub(super) struct Local<I> {
    pub(super) shared: Arc<Shared<I>>,
    pub(super) table: Rc<Table>,
    pub(super) counters: Counters,
}

/// Answers one request.
pub(super) async fn respond<I: Intake>(
    local: Rc<Local<I>>,
    exchange: Rc<Exchange>,
    request: Request<Incoming>,
) -> Result<Response<AnswerBody>, Infallible> {
    let begun = Instant::now();
    let open = exchange.begin();
    let (mut parts, body) = request.into_parts();
    let route = routes::find(parts.method.as_str(), parts.uri.path());
    let (reply, request_id) = match Head::read(&parts.headers) {
        Err(reject) => (decline(&reject, body, false).await, None),
        Ok(head) => {
            let asked = Asked { route, parts: &parts, head: &head };
            let reply = answer(&local.shared, &exchange, asked, body).await;
            (reply, head.request_id().cloned())
        }
    };
    let mut headers = std::mem::take(&mut parts.headers);
    headers.clear();
    let http1 = parts.version < Version::HTTP_2;
    if http1 && reply.unread {
        exchange.line().linger();
    }
    let close = http1 && (reply.unread || local.table.ending());
    let around = Around { headers, request_id, close, head: parts.method == Method::HEAD };
    local.counters.answered(route.endpoint, reply.answer.status, begun.elapsed());
    exchange.answer(local.shared.settings.answer_timeout);
    Ok(response(reply, around, open))
}

/// A request as far as its head goes, of whoever it may be. Has no `Debug`, as its head has none.
#[derive(Clone, Copy)]
struct Asked<'a> {
    route: Route<'a>,
    parts: &'a Parts,
    head: &'a Head<'a>,
}

/// A request as far as its head goes, of a caller that may do what it asks.
#[derive(Clone, Copy)]
pub(super) struct Call<'a> {
    pub(super) route: Route<'a>,
    pub(super) parts: &'a Parts,
    pub(super) head: &'a Head<'a>,
    pub(super) caller: &'a Caller,
}

async fn answer<I: Intake>(
    shared: &Arc<Shared<I>>,
    exchange: &Exchange,
    asked: Asked<'_>,
    body: Incoming,
) -> Reply {
    let Asked { route, parts, head } = asked;
    let expects = head.expects_continue();
    let action = match route.action {
        Ok(action) => action,
        Err(Miss::NotFound) => return decline(&Code::NotFound.into(), body, expects).await,
        Err(Miss::Method(allow)) => {
            let mut reply = decline(&Code::MethodNotAllowed.into(), body, expects).await;
            reply.answer.allow = Some(allow);
            return reply;
        }
    };
    let Some(permission) = action.needs() else {
        return queries::health(parts.uri.query(), body, expects).await;
    };
    let caller = match identify(&shared.app.tenants, head, permission) {
        Ok(caller) => caller,
        Err(refusal) => return refuse(&refusal, body, expects).await,
    };
    let (limiter, tenant) = (shared.app.tenants.limiter(), &*caller.tenant.name);
    if let Err(refusal) = limiter.admit(tenant) {
        let mut reply = refuse(&refusal, body, expects).await;
        reply.answer.limits = limiter.standing(tenant);
        return reply;
    }
    let call = Call { route, parts, head, caller: &caller };
    let mut reply = match action {
        Action::Submit(shape) => {
            let parent = call.head.trace().map(|trace| (trace.trace_id, trace.span_id));
            let span = spans::request_span(call.route.endpoint.as_str(), parent);
            let submitting = submit::submit(shared, exchange, shape, call, body);
            let reply = submitting.instrument(span.clone()).await;
            spans::answered(&span, reply.answer.status);
            reply
        }
        // Boxed: a connection holds the room of its largest future all the time.
        Action::Letters(action) => {
            Box::pin(letters::answer(shared, exchange, action, call, body)).await
        }
        Action::Erasures(action) => {
            Box::pin(erasures::answer(shared, exchange, action, call, body)).await
        }
        action => Box::pin(queries::answer(shared, exchange, action, call, body)).await,
    };
    reply.answer.limits = limiter.standing(tenant);
    reply
}

/// Who asks, if the key allows what is asked. The one place where a key is looked at.
fn identify(tenants: &Tenants, head: &Head<'_>, permission: Permission) -> Result<Caller, Refusal> {
    // Headers that mean nothing here may be anything.
    let key = if tenants.is_open() { None } else { head.api_key()? };
    let caller = tenants.identify(key)?;
    caller.require(permission)?;
    Ok(caller)
}

/// Refuses a request whose body was not asked for.
pub(super) async fn decline(reject: &Reject, body: Incoming, expects_continue: bool) -> Reply {
    refuse(&Refusal::from(reject.clone()), body, expects_continue).await
}

/// Refuses a request whose body was not read, or not to its end.
pub(super) async fn refuse(refusal: &Refusal, mut body: Incoming, expects_continue: bool) -> Reply {
    let unread = !body::discard(&mut body, expects_continue).await;
    Reply { unread, ..Answer::refusal(refusal, jitter()).into() }
}

/// Spreads the clients that are asked to come back later; 0 to 1.
pub(super) fn jitter() -> f64 {
    rand::random()
}
