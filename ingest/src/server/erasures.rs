//! Answers what is asked of erasures. What changes something waits for the disk, on the
//! background runtime.

use std::sync::Arc;

use hyper::body::Incoming;
use tokio::task::spawn_blocking;
use tracing::error;

use crate::code::Code;
use crate::erasure::{ErasureError, Erasures, Job};
use crate::query::{self, erasures as asked, letters};
use crate::response::Answer;
use crate::routes::ErasureAction;
use crate::sink::replay::Actor;
use crate::submission::{Intake, Refusal};

use super::body;
use super::exchange::Exchange;
use super::letters::read_up_to;
use super::queries;
use super::reply::Reply;
use super::service::{Call, Shared, refuse};

/// Largest body: the name of a tenant, each byte of it escaped.
const BODY_BYTES_MAX: u64 = 2 * 1024;

/// Answers a request.
pub(super) async fn answer<I: Intake>(
    shared: &Arc<Shared<I>>,
    exchange: &Exchange,
    action: ErasureAction<'_>,
    call: Call<'_>,
    mut incoming: Incoming,
) -> Reply {
    let expects = call.head.expects_continue();
    match run(shared, exchange, action, call, &mut incoming).await {
        Err(refusal) => refuse(&refusal, incoming, expects).await,
        Ok(mut reply) => {
            // What a client sends beside means nothing, but must not be the next request.
            reply.unread = !body::discard(&mut incoming, expects).await;
            reply
        }
    }
}

async fn run<I: Intake>(
    shared: &Arc<Shared<I>>,
    exchange: &Exchange,
    action: ErasureAction<'_>,
    call: Call<'_>,
    incoming: &mut Incoming,
) -> Result<Reply, Refusal> {
    let Some(erasures) = shared.app.intake.erasures() else { return Err(Code::NotFound.into()) };
    query::none(call.parts.uri.query())?;
    let (tenant, by) = (call.caller.tenant.name.to_string(), call.caller.asked_by());
    match action {
        ErasureAction::List => {
            Ok(Answer::json(200, asked::jobs_json(&erasures.list(&tenant))).into())
        }
        ErasureAction::Show(segment) => {
            let job = erasures.get(&tenant, letters::id(segment)?).ok_or(Code::NotFound)?;
            Ok(Answer::json(200, asked::job_json(&job)).into())
        }
        ErasureAction::Create => {
            let (whole, held) =
                read_up_to(BODY_BYTES_MAX, shared, exchange, call, incoming).await?;
            asked::confirmed(&tenant, &whole)?;
            drop((whole, held));
            exchange.work(shared.settings.query_timeout);
            let create = move |erasures: &Erasures| {
                erasures.create(Actor { tenant: &tenant, by: by.as_deref() })
            };
            queries::run(shared, exchange, aside(erasures, 202, create)).await
        }
        ErasureAction::Cancel(segment) => {
            let id = letters::id(segment)?;
            exchange.work(shared.settings.query_timeout);
            let cancel = move |erasures: &Erasures| {
                erasures.cancel(Actor { tenant: &tenant, by: by.as_deref() }, id)
            };
            queries::run(shared, exchange, aside(erasures, 200, cancel)).await
        }
    }
}

/// Works on a thread where blocking is allowed; within the background runtime.
async fn aside(
    erasures: Erasures,
    status: u16,
    work: impl FnOnce(&Erasures) -> Result<Job, ErasureError> + Send + 'static,
) -> Result<Answer, Refusal> {
    match spawn_blocking(move || work(&erasures)).await {
        Ok(Ok(job)) => Ok(Answer::json(status, asked::job_json(&job))),
        Ok(Err(error)) => Err(refusal_of(error)),
        Err(source) => {
            error!(error = %source, "work with erasures ended early");
            Err(Code::Internal.into())
        }
    }
}

fn refusal_of(error: ErasureError) -> Refusal {
    match error {
        ErasureError::NotFound => Code::NotFound.into(),
        ErasureError::Ended => Code::ErasureEnded.into(),
        ErasureError::TooMany => Code::TooManyErasures.into(),
        ErasureError::Io(source) => {
            error!(error = %source, "an erasure could not be kept");
            Code::ErasuresFailed.into()
        }
    }
}
