//! What parameters mean, and the documents that answer them.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::code::Code;
use crate::store::{Count, Position, Row};

use super::answer::{PAGE_BYTES_SOFT, PageWriter};
use super::*;

const NOW: i64 = 1_767_225_630_000; // 2026-01-01T00:00:30Z

fn refused<T: std::fmt::Debug>(result: Result<T, Reject>, name: &str) {
    let reject = result.expect_err(name);
    assert_eq!(reject.code, Code::InvalidParameter);
    assert!(reject.message.contains(&format!("{name:?}")), "{} names {name}", reject.message);
}

#[test]
fn a_submission_may_name_its_level_and_ask_for_ids() {
    let cases = [
        (None, Submit::default()),
        (Some(""), Submit::default()),
        (Some("ack=memory"), Submit { ack: Some(Ack::Memory), ids: false }),
        (Some("ids=true&ack=stored"), Submit { ack: Some(Ack::Stored), ids: true }),
        (Some("ids=false"), Submit::default()),
    ];
    for (query, expected) in cases {
        assert_eq!(submit(query), Ok(expected), "{query:?}");
    }
    for (query, name) in [
        ("ack=fast", "ack"),
        ("ack=", "ack"),
        ("ids", "ids"),
        ("ids=1", "ids"),
        ("akc=memory", "akc"),
        ("ack=memory&ack=memory", "ack"),
    ] {
        refused(submit(Some(query)), name);
    }
    refused(none(Some("x=1")), "x");
    assert_eq!(none(None), Ok(()));
}

fn page(query: &str) -> (PulseQuery, u64) {
    match pulses("default", Some(query), NOW).expect(query) {
        Pulses::Page(Page { query, mark, .. }) => (query, mark),
        Pulses::Key(key) => unreachable!("key {key}"),
    }
}

#[test]
fn a_page_covers_everything_unless_it_is_narrowed() {
    let (query, _) = page("service=checkout");
    assert_eq!(query.service, "checkout");
    assert_eq!((query.from_ms, query.limit, query.after), (0, PAGE_ROWS_DEFAULT, None));
    assert!(query.to_ms > NOW + EVENT_TIME_AHEAD_MS_MAX);

    let (query, _) = page("service=a%20b&from=1000&to=1970-01-01T00:00:02Z&limit=1000");
    assert_eq!((query.service.as_str(), query.from_ms, query.to_ms), ("a b", 1_000, 2_000));
    assert_eq!(query.limit, 1_000);
}

#[test]
fn a_wrong_parameter_of_a_page_is_named() {
    for (query, name) in [
        ("", "service"),
        ("service=", "service"),
        ("service=a&service=a", "service"),
        ("service=a&limit=0", "limit"),
        ("service=a&limit=1001", "limit"),
        ("service=a&limit=ten", "limit"),
        ("service=a&from=soon", "from"),
        ("service=a&to=", "to"),
        ("service=a&from=2&to=1", "from"),
        ("service=a&cursor=zzz", "cursor"),
        ("service=a&order=asc", "order"),
        ("service=%FF", "service"),
        ("idempotency_key=k&service=a", "service"),
        ("idempotency_key=", "idempotency_key"),
    ] {
        refused(pulses("default", Some(query), NOW), name);
    }
    let long = format!("service={}", "x".repeat(NAME_BYTES_MAX + 1));
    refused(pulses("default", Some(&long), NOW), "service");
}

#[test]
fn a_key_is_asked_for_alone() {
    let key = pulses("default", Some("idempotency_key=a%2Fb"), NOW);
    assert_eq!(key, Ok(Pulses::Key("a/b".to_owned())));
}

#[test]
fn a_cursor_belongs_to_its_query_whatever_the_limit() {
    let (_, mark) = page("service=a&from=1");
    let position = Position { event_time_ms: 7, id: Uuid::from_u128(9) };
    let cursor = cursor::encode(position, mark);
    let (next, _) = page(&format!("service=a&from=1&limit=5&cursor={cursor}"));
    assert_eq!(next.after, Some(position));
    for other in ["service=b&from=1", "service=a", "service=a&from=2", "service=a&from=1&to=9"] {
        refused(pulses("default", Some(&format!("{other}&cursor={cursor}")), NOW), "cursor");
    }
    let foreign = format!("service=a&from=1&cursor={cursor}");
    refused(pulses("other", Some(&foreign), NOW), "cursor");
}

#[test]
fn an_id_is_any_text_a_client_may_have_sent() {
    assert_eq!(event_id("order%2F1").as_deref(), Ok("order/1"));
    assert_eq!(event_id("a+b").as_deref(), Ok("a+b"));
    refused(event_id("%"), "id");
    refused(event_id(&"x".repeat(KEY_BYTES_MAX + 1)), "id");
}

fn row(number: u128, payload_bytes: usize) -> Row {
    Row {
        id: Uuid::from_u128(number),
        tenant: "default".into(),
        service: "checkout".into(),
        kind: "request".into(),
        event_time_ms: 1_000 - number as i64,
        received_at_us: 2_000_000,
        latency_ms: None,
        status: None,
        value: None,
        user: None,
        usage: None,
        metadata: Vec::new(),
        payload: Some(format!("\"{}\"", "p".repeat(payload_bytes))),
    }
}

#[test]
fn a_page_ends_early_when_its_rows_are_large_and_goes_on_behind_them() {
    let rows: Vec<Row> = (0..100).map(|number| row(number, 64 * 1024)).collect();
    let mut writer = PageWriter::new(None, 1_000);
    assert!(!writer.push(&rows));
    let written = writer.rows();
    let text = writer.finish(true, 5);
    assert!(text.len() < PAGE_BYTES_SOFT + 128 * 1024);
    let page: Value = serde_json::from_slice(&text).expect("valid JSON");
    assert_eq!(page["pulses"].as_array().map(Vec::len), Some(written));
    let last = &rows[written - 1];
    let position = Position { event_time_ms: last.event_time_ms, id: last.id };
    assert_eq!(page["next"].as_str().and_then(|next| cursor::decode(next, 5)), Some(position));
}

#[test]
fn the_last_page_has_no_next() {
    let empty: Value =
        serde_json::from_slice(&PageWriter::new(None, 1_000).finish(true, 1)).expect("JSON");
    assert_eq!(empty, json!({"pulses": [], "next": null}));
    let mut writer = PageWriter::new(None, 1_000);
    assert!(writer.push(&[row(1, 1), row(2, 1)]));
    let page: Value = serde_json::from_slice(&writer.finish(false, 1)).expect("JSON");
    assert_eq!(page["next"], Value::Null);
    assert_eq!(page["pulses"][1]["id"], Uuid::from_u128(2).to_string());
}

#[test]
fn a_page_of_a_kind_goes_on_behind_what_was_looked_at() {
    let of = |number: u128, kind: &str| Row { kind: kind.into(), ..row(number, 1) };
    let rows = [of(9, "a"), of(8, "b"), of(7, "a"), of(6, "b"), of(5, "a")];
    for (rows_max, all, ids, last) in [(2, false, vec![9, 7], 7), (3, true, vec![9, 7, 5], 5)] {
        let mut writer = PageWriter::new(Some("a".into()), rows_max);
        assert_eq!(writer.push(&rows), all);
        assert_eq!(writer.rows(), rows_max);
        assert_eq!(writer.last().map(|last| last.id), Some(Uuid::from_u128(last)));
        let page: Value = serde_json::from_slice(&writer.finish(true, 1)).expect("JSON");
        let written: Vec<_> = page["pulses"].as_array().expect("pulses").iter().collect();
        let expected: Vec<_> = ids.iter().map(|id| Uuid::from_u128(*id).to_string()).collect();
        assert!(written.iter().map(|pulse| &pulse["id"]).eq(&expected), "{page}");
    }
    let mut writer = PageWriter::new(Some("c".into()), 2);
    assert!(writer.push(&rows) && writer.rows() == 0);
    let page: Value = serde_json::from_slice(&writer.finish(true, 1)).expect("JSON");
    assert!(page["next"].is_string(), "none of so many was it: {page}");
}

#[test]
fn counts_cover_whole_minutes_of_a_trailing_window() {
    let minute = 60_000;
    let start = NOW - NOW.rem_euclid(minute);
    let cases = [
        ("", start - 5 * minute, start + minute),
        ("window=5m&by=kind", start - 5 * minute, start + minute),
        ("window=2h", start - 120 * minute, start + minute),
        ("window=1m&to=120000", 60_000, 120_000),
        ("from=60001&to=119999", 60_000, 120_000),
    ];
    for (query, from_ms, to_ms) in cases {
        let counts = counts::parse("default", Some(query), NOW).expect(query);
        assert_eq!((counts.query.from_ms, counts.query.to_ms), (from_ms, to_ms), "{query}");
    }
    for (query, name) in [
        ("window=5", "window"),
        ("window=m", "window"),
        ("window=0m", "window"),
        ("window=-5m", "window"),
        ("window=+5m", "window"),
        ("window=32d", "window"),
        ("window=99999999999999999d", "window"),
        ("window=5m&from=0", "window"),
        ("by=service", "by"),
        ("from=0", "from"),
        ("from=9&to=1", "from"),
        ("window=31d&step=1m", "step"),
        ("step=30s", "step"),
    ] {
        refused(counts::parse("default", Some(query), NOW), name);
    }
}

#[test]
fn counts_add_up_by_kind_and_by_step() {
    let asked =
        counts::parse("default", Some("from=0&to=300000&step=2m"), NOW).expect("valid parameters");
    let count = |minute: i64, kind: &str, pulses| Count {
        minute_ms: minute * 60_000,
        kind: kind.into(),
        pulses,
    };
    let counts = [count(0, "b", 1), count(1, "a", 2), count(1, "b", 3), count(4, "b", 4)];
    let mut out = Vec::new();
    counts::write(&mut out, &asked, &counts);
    let answer: Value = serde_json::from_slice(&out).expect("valid JSON");
    let expected = json!({
        "from": "1970-01-01T00:00:00.000Z", "to": "1970-01-01T00:05:00.000Z",
        "counts": [{"kind": "a", "pulses": 2}, {"kind": "b", "pulses": 8}], "total": 10,
        "series": [
            {"from": "1970-01-01T00:00:00.000Z", "to": "1970-01-01T00:02:00.000Z",
             "counts": [{"kind": "a", "pulses": 2}, {"kind": "b", "pulses": 4}], "total": 6},
            {"from": "1970-01-01T00:04:00.000Z", "to": "1970-01-01T00:05:00.000Z",
             "counts": [{"kind": "b", "pulses": 4}], "total": 4},
        ],
    });
    assert_eq!(answer, expected);
}
