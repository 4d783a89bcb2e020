//! Jobs of the server, such as replays and erasures: shown, and watched until they end.

use std::thread;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use crate::client::{Call, Client};
use crate::output::{Output, details, text};
use crate::retry::Retry;
use crate::send::notice;
use crate::target::Target;
use crate::{EXIT_OK, EXIT_PARTLY};

/// Between two looks: sixty a minute, of the three hundred requests that a tenant has.
const LOOK: Duration = Duration::from_secs(1);
/// How long a server may be away in the middle: a restart with a long recovery.
const AWAY_MAX: Duration = Duration::from_secs(120);
const STYLE: &str = "{spinner} {pos}/{len} {wide_bar} {msg}";
/// States in which something still happens by itself.
const UNDER_WAY: [&str; 4] = ["running", "cancelling", "waiting", "queued"];

/// A job as the server tells it.
#[derive(Debug)]
pub(crate) struct Job(Value);

impl Job {
    pub(crate) fn new(value: Value) -> Self {
        Self(value)
    }

    fn is_under_way(&self) -> bool {
        UNDER_WAY.iter().any(|state| self.0["state"] == *state)
    }

    /// Prints it; the code says whether it did all that it was asked.
    ///
    /// # Errors
    /// When it can't be written.
    pub(crate) fn print(&self, out: &mut Output) -> anyhow::Result<u8> {
        if out.json {
            out.json(&self.0)?
        } else {
            details(out, &self.0)?
        }
        let failed = self.0["counts"]["failed"].as_u64().unwrap_or_default() > 0;
        let cut = ["cancelled", "failed"].iter().any(|state| self.0["state"] == *state);
        Ok(if failed || cut { EXIT_PARTLY } else { EXIT_OK })
    }

    fn show(&self, bar: &ProgressBar) {
        let progress = &self.0["progress"];
        let numbers = progress.as_object().into_iter().flatten().filter_map(|(_, n)| n.as_u64());
        // The larger number is how much there is, whatever the job calls it.
        let numbers: Vec<u64> = numbers.collect();
        bar.set_length(numbers.iter().copied().max().unwrap_or_default());
        bar.set_position(numbers.iter().copied().min().unwrap_or_default());
        let at = progress["stage"].as_str().unwrap_or_default();
        let (state, counts) = (text(&self.0["state"]), text(&self.0["counts"]));
        bar.set_message(format!("{state} {at} {counts}"));
    }
}

/// Looks at a job under `path` until it ends or is paused. `json`: a program reads.
///
/// # Errors
/// When the server refuses, or is away for too long.
pub(crate) fn watch(client: &Client, path: &str, mut job: Job, json: bool) -> anyhow::Result<Job> {
    let bar = ProgressBar::new(0);
    bar.set_style(ProgressStyle::with_template(STYLE)?);
    while job.is_under_way() {
        job.show(&bar);
        thread::sleep(LOOK);
        let call = Call::get(Target::new(path).segment(&text(&job.0["id"])));
        let mut notice = |why: &str| bar.suspend(|| notice(json, why));
        let answer = Retry::new(AWAY_MAX, &mut notice).send(client, &call)?;
        job = match answer.json().filter(|_| answer.status == 200) {
            Some(value) => Job::new(value),
            None => return Err(client.refused(&call, &answer).into()),
        };
    }
    bar.finish_and_clear();
    Ok(job)
}
