//! Events in files of every layout.

use std::io::BufReader;

use proptest::prelude::*;
use serde_json::json;

use super::source::{Item, Source};

/// Each event as its line and text, with the code of what can't be sent.
fn events(text: &str) -> Vec<(u64, String, Option<&'static str>)> {
    // A buffer of a few bytes: every event lies across its ends.
    let input = BufReader::with_capacity(7, text.as_bytes());
    let mut source = Source::new(input).expect("readable");
    let mut events = Vec::new();
    while let Some(item) = source.next().expect("readable") {
        let (event, code) = match item {
            Item::Event(event) => (event, None),
            Item::Broken { event, code, .. } => (event, Some(code)),
        };
        events.push((event.line, String::from_utf8_lossy(&event.text).into_owned(), code));
    }
    assert_eq!(source.bytes, text.len() as u64);
    events
}

fn sound(text: &str) -> Vec<(u64, String)> {
    let sound = events(text).into_iter();
    sound.map(|(line, text, code)| (line, text, code.is_none().then_some(()))).fold(
        Vec::new(),
        |mut all, (line, text, sound)| {
            sound.expect("nothing is broken");
            all.push((line, text));
            all
        },
    )
}

fn owned(expected: &[(u64, &str)]) -> Vec<(u64, String)> {
    expected.iter().map(|(line, text)| (*line, (*text).to_owned())).collect()
}

#[test]
fn each_layout_gives_the_same_events_with_their_lines() {
    let cases: [(&str, &[(u64, &str)]); 12] = [
        ("", &[]),
        ("\n \n", &[]),
        ("{\"a\":1}\n{\"a\":2}", &[(1, "{\"a\":1}"), (2, "{\"a\":2}")]),
        ("{\"a\":1}\r\n\n  {\"a\":2}\n", &[(1, "{\"a\":1}"), (3, "{\"a\":2}")]),
        ("{\"a\":1}\n{broken\n{\"a\":2}\n", &[(1, "{\"a\":1}"), (2, "{broken"), (3, "{\"a\":2}")]),
        ("nothing\n{\"a\":2}\n", &[(1, "nothing"), (2, "{\"a\":2}")]),
        ("[{\"a\":1},{\"a\":2}]", &[(1, "{\"a\":1}"), (1, "{\"a\":2}")]),
        ("[\n {\"a\":1},\n {\"a\":\n 2}\n]\n", &[(2, "{\"a\":1}"), (3, "{\"a\":  2}")]),
        ("\n[]", &[]),
        (
            "[1, \"x,]\\\"\", {\"a\":\"}]\"}]",
            &[(1, "1"), (1, "\"x,]\\\"\""), (1, "{\"a\":\"}]\"}")],
        ),
        ("{\n\"a\": [1, {}]\n}\n{\n\"b\": 2}\n", &[(1, "{ \"a\": [1, {}] }"), (4, "{ \"b\": 2}")]),
        (
            "{\"a\":\n1}{\"a\":2} {\"a\":3}",
            &[(1, "{\"a\": 1}"), (2, "{\"a\":2}"), (2, "{\"a\":3}")],
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(sound(text), owned(expected), "{text}");
    }
}

#[test]
fn what_can_not_be_sent_is_told_with_its_line() {
    let long = format!("{{\"a\":1}}\n{{\"a\":\"{}\"}}\n{{\"a\":2}}\n", "x".repeat(600 * 1024));
    let found = events(&long);
    let codes: Vec<_> = found.iter().map(|(line, _, code)| (*line, *code)).collect();
    assert_eq!(codes, [(1, None), (2, Some("event_too_large")), (3, None)]);
    assert!(found[1].1.len() <= 512 * 1024, "no more of it is kept than of any event");

    let cut = events("[\n{\"a\":1},\n{\"a\":");
    assert_eq!((cut[1].0, cut[1].2), (3, Some("invalid_json")));
    let broken = events("[{\"a\":\"x\ny\"},{\"a\":1}]");
    assert_eq!((broken[0].2, broken[1].2), (Some("invalid_json"), None));
}

fn document() -> impl Strategy<Value = serde_json::Value> {
    let text = "[\"\\\\{}\\[\\], a-cü\n]{0,8}";
    // An empty one is a whole line, by which the file would be read line by line.
    proptest::collection::vec((text, 0..9_u8), 1..4).prop_map(|entries| {
        let of = |(text, number): (String, u8)| (text.clone(), json!([number, {"x": text}]));
        serde_json::Value::Object(entries.into_iter().map(of).collect())
    })
}

proptest! {
    #[test]
    fn documents_come_back_from_any_layout(
        documents in proptest::collection::vec(document(), 1..6),
        layout in 0..4_usize,
    ) {
        let each = |pretty: bool| documents.iter().map(move |document| match pretty {
            true => serde_json::to_string_pretty(document).expect("JSON"),
            false => document.to_string(),
        }).collect::<Vec<_>>();
        let text = match layout {
            0 => each(false).join("\n"),
            1 => each(true).join("\n"),
            2 => format!("[{}]", each(true).join(",\n")),
            _ => format!("[{}]", each(false).join(",")),
        };
        let found: Vec<serde_json::Value> = sound(&text)
            .iter()
            .map(|(_, text)| serde_json::from_str(text).expect("JSON"))
            .collect();
        prop_assert_eq!(found, documents);
    }

    #[test]
    fn no_text_makes_it_panic_or_lose_bytes(text in "[\\[\\]{}\",:a1 \\\\\n]{0,60}") {
        events(&text);
    }
}
