//! Which steps are told of which pulse.

use uuid::Uuid;

use super::life::{EDITED_FROM, Known};
use crate::log::frame::{Entry, Envelope, Record};
use crate::pulse::Shape;
use crate::sink::LogId;
use crate::sink::dead_letter::Letter;
use crate::sink::drain::Underway;
use crate::sink::replay::{Replayed, Shown};
use crate::store::Row;

fn record() -> Record<'static> {
    let envelope =
        Envelope { tenant: "t", shape: Shape::Pulse, received_at_us: 1_000_000, trace: None };
    let entry = Entry {
        id: Uuid::from_u128(7),
        event_time_ms: 1,
        shard: 0,
        service: "s",
        kind: "pulse",
        key: None,
        body_hash: None,
        refused: None,
        raw: b"{\"service\":\"s\"}",
    };
    Record { seq: 1, envelope, entry }
}

fn letter(sink: &str, in_memory: bool) -> Shown {
    let letter = Letter {
        tenant: "t".into(),
        sink: sink.into(),
        log: LogId(Uuid::nil()),
        in_memory,
        seq: 1,
        code: "refused".into(),
        stage: "write".into(),
        message: "no".into(),
        attempts: 2,
        first_at_us: 2_000_000,
        last_at_us: 3_000_000,
        history: Vec::new(),
        frame: Letter::frame_of(&record()),
    };
    Shown { id: Uuid::nil(), letter: letter.into() }
}

fn underway(is_logged: bool, sinks: &[(&str, bool)]) -> Option<Underway> {
    let sinks = sinks.iter().map(|(sink, finished)| ((*sink).to_owned(), *finished)).collect();
    Some(Underway::new(&record(), is_logged, sinks))
}

/// The steps as text: name, sink, second.
fn life(known: &Known) -> String {
    let row = Row::from_record(&record()).expect("a row");
    let steps = serde_json::to_value(known.life(&row)).expect("JSON");
    let step = |step: &serde_json::Value| {
        let text = |name: &str| step[name].as_str().unwrap_or("-").to_owned();
        let at = text("at").replace("1970-01-01T00:00:0", "").replace(".000Z", "");
        format!("{} {} {at}", text("step"), text("sink"))
    };
    let steps: Vec<_> = steps.as_array().expect("a list").iter().map(step).collect();
    steps.join(", ")
}

#[test]
fn each_place_of_a_pulse_is_a_step() {
    let nothing = Known::default;
    let replayed = Replayed {
        letter: Uuid::nil(),
        sink: "store".into(),
        reason: "r".into(),
        at_us: 4_000_000,
    };
    let cases = [
        (nothing(), "received - 1"),
        (Known { stored: true, ..nothing() }, "received - 1, stored store -"),
        (
            Known { underway: underway(true, &[("store", false), ("topic", true)]), ..nothing() },
            "received - 1, logged - -, waiting store -, stored topic -",
        ),
        (
            // It came to the store while it was looked for.
            Known { stored: true, underway: underway(true, &[("store", false)]), ..nothing() },
            "received - 1, logged - -, stored store -",
        ),
        (
            // The store has finished it and does not have it: it has expired.
            Known { underway: underway(false, &[("store", true)]), ..nothing() },
            "received - 1",
        ),
        (
            Known { letters: vec![letter("store", false)], ..nothing() },
            "received - 1, logged - -, dead_lettered store 2",
        ),
        (
            Known { letters: vec![letter("store", true)], ..nothing() },
            "received - 1, dead_lettered store 2",
        ),
        (
            // A letter of one sink, which the other has.
            Known {
                stored: true,
                underway: underway(true, &[("store", true), ("topic", true)]),
                letters: vec![letter("topic", false)],
                ..nothing()
            },
            "received - 1, logged - -, dead_lettered topic 2, stored store -",
        ),
        (
            Known { stored: true, replayed: vec![replayed], ..nothing() },
            "received - 1, replayed store 4, stored store -",
        ),
    ];
    for (known, expected) in cases {
        assert_eq!(life(&known), expected, "{known:?}");
    }
}

#[test]
fn an_edited_pulse_says_which_one_it_stands_for() {
    let mut row = Row::from_record(&record()).expect("a row");
    row.metadata.push((EDITED_FROM.to_owned(), "x".to_owned()));
    let life = serde_json::to_value(Known::default().life(&row)).expect("JSON");
    assert_eq!((&life[1]["step"], &life[1]["edited_from"]), (&"replayed".into(), &"x".into()));
}
