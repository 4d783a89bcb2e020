//! Stores against a plain list of rows, with generated histories.

use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use uuid::Uuid;

use crate::retention::ClassNumber;
use crate::store::memory::{MemoryStore, MemoryStoreLimits};
use crate::store::{Count, CountQuery, PulseQuery, Row, Store};

use super::fixture::*;

pub(crate) const TENANTS: [&str; 2] = ["default", "other"];
pub(crate) const SERVICES: [&str; 3] = ["checkout", "checkout2", "\u{0}"];

/// Times that collide, are late, early and hours away, received within four windows; ids of
/// servers and of clients; any retention class, as when a tenant's was changed.
fn spec() -> impl Strategy<Value = Spec> {
    let time = prop_oneof![0i64..5, 0i64..100_000, -20 * HOUR_MS..600_000];
    let class = prop::sample::select(vec!["default", "short", "long"]);
    let series = (0..TENANTS.len(), 0..SERVICES.len(), class);
    (series, "[ab]?", time, -4 * HOUR_MS..5, 0u64..40, any::<bool>()).prop_map(
        |((tenant, service, class), kind, time, received, number, by_client)| {
            let received_ms = NOW_MS + received;
            // An id belongs to one tenant and one event, as those that are made here do.
            let name = format!("{tenant} {service} {kind} {time} {received} {number}");
            let id = if by_client {
                Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes())
            } else {
                v7(received_ms, xxhash_rust::xxh3::xxh3_64(name.as_bytes()))
            };
            Spec {
                tenant: TENANTS[tenant].into(),
                service: SERVICES[service].into(),
                kind: format!("k{kind}"),
                id,
                event_time_ms: NOW_MS + time,
                class: ClassNumber::of(class),
                ..Spec::new(number, received_ms)
            }
        },
    )
}

/// A history: rows, and where it is cut into batches.
pub(crate) fn history() -> impl Strategy<Value = (Vec<Spec>, Vec<usize>)> {
    let cuts = prop::collection::vec(1usize..60, 1..12);
    (prop::collection::vec(spec(), 1..150), cuts).prop_map(|(mut specs, cuts)| {
        // One id is one row.
        let mut seen = BTreeSet::new();
        specs.retain(|spec| seen.insert(spec.id));
        (specs, cuts)
    })
}

pub(crate) fn write_cut(store: &dyn Store, log: &TestLog, rows: usize, cuts: &[usize]) {
    let mut at = 0;
    for cut in cuts.iter().cycle() {
        let end = rows.min(at + cut);
        write(store, &log.batch(Some(log.id), at..end));
        at = end;
        if at == rows {
            return;
        }
    }
}

/// What a store must answer.
pub(crate) struct Model<'s> {
    pub(crate) specs: &'s [Spec],
    /// The order of rows: their ids' within one event time is the store's own.
    pub(crate) order: fn(&Row) -> (i64, u128),
}

impl<'s> Model<'s> {
    /// A model in which ids are in the order of their bytes.
    pub(crate) fn new(specs: &'s [Spec]) -> Self {
        Self { specs, order: |row| (row.event_time_ms, row.id.as_u128()) }
    }

    fn rows(&self, query: &PulseQuery) -> Vec<Row> {
        let asked = |spec: &&Spec| {
            spec.tenant == query.tenant
                && spec.service == query.service
                && (query.from_ms..query.to_ms).contains(&spec.event_time_ms)
        };
        let mut rows: Vec<_> = self.specs.iter().filter(asked).map(Spec::row).collect();
        rows.sort_by_key(|row| std::cmp::Reverse((self.order)(row)));
        rows
    }

    fn counts(&self, query: &CountQuery) -> Vec<Count> {
        let mut sums = BTreeMap::new();
        for spec in self.specs.iter().filter(|spec| spec.tenant == query.tenant) {
            let minute_ms = spec.event_time_ms.div_euclid(60_000) * 60_000;
            let from_ms = query.from_ms.div_euclid(60_000).saturating_mul(60_000);
            if minute_ms >= from_ms && minute_ms < query.to_ms {
                *sums.entry((minute_ms, spec.kind.clone())).or_default() += 1;
            }
        }
        let count = |((minute_ms, kind), pulses)| Count { minute_ms, kind, pulses };
        sums.into_iter().map(count).collect()
    }
}

/// Asks for all rows and counts, for those of a range, and for each row by its id.
pub(crate) fn check_all(store: &dyn Store, model: &Model<'_>, range: Range<i64>, limit: usize) {
    let Range { start: from_ms, end: to_ms } = range;
    for tenant in TENANTS {
        for service in SERVICES {
            for (from_ms, to_ms) in [(i64::MIN, i64::MAX), (from_ms, to_ms)] {
                let tenant = tenant.to_owned();
                let query = PulseQuery { tenant, from_ms, to_ms, ..query(service, limit) };
                assert_eq!(pages(store, &query), model.rows(&query), "{query:?}");
            }
        }
        for (from_ms, to_ms) in [(i64::MIN, i64::MAX), (from_ms, to_ms)] {
            let query = CountQuery { tenant: tenant.into(), from_ms, to_ms };
            let counts = block_on(store.counts(&query)).expect("counts");
            assert_eq!(counts, model.counts(&query), "{query:?}");
        }
    }
    for spec in model.specs {
        for tenant in TENANTS {
            let expected = (tenant == spec.tenant).then(|| spec.row());
            assert_eq!(row_by_id(store, tenant, spec.id), expected, "{tenant} {spec:?}");
        }
    }
    assert_eq!(row_by_id(store, "default", Uuid::from_u128(1)), None);
    assert_eq!(row_by_id(store, "default", v7(NOW_MS, 0)), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn stores_answer_as_the_model_and_take_each_row_once(
        (specs, cuts) in history(),
        cuts_again in prop::collection::vec(1usize..60, 1..12),
        from in -20 * HOUR_MS..600_000,
        length in 0..20 * HOUR_MS,
        limit in prop_oneof![1usize..4, 1usize..200],
    ) {
        let directory = tempfile::tempdir().expect("a directory");
        let log = TestLog::new(&specs);
        let (from_ms, to_ms) = (NOW_MS + from, NOW_MS + from + length);
        let limits = MemoryStoreLimits { rows_max: 1000, bytes_max: 1 << 20 };
        let memory = MemoryStore::new(limits);
        write_cut(&memory, &log, specs.len(), &cuts);
        write_cut(&memory, &log, specs.len(), &cuts_again);
        check_all(&memory, &Model::new(&specs), from_ms..to_ms, limit);

        let embedded = Embedded::open(directory.path(), NOW_MS);
        write_cut(&*embedded.store, &log, specs.len(), &cuts);
        write_cut(&*embedded.store, &log, specs.len(), &cuts_again);
        check_all(&*embedded.store, &Model::new(&specs), from_ms..to_ms, limit);
        drop(embedded);

        let reopened = Embedded::open(directory.path(), NOW_MS);
        write_cut(&*reopened.store, &log, specs.len(), &cuts_again);
        check_all(&*reopened.store, &Model::new(&specs), from_ms..to_ms, limit);
    }

    #[test]
    fn a_cursor_stays_where_it_is_while_rows_arrive(
        (specs, cuts) in history(),
        limit in 1usize..20,
        early in 0usize..150,
    ) {
        let directory = tempfile::tempdir().expect("a directory");
        let embedded = Embedded::open(directory.path(), NOW_MS);
        let early = early.min(specs.len());
        let log = TestLog::new(&specs);
        write_cut(&*embedded.store, &log, early.max(1).min(specs.len()), &cuts);
        let query = query(SERVICES[0], limit);
        let first = block_on(embedded.store.pulses(&query)).expect("a page");
        write(&*embedded.store, &log.all());
        let mut rows = first.rows.clone();
        if let Some(next) = first.next {
            let rest = PulseQuery { after: Some(next), ..query.clone() };
            rows.extend(pages(&*embedded.store, &rest));
            // Behind the cursor is exactly what the order has behind it, new rows included.
            let place = (next.event_time_ms, next.id);
            let behind: Vec<_> = Model::new(&specs).rows(&query).into_iter()
                .filter(|row| (row.event_time_ms, row.id) < place).collect();
            prop_assert_eq!(&rows[first.rows.len()..], &behind[..]);
        }
        let places: BTreeSet<_> = rows.iter().map(|row| (row.event_time_ms, row.id)).collect();
        prop_assert_eq!(places.len(), rows.len());
    }
}
