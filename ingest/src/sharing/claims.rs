//! What a request holds of the shared part between taking its keys and knowing that its pulses
//! are logged.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::reservation::Fixed;

use super::entry::{Question, SharedKey, Verdict};
use super::group::{Token, Told};
use super::link::Link;

/// How long an answer waits until others know of it; then they learn it later.
const TOLD_MAX: Duration = Duration::from_millis(1_500);

/// Keys that were taken. Dropped without [`commit`](Claimed::commit) they are given back.
#[derive(Debug)]
#[must_use = "dropping it gives the keys back"]
pub(crate) struct Claimed {
    link: Arc<Link>,
    /// `None`: nothing was asked, and there is nothing to give back.
    token: Option<Token>,
    /// Whether what is given back is in no log.
    certain: bool,
    keys: Vec<(SharedKey, Fixed)>,
    /// How many of the keys each question has.
    counts: Vec<usize>,
}

impl Claimed {
    pub(super) fn of(link: &Arc<Link>, questions: &[Question], token: Token) -> Self {
        let mut claimed = Self::assumed(link, questions);
        claimed.token = Some(token);
        claimed
    }

    pub(super) fn assumed(link: &Arc<Link>, questions: &[Question]) -> Self {
        let keys = questions
            .iter()
            .flat_map(|question| question.keys.iter().map(|key| (key.clone(), question.fixed)));
        Self {
            link: Arc::clone(link),
            token: None,
            certain: true,
            keys: keys.collect(),
            counts: questions.iter().map(|question| question.keys.len()).collect(),
        }
    }

    /// Keeps those that are new, with what was fixed of them before.
    pub(super) fn keep(&mut self, verdicts: &[Verdict]) {
        let mut keys = std::mem::take(&mut self.keys).into_iter();
        for (count, verdict) in std::mem::take(&mut self.counts).into_iter().zip(verdicts) {
            for (key, fixed) in keys.by_ref().take(count) {
                if let Verdict::New(earlier) = verdict {
                    self.keys.push((key, earlier.unwrap_or(fixed)));
                }
            }
        }
    }

    /// What is given back may be in the log all the same: whoever takes it next logs the same.
    pub(crate) fn doubt(&mut self) {
        self.certain = false;
    }

    /// The log has synced the pulses. They are told of even if what is returned is not waited for.
    pub(crate) fn commit(mut self) -> Telling {
        let keys = std::mem::take(&mut self.keys);
        if keys.is_empty() {
            return Telling(None);
        }
        let told = keys.into_iter().map(|(key, fixed)| Told::Logged(key, fixed));
        Telling(Some(self.link.tell(told.collect())))
    }
}

impl Drop for Claimed {
    fn drop(&mut self) {
        let keys = std::mem::take(&mut self.keys);
        let Some(token) = self.token.filter(|_| !keys.is_empty()) else { return };
        let certain = self.certain;
        let told = keys.into_iter().map(|(key, _)| Told::GivenBack { key, token, certain });
        // Nobody waits for that.
        drop(self.link.tell(told.collect()));
    }
}

/// A commit on its way to others.
#[derive(Debug)]
pub(crate) struct Telling(Option<oneshot::Receiver<()>>);

impl Telling {
    /// Waits until others know, for a bounded time.
    pub(crate) async fn told(self) {
        if let Some(done) = self.0 {
            // In time or not: it is told in any case.
            let _ = timeout(TOLD_MAX, done).await;
        }
    }

    /// Whether others knew of it before so long.
    #[cfg(test)]
    pub(super) async fn was_told_within(self, longest: std::time::Duration) -> bool {
        match self.0 {
            Some(done) => matches!(timeout(longest, done).await, Ok(Ok(()))),
            None => true,
        }
    }
}
