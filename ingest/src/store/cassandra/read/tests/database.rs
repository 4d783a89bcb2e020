//! Reading from a real database: against the model of all stores, and what only this one has.

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use rust_decimal::Decimal;
use uuid::Uuid;

use crate::store::cassandra::layout::Layout;
use crate::store::cassandra::read::order::rank;
use crate::store::tests::fixture::{HOUR_MS, NOW_MS, Spec, TestLog, block_on, pages, v7};
use crate::store::tests::model::{Model, check_all, history, write_cut};
use crate::store::{CountQuery, PulseQuery, Row, RowUsage, Store};

use super::stored::{Stored, fill};

/// Fewer than of a store in memory: each asks some hundred times.
const CASES: u32 = 6;

fn row(tenant: &str, event_time_ms: i64, id: Uuid) -> Row {
    let number = id.as_u128() as u32;
    let spec = Spec { event_time_ms, id, ..Spec::new(u64::from(number), NOW_MS) };
    Row { tenant: tenant.to_owned(), ..spec.row() }
}

fn query(tenant: &str, limit: usize) -> PulseQuery {
    let (tenant, service) = (tenant.to_owned(), "checkout".to_owned());
    PulseQuery { tenant, service, from_ms: i64::MIN, to_ms: i64::MAX, limit, after: None }
}

/// All rows of a tenant's service, page by page.
fn all_of(stored: &Stored, mut query: PulseQuery) -> Vec<Row> {
    let mut rows = Vec::new();
    loop {
        let page = block_on(stored.reader.pulses(&query)).expect("a page");
        rows.extend(page.rows);
        match page.next {
            Some(next) => query.after = Some(next),
            None => return rows,
        }
    }
}

#[test]
#[ignore = "needs the database of cargo xtask test cassandra"]
fn it_answers_as_the_model_whatever_the_layouts_and_replays() {
    let stored = Stored::open();
    let cuts = || prop::collection::vec(1usize..60, 1..12);
    let range = (-20 * HOUR_MS..600_000, 0..20 * HOUR_MS);
    let limit = prop_oneof![1usize..4, 1usize..200];
    let strategy = (history(), cuts(), range, limit);
    let mut runner = TestRunner::new(ProptestConfig {
        cases: CASES,
        failure_persistence: None,
        max_shrink_iters: 20,
        ..ProptestConfig::default()
    });
    let checked = runner.run(&strategy, |((specs, cuts), again, (from, length), limit)| {
        let (log, case) = (TestLog::new(&specs), stored.case());
        write_cut(&case, &log, specs.len(), &cuts);
        // The replay finds other layouts: each row may now lie in two partitions.
        write_cut(&case, &log, specs.len(), &again);
        let model = Model { specs: &specs, order: |row| (row.event_time_ms, rank(row.id)) };
        let from_ms = NOW_MS + from;
        check_all(&case, &model, from_ms..from_ms + length, limit);
        Ok(())
    });
    checked.expect("the model's answers");
}

#[test]
#[ignore = "needs the database of cargo xtask test cassandra"]
fn ids_of_all_versions_are_paged_in_the_order_of_the_database() {
    let (stored, tenant) = (Stored::open(), "t");
    let mut rows: Vec<_> = (0..96u128)
        .map(|number| {
            let bits = u128::from(xxhash_rust::xxh3::xxh3_64(&number.to_be_bytes()));
            let bits = bits << 64 | (bits.rotate_left(23) ^ number);
            let bits = bits & !(0xF << 76) | (number % 16) << 76;
            row(tenant, NOW_MS, Uuid::from_u128(bits))
        })
        .collect();
    rows.extend([Uuid::nil(), Uuid::max(), Uuid::from_u128(1)].map(|id| row(tenant, NOW_MS, id)));
    block_on(fill(&stored, rows.clone(), Layout::new(0, 2)));
    rows.sort_by_key(|row| std::cmp::Reverse(rank(row.id)));
    for limit in [1, 7, 500] {
        let found: Vec<_> =
            all_of(&stored, query(tenant, limit)).iter().map(|row| row.id).collect();
        assert_eq!(found, rows.iter().map(|row| row.id).collect::<Vec<_>>(), "{limit}");
    }
}

#[test]
#[ignore = "needs the database of cargo xtask test cassandra"]
fn every_part_of_a_row_comes_back_as_it_was() {
    let stored = Stored::open();
    let mut rows = Vec::new();
    for (number, amount) in
        ["0.00", "-12.50", "79228162514264337593543950335", "1e-28"].into_iter().enumerate()
    {
        let amount = Decimal::from_scientific(amount).or_else(|_| amount.parse());
        let entry = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        rows.push(Row {
            latency_ms: Some(-0.0),
            status: Some("ü \0".into()),
            value: Some(f64::MIN_POSITIVE),
            user: Some(String::new()),
            usage: Some(RowUsage {
                sku: "sku".into(),
                unit: "s".into(),
                amount: amount.expect("a decimal"),
            }),
            metadata: vec![entry("", "1"), entry("a", ""), entry("ä", "2")],
            payload: Some("x".repeat(64 * 1024)),
            ..row("t", NOW_MS, v7(NOW_MS, number as u64))
        });
    }
    rows.push(Row { latency_ms: None, ..row("t", NOW_MS - 1, v7(NOW_MS, 9)) });
    block_on(fill(&stored, rows.clone(), Layout::ONE));
    for row in &rows {
        let found = block_on(stored.reader.pulse("t", row.id)).expect("an answer");
        assert_eq!(found.as_ref(), Some(row));
    }
    rows.sort_by_key(|row| std::cmp::Reverse((row.event_time_ms, row.id)));
    assert_eq!(all_of(&stored, query("t", 3)), rows);
}

#[test]
#[ignore = "needs the database of cargo xtask test cassandra"]
fn no_query_of_a_tenant_gives_rows_of_another() {
    let stored = Stored::open();
    // Names that are the same as another's with a service's, or almost; ids and times shared.
    let tenants = ["a", "ab", "a\0", "A", "ä", "checkout", " a", "a:checkout"];
    let ids: Vec<_> = (0..20).map(id_of).collect();
    for tenant in tenants {
        let mine = |id: &Uuid| Row { kind: tenant.into(), ..row(tenant, NOW_MS, *id) };
        block_on(fill(&stored, ids.iter().map(mine).collect(), Layout::new(2, 1)));
    }
    for tenant in tenants.into_iter().chain(["", "b"]) {
        let rows = all_of(&stored, query(tenant, 7));
        assert_eq!(rows.len(), if tenants.contains(&tenant) { ids.len() } else { 0 });
        assert!(rows.iter().all(|row| row.tenant == tenant && row.kind == tenant));
        for id in &ids {
            let found = block_on(stored.reader.pulse(tenant, *id)).expect("an answer");
            let kind = found.map(|row| row.kind);
            assert_eq!(kind.as_deref(), tenants.contains(&tenant).then_some(tenant));
        }
    }
}

/// Of a server, or of a client.
fn id_of(number: u64) -> Uuid {
    match number % 2 {
        0 => v7(NOW_MS, number),
        _ => Uuid::new_v5(&Uuid::NAMESPACE_OID, &number.to_be_bytes()),
    }
}

#[test]
#[ignore = "needs the database of cargo xtask test cassandra"]
fn an_entry_without_a_row_leads_nowhere() {
    let stored = Stored::open();
    let case = stored.case();
    let tenant = case.tenant("default");
    for id in [id_of(0), id_of(1)] {
        let written = row(&tenant, NOW_MS, id);
        block_on(stored.insert(&written, Layout::ONE, 8));
        assert_eq!(block_on(stored.reader.pulse(&tenant, id)).expect("an answer"), Some(written));
        block_on(stored.forget_events());
        assert_eq!(block_on(stored.reader.pulse(&tenant, id)).expect("an answer"), None);
    }
    assert_eq!(pages(&case, &query("default", 10)), []);
    let range = CountQuery { tenant: "default".into(), from_ms: i64::MIN, to_ms: i64::MAX };
    assert_eq!(block_on(case.counts(&range)).expect("counts"), []);
}
