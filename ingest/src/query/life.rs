//! A pulse's line of life: what has become of it, as far as it is known. Pure. A step that nobody
//! can know of is left out; one whose time nobody knows has none.

use serde::Serialize;

use crate::sink::drain::Underway;
use crate::sink::replay::{Replayed, Shown};
use crate::store::{Row, SINK_NAME};

use super::letters::time_us;

/// The metadata that says which pulse an edited one stands for.
pub const EDITED_FROM: &str = "edited_from";

/// One step.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Step {
    step: &'static str,
    at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sink: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempts: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    letter: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    edited_from: Option<String>,
}

/// What is known of a pulse beside its row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// Whether the store has its row.
    pub stored: bool,
    /// Where it is on its way.
    pub underway: Option<Underway>,
    /// Its dead letters.
    pub letters: Vec<Shown>,
    /// Its letters that were replayed lately.
    pub replayed: Vec<Replayed>,
}

impl Known {
    /// The steps of a pulse, in their order.
    pub fn life(&self, row: &Row) -> Vec<Step> {
        let received = Some(time_us(row.received_at_us));
        let mut life = vec![Step { step: "received", at: received.clone(), ..Step::default() }];
        let edited_from = row.metadata.iter().find(|(name, _)| name == EDITED_FROM);
        if let Some((_, from)) = edited_from {
            let edited_from = Some(from.clone());
            life.push(Step { step: "replayed", at: received, edited_from, ..Step::default() });
        }
        if self.is_logged() {
            life.push(Step { step: "logged", ..Step::default() });
        }
        life.extend(self.letters.iter().map(dead_lettered));
        life.extend(self.replayed.iter().map(replayed));
        life.extend(self.at_sinks());
        life
    }

    fn is_logged(&self) -> bool {
        self.underway.as_ref().is_some_and(|underway| underway.is_logged)
            || self.letters.iter().any(|shown| !shown.letter.in_memory)
    }

    fn at_sinks(&self) -> Vec<Step> {
        let store = (SINK_NAME.to_owned(), self.stored);
        let sinks = match &self.underway {
            None if self.stored => vec![store],
            None => Vec::new(),
            Some(underway) => underway.sinks.clone(),
        };
        let step = |(sink, finished): (String, bool)| {
            let is_store = sink == SINK_NAME;
            let step = match (is_store && self.stored, finished) {
                (true, _) => "stored",
                (false, false) => "waiting",
                // Finished by the store, and not in it: it has expired since, or was given up.
                (false, true) if is_store => return None,
                (false, true) => "stored",
            };
            let buried = self.letters.iter().any(|shown| shown.letter.sink == sink);
            let sink = Some(sink);
            (step == "stored" && is_store || !buried).then(|| Step {
                step,
                sink,
                ..Step::default()
            })
        };
        sinks.into_iter().filter_map(step).collect()
    }
}

fn dead_lettered(Shown { id, letter }: &Shown) -> Step {
    Step {
        step: "dead_lettered",
        at: Some(time_us(letter.first_at_us)),
        sink: Some(letter.sink.clone()),
        reason: Some(letter.code.clone()),
        error: Some(letter.message.clone()),
        attempts: Some(letter.attempts),
        letter: Some(id.to_string()),
        edited_from: None,
    }
}

fn replayed(replayed: &Replayed) -> Step {
    Step {
        step: "replayed",
        at: Some(time_us(replayed.at_us)),
        sink: Some(replayed.sink.clone()),
        reason: Some(replayed.reason.clone()),
        letter: Some(replayed.letter.to_string()),
        ..Step::default()
    }
}
