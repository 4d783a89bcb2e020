//! Tasks and threads that a process owns, each with a name. The first that ends unasked is
//! reported, so that no process goes on without one of its parts; stopping has a deadline.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::thread;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::timeout_at;

/// How a task or thread ended.
#[derive(Debug)]
pub enum Ending {
    /// It returned.
    Returned,
    /// It returned an error.
    Failed(anyhow::Error),
    /// It panicked; with what it said.
    Panicked(String),
}

/// A task or thread that ended.
#[derive(Debug)]
pub struct Ended {
    /// Its name.
    pub name: String,
    /// How.
    pub ending: Ending,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match &self.ending {
            Ending::Returned => write!(f, "task `{name}` ended"),
            Ending::Failed(error) => write!(f, "task `{name}` failed: {error:#}"),
            Ending::Panicked(message) => write!(f, "task `{name}` panicked: {message}"),
        }
    }
}

impl Ended {
    /// Whether it returned without an error.
    pub fn is_ok(&self) -> bool {
        matches!(self.ending, Ending::Returned)
    }
}

/// What became of the tasks after they were asked to stop.
#[derive(Debug, Default)]
pub struct Stopped {
    /// Those that failed or panicked while stopping.
    pub failed: Vec<Ended>,
    /// Names of those that had not ended at the deadline. Tasks among them were aborted;
    /// threads run on until the process exits.
    pub late: Vec<String>,
}

/// The tasks and threads of a process. Dropping it aborts the tasks.
#[derive(Debug)]
pub struct Tasks {
    runtime: Handle,
    set: JoinSet<anyhow::Result<()>>,
    names: HashMap<Id, String>,
}

impl Tasks {
    /// None yet; `runtime` runs those that [`Tasks::spawn`] is given.
    pub fn on(runtime: Handle) -> Self {
        Self { runtime, set: JoinSet::new(), names: HashMap::new() }
    }

    /// Starts a task.
    pub fn spawn<F>(&mut self, name: impl Into<String>, task: F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let handle = self.set.spawn_on(task, &self.runtime);
        self.names.insert(handle.id(), name.into());
    }

    /// Starts a thread of this name, for work that blocks or that runs a runtime of its own.
    ///
    /// # Errors
    /// When the system starts no further thread.
    pub fn spawn_thread<F>(&mut self, name: impl Into<String>, work: F) -> io::Result<()>
    where
        F: FnOnce() -> anyhow::Result<()> + Send + 'static,
    {
        let name = name.into();
        let (sender, receiver) = oneshot::channel();
        let thread = thread::Builder::new().name(name.clone()).spawn(move || {
            // Nobody receives it once `Tasks` is gone, and then nobody cares.
            let _ = sender.send(catch_unwind(AssertUnwindSafe(work)));
        })?;
        self.spawn(name, async move {
            let ended = receiver.await;
            // The thread has sent its last word: joining waits for its exit alone.
            let _ = thread.join();
            match ended? {
                Ok(result) => result,
                Err(panic) => resume_unwind(panic),
            }
        });
        Ok(())
    }

    /// Waits for the first task or thread that ends; `None` when there is none. Before the
    /// process is asked to stop, any end is a reason to stop it.
    pub async fn next_ended(&mut self) -> Option<Ended> {
        let (id, ending) = match self.set.join_next_with_id().await? {
            Ok((id, Ok(()))) => (id, Ending::Returned),
            Ok((id, Err(error))) => (id, Ending::Failed(error)),
            Err(error) => (error.id(), panicked(error)),
        };
        let name = self.names.remove(&id).unwrap_or_default();
        Some(Ended { name, ending })
    }

    /// Waits until all have ended, which they must have been asked for, `deadline` at most.
    pub async fn stop(mut self, deadline: Duration) -> Stopped {
        let deadline = tokio::time::Instant::now() + deadline;
        let mut stopped = Stopped::default();
        while let Ok(Some(ended)) = timeout_at(deadline, self.next_ended()).await {
            if !ended.is_ok() {
                stopped.failed.push(ended);
            }
        }
        stopped.late = self.names.into_values().collect();
        stopped.late.sort();
        stopped
    }
}

fn panicked(error: JoinError) -> Ending {
    match error.try_into_panic() {
        Ok(panic) => Ending::Panicked(panic_text(panic.as_ref()).to_owned()),
        Err(_) => Ending::Failed(anyhow::anyhow!("task was cancelled")),
    }
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    if let Some(text) = panic.downcast_ref::<&str>() {
        return text;
    }
    panic.downcast_ref::<String>().map_or("no message", String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stop::Stop;

    fn tasks() -> Tasks {
        Tasks::on(Handle::current())
    }

    #[tokio::test]
    async fn the_first_that_ends_is_named_with_its_reason() {
        type Start = fn(&mut Tasks);
        let cases: [(Start, &str); 5] = [
            (|tasks| tasks.spawn("a", async { Ok(()) }), "task `a` ended"),
            (
                |tasks| tasks.spawn("b", async { anyhow::bail!("no luck") }),
                "task `b` failed: no luck",
            ),
            (
                |tasks| tasks.spawn("c", async { resume_unwind(Box::new("boom")) }),
                "task `c` panicked: boom",
            ),
            (
                |tasks| {
                    tasks.spawn_thread("d", || anyhow::bail!("disk")).expect("a thread");
                },
                "task `d` failed: disk",
            ),
            (
                |tasks| {
                    let work = || resume_unwind(Box::new(format!("{} left", 7)));
                    tasks.spawn_thread("e", work).expect("a thread");
                },
                "task `e` panicked: 7 left",
            ),
        ];
        for (start, expected) in cases {
            let mut tasks = tasks();
            tasks.spawn("stays", std::future::pending());
            start(&mut tasks);
            let ended = tasks.next_ended().await.expect("one ends");
            assert_eq!(ended.to_string(), expected);
        }
    }

    #[tokio::test]
    async fn stopping_waits_for_all_and_names_the_late_and_the_failed() {
        let stop = Stop::new();
        let mut tasks = tasks();
        let asked = stop.clone();
        tasks.spawn("polite", async move {
            asked.requested().await;
            Ok(())
        });
        let asked = stop.clone();
        tasks.spawn("fails late", async move {
            asked.requested().await;
            anyhow::bail!("could not flush")
        });
        tasks.spawn("deaf", std::future::pending());
        stop.request();
        let stopped = tasks.stop(Duration::from_millis(200)).await;
        assert_eq!(stopped.late, ["deaf"]);
        let failed: Vec<_> = stopped.failed.iter().map(ToString::to_string).collect();
        assert_eq!(failed, ["task `fails late` failed: could not flush"]);
    }

    #[tokio::test]
    async fn a_thread_has_its_name_and_is_waited_for() {
        let (sender, receiver) = oneshot::channel();
        let mut tasks = tasks();
        tasks
            .spawn_thread("log-writer", move || {
                let _ = sender.send(thread::current().name().map(str::to_owned));
                Ok(())
            })
            .expect("a thread");
        let stopped = tasks.stop(Duration::from_secs(10)).await;
        assert!(stopped.late.is_empty() && stopped.failed.is_empty());
        assert_eq!(receiver.await.expect("sent").as_deref(), Some("log-writer"));
    }
}
