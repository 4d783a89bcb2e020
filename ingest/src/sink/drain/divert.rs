//! Rows that are for no sink: refused by a schema when they were accepted, to be dead letters.
//! They are judged again only when they are replayed, by the schemas of that time.

use crate::clock::now_us;
use crate::decode::decode_event;
use crate::log::frame::Record;
use crate::schema::SCHEMA_VIOLATION;
use crate::sink::batch::Batch;
use crate::sink::dead_letter::{Attempt, Letter};
use crate::tenant::Tenants;

use super::job::{Ends, Job};

impl Job {
    /// Turns those of its rows that were refused into dead letters; returns the others.
    pub(super) async fn divert(&self) -> Batch {
        let refused = self.batch.refused();
        if refused.is_empty() {
            return self.batch.clone();
        }
        let (mut letters, mut diverted) = (Vec::new(), Vec::new());
        for index in refused {
            if let Some(letter) = self.refusal(index) {
                letters.push(letter);
                diverted.push(index);
            }
        }
        if !letters.is_empty() {
            self.bury(letters).await;
        }
        let rest = (0..self.batch.len()).filter(|index| diverted.binary_search(index).is_err());
        self.batch.subset(rest)
    }

    fn refusal(&self, index: usize) -> Option<Letter> {
        let record = self.batch.row(index)?;
        let (why, at_us) = match &self.ends {
            Ends::Board(_) => (record.entry.refused?.to_owned(), record.envelope.received_at_us),
            Ends::Replay(_) => {
                let tenants = self.drain.tenants.as_deref();
                (judged_again(tenants, &record)?, now_us())
            }
        };
        let attempt = Attempt { at_us, rows: 1, message: why.clone() };
        Some(Letter {
            attempts: 1,
            first_at_us: at_us,
            last_at_us: at_us,
            history: vec![attempt],
            ..self.letter_of((&self.batch, index), (SCHEMA_VIOLATION, "validate"), &why)
        })
    }
}

/// Why a refused pulse still is none that its tenant takes; `None`: it is one by now.
fn judged_again(tenants: Option<&Tenants>, record: &Record<'_>) -> Option<String> {
    let Some(tenants) = tenants else { return record.entry.refused.map(str::to_owned) };
    let schemas = tenants.find(record.envelope.tenant)?.schemas.clone()?;
    let rule = schemas.of(record.entry.kind)?;
    let pulse = decode_event(record.envelope.shape, record.entry.raw).ok()?;
    rule.check(&pulse).err().map(|violation| violation.to_string())
}
