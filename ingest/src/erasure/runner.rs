//! Works the erasures, one step of one of them at a time, in turns. A step that fails is tried
//! again for ever, ever more rarely: a store that is away holds an erasure, and ends none.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use crate::sink::replay::{Actor, LettersReached};
use crate::store::Erasure;

use super::Desk;
use super::job::{Job, Phase, Stage};

/// Between two looks whether the sinks are past the log's end.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// How long letters rest that are on their way, or whose files are being written anew.
const LETTERS_REST: Duration = Duration::from_secs(1);
/// Longest time without a look for something to do.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// How long a step that failed rests, at first and at most; it doubles with each failure.
const REST_FIRST: Duration = Duration::from_secs(1);
const REST_MAX: Duration = Duration::from_secs(60);

/// When an erasure may go on, and how often it has failed in a row.
#[derive(Debug, Clone, Copy)]
struct Rest {
    until: Instant,
    failures: u32,
}

/// Works until told to stop.
pub(super) async fn run(desk: Arc<Desk>) {
    let mut turn = Uuid::nil();
    let mut rests: HashMap<Uuid, Rest> = HashMap::new();
    while !desk.is_stopping() {
        let open = desk.table.all().iter().filter(|job| !job.phase.is_ended()).count();
        desk.metrics.running.set(open as i64);
        let now = Instant::now();
        rests.retain(|id, _| desk.table.get(*id).is_some_and(|job| !job.phase.is_ended()));
        let may = |job: &Job| rests.get(&job.id).is_none_or(|rest| rest.until <= now);
        let Some(job) = desk.table.next_due(turn, may) else {
            let next = rests.values().map(|rest| rest.until - now).min();
            let wait = next.unwrap_or(IDLE_MAX).min(IDLE_MAX);
            let _rung = timeout(wait, desk.due.notified()).await;
            continue;
        };
        turn = job.id;
        let failures = rests.get(&turn).map_or(0, |rest| rest.failures);
        let rest = match step(&desk, job).await {
            Ok(wait) => Rest { until: Instant::now() + wait, failures: 0 },
            Err(error) => {
                let failures = failures.saturating_add(1);
                if failures.is_power_of_two() {
                    let error = format!("{error:#}");
                    tracing::warn!(erasure = %turn, failures, error, "erasure waits");
                }
                let wait = REST_FIRST.saturating_mul(1 << failures.min(6)).min(REST_MAX);
                Rest { until: Instant::now() + wait, failures }
            }
        };
        rests.insert(turn, rest);
    }
}

/// Does the next step of an erasure and keeps it; gives how long the one after that is to wait.
async fn step(desk: &Arc<Desk>, job: Job) -> anyhow::Result<Duration> {
    let id = job.id;
    let wait = match job.stage.clone() {
        Stage::Begin | Stage::Rows => erase_rows(desk, &job).await?,
        Stage::Log if desk.view.are_past(&job.ends()) => {
            desk.table.change(id, |job| job.stage = Stage::Letters(LettersReached::Here));
            Duration::ZERO
        }
        Stage::Log => return Ok(LOOK_INTERVAL),
        Stage::Letters(reached) | Stage::Rest(reached) => {
            erase_letters(desk, &job, reached).await?
        }
        Stage::Done => Duration::ZERO,
    };
    let done = desk.table.get(id).is_some_and(|job| job.stage == Stage::Done);
    keep(desk, job, done).await.context("keep how far an erasure is failed")?;
    Ok(wait)
}

async fn erase_rows(desk: &Desk, job: &Job) -> anyhow::Result<Duration> {
    let erasure = Erasure { tenant: job.tenant.clone(), until_us: job.until_us };
    let position = job.position.as_deref();
    let erased = desk.store.erase(&erasure, position).await.context("erase rows failed")?;
    desk.metrics.rows.inc_by(erased.rows);
    desk.table.change(job.id, |job| {
        if !job.phase.is_ended() {
            job.rows_erased(erased.rows, erased.partitions, erased.next);
        }
    });
    Ok(erased.wait)
}

async fn erase_letters(
    desk: &Desk,
    job: &Job,
    reached: LettersReached,
) -> anyhow::Result<Duration> {
    let of = (&*job.tenant, job.until_us);
    let erased = desk.replays.erase(of, reached).await.context("erase dead letters failed")?;
    desk.table.change(job.id, |job| {
        if !job.phase.is_ended() {
            job.letters_erased(erased.letters, erased.next);
        }
    });
    Ok(if erased.busy { LETTERS_REST } else { Duration::ZERO })
}

/// Keeps how far an erasure is, or that it has ended.
async fn keep(desk: &Arc<Desk>, job: Job, done: bool) -> io::Result<()> {
    let desk = Arc::clone(desk);
    let kept = spawn_blocking(move || {
        let now_us = (desk.clock)();
        let completes = desk.table.change(job.id, |job| {
            let completes = done && !job.phase.is_ended();
            if completes {
                job.end(Phase::Completed, now_us);
            }
            completes
        });
        desk.table.save()?;
        if completes != Some(true) {
            return Ok(());
        }
        let actor = Actor { tenant: &job.tenant, by: job.by.as_deref() };
        desk.replays.audit_erasure(actor, job.id, "erasure_completed")
    });
    kept.await.map_err(io::Error::other)?
}
