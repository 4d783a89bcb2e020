//! The letters of one pulse in a real database: all of them, a bounded number at once, and none
//! of another tenant or pulse.

use std::collections::BTreeSet;
use std::sync::Arc;

use tempfile::TempDir;
use uuid::Uuid;

use crate::clock::now_us;
use crate::sink::dead_letter::tests::letter;
use crate::sink::dead_letter::{Letter, SharedLetter, SharedLetters};
use crate::store::cassandra::settings::CassandraSettings;
use crate::store::cassandra::write::tests::fixture::{Fixture, Login};

use super::Letters;

/// Of the pulse `id`, as its number-th letter of a group.
fn of_pulse(tenant: &str, id: u64, (group, number): (i16, u64)) -> SharedLetter {
    let first_at_us = now_us() - 3_600_000_000 + i64::from(group);
    let seq = 1_000 * number + id;
    let letter = letter(id);
    SharedLetter {
        group,
        letter: Letter {
            tenant: tenant.to_owned(),
            seq,
            first_at_us,
            last_at_us: first_at_us,
            ..letter
        },
    }
}

/// All letters of a pulse by all pages: their ids, how many pages, and whether some were left out.
async fn found(letters: &Letters, tenant: &str, id: u64) -> (Vec<Uuid>, usize, bool) {
    let (mut all, mut pages, mut cut, mut after) = (Vec::new(), 0, false, None);
    loop {
        let page = letters.of_pulse(tenant, Uuid::from_u128(id.into()), after.as_ref());
        let page = page.await.expect("an answer");
        all.extend(page.letters.iter().map(SharedLetter::id));
        (pages, cut) = (pages + 1, cut || page.cut);
        match page.next {
            Some(next) => after = Some(next),
            None => return (all, pages, cut),
        }
    }
}

#[tokio::test]
#[ignore = "needs the database of cargo xtask test cassandra"]
async fn the_letters_of_a_pulse_are_all_found_in_pages_and_no_others() {
    let fixture = Fixture::new(Login::Ordinary).await;
    let dir = TempDir::new().expect("a directory");
    let settings = CassandraSettings::new(Vec::new(), dir.path().to_owned());
    let letters = Letters::new(Arc::clone(&fixture.link), Arc::new(settings));
    let few = [(3, 1), (3, 2), (7, 1)].map(|at| of_pulse("a", 1, at));
    let spread: Vec<_> = (10..60).map(|group| of_pulse("a", 2, (group, 1))).collect();
    let many: Vec<_> = (0..90).map(|number| of_pulse("a", 3, (5, number))).collect();
    let others: Vec<_> = (0..300).map(|id| of_pulse("a", 100 + id, (5, 1))).collect();
    let foreign = [of_pulse("b", 1, (3, 1)), of_pulse("b", 2, (3, 1))];
    let mut large = of_pulse("a", 4, (5, 1));
    let raw = vec![b'x'; 50_000];
    let record = large.letter.record().expect("a pulse");
    let entry = crate::log::frame::Entry { raw: &raw, ..record.entry };
    large.letter.frame = Letter::frame_of(&crate::log::frame::Record { entry, ..record });
    let all = [&few[..], &spread, &many, &others, &foreign, &[large.clone()]];
    for put in all {
        assert_eq!(letters.put(put).await.expect("kept"), Vec::<usize>::new());
    }
    let ids = |letters: &[SharedLetter]| letters.iter().map(SharedLetter::id).collect();
    let set = |found: Vec<Uuid>| -> (usize, BTreeSet<Uuid>) {
        (found.len(), found.into_iter().collect())
    };
    let (of_few, pages, cut) = found(&letters, "a", 1).await;
    assert_eq!((set(of_few), pages, cut), ((3, ids(&few)), 1, false));
    let (of_spread, pages, cut) = found(&letters, "a", 2).await;
    assert_eq!((set(of_spread), cut), ((50, ids(&spread)), false));
    assert!((4..=5).contains(&pages), "{pages} pages of 16");
    let (of_many, _, cut) = found(&letters, "a", 3).await;
    assert_eq!((of_many.len(), cut), (64, true));
    let (of_large, ..) = found(&letters, "a", 4).await;
    assert_eq!(of_large, [large.id()]);
    let (of_foreign, ..) = found(&letters, "b", 1).await;
    assert_eq!(of_foreign, [foreign[0].id()]);
    assert_eq!(found(&letters, "b", 3).await, (Vec::new(), 1, false));
    letters.remove(&few[..1]).await.expect("gone");
    let (left, ..) = found(&letters, "a", 1).await;
    assert_eq!(set(left), (2, ids(&few[1..])));
}
