//! Queries over the tables of all retention classes: a tenant whose class was changed has rows in
//! several. With the default class alone they cost nothing more.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::anyhow;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::timeout;
use uuid::Uuid;

use crate::store::cassandra::link::{ClassLink, Link};
use crate::store::cassandra::settings::CassandraSettings;
use crate::store::{COUNTS_MAX, Count, CountQuery, Page, PulseQuery, QueryError, Row};

use super::merge::merged;
use super::{QUERY_TIME_MAX, Reader};

/// A reader for each class.
#[derive(Debug)]
pub(crate) struct ClassReaders {
    default: Reader,
    others: Vec<Reader>,
}

impl ClassReaders {
    /// Readers of all classes of the settings.
    pub(crate) fn new(link: &Arc<Link>, settings: &Arc<CassandraSettings>) -> Self {
        let other = |(place, class)| {
            let link = ClassLink::new(Arc::clone(link), Some(place));
            Reader::new(link, Arc::new(settings.of_class(class)))
        };
        Self {
            default: Reader::new(Arc::clone(link), Arc::clone(settings)),
            others: settings.classes.iter().enumerate().map(other).collect(),
        }
    }

    /// As [`Reader::pulses`].
    pub(crate) async fn pulses(&self, query: &PulseQuery) -> Result<Page, QueryError> {
        if self.others.is_empty() {
            return self.default.pulses(query).await;
        }
        in_time(async {
            let (mut asked, mut page) = (query.clone(), Page::default());
            // One after the other: each may hold as many bytes as a query may.
            for reader in self.all() {
                let more = reader.pulses(&asked).await?;
                page = merged([page, more], query.limit);
                // What lies behind a full page is not asked for.
                if let Some(end) = page.next {
                    asked.from_ms = asked.from_ms.max(end.event_time_ms);
                }
            }
            Ok(page)
        })
        .await
    }

    /// As [`Reader::pulse`]; where an id was used in several classes, the newest.
    pub(crate) async fn pulse(&self, tenant: &str, id: Uuid) -> Result<Option<Row>, QueryError> {
        if self.others.is_empty() {
            return self.default.pulse(tenant, id).await;
        }
        // At most one for each class.
        let mut asked = FuturesUnordered::new();
        for reader in self.all() {
            asked.push(reader.pulse(tenant, id));
        }
        let mut newest: Option<Row> = None;
        while let Some(found) = asked.next().await {
            newest = newest.into_iter().chain(found?).max_by_key(|row| row.received_at_us);
        }
        Ok(newest)
    }

    /// As [`Reader::counts`].
    pub(crate) async fn counts(&self, query: &CountQuery) -> Result<Vec<Count>, QueryError> {
        if self.others.is_empty() {
            return self.default.counts(query).await;
        }
        in_time(async {
            let mut counts = Vec::new();
            for reader in self.all() {
                counts = added(counts, reader.counts(query).await?)?;
            }
            Ok(counts)
        })
        .await
    }

    fn all(&self) -> impl Iterator<Item = &Reader> {
        std::iter::once(&self.default).chain(&self.others)
    }
}

/// Waits for the answers of all classes as long as for one.
async fn in_time<T>(query: impl Future<Output = Result<T, QueryError>>) -> Result<T, QueryError> {
    let late = |_elapsed| QueryError::Unavailable(anyhow!("no answer in {QUERY_TIME_MAX:?}"));
    timeout(QUERY_TIME_MAX, Box::pin(query)).await.map_err(late)?
}

/// Counts of two classes as one, by minute, then kind.
fn added(counts: Vec<Count>, more: Vec<Count>) -> Result<Vec<Count>, QueryError> {
    if counts.is_empty() || more.is_empty() {
        return Ok(if counts.is_empty() { more } else { counts });
    }
    let mut sums = BTreeMap::new();
    for Count { minute_ms, kind, pulses } in counts.into_iter().chain(more) {
        let sum: &mut u64 = sums.entry((minute_ms, kind)).or_default();
        *sum = sum.saturating_add(pulses);
    }
    if sums.len() > COUNTS_MAX {
        return Err(QueryError::TooManyCounts);
    }
    let count = |((minute_ms, kind), pulses)| Count { minute_ms, kind, pulses };
    Ok(sums.into_iter().map(count).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::Position;
    use crate::store::cassandra::read::order::Place;
    use crate::store::tests::fixture::{Spec, v7};

    fn row(time_ms: i64, number: u64) -> Row {
        Spec { id: v7(0, number), event_time_ms: time_ms, ..Spec::new(number, 0) }.row()
    }

    fn place(row: &Row) -> Place {
        Place::new(row.event_time_ms, row.id)
    }

    fn sorted(mut rows: Vec<Row>) -> Vec<Row> {
        rows.sort_unstable_by_key(|row| std::cmp::Reverse(place(row)));
        rows
    }

    /// The page of one class.
    fn page(rows: &[Row], limit: usize, after: Option<Position>) -> Page {
        let behind = |row: &&Row| after.is_none_or(|after| place(row) < Place::of(after));
        let rest: Vec<_> = rows.iter().filter(behind).cloned().collect();
        let rows: Vec<_> = rest.iter().take(limit).cloned().collect();
        let end = |row: &Row| Position { event_time_ms: row.event_time_ms, id: row.id };
        let next = rows.last().filter(|_| rest.len() > limit).map(end);
        Page { rows, next }
    }

    proptest! {
        #[test]
        fn pages_of_several_classes_are_those_of_all_their_rows(
            times in prop::collection::vec((0i64..40, 0usize..4), 0..60),
            limits in prop::collection::vec(1usize..9, 3),
            limit in 1usize..12,
        ) {
            let mut classes = vec![Vec::new(); 3];
            for (number, (time, class)) in times.iter().enumerate() {
                let row = row(*time, number as u64);
                // A row that lies in two classes is given once.
                if *class == 3 {
                    classes[0].push(row.clone());
                }
                classes[class % 3].push(row);
            }
            let classes: Vec<_> = classes.into_iter().map(sorted).collect();
            let mut expected = sorted(classes.concat());
            expected.dedup();
            let (mut found, mut after) = (Vec::new(), None);
            loop {
                // Each class may end its page early, as where rows are large.
                let of_class = |(rows, early): (&Vec<Row>, &usize)| {
                    page(rows, limit.min(*early), after)
                };
                let page = merged(classes.iter().zip(&limits).map(of_class), limit);
                prop_assert!(page.rows.len() <= limit);
                found.extend(page.rows);
                match page.next {
                    Some(next) => {
                        let last = found.last().map(place);
                        prop_assert_eq!(last, Some(Place::of(next)));
                        after = Some(next);
                    }
                    None => break,
                }
            }
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn counts_of_several_classes_are_added_and_bounded() {
        let count = |minute_ms, kind: &str, pulses| Count { minute_ms, kind: kind.into(), pulses };
        let one = vec![count(0, "b", 1), count(60_000, "a", 2)];
        let other = vec![count(0, "a", 4), count(0, "b", 8)];
        let sum = vec![count(0, "a", 4), count(0, "b", 9), count(60_000, "a", 2)];
        assert_eq!(added(one.clone(), other).expect("few"), sum);
        assert_eq!(added(Vec::new(), one.clone()).expect("few"), one);
        assert_eq!(added(one.clone(), Vec::new()).expect("few"), one);
        let many = (0..COUNTS_MAX as i64).map(|number| count(number, "x", 1)).collect();
        assert!(matches!(added(many, one), Err(QueryError::TooManyCounts)));
    }
}
