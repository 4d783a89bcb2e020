//! What is asked of the shared part, alone and together: questions, commits and returns of many
//! requests that go in one round trip.

use tokio::sync::oneshot;

use crate::reservation::Fixed;

use super::entry::{Question, SharedKey, Verdict};

/// Who takes a key, so that only they give it back.
pub(crate) type Token = u64;

/// Something that is told of one key, and must be told once what is shared is there again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Told {
    /// The log has it.
    Logged(SharedKey, Fixed),
    /// Its taker could not log it; `certain`: it is in no log.
    GivenBack { key: SharedKey, token: Token, certain: bool },
}

/// A message to the task.
#[derive(Debug)]
pub(super) enum Ask {
    Take { questions: Vec<Question>, token: Token, answer: oneshot::Sender<Vec<Verdict>> },
    Tell { told: Vec<Told>, done: Option<oneshot::Sender<()>> },
}

/// A question with who asks it.
pub(super) type Taken = (Question, Token);

/// What goes in one round trip.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) told: Vec<Told>,
    pub(super) taken: Vec<Taken>,
    answers: Vec<(usize, oneshot::Sender<Vec<Verdict>>)>,
    done: Vec<oneshot::Sender<()>>,
}

impl Group {
    pub(super) fn of(told: Vec<Told>) -> Self {
        Self { told, ..Self::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.told.len() + self.taken.len()
    }

    pub(super) fn add(&mut self, ask: Ask) {
        match ask {
            // Whoever asked has gone and gives back what it would take: best not taken.
            Ask::Take { answer, .. } if answer.is_closed() => {}
            Ask::Take { questions, token, answer } => {
                self.answers.push((questions.len(), answer));
                self.taken.extend(questions.into_iter().map(|question| (question, token)));
            }
            Ask::Tell { told, done } => {
                self.told.extend(told);
                self.done.extend(done);
            }
        }
    }

    /// Hands the verdicts, one for each question, to those who asked.
    pub(super) fn answer(self, verdicts: Vec<Verdict>) {
        let mut verdicts = verdicts.into_iter();
        for (count, answer) in self.answers {
            // Whoever does not wait any more gives back what it was given.
            let _ = answer.send(verdicts.by_ref().take(count).collect());
        }
        for done in self.done {
            let _ = done.send(());
        }
    }
}
