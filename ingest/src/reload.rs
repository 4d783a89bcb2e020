//! Reads files again when they change, while the process runs. What can't be read or means
//! nothing leaves what was there, is logged once, and shows in the metrics.

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{error, info};

use crate::fs::watch::Watch;
use crate::metrics::{FileLabels, ReloadLabels, ReloadMetrics};

/// Between two looks: soon enough for a key that is withdrawn, and next to nothing to do.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

type Apply = Box<dyn FnMut(&[Vec<u8>]) -> anyhow::Result<()> + Send>;

/// Files and what is made of them.
pub struct Reload {
    name: &'static str,
    watch: Watch,
    apply: Apply,
    metrics: ReloadMetrics,
}

impl fmt::Debug for Reload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reload").field("paths", &self.watch.paths()).finish_non_exhaustive()
    }
}

impl Reload {
    /// Of `name`, a word for logs and metrics: files of at most `bytes_max` each, whose contents
    /// `apply` puts in place, as a whole or not at all.
    pub fn new(
        name: &'static str,
        (paths, bytes_max): (Vec<PathBuf>, usize),
        metrics: ReloadMetrics,
        apply: impl FnMut(&[Vec<u8>]) -> anyhow::Result<()> + Send + 'static,
    ) -> Self {
        Self { name, watch: Watch::new(paths, bytes_max), apply: Box::new(apply), metrics }
    }

    /// Reads the files for the first time. Blocking.
    ///
    /// # Errors
    /// When they can't be read or mean nothing: then the process has nothing to begin with.
    pub fn begin(&mut self) -> anyhow::Result<()> {
        let outcome = self.look().unwrap_or(Ok(()));
        if outcome.is_ok() {
            self.was_good();
        }
        outcome
    }

    /// Looks every second, and when the process is told to by `SIGHUP`, until `ended` is.
    ///
    /// # Errors
    /// When the signal can't be taken, or reading ends by a defect.
    pub async fn follow(mut self, ended: impl Future<Output = ()>) -> anyhow::Result<()> {
        let mut told = signal(SignalKind::hangup()).context("take SIGHUP failed")?;
        let mut tick = interval(LOOK_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ended = std::pin::pin!(ended);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                Some(()) = told.recv() => {}
                () = &mut ended => return Ok(()),
            }
            let looking = spawn_blocking(move || {
                self.look_again();
                self
            });
            self = looking.await.context("read files again failed")?;
        }
    }

    fn look_again(&mut self) {
        let name = self.name;
        let result = match self.look() {
            None => return,
            Some(Ok(())) => {
                self.was_good();
                info!(files = name, "files changed and were read again");
                "ok"
            }
            Some(Err(error)) => {
                error!(
                    files = name,
                    error = format!("{error:#}"),
                    "files changed and can't be used; what was there before stays"
                );
                "failed"
            }
        };
        self.metrics.reloads.get_or_create(&ReloadLabels { files: name, result }).inc();
    }

    /// What came of files that differ from the last; `None`: they do not.
    fn look(&mut self) -> Option<anyhow::Result<()>> {
        let read = self.watch.changed()?;
        Some(read.map_err(anyhow::Error::from).and_then(|contents| (self.apply)(&contents)))
    }

    fn was_good(&self) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let good = self.metrics.good_at.get_or_create(&FileLabels { files: self.name });
        good.set(now.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::metrics::unregistered;

    fn count(metrics: &ReloadMetrics, result: &'static str) -> u64 {
        metrics.reloads.get_or_create(&ReloadLabels { files: "test", result }).get()
    }

    #[test]
    fn what_is_broken_or_gone_leaves_what_was_and_is_counted_once() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("file");
        let value = Arc::new(Mutex::new(String::new()));
        let metrics = unregistered().reloads.clone();
        let kept = Arc::clone(&value);
        let files = (vec![path.clone()], 100);
        let mut reload = Reload::new("test", files, metrics.clone(), move |contents| {
            let text = String::from_utf8(contents[0].clone())?;
            anyhow::ensure!(text != "broken", "means nothing");
            *kept.lock().expect("value") = text;
            Ok(())
        });
        assert!(reload.begin().is_err(), "it must be there at the start");
        fs::write(&path, "first").expect("written");
        reload.begin().expect("readable");
        let good_at = metrics.good_at.get_or_create(&FileLabels { files: "test" }).get();
        assert!(good_at > 1.7e9);
        let steps = [
            (Some("broken"), "first", 0, 1),
            (None, "first", 0, 2),
            (Some("second"), "second", 1, 2),
            (Some("second"), "second", 1, 2),
            (Some("\u{ff}broken"), "\u{ff}broken", 2, 2),
        ];
        for (content, expected, ok, failed) in steps {
            match content {
                Some(content) => fs::write(&path, content).expect("written"),
                None => fs::remove_file(&path).expect("removed"),
            }
            for _ in 0..3 {
                reload.look_again();
            }
            assert_eq!(*value.lock().expect("value"), expected);
            assert_eq!((count(&metrics, "ok"), count(&metrics, "failed")), (ok, failed));
        }
    }
}
