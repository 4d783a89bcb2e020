//! Writes batches whose rows are of several retention classes: those of each class at once, by a
//! writer of its own. A batch of one class goes to its writer as it is.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use crate::retention::ClassNumber;
use crate::sink::{Batch, SinkError, Written};

use super::super::counts::ClassSums;
use super::super::link::{ClassLink, Link};
use super::super::metrics::CassandraMetrics;
use super::super::pace::Pace;
use super::super::settings::CassandraSettings;
use super::Writer;

/// A writer for each class.
#[derive(Debug)]
pub(crate) struct ClassWriters {
    default: Writer,
    others: Vec<(ClassNumber, Writer)>,
}

impl ClassWriters {
    /// Writers of all classes of the settings, which share a pace.
    pub(crate) fn new(
        link: &Arc<Link>,
        pace: &Pace,
        sums: &ClassSums,
        settings: &CassandraSettings,
        metrics: &CassandraMetrics,
    ) -> Self {
        let writer = |place: Option<usize>, sums: &Arc<_>, settings: &CassandraSettings| {
            let link = ClassLink::new(Arc::clone(link), place);
            Writer::new(link, pace.clone(), Arc::clone(sums), settings, metrics)
        };
        let classes = settings.classes.iter().zip(&sums.others).enumerate();
        let other = classes.map(|(place, (class, sums))| {
            (class.number, writer(Some(place), sums, &settings.of_class(class)))
        });
        Self { default: writer(None, &sums.default, settings), others: other.collect() }
    }

    /// As [`Writer::bar`].
    pub(crate) fn bar(&self, tenant: &str, until_us: Option<i64>) {
        self.all().for_each(|writer| writer.bar(tenant, until_us));
    }

    /// As [`Writer::settle`], of all.
    pub(crate) async fn settle(&self) {
        for writer in self.all() {
            writer.settle().await;
        }
    }

    fn all(&self) -> impl Iterator<Item = &Writer> {
        std::iter::once(&self.default).chain(self.others.iter().map(|(_, writer)| writer))
    }

    /// As [`Writer::write`].
    pub(crate) async fn write(&self, batch: &Batch) -> Result<Written, SinkError> {
        if self.others.is_empty() {
            return self.default.write(batch).await;
        }
        let parts = split(batch, self.others.iter().map(|(number, _)| *number));
        let mut parts = self.all().zip(parts).filter(|(_, rows)| !rows.is_empty());
        let whole = |rows: &Vec<usize>| rows.len() == batch.len();
        match (parts.next(), parts.next()) {
            (None, _) => self.default.write(batch).await,
            (Some((writer, rows)), None) if whole(&rows) => writer.write(batch).await,
            (first, second) => {
                let parts = first.into_iter().chain(second).chain(parts);
                // At most one for each class.
                let writes: FuturesUnordered<_> =
                    parts.map(|(writer, rows)| write_part(writer, batch, rows)).collect();
                writes.fold(Ok(Written::default()), async |all, one| both(all, one)).await
            }
        }
    }
}

/// The rows of each class by their places in the batch: of the default class, then of each of
/// `others`. What can't be read and what is of no class that there is are of the default one.
fn split(batch: &Batch, others: impl Iterator<Item = ClassNumber>) -> Vec<Vec<usize>> {
    let others: Vec<_> = others.collect();
    let mut parts = vec![Vec::new(); 1 + others.len()];
    for index in 0..batch.len() {
        let number = batch.row(index).map(|row| ClassNumber::of_shard(row.entry.shard));
        let place = others.iter().position(|other| Some(*other) == number);
        parts[place.map_or(0, |place| place + 1)].push(index);
    }
    parts
}

/// Writes some rows of a batch; faults are told by their places in the whole of it.
async fn write_part(
    writer: &Writer,
    batch: &Batch,
    rows: Vec<usize>,
) -> Result<Written, SinkError> {
    let part = batch.subset(rows.iter().copied());
    writer.write(&part).await.map_err(|error| match error {
        SinkError::RowFaults(mut faults) => {
            for fault in &mut faults {
                fault.index = rows.get(fault.index).copied().unwrap_or(fault.index);
            }
            SinkError::RowFaults(faults)
        }
        other => other,
    })
}

/// What two parts come to: an outage decides before what nobody knows, which rows could be
/// blamed for, and both before faults of rows, which are found again.
fn both(
    one: Result<Written, SinkError>,
    other: Result<Written, SinkError>,
) -> Result<Written, SinkError> {
    match (one, other) {
        (Ok(one), Ok(other)) => {
            Ok(Written { rows: one.rows + other.rows, expired: one.expired + other.expired })
        }
        (Err(error), Ok(_)) | (Ok(_), Err(error)) => Err(error),
        (Err(SinkError::RowFaults(mut one)), Err(SinkError::RowFaults(other))) => {
            one.extend(other);
            one.sort_by_key(|fault| fault.index);
            Err(SinkError::RowFaults(one))
        }
        (Err(one), Err(other)) => Err(if weight(&one) >= weight(&other) { one } else { other }),
    }
}

fn weight(error: &SinkError) -> u8 {
    match error {
        SinkError::Unavailable(_) => 3,
        SinkError::Unknown(_) => 2,
        SinkError::TooLarge => 1,
        SinkError::RowFaults(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;
    use crate::sink::RowFault;
    use crate::store::tests::fixture::{NOW_MS, Spec, TestLog};

    #[test]
    fn rows_are_told_apart_by_what_their_records_say() {
        let [short, long, gone] = ["short", "long", "gone"].map(ClassNumber::of);
        let classes = [ClassNumber::DEFAULT, short, long, short, gone, long];
        let spec = |(number, class)| Spec { class, ..Spec::new(number, NOW_MS) };
        let specs: Vec<_> = (0..).zip(classes).map(spec).collect();
        let parts = split(&TestLog::new(&specs).all(), [long, short].into_iter());
        assert_eq!(parts, [vec![0, 4], vec![2, 5], vec![1, 3]]);
    }

    #[test]
    fn what_parts_come_to_is_told_as_of_one_batch() {
        let faults = |indexes: &[usize]| {
            let fault =
                |index: &usize| RowFault { index: *index, code: "c", message: String::new() };
            Err::<Written, _>(SinkError::RowFaults(indexes.iter().map(fault).collect()))
        };
        let done = |rows| Ok(Written { rows, expired: 1 });
        assert_eq!(both(done(2), done(3)).expect("both"), Written { rows: 5, expired: 2 });
        let told = |result: Result<Written, SinkError>| match result {
            Err(SinkError::RowFaults(faults)) => {
                faults.iter().map(|fault| fault.index.to_string()).collect::<Vec<_>>().join(" ")
            }
            Err(SinkError::Unavailable(_)) => "away".to_owned(),
            Err(SinkError::Unknown(_)) => "unknown".to_owned(),
            other => format!("{other:?}"),
        };
        let away = || Err(SinkError::Unavailable(anyhow!("away")));
        let unknown = || Err(SinkError::Unknown(anyhow!("who knows")));
        assert_eq!(told(both(faults(&[1, 4]), faults(&[0, 2]))), "0 1 2 4");
        assert_eq!(told(both(done(1), faults(&[2]))), "2");
        assert_eq!(told(both(faults(&[2]), unknown())), "unknown");
        assert_eq!(told(both(away(), unknown())), "away");
        assert_eq!(told(both(unknown(), away())), "away");
        assert_eq!(told(both(away(), done(1))), "away");
    }
}
