//! What is there, compared with what was promised.

use std::collections::HashSet;
use std::fmt;

use anyhow::{Context, Result, ensure};
use xtask::ledger::in_place;
use xtask::samples::Samples;
use xtask::server::Server;

use crate::support::rows;

use super::client::Sent;

/// Numbers of a comparison that found nothing wrong.
#[derive(Debug)]
pub(super) struct Verdict {
    acknowledged: usize,
    rows: usize,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { acknowledged, rows } = self;
        write!(f, "{acknowledged} acknowledged, 0 lost, 0 doubled, {rows} rows, ledger equal")
    }
}

/// Compares every row with every number that was sent, and the ledger with both.
pub(super) fn compare(server: &Server, samples: &Samples, sent: &Sent) -> Result<Verdict> {
    let mut all = Vec::new();
    for service in sent.services() {
        all.extend(rows(server, &service)?);
    }
    let rows = all;
    let mut numbers = HashSet::with_capacity(rows.len());
    let mut ids = HashSet::with_capacity(rows.len());
    for row in &rows {
        let number = row["metadata"]["number"].as_str().context("a row without its number")?;
        ensure!(numbers.insert(number.parse::<u64>()?), "pulse {number} is there twice: {row}");
        ensure!(ids.insert(row["id"].to_string()), "an id is there twice: {row}");
    }
    let lost: Vec<_> = sent.acknowledged.difference(&numbers).collect();
    ensure!(lost.is_empty(), "{} acknowledged pulses are lost: {:?}", lost.len(), first(&lost));
    let strange: Vec<_> = numbers
        .iter()
        .filter(|number| !sent.acknowledged.contains(number) && !sent.unknown.contains(number))
        .collect();
    ensure!(strange.is_empty(), "{} pulses were never sent: {:?}", strange.len(), first(&strange));
    for place in ["damaged", "dead_lettered", "dropped", "expired"] {
        let count = in_place(samples, place);
        ensure!(count == 0.0, "the ledger has {count} {place}");
    }
    let stored = in_place(samples, "stored");
    ensure!(stored == rows.len() as f64, "the ledger has {stored} stored, {} rows", rows.len());
    Ok(Verdict { acknowledged: sent.acknowledged.len(), rows: rows.len() })
}

fn first<T>(items: &[T]) -> &[T] {
    &items[..items.len().min(10)]
}
