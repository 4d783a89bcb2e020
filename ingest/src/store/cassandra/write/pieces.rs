//! Sends the requests of a plan, cuts those that the database refuses, and finds the rows that
//! are at fault.

use std::ops::Range;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use scylla::errors::{BadQuery, ExecutionError, RequestAttemptError};

use crate::decode::decode_event;
use crate::sink::RowFault;

use super::super::error::Class;
use super::plan::Plan;
use super::row::Table;
use super::send::{Failure, Round};
use super::{IN_FLIGHT_MAX, Ready, words};

/// Rows of one request: a range of its table's order.
#[derive(Debug, Clone)]
struct Piece {
    table: Table,
    range: Range<u32>,
}

/// What is to be sent, and what was found.
pub(super) struct Pieces<'a> {
    ready: &'a Ready<'a>,
    round: &'a Round<'a>,
    plan: &'a Plan<'a>,
    /// What is sent next is last.
    waiting: Vec<Piece>,
    /// Rows that can never be written.
    pub(super) faults: Vec<RowFault>,
}

impl<'a> Pieces<'a> {
    pub(super) fn new(ready: &'a Ready<'a>, round: &'a Round<'a>, plan: &'a Plan<'a>) -> Self {
        let all = |table| {
            let ranges = plan.requests(table).ranges.iter().rev().cloned();
            ranges.map(move |range| Piece { table, range })
        };
        let waiting = all(Table::Ids).chain(all(Table::Events)).collect();
        Self { ready, round, plan, waiting, faults: Vec::new() }
    }

    /// Sends all. Gives the failure for which it gave up; rows at fault are in `faults`.
    pub(super) async fn write(&mut self) -> Option<Failure> {
        let mut flying = FuturesUnordered::new();
        let mut failure = None;
        loop {
            while flying.len() < IN_FLIGHT_MAX
                && !self.round.is_over()
                && let Some(piece) = self.waiting.pop()
            {
                flying.push(send(self.ready, self.round, self.plan, piece));
            }
            let Some((piece, answer)) = flying.next().await else { break };
            if let Err(error) = answer
                && let Some(error) = self.settle(&piece, error)
            {
                self.round.give_up();
                keep_worst(&mut failure, error);
            }
        }
        self.faults.sort_by_key(|fault| fault.index);
        self.faults.dedup_by_key(|fault| fault.index);
        failure
    }

    /// Cuts a refused request or tells its rows' faults; gives back what is neither.
    fn settle(&mut self, piece: &Piece, failure: Failure) -> Option<Failure> {
        if is_unmade(&failure.error) {
            let faults = self.undecodable(piece);
            let found = !faults.is_empty();
            self.faults.extend(faults);
            return (!found).then_some(failure);
        }
        let code = match failure.class {
            Class::TooLarge => "too_large",
            Class::Refused => "refused",
            _ => return Some(failure),
        };
        let Piece { table, range: Range { start, end } } = piece.clone();
        if end - start > 1 {
            let middle = start + (end - start) / 2;
            self.waiting.push(Piece { table, range: middle..end });
            self.waiting.push(Piece { table, range: start..middle });
        } else if let Some(row) = self.plan.values(table, start..end).iter().next() {
            let message = words(&failure.error);
            self.faults.push(RowFault { index: row.index as usize, code, message });
        }
        None
    }

    fn undecodable(&self, piece: &Piece) -> Vec<RowFault> {
        let values = self.plan.values(piece.table, piece.range.clone());
        let fault =
            |index: u32, message| RowFault { index: index as usize, code: "undecodable", message };
        values
            .iter()
            .filter_map(|row| {
                let reject = decode_event(row.shape, row.raw).err()?;
                Some(fault(row.index, format!("{}: {}", reject.code.as_str(), reject.message)))
            })
            .collect()
    }
}

async fn send(
    ready: &Ready<'_>,
    round: &Round<'_>,
    plan: &Plan<'_>,
    piece: Piece,
) -> (Piece, Result<bool, Failure>) {
    let values = plan.values(piece.table, piece.range.clone());
    let (batches, counters) = match piece.table {
        Table::Events => (&ready.bound.events, &ready.counters.events),
        Table::Ids => (&ready.bound.ids, &ready.counters.ids),
    };
    let rows = values.order.len();
    let Some(batch) = batches.of(rows) else { return (piece, Ok(true)) };
    let request = || ready.live.session.batch(batch, values);
    let answer = round.send(counters, rows, request).await;
    (piece, answer)
}

/// Whether the request could not even be made from its rows.
fn is_unmade(error: &ExecutionError) -> bool {
    use RequestAttemptError::{CqlRequestSerialization, SerializationError};
    matches!(
        error,
        ExecutionError::BadQuery(BadQuery::SerializationError(_))
            | ExecutionError::LastAttemptError(CqlRequestSerialization(_) | SerializationError(_))
    )
}

/// Keeps the failure that decides: tables in doubt are looked at whatever else fails, and an
/// outage is told before what nobody knows, which rows could be blamed for.
fn keep_worst(kept: &mut Option<Failure>, failure: Failure) {
    let weight = |class: Class| match class {
        Class::Schema => 2,
        class if class.passes() => 1,
        _ => 0,
    };
    let lighter = |before: &Failure| weight(before.class) < weight(failure.class);
    if kept.as_ref().is_none_or(lighter) {
        *kept = Some(failure);
    }
}
