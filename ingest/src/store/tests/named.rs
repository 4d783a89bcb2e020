//! Rows of the embedded store whose clients named them: found by their ids in every window, as
//! long as the window is there.

use proptest::prelude::*;
use std::collections::BTreeMap;
use uuid::Uuid;

use crate::store::embedded::EmbeddedStore;

use super::fixture::*;

/// A window is a sixteenth of the retention; receive times lie in the middle of theirs.
const WINDOW_MS: i64 = 24 * HOUR_MS / 16;
const FIRST_MS: i64 = NOW_MS / WINDOW_MS * WINDOW_MS + WINDOW_MS / 2;

fn received_ms(window: u64) -> i64 {
    FIRST_MS + window as i64 * WINDOW_MS
}

/// The row of a client's id, received in this window; `number` tells it from others of that id.
fn spec(id: u64, window: u64, number: u64) -> Spec {
    Spec { id: v5(id), ..Spec::new(number, received_ms(window)) }
}

#[test]
fn an_id_is_found_in_each_window_until_it_is_dropped() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut embedded = Embedded::open(directory.path(), received_ms(3));
    let mut specs = Vec::new();
    for number in 0..1_200 {
        specs.push(spec(number, number % 4, number));
    }
    let log = TestLog::new(&specs);
    for start in (0..1_200).step_by(24) {
        write(&*embedded.store, &log.batch(Some(log.id), start..start + 24));
    }
    let mut dropped = 0;
    for windows in 0..4 {
        // Past retention are those whose newest row is.
        embedded.set_now(received_ms(windows) + 24 * HOUR_MS);
        dropped += block_on(embedded.store.sweep()).expect("a sweep");
        assert_eq!(dropped as u64, windows);
        for number in 0..1_200 {
            let found = row_by_id(&*embedded.store, "default", v5(number));
            let wanted = (number % 4 >= windows).then(|| specs[number as usize].row());
            assert_eq!(found, wanted, "{number} after {windows} windows");
            assert_eq!(row_by_id(&*embedded.store, "other", v5(number)), None);
        }
        drop(embedded);
        embedded = Embedded::open(directory.path(), received_ms(windows) + 24 * HOUR_MS);
    }
}

/// What is written next: rows by id and window, and whether the store is opened again.
type Step = (Vec<(u64, u64)>, bool);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let row = (prop_oneof![0u64..6, 0u64..500], 0u64..3);
    let rows = prop::collection::vec(row, 1..30);
    prop::collection::vec((rows, prop::bool::weighted(0.05)), 1..80)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn an_id_that_came_again_leads_to_the_latest_of_its_newest_window(steps in steps()) {
        let directory = tempfile::tempdir().expect("a directory");
        let mut embedded = Embedded::open(directory.path(), received_ms(3));
        // By id: the window, and the rows that the last batch wrote there.
        let mut latest: BTreeMap<u64, (u64, Vec<Spec>)> = BTreeMap::new();
        let mut number = 0;
        for (rows, reopen) in steps {
            let first = number;
            let mut specs = Vec::new();
            let mut here: BTreeMap<(u64, u64), Vec<Spec>> = BTreeMap::new();
            for (id, window) in rows {
                let spec = spec(id, window, number);
                here.entry((id, window)).or_default().push(spec.clone());
                specs.push(spec);
                number += 1;
            }
            for ((id, window), specs) in here {
                let known = latest.entry(id).or_insert((window, Vec::new()));
                if window >= known.0 {
                    *known = (window, specs);
                }
            }
            let log = TestLog::numbered(&specs, first);
            write(&*embedded.store, &log.all());
            if reopen {
                drop(embedded);
                embedded = Embedded::open(directory.path(), received_ms(3));
            }
        }
        check(&embedded.store, &latest);
    }
}

fn check(store: &EmbeddedStore, latest: &BTreeMap<u64, (u64, Vec<Spec>)>) {
    for (id, (window, specs)) in latest {
        let found = row_by_id(store, "default", v5(*id)).expect("a row");
        let is_one = specs.iter().any(|spec| spec.row() == found);
        assert!(is_one, "{id} in window {window}: {found:?} is none of {specs:?}");
    }
    assert_eq!(row_by_id(store, "default", v5(1_000_000)), None);
    assert_eq!(row_by_id(store, "default", Uuid::from_u128(7)), None);
}
