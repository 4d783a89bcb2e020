//! The tree of ids against a plain list, over reopens and writes that were given up.

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;

use crate::retention::ClassNumber;
use crate::store::embedded::prepare::Bounds;

use super::super::database::Database;
use super::piece::Piece;
use super::*;

const LIMITS: RootLimits = RootLimits { ids: 24, pieces: 5 };
const BOUNDS: Bounds = Bounds { class: ClassNumber::DEFAULT, start_ms: 0, end_ms: 1 };

fn open(directory: &Path) -> Database {
    Database::open(directory, Uuid::from_u128(1), LIMITS).expect("a database")
}

/// Writes a batch, or prepares to and gives it up.
fn write(database: &Database, batch: u64, hashes: &[u64], commit: bool) {
    let window = database.window(BOUNDS).expect("a window");
    let mut writes = database.batch(1);
    add(&mut writes, &window.ids, (batch, hashes), LIMITS).expect("added");
    if commit {
        writes.commit().expect("a commit");
    }
}

fn batches(database: &Database, hash: u64) -> Vec<u64> {
    let window = database.window(BOUNDS).expect("a window");
    batches_of(&database.snapshot(), &window.ids, hash).expect("a lookup")
}

/// Pieces by node, and how many ids are in all of them.
fn pieces(database: &Database) -> (BTreeMap<Vec<u8>, usize>, usize) {
    let (mut nodes, mut ids) = (BTreeMap::new(), 0);
    for guard in database.window(BOUNDS).expect("a window").ids.iter() {
        let (key, value) = guard.into_inner().expect("an entry");
        if *key == STATE {
            continue;
        }
        *nodes.entry(key[..7].to_vec()).or_default() += 1;
        ids += Piece::read(&value).expect("a piece").places().count();
    }
    (nodes, ids)
}

/// What a history does: a batch of hashes, whether it is committed, whether all is opened again.
type Step = (Vec<u64>, bool, bool);

fn step() -> impl Strategy<Value = Step> {
    // Some that are the same or neighbours, most spread over the whole.
    let hash = prop_oneof![0..3u64, (1u64 << 47)..(1u64 << 47) + 3, 0..1u64 << HASH_BITS];
    let hashes = prop::collection::vec(hash, 0..12).prop_map(|mut hashes| {
        hashes.sort_unstable();
        hashes
    });
    (hashes, prop::bool::weighted(0.9), prop::bool::weighted(0.02))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn every_id_is_found_in_its_batches_the_latest_first(
        steps in prop::collection::vec(step(), 1..300),
    ) {
        let directory = tempfile::tempdir().expect("a directory");
        let mut database = open(directory.path());
        let mut model: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        let mut batch = 0;
        for (hashes, commit, reopen) in &steps {
            write(&database, batch, hashes, *commit);
            if *commit {
                hashes.iter().for_each(|hash| model.entry(*hash).or_default().push(batch));
                batch += 1;
            }
            if *reopen {
                drop(database);
                database = open(directory.path());
            }
        }
        let (nodes, ids) = pieces(&database);
        prop_assert_eq!(ids, model.values().map(Vec::len).sum::<usize>());
        prop_assert!(nodes.values().all(|pieces| *pieces <= 32), "{:?}", nodes);
        let strangers = model.keys().map(|hash| (hash ^ (1 << 20), Vec::new())).collect::<Vec<_>>();
        for (hash, nowhere) in strangers {
            model.entry(hash).or_insert(nowhere);
        }
        for (hash, mut wanted) in model {
            wanted.dedup();
            wanted.reverse();
            prop_assert_eq!(batches(&database, hash), wanted);
        }
    }
}

#[test]
fn a_lookup_reads_few_pieces_however_many_ids_there_are() {
    let directory = tempfile::tempdir().expect("a directory");
    let database = open(directory.path());
    let hasher = Hasher::new(Uuid::from_u128(1), "default");
    // Three levels below the root: five batches of five ids for each visit of it.
    let count = 5 * 300;
    for batch in 0..count {
        let ids = (0..5).map(|number| Uuid::from_u128(u128::from(batch * 5 + number)));
        let mut hashes: Vec<_> = ids.map(|id| hasher.hash(id)).collect();
        hashes.sort_unstable();
        write(&database, batch, &hashes, true);
    }
    let (nodes, ids) = pieces(&database);
    assert_eq!(ids as u64, count * 5);
    let depth = |node: &Vec<u8>| node[0];
    assert_eq!(nodes.keys().map(depth).max(), Some(3));
    for depth_wanted in 0..=3 {
        let of_depth = nodes.iter().filter(|(node, _)| depth(node) == depth_wanted);
        let most = of_depth.map(|(_, pieces)| *pieces).max().unwrap_or(0);
        assert!((1..=32).contains(&most), "{most} pieces at depth {depth_wanted}");
    }
    for batch in 0..count {
        let id = Uuid::from_u128(u128::from(batch * 5 + 3));
        assert_eq!(batches(&database, hasher.hash(id)), [batch]);
        let absent = Uuid::from_u128(u128::MAX - u128::from(batch));
        assert_eq!(batches(&database, hasher.hash(absent)), [0u64; 0]);
    }
}

#[test]
fn hashes_differ_by_store_tenant_and_id() {
    let (store, id) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let hash = Hasher::new(store, "a").hash(id);
    assert_eq!(hash, Hasher::new(store, "a").hash(id));
    assert!(hash < 1 << HASH_BITS);
    let others = [
        Hasher::new(id, "a").hash(id),
        Hasher::new(store, "b").hash(id),
        Hasher::new(store, "a").hash(store),
    ];
    assert!(!others.contains(&hash));
}

#[test]
fn damage_is_told_and_not_taken_for_an_answer() {
    let directory = tempfile::tempdir().expect("a directory");
    let database = open(directory.path());
    write(&database, 0, &[5], true);
    let window = database.window(BOUNDS).expect("a window");
    window.ids.insert(Node::ROOT.key(0), [0, 9, 1]).expect("a damaged piece");
    let found = batches_of(&database.snapshot(), &window.ids, 5);
    assert!(matches!(found, Err(DatabaseError::Damaged("a piece of ids"))), "{found:?}");
    window.ids.insert(STATE, [0xFF]).expect("a damaged state");
    let found = batches_of(&database.snapshot(), &window.ids, 5);
    assert!(matches!(found, Err(DatabaseError::Damaged("the state of ids"))), "{found:?}");
}
