//! Bodies and how they come apart into events.

use crate::code::Code;
use crate::decode::Decoder;
use crate::pulse::Shape;
use crate::submission::Format;

const GOOD: &str = r#"{"service":"s"}"#;

/// What each event is: `ok` or its code, with its bytes.
fn events(format: Format, body: &[u8]) -> (Vec<(&'static str, String)>, bool) {
    let mut decoder = Decoder::new(Shape::Pulse, format, body);
    let (mut events, mut alone) = (Vec::new(), false);
    while let Some(decoded) = decoder.next() {
        let outcome = decoded.pulse.map_or_else(|reject| reject.code.as_str(), |_| "ok");
        events.push((outcome, String::from_utf8_lossy(decoded.raw).into_owned()));
        alone |= decoder.is_alone();
    }
    assert!(decoder.next().is_none(), "it stays ended");
    assert_eq!(alone, decoder.is_single(), "it is known behind the first event");
    (events, decoder.is_single())
}

fn check(format: Format, body: impl AsRef<[u8]>, expected: &[(&'static str, &str)], single: bool) {
    let body = body.as_ref();
    let (events, is_single) = events(format, body);
    let events: Vec<_> = events.iter().map(|(code, raw)| (*code, raw.as_str())).collect();
    let shown = String::from_utf8_lossy(body);
    assert_eq!(events, expected, "{shown}");
    assert_eq!(is_single, single, "{shown}");
}

#[test]
fn a_json_body_is_an_object_an_array_or_objects_in_a_row() {
    let json = |body: &str, expected: &[(&'static str, &str)], single| {
        check(Format::Json, body, expected, single);
    };
    let good = ("ok", GOOD);
    json("", &[], false);
    json(" \r\n\t", &[], false);
    json("[]", &[], false);
    json(" [ ] ", &[], false);
    json(GOOD, &[good], true);
    json(&format!("\n {GOOD}\n"), &[good], true);
    json(&format!("[{GOOD}]"), &[good], false);
    json(&format!(" [ {GOOD} , {GOOD} ] "), &[good, good], false);
    json(&format!("{GOOD}{GOOD}\n{GOOD}\r\n"), &[good, good, good], false);
    json("5", &[("not_an_object", "5")], true);
    json("{", &[("invalid_json", "{")], true);
    json(
        "[5,[1],\"a\",null]",
        &[
            ("not_an_object", "5"),
            ("not_an_object", "[1]"),
            ("not_an_object", "\"a\""),
            ("not_an_object", "null"),
        ],
        false,
    );
}

#[test]
fn a_refused_event_costs_only_itself() {
    let bad = [
        ("wrong_type", r#"{"service":5}"#),
        ("missing_field", "{}"),
        ("string_too_long", &format!(r#"{{"service":"{}"}}"#, "x".repeat(256))),
        ("not_a_number", r#"{"service":"s","value":NaN,"x":[Infinity,-Infinity,{"a":NaN}]}"#),
        ("duplicate_key", r#"{"service":"s","service":"s","x":"]},"}"#),
        ("invalid_json", r#"{"service":"\ud800"}"#),
        ("nesting_too_deep", &format!(r#"{{"x":{}{}}}"#, "[".repeat(100), "]".repeat(100))),
        ("not_an_object", "[{}]"),
    ];
    for (code, event) in bad {
        let three = [("ok", GOOD), (code, event), ("ok", GOOD)];
        check(Format::Json, format!("[{GOOD}, {event} ,{GOOD}]"), &three, false);
        check(Format::Lines, format!("{GOOD}\n{event}\n{GOOD}"), &three, false);
        if !event.starts_with('[') {
            check(Format::Json, format!("{GOOD}\n{event}\n{GOOD}"), &three, false);
        }
    }
}

#[test]
fn what_is_no_json_ends_an_array_and_a_row() {
    for (body, rest) in [
        (r#"[@,{"service"},@]"#, r#"{"service"},@]"#),
        ("[@,]", "]"),
        ("[@,,@]", ",@]"),
        ("[@ @]", "@]"),
        ("[@", ""),
        ("[@,", ""),
        ("[@}", "}"),
        ("[@] x", "x"),
        ("[@] @", "@"),
        ("[@][]", "[]"),
        ("@,@", ",@"),
        ("@ x @", "x @"),
        ("@]", "]"),
        ("@[{}", "[{}"),
    ] {
        let body = body.replace('@', GOOD);
        let rest = rest.replace('@', GOOD);
        check(Format::Json, &body, &[("ok", GOOD), ("invalid_json", &rest)], false);
        let last = Decoder::new(Shape::Pulse, Format::Json, body.as_bytes()).last();
        let reject = last.and_then(|decoded| decoded.pulse.err()).expect("a refusal");
        assert!(reject.message.ends_with("; nothing behind it was read"), "{}", reject.message);
    }
    check(Format::Json, "[", &[("invalid_json", "")], false);
    check(Format::Json, "[,]", &[("invalid_json", ",]")], false);
    let deep = "[".repeat(200);
    check(Format::Json, format!("[{deep}"), &[("not_an_object", &deep)], false);
}

#[test]
fn each_line_is_judged_alone() {
    let lines = |body: &[u8], expected: &[(&'static str, &str)]| {
        check(Format::Lines, body, expected, false);
    };
    lines(b"", &[]);
    lines(b"\n \n\r\n\t\r\n", &[]);
    lines(GOOD.as_bytes(), &[("ok", GOOD)]);
    lines(format!("{GOOD}\r\n\n  {GOOD}\t\n").as_bytes(), &[("ok", GOOD), ("ok", GOOD)]);
    lines(
        format!("{{\n}}\n{GOOD}").as_bytes(),
        &[("invalid_json", "{"), ("invalid_json", "}"), ("ok", GOOD)],
    );
    lines(
        format!("[{GOOD}]\n{GOOD}{GOOD}").as_bytes(),
        &[("not_an_object", &format!("[{GOOD}]")), ("invalid_json", &format!("{GOOD}{GOOD}"))],
    );
    let latin = [&b"{\"service\":\"caf\xE9\"}\n"[..], GOOD.as_bytes()].concat();
    lines(&latin, &[("invalid_utf8", "{\"service\":\"caf\u{FFFD}\"}"), ("ok", GOOD)]);
}

#[test]
fn bytes_that_are_not_utf_8_cost_only_their_event_where_it_has_an_end() {
    let latin = b"{\"service\":\"caf\xE9\"}";
    let shown = "{\"service\":\"caf\u{FFFD}\"}";
    let array = [b"[", GOOD.as_bytes(), b",", latin, b",", GOOD.as_bytes(), b"]"].concat();
    check(Format::Json, &array, &[("ok", GOOD), ("invalid_utf8", shown), ("ok", GOOD)], false);
    check(Format::Json, latin, &[("invalid_utf8", shown)], true);
    check(Format::Json, b"\xFF\xFE{\0}\0", &[("invalid_utf8", "\u{FFFD}\u{FFFD}{\0}\0")], true);
    check(Format::Json, b"{ x \xFF", &[("invalid_json", "{ x \u{FFFD}")], true);
    check(
        Format::Json,
        b"[{}, \xFF]",
        &[("missing_field", "{}"), ("invalid_utf8", "\u{FFFD}]")],
        false,
    );
}

#[test]
fn offsets_count_from_the_body_where_the_rest_is_lost_and_from_the_event_where_it_is_not() {
    let message = |body: &str| {
        let last = Decoder::new(Shape::Pulse, Format::Json, body.as_bytes()).last();
        let reject = last.and_then(|decoded| decoded.pulse.err()).expect("a refusal");
        assert_eq!(reject.code, Code::InvalidJson);
        reject.message
    };
    assert_eq!(
        message(r#"[{},{"a"}]"#),
        "expected `:` at byte 8 of the body, found `}`; nothing behind it was read"
    );
    assert_eq!(
        message(r#"[{},{"a":"\udfff"}]"#),
        "expected a pair of surrogates, not a lone one at byte 6 of the event, found `\\`"
    );
}

#[test]
fn events_are_decoded_as_they_are_asked_for() {
    let mut body = b"[{\"service\":\"s\"},".to_vec();
    body.resize(64 << 20, b' ');
    let mut decoder = Decoder::new(Shape::Pulse, Format::Json, &body);
    assert!(decoder.next().is_some_and(|decoded| decoded.pulse.is_ok()));
    assert!(!decoder.is_single(), "it has not ended");
    assert_eq!(decoder.next().map(|decoded| decoded.raw.len()), Some(0));
}
