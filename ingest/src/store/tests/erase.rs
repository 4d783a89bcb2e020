//! Erasures of the stores on this machine: against a plain model, over restarts in the middle,
//! and what stays on the disk.

use std::path::Path;

use proptest::prelude::*;
use uuid::Uuid;

use crate::sink::{Sink, Written};
use crate::store::memory::{MemoryStore, MemoryStoreLimits};
use crate::store::{Erased, Erasure, PulseQuery, Store};

use super::fixture::*;
use super::model::{Model, check_all, history, write_cut};

const STEPS_MAX: usize = 10_000;

fn step(store: &dyn Store, erasure: &Erasure, position: Option<&str>) -> Erased {
    block_on(store.erase(erasure, position)).expect("a step")
}

/// Erases step by step; gives the rows that are gone.
fn erase(store: &dyn Store, erasure: &Erasure) -> u64 {
    store.bar(&erasure.tenant, Some(erasure.until_us));
    let (mut rows, mut position) = (0, None);
    for _ in 0..STEPS_MAX {
        let erased = step(store, erasure, position.as_deref());
        rows += erased.rows;
        match erased.next {
            None => return rows,
            next => position = next,
        }
    }
    panic!("an erasure without end");
}

fn until(received_ms: i64) -> Erasure {
    Erasure { tenant: "default".to_owned(), until_us: received_ms * 1000 }
}

fn is_erased(spec: &Spec, erasure: &Erasure) -> bool {
    spec.tenant == erasure.tenant && spec.received_at_us <= erasure.until_us
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn what_was_received_by_then_is_gone_and_everything_else_stays(
        (specs, cuts) in history(),
        received in -4 * HOUR_MS..5,
        limit in 1usize..200,
    ) {
        let directory = tempfile::tempdir().expect("a directory");
        let (log, erasure) = (TestLog::new(&specs), until(NOW_MS + received));
        let (gone, stay): (Vec<_>, Vec<_>) =
            specs.iter().cloned().partition(|spec| is_erased(spec, &erasure));
        let all = i64::MIN..i64::MAX;

        let limits = MemoryStoreLimits { rows_max: 1000, bytes_max: 1 << 20 };
        let memory = MemoryStore::new(limits);
        write_cut(&memory, &log, specs.len(), &cuts);
        prop_assert_eq!(erase(&memory, &erasure), gone.len() as u64);
        check_all(&memory, &Model::new(&stay), all.clone(), limit);

        let mut embedded = Embedded::open(directory.path(), NOW_MS);
        write_cut(&*embedded.store, &log, specs.len(), &cuts);
        let (mut rows, mut position) = (0, None);
        loop {
            let erased = step(&*embedded.store, &erasure, position.as_deref());
            rows += erased.rows;
            let Some(next) = erased.next else { break };
            position = Some(next);
            // Each step may be the last one of a run.
            drop(embedded);
            embedded = Embedded::open(directory.path(), NOW_MS);
        }
        prop_assert_eq!(rows, gone.len() as u64);
        check_all(&*embedded.store, &Model::new(&stay), all.clone(), limit);
        // Again, it changes nothing.
        prop_assert_eq!(erase(&*embedded.store, &erasure), 0);
        check_all(&*embedded.store, &Model::new(&stay), all, limit);
        for spec in &gone {
            prop_assert_eq!(row_by_id(&*embedded.store, "default", spec.id), None);
            prop_assert_eq!(row_by_id(&memory, "default", spec.id), None);
        }
    }
}

#[test]
fn what_comes_late_is_not_taken_and_what_is_received_later_is() {
    let directory = tempfile::tempdir().expect("a directory");
    let embedded = Embedded::open(directory.path(), NOW_MS + HOUR_MS);
    let memory = MemoryStore::new(MemoryStoreLimits { rows_max: 1000, bytes_max: 1 << 20 });
    for store in [&*embedded.store as &dyn Store, &memory] {
        let mut specs: Vec<_> = (0..6).map(|n| Spec::new(n, NOW_MS + n as i64 - 3)).collect();
        specs[5].tenant = "other".to_owned();
        specs[0].tenant = "other".to_owned();
        let log = TestLog::new(&specs);
        write(store, &log.batch(Some(log.id), 0..2));
        let erasure = until(NOW_MS);
        assert_eq!(erase(store, &erasure), 1);
        // Of these, numbers 2 and 3 were received by then.
        let written = write(store, &log.batch(Some(log.id), 2..6));
        assert_eq!(written, Written { rows: 2, expired: 2 });
        let ids = |tenant: &str| {
            let found = specs.iter().filter(|spec| row_by_id(store, tenant, spec.id).is_some());
            found.map(|spec| spec.id).collect::<Vec<_>>()
        };
        assert_eq!(ids("default"), [specs[4].id]);
        assert_eq!(ids("other"), [specs[0].id, specs[5].id]);
        assert_eq!(total(&counts(store, "default")), 1);
        // Once that is lifted, it is taken as ever.
        store.bar("default", None);
        let again = TestLog::numbered(&specs, 100);
        assert_eq!(write(store, &again.batch(None, 2..3)).rows, 1);
    }
}

#[test]
fn an_id_that_its_client_has_used_again_since_leads_to_the_later_row() {
    let directory = tempfile::tempdir().expect("a directory");
    let embedded = Embedded::open(directory.path(), NOW_MS);
    let id = Uuid::new_v5(&Uuid::NAMESPACE_OID, b"order");
    let early = Spec { id, ..Spec::new(1, NOW_MS - 1000) };
    let late = Spec { id, ..Spec::new(2, NOW_MS) };
    for (number, spec) in [&early, &late].into_iter().enumerate() {
        let log = TestLog::numbered(std::slice::from_ref(spec), number as u64);
        write(&*embedded.store, &log.all());
    }
    assert_eq!(erase(&*embedded.store, &until(NOW_MS - 1)), 1);
    assert_eq!(row_by_id(&*embedded.store, "default", id), Some(late.row()));
}

/// How many files of tables below a directory hold some bytes.
fn tables_with(directory: &Path, text: &[u8]) -> usize {
    let entries = std::fs::read_dir(directory).expect("a directory").flatten();
    let holds = |path: &Path| {
        let bytes = std::fs::read(path).unwrap_or_default();
        memchr::memmem::find(&bytes, text).is_some()
    };
    entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_none_or(|extension| extension != "jnl"))
        .map(
            |path| if path.is_dir() { tables_with(&path, text) } else { usize::from(holds(&path)) },
        )
        .sum()
}

#[test]
fn no_table_on_disk_holds_what_was_erased_and_other_tenants_rows_stay() {
    let directory = tempfile::tempdir().expect("a directory");
    let embedded = Embedded::open(directory.path(), NOW_MS);
    // Bytes in which the compression finds nothing to shorten.
    let secret = |number: u64| {
        let half = |salt: u64| xxhash_rust::xxh3::xxh3_128_with_seed(&number.to_le_bytes(), salt);
        [half(1).to_le_bytes(), half(2).to_le_bytes()].concat()
    };
    let spec = |number: u64| {
        let tenant = if number.is_multiple_of(2) { "default" } else { "other" }.to_owned();
        let id = Uuid::new_v5(&Uuid::NAMESPACE_OID, &number.to_be_bytes());
        Spec { tenant, id, raw: secret(number), ..Spec::new(number, NOW_MS - 5) }
    };
    let specs: Vec<_> = (0..20_000).map(spec).collect();
    let log = TestLog::new(&specs);
    for first in (0..20_000).step_by(5_000) {
        write(&*embedded.store, &log.batch(Some(log.id), first..first + 5_000));
    }
    assert_eq!(erase(&*embedded.store, &until(NOW_MS)), 10_000);
    block_on(Sink::sync(&*embedded.store)).expect("synced");
    for number in [0, 2, 9_998, 19_998] {
        let found = tables_with(directory.path(), &secret(number));
        assert_eq!(found, 0, "row {number}");
    }
    for number in [1, 9_999, 19_999] {
        let found = tables_with(directory.path(), &secret(number));
        assert!(found > 0, "row {number} of another tenant");
    }
    assert_eq!(total(&counts(&*embedded.store, "default")), 0);
    assert_eq!(total(&counts(&*embedded.store, "other")), 10_000);
    let query = PulseQuery { tenant: "other".into(), ..query("checkout", 1_000) };
    assert_eq!(pages(&*embedded.store, &query).len(), 10_000);
}
