//! Where the pulses are that a server has accepted, as its metrics tell it: every one is in
//! exactly one place.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::samples::Samples;
use crate::server::{Server, wait_for};

/// Where the pulses of each sink are.
const LEDGER: &str = "pulsemesh_ledger_pulses";

/// Waits until every pulse that this process acknowledged is in the store or was given up, then
/// checks the ledger.
pub fn drained(server: &Server, at_most: Duration) -> Result<Samples> {
    wait_for(at_most, "an empty log", || {
        let samples = server.samples()?;
        check(&samples)?;
        ensure!(samples.matching(LEDGER, &[]).next().is_some(), "there is no ledger");
        let waiting = in_place(&samples, "in_log") + in_place(&samples, "in_memory");
        // Above zero until the drain knows of the write that the ledger has from the store.
        let age = samples.sum("pulsemesh_sink_oldest_unstored_age_seconds", &[]);
        Ok(waiting == 0.0 && age == 0.0)
    })?;
    // What the last write counted may have been passed in the answer before its end was.
    let last = server.samples()?;
    check(&last)?;
    Ok(last)
}

/// For each sink: accepted is the sum of all other places.
pub fn check(samples: &Samples) -> Result<()> {
    for accepted in samples.matching(LEDGER, &[("place", "accepted")]) {
        let sink = accepted.labels.iter().find(|(name, _)| name == "sink");
        let (_, sink) = sink.context("the ledger has no sink")?;
        let all = samples.sum(LEDGER, &[("sink", sink)]);
        let elsewhere = all - accepted.value;
        ensure!(
            accepted.value == elsewhere,
            "the ledger of {sink} differs: accepted {}, elsewhere {elsewhere}: {:?}",
            accepted.value,
            samples.matching(LEDGER, &[("sink", sink)]).collect::<Vec<_>>(),
        );
    }
    Ok(())
}

/// The ledger's count of one place, over all sinks.
pub fn in_place(samples: &Samples, place: &str) -> f64 {
    samples.sum(LEDGER, &[("place", place)])
}
