//! The list of settings against the ingest's own.

use pulsemesh_ingest::settings::{DEFINITIONS, Definition, Fallback, Kind as Theirs};

use crate::mesh::validate::known::{KNOWN, Kind, nearest};

/// A kind of the ingest's as the operator writes it down.
fn ours(kind: Theirs) -> Kind {
    match kind {
        Theirs::Address
        | Theirs::Nodes
        | Theirs::Keyspace
        | Theirs::Datacenter
        | Theirs::Redis
        | Theirs::Path => Kind::Text,
        Theirs::Level => Kind::Level,
        Theirs::Classes => Kind::Classes,
        Theirs::Switch => Kind::Switch,
        Theirs::Word(words) => Kind::Word(words),
        Theirs::Count { min, max } => Kind::Count(min, max),
        Theirs::Size { min, max } => Kind::Size(min, max),
        Theirs::Time { min, max } => Kind::Time(min, max),
    }
}

#[test]
fn the_settings_are_those_of_the_ingest_with_their_bounds_and_defaults() {
    let theirs: Vec<_> = DEFINITIONS
        .iter()
        .map(|Definition { name, kind, default, .. }| {
            let default = match default {
                Fallback::Value(text) => *text,
                Fallback::Computed(_) | Fallback::Nothing(_) => "",
            };
            (*name, ours(*kind), default)
        })
        .collect();
    let known: Vec<_> = KNOWN.iter().map(|known| (known.name, known.kind, known.default)).collect();
    assert_eq!(known, theirs);
}

#[test]
fn a_misspelt_name_is_near_to_the_right_one_and_a_made_up_one_to_none() {
    for (name, expected) in [
        ("windw-bytes", Some("window-bytes")),
        ("idempotency-windows", Some("idempotency-window")),
        ("loglevel", Some("log-level")),
        ("thread", Some("threads")),
        ("kafka-brokers", None),
        ("", None),
        ("é", None),
    ] {
        assert_eq!(nearest(name), expected, "{name}");
    }
    assert_eq!(nearest(&"window-bytes".repeat(100_000)), None);
}
