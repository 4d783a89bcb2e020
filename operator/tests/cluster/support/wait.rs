//! Waiting for what is seen from outside, with a deadline; when it is over, all that a person
//! would look at is told.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use super::Bed;

/// Between two looks: a read costs the API server under a millisecond.
const POLL: Duration = Duration::from_millis(50);
/// Lines of each log that are told with a failure.
const LOG_LINES: &str = "--tail=40";

impl Bed {
    /// Looks until there is something; returns it. An error in between may pass: only the last
    /// one is told.
    pub(crate) async fn wait<T>(
        &self,
        what: &str,
        at_most: Duration,
        mut look: impl AsyncFnMut() -> Result<Option<T>>,
    ) -> Result<T> {
        let deadline = Instant::now() + at_most;
        loop {
            let seen = look().await;
            if let Ok(Some(found)) = seen {
                return Ok(found);
            }
            if Instant::now() >= deadline {
                let error = seen.err().unwrap_or_else(|| anyhow!("it did not come"));
                let context = format!("wait {at_most:?} for {what}\n{}", self.dump());
                return Err(error).context(context);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Pods, meshes, events and logs.
    pub(crate) fn dump(&self) -> String {
        let own: [&[&str]; 6] = [
            &["get", "all,persistentvolumeclaims", "--output=wide"],
            &["get", "pulsemeshes", "--output=yaml"],
            &["get", "events", "--sort-by=.lastTimestamp"],
            &["describe", "pods"],
            &["logs", "--selector=app.kubernetes.io/component=ingest", LOG_LINES],
            &["logs", "--selector=app.kubernetes.io/component=store", LOG_LINES],
        ];
        let system: [&[&str]; 2] = [
            &["get", "pods", "--output=wide"],
            &["logs", "--selector=app.kubernetes.io/name=pulsemesh-operator", LOG_LINES],
        ];
        let own = own.into_iter().map(|arguments| (arguments, self.kubectl(arguments)));
        let system =
            system.into_iter().map(|arguments| (arguments, self.kubectl_system(arguments)));
        let told = own.chain(system).map(|(arguments, outcome)| {
            let text = outcome.unwrap_or_else(|error| format!("{error:#}"));
            format!("--- kubectl {}\n{text}\n", arguments.join(" "))
        });
        told.collect()
    }
}
